"""Send an answer while it is being written, and stop writing it when nobody listens any more."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from typing import Final, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ai_sysadmin.core.errors import AiSysadminError
from ai_sysadmin.meta_model.talk import Event, Thought, Words
from ai_sysadmin.openai_api_server.errors import BUG, Fault, Faulty, fault_of

COALESCE_SECONDS: Final = 0.03
FIRST_PAUSE_SECONDS: Final = 0.002
"""Pauses begin so short and double: of the first words some are held back until the next is known, and nobody sees
anything yet."""
EARLY_SECONDS: Final = 0.1
"""What fails sooner is answered with its own status, before the stream begins."""

CLIENT_CLOSED: Final = 499
Result = TypeVar("Result")


class ClientGone(Exception):
    """The client closed its connection before the answer was complete."""


class Gathered:
    """Events as they come, text handed on at most once per ``seconds``: browsers drown in tiny frames.

    Once they have ended, ``failure`` is what ended them; none: they came to their own end.
    """

    def __init__(self, events: AsyncGenerator[Event, None], seconds: float = COALESCE_SECONDS) -> None:
        self._source = events
        self._seconds = seconds
        self._waiting: list[Event] = []
        self._fresh = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self.failure: BaseException | None = None

    async def begin(self, seconds: float = EARLY_SECONDS) -> None:
        """Wait a little for the first event. Raises: what the answer fails with at once."""
        reading = self._start()
        waiting = asyncio.create_task(self._fresh.wait(), name="first event")
        try:
            await asyncio.wait({waiting}, timeout=seconds)
        except asyncio.CancelledError:
            await self.close()
            raise
        finally:
            waiting.cancel()
        if reading.done() and not self._waiting and not reading.cancelled() and (failure := reading.exception()):
            raise failure

    async def events(self) -> AsyncGenerator[tuple[Event, ...], None]:
        """Yield events in batches, neighbouring pieces of text as one. ``aclose()`` stops their source."""
        reading, pause = self._start(), FIRST_PAUSE_SECONDS
        try:
            while not reading.done() or self._waiting:
                await self._fresh.wait()
                self._fresh.clear()
                if self._waiting:
                    batch, self._waiting = tuple(self._waiting), []
                    yield batch
                    await asyncio.wait({reading}, timeout=min(pause, self._seconds))
                    pause *= 2
            self.failure = reading.exception()
        finally:
            await self.close()

    async def close(self) -> None:
        """Stop the source."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    def _start(self) -> asyncio.Task[None]:
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(), name="chat answer")
            self._reading.add_done_callback(lambda _: self._fresh.set())
        return self._reading

    async def _read(self) -> None:
        async with aclosing(self._source) as events:
            async for event in events:
                if self._waiting and (joined := _joined(self._waiting[-1], event)) is not None:
                    self._waiting[-1] = joined
                else:
                    self._waiting.append(event)
                self._fresh.set()


def _joined(before: Event, after: Event) -> Event | None:
    """Return two pieces of text of a kind as one."""
    if isinstance(before, Words) and isinstance(after, Words) and before.own == after.own:
        return Words(text=before.text + after.text, own=after.own)
    if isinstance(before, Thought) and isinstance(after, Thought):
        return Thought(text=before.text + after.text)
    return None


def fault_for(failure: BaseException) -> Fault:
    """Say to a client what ended an answer; of a bug only that there is one."""
    if isinstance(failure, Faulty):
        return failure.fault
    return fault_of(failure) if isinstance(failure, AiSysadminError) else BUG


def is_bug(failure: BaseException | None) -> bool:
    return failure is not None and not isinstance(failure, AiSysadminError | Faulty)


async def streamed(request: Request, events: Gathered, frames: AsyncGenerator[bytes, None]) -> Response:
    """Return an answer as a stream. Raises: what it fails with before there is anything of it."""
    try:
        await while_connected(request.receive, events.begin())
    except ClientGone:
        await events.close()
        return Response(status_code=CLIENT_CLOSED)
    return EventStream(frames, events)


class EventStream(Response):
    """A response of server-sent events that ends, and ends its source, when the client goes away."""

    def __init__(self, frames: AsyncGenerator[bytes, None], events: Gathered) -> None:
        super().__init__()
        self._frames = frames
        self._events = events

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await while_connected(receive, self._send(send))
        except ClientGone:
            return
        finally:
            await self._events.close()

    async def _send(self, send: Send) -> None:
        headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),
        ]
        async with aclosing(self._frames):
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            async for piece in self._frames:
                if piece:
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
