"""Send an answer while it is being written, and stop writing it when nobody listens any more."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from typing import TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ai_sysadmin.core.errors import AiSysadminError
from ai_sysadmin.llm_backend import Completion as Account
from ai_sysadmin.llm_backend import Delta
from ai_sysadmin.openai_api_server.errors import BUG, fault_of
from ai_sysadmin.openai_api_server.wire import DONE, Completion, finish_reason, frame

COALESCE_SECONDS = 0.03
Result = TypeVar("Result")


class ClientGone(Exception):
    """The client closed its connection before the answer was complete."""


class Gathered:
    """Deltas as a model writes them, handed on at most once per ``seconds``: browsers drown in tiny frames.

    Once they have ended, ``failure`` is what ended them (none: they came to their own end), and ``account`` the
    model's own account of the answer (none: no model gave it).
    """

    def __init__(self, deltas: AsyncGenerator[Delta, None], seconds: float = COALESCE_SECONDS) -> None:
        self._deltas = deltas
        self._seconds = seconds
        self._parts: list[str] = []
        self._fresh = asyncio.Event()
        self.failure: BaseException | None = None
        self.account: Account | None = None

    async def texts(self) -> AsyncGenerator[str, None]:
        reading = asyncio.create_task(self._read(), name="chat answer")
        reading.add_done_callback(lambda _: self._fresh.set())
        try:
            while not reading.done() or self._parts:
                await self._fresh.wait()
                self._fresh.clear()
                if self._parts:
                    text = "".join(self._parts)
                    self._parts.clear()
                    yield text
                    await asyncio.wait({reading}, timeout=self._seconds)
            self.failure = reading.exception()
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self) -> None:
        async with aclosing(self._deltas) as deltas:
            async for delta in deltas:
                self.account = delta.completion or self.account
                if delta.text:
                    self._parts.append(delta.text)
                    self._fresh.set()


async def frames(
    completion: Completion, deltas: AsyncGenerator[Delta, None], wants_usage: bool
) -> AsyncGenerator[bytes, None]:
    """Turn an answer into server-sent events. One that fails midway ends in an error frame, never in silence."""
    yield completion.piece({"role": "assistant", "content": ""})
    gathered = Gathered(deltas)
    async with aclosing(gathered.texts()) as texts:
        async for text in texts:
            yield completion.piece({"content": text})
    failure = gathered.failure
    if failure is None:
        yield completion.piece({}, finish_reason(gathered.account))
        if wants_usage:
            yield completion.usage_piece(gathered.account)
    else:
        yield frame((fault_of(failure) if isinstance(failure, AiSysadminError) else BUG).body())
    yield DONE
    if failure is not None and not isinstance(failure, AiSysadminError):
        raise failure


class EventStream(Response):
    """A response of server-sent events that ends, and ends its source, when the client goes away."""

    def __init__(self, source: AsyncGenerator[bytes, None]) -> None:
        super().__init__()
        self._source = source

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await while_connected(receive, self._send(send))
        except ClientGone:
            return

    async def _send(self, send: Send) -> None:
        headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async with aclosing(self._source):
            async for piece in self._source:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def while_connected(receive: Receive, work: Awaitable[Result]) -> Result:
    """Do the work, and cancel it when the client goes away.

    Raises:
        ClientGone: it went away.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.create_task(_gone(receive), name="client leaves")
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGone
        return working.result()
    finally:
        leaving.cancel()
        working.cancel()
        await asyncio.gather(leaving, working, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
