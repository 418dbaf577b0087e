"""Ask for a URL, and judge the answer."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Protocol

from ai_sysadmin.core.probe_settings import HttpProbe
from ai_sysadmin.sources.certificates import tls_context
from ai_sysadmin.sources.probes.seen import ProbeFailed, Seen, plain

if TYPE_CHECKING:
    import httpx

MOST_BODY_BYTES: Final = 64 << 10
MOST_REDIRECTS: Final = 5

_HEADERS: Final = {"User-Agent": "ai-sysadmin-probe", "Accept": "*/*", "Accept-Encoding": "identity"}


async def look(probe: HttpProbe, seen: Seen) -> str:
    """Return what is good about it. Raises: ProbeFailed."""
    import httpx

    limits = httpx.Timeout(probe.timeout_seconds)
    connections = _Connections()
    tls = tls_context(probe.verify_tls and (probe.follow_redirects or probe.url.startswith("https:")))
    # Proxies and passwords of this process's environment are not the operator's word.
    client = httpx.AsyncClient(verify=tls, timeout=limits, headers=_HEADERS, trust_env=False)
    try:
        async with client:
            request = client.build_request(probe.method, probe.url, extensions={"trace": connections.trace})
            return await _ask(client, request, probe, seen)
    except httpx.TimeoutException as error:
        raise ProbeFailed(f"{probe.url} did not answer within {probe.timeout_seconds:g} s") from error
    except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
        raise ProbeFailed(f"{probe.url} does not answer: {plain(str(error)) or type(error).__name__}") from error
    finally:
        await connections.close()


class _Connections:
    """Closes what the client leaves open: the connection of a TLS handshake that ran out of time."""

    def __init__(self) -> None:
        self._opened: list[_Closable] = []

    async def trace(self, event: str, info: Mapping[str, "_Closable"]) -> None:
        if event == "connection.connect_tcp.complete":
            self._opened.append(info["return_value"])

    async def close(self) -> None:
        for connection in self._opened:
            await connection.aclose()


class _Closable(Protocol):
    async def aclose(self) -> None: ...


async def _ask(client: "httpx.AsyncClient", request: "httpx.Request", probe: HttpProbe, seen: Seen) -> str:
    response = await client.send(request, stream=True)
    redirects = 0
    try:
        while probe.follow_redirects and response.next_request is not None:
            redirects += 1
            following = _allowed(response, response.next_request, redirects)
            seen.note("url", following.url)
            await response.aclose()
            response = await client.send(following, stream=True)
        seen.note("status", response.status_code)
        if not probe.accepts(response.status_code):
            raise ProbeFailed(f"{probe.url} answered with status {response.status_code}")
        if probe.expect_text:
            await _expect(response, probe, seen)
    finally:
        await response.aclose()
    return f"{probe.url} answered with status {response.status_code}"


def _allowed(response: "httpx.Response", following: "httpx.Request", redirects: int) -> "httpx.Request":
    """Return a redirect's request if it may be followed: to HTTP only, and never away from TLS."""
    if redirects > MOST_REDIRECTS:
        raise ProbeFailed(f"the server redirects more than {MOST_REDIRECTS} times")
    before, after = response.url.scheme, following.url.scheme
    if after not in {"http", "https"} or (before, after) == ("https", "http"):
        raise ProbeFailed(f"the server redirects from {before} to {plain(str(following.url))}")
    return following


async def _expect(response: "httpx.Response", probe: HttpProbe, seen: Seen) -> None:
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk[: MOST_BODY_BYTES - len(body)]
        if len(body) >= MOST_BODY_BYTES:
            break
    seen.note("body_bytes", len(body))
    if probe.expect_text not in _decoded(bytes(body), response.charset_encoding):
        raise ProbeFailed(f"{probe.url} answered without the text “{plain(probe.expect_text)}”")


def _decoded(body: bytes, charset: str | None) -> str:
    try:
        return body.decode(charset or "utf-8", errors="replace")
    except LookupError:  # a charset of the server's own invention
        return body.decode(errors="replace")
