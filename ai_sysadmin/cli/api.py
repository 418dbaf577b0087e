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
ANSWER_SECONDS = 300.0
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

    async def ask(self, question: str) -> AsyncGenerator[str, None]:
        """Yield the answer to a question as it is written."""
        body = {"stream": True, "messages": [{"role": "user", "content": question}]}
        with self._translated():
            async with (
                self._client(ANSWER_SECONDS) as client,
                client.stream("POST", "/v1/chat/completions", json=body) as response,
            ):
                if response.status_code != 200:
                    _check(response.status_code, await response.aread())
                async for line in response.aiter_lines():
                    yield delta_of(line)

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


def delta_of(line: str) -> str:
    """Return the text in one line of an answer's event stream. Raises what an error frame says."""
    data = line.removeprefix("data: ")
    if data == line or data == "[DONE]":
        return ""
    frame = json.loads(data)
    if "error" in frame:
        raise error_of(500, frame["error"]["message"], frame["error"]["code"])
    return "".join(choice["delta"].get("content") or "" for choice in frame["choices"])


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
    if status == 403:
        return Refused(message)
    if status == 404:
        return NotFound(message)
    return Unavailable(message) if code == "unavailable" else AiSysadminError(message)
