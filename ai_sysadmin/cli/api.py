"""Speak to the API over its Unix socket; the command line's only way to what is remembered."""

import json
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from ai_sysadmin.core.errors import AiSysadminError, ApiUnavailable, NotFound, Refused, Unavailable
from ai_sysadmin.core.records import Record
from ai_sysadmin.core.settings import Settings

TIMEOUT_SECONDS = 10.0
_BEYOND_ANSWER_SECONDS = 60.0
Parsed = TypeVar("Parsed", bound=Record)


class Api:
    """The API of one installation.

    Every method raises:
        ApiUnavailable: nobody answers on the socket.
        Refused: this user may not ask.
        NotFound: there is no such thing.
    """

    def __init__(self, settings: Settings) -> None:
        self._socket = settings.api_socket
        self._answer_seconds = settings.meta_model.max_seconds + _BEYOND_ANSWER_SECONDS

    async def get(self, path: str, kind: type[Parsed], states: Sequence[str] = ()) -> Parsed:
        """Return what a path below ``/v1/system`` answers."""
        return await self.request("GET", path, kind, query={"state": states})

    async def request(
        self,
        method: str,
        path: str,
        kind: type[Parsed],
        body: Record | None = None,
        query: Mapping[str, str | int | Sequence[str]] | None = None,
    ) -> Parsed:
        """Send a request below ``/v1/system``; return what it answers."""
        content = body.model_dump_json() if body is not None else None
        with self._translated():
            async with self._client(TIMEOUT_SECONDS) as client:
                response = await client.request(method, f"/v1/system/{path}", content=content, params=query)
        _check(response.status_code, response.content)
        try:
            return kind.model_validate_json(response.content)
        except ValidationError as error:
            raise ApiUnavailable("the API's answer cannot be read: is it of another version?") from error

    async def one(self, collection: str, name: str, kind: type[Parsed]) -> Parsed:
        """Return one thing of a collection, by its id or the beginning of one."""
        if not name.strip():
            raise NotFound("an id is needed, or the beginning of one")
        return await self.get(f"{collection}/{quote(name, safe='')}", kind)

    async def reach(self) -> None:
        """Make sure that somebody answers."""
        with self._translated():
            async with self._client(TIMEOUT_SECONDS) as client:
                response = await client.get("/health")
        _check(response.status_code, response.content)

    async def stream(
        self, path: str, body: Mapping[str, object], headers: Mapping[str, str]
    ) -> AsyncGenerator[str, None]:
        """Yield the lines of an answer's event stream as they come; ``aclose()`` hangs up."""
        with self._translated():
            async with (
                self._client(self._answer_seconds) as client,
                client.stream("POST", path, json=body, headers=headers) as response,
            ):
                if response.status_code != 200:
                    _check(response.status_code, await response.aread())
                async for line in response.aiter_lines():
                    yield line

    def _client(self, seconds: float) -> httpx.AsyncClient:
        transport = httpx.AsyncHTTPTransport(uds=str(self._socket))
        return httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=seconds)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except httpx.ConnectError as error:
            text = f"the API does not answer on {self._socket}: is it running? `ai-sysadmin doctor` says more"
            raise ApiUnavailable(text) from error
        except httpx.HTTPError as error:
            raise ApiUnavailable(f"the API broke off: {error or type(error).__name__}") from error


def _check(status: int, body: bytes) -> None:
    if status == 200:
        return
    try:
        error = json.loads(body)["error"]
        raise error_of(status, error["message"], error["code"])
    except (ValueError, KeyError, TypeError) as wrong:
        raise ApiUnavailable(f"the API answered with status {status} and no reason") from wrong


def error_of(status: int, message: str, code: str | None) -> AiSysadminError:
    """Return our own error for one that came over the wire."""
    if status == 403 or code in {"refused", "approval_required"}:
        return Refused(message)
    if status == 404 or code == "not_found":
        return NotFound(message)
    return Unavailable(message) if code == "unavailable" else AiSysadminError(message)
