"""HTTP for large files: redirects that never carry a token to another host, and every failure in the suite's words."""

import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from ai_sysadmin.core.errors import AiSysadminError, NotFound, SettingsError, Unavailable

REDIRECTS = 10
TIMEOUT = httpx.Timeout(15, read=60)
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_RANGE_NOT_SATISFIABLE = 416


class ModelFileError(AiSysadminError):
    """The model file cannot be had or kept."""


class ServerAway(Unavailable):
    """The server of a file does not answer, or stopped to; it may after a while.

    ``wait_seconds`` is how long the server itself asked to be left alone.
    """

    def __init__(self, message: str, wait_seconds: float | None = None) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds


@dataclass(frozen=True)
class Token:
    """A secret, and the only origin (``https://host:port``) that may see it."""

    origin: str
    secret: str


@dataclass(frozen=True)
class Web:
    """A client that goes by the environment's proxies. Close it when done."""

    client: httpx.Client
    token: Token | None = None

    def close(self) -> None:
        self.client.close()

    @contextmanager
    def stream(
        self, method: str, url: str, headers: Mapping[str, str], *, stay: bool = False
    ) -> Iterator[httpx.Response]:
        """Yield an answer whose body is still to be read: one that succeeded, or 416.

        Args:
            stay: follow no redirect to another host; that redirect is the answer.

        Raises:
            ServerAway: it may work after a while; also while the body is read.
            NotFound: there is no such file.
            ModelFileError: it will not work this way.
        """
        with translated(url):
            response = self._sent(method, url, headers, stay=stay)
            try:
                if response.status_code >= 400 and response.status_code != _RANGE_NOT_SATISFIABLE:
                    raise _refused(response)
                yield response
            finally:
                response.close()

    def _sent(self, method: str, url: str, headers: Mapping[str, str], *, stay: bool) -> httpx.Response:
        here = httpx.URL(url)
        for _ in range(REDIRECTS):
            request = self.client.build_request(method, here, headers={**headers, **self._authorization(here)})
            response = self.client.send(request, stream=True)
            if not response.has_redirect_location:
                return response
            there = here.join(response.headers["location"])
            if stay and origin_of(there) != origin_of(here):
                return response
            response.close()
            if (here.scheme, there.scheme) == ("https", "http"):
                raise ModelFileError(f"{here.host} redirects to {there.host} without TLS: not followed")
            here = there
        raise ModelFileError(f"{url} redirects more than {REDIRECTS} times")

    def _authorization(self, url: httpx.URL) -> dict[str, str]:
        if self.token is None or origin_of(url) != self.token.origin:
            return {}
        return {"Authorization": f"Bearer {self.token.secret}"}


def open_web(token: Token | None = None) -> Web:
    """Return a client.

    Raises:
        SettingsError: the environment names a proxy that cannot be used.
    """
    try:
        return Web(httpx.Client(timeout=TIMEOUT, headers={"User-Agent": "ai-sysadmin"}), token)
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise SettingsError(f"the proxy in HTTP_PROXY, HTTPS_PROXY or ALL_PROXY cannot be used: {error}") from error


def origin_of(url: httpx.URL | str) -> str:
    """Return scheme, host and port, the default port left out."""
    parsed = httpx.URL(url)
    default = {"http": 80, "https": 443}.get(parsed.scheme)
    port = "" if parsed.port in {None, default} else f":{parsed.port}"
    return f"{parsed.scheme}://{parsed.host}{port}"


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Turn httpx's errors into this module's."""
    try:
        yield
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise ModelFileError(f"{url} is no URL that can be fetched: {error}") from error
    except httpx.RequestError as error:
        host = httpx.URL(url).host
        if "CERTIFICATE_VERIFY_FAILED" in str(error) or isinstance(error.__cause__, ssl.SSLCertVerificationError):
            raise ModelFileError(f"{host}'s certificate cannot be trusted: {error}") from error
        raise ServerAway(f"{host} does not answer: {str(error) or type(error).__name__}") from error


def _refused(response: httpx.Response) -> AiSysadminError:
    host, status = response.url.host, response.status_code
    said = f"{host} answers {status} {response.reason_phrase} for {response.url.path}"
    if status in _PASSING:
        return ServerAway(said, wait_asked_for(response.headers.get("retry-after", "")))
    if status in {401, 403}:
        return ModelFileError(f"{said}: set HF_TOKEN to a token that may read it, if it exists")
    if status in {404, 410}:
        return NotFound(f"{said}: there is no such file")
    return ModelFileError(said)


def wait_asked_for(header: str) -> float | None:
    """Return the seconds of a ``Retry-After`` header, which holds a number or a date; none: it says nothing."""
    if re.fullmatch(r"\d{1,9}", header.strip()):
        return float(header)
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
