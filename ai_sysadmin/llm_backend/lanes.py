"""What all layers of this process that use one model server share: its slots, its breaker, what is known of it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal
from weakref import WeakValueDictionary

from ai_sysadmin.llm_backend.breaker import Breaker

Keeps = Literal["honoured", "ignored"]
Shape = Literal["object", "anyOf"]
"""What a schema is at its top: one object, or a choice of several."""


class LaneFull(Exception):
    """As many wait already as may."""


@dataclass(eq=False)
class Lane:
    """One server's. ``slots`` is how many answers it makes at a time; 0: it does not say, and then it is one; none: it
    was not asked yet.

    ``keeps`` is, by the model's name and the shape of a schema, whether it was seen to keep to such.
    """

    slots: int | None = None
    breaker: Breaker = field(default_factory=Breaker)
    keeps: dict[tuple[str, Shape], Keeps] = field(default_factory=dict)
    running: int = 0
    _urgent: deque[asyncio.Future[None]] = field(default_factory=deque)
    _waiting: deque[asyncio.Future[None]] = field(default_factory=deque)

    @property
    def _room(self) -> int:
        return max(1, self.slots or 0)

    @property
    def waiting(self) -> int:
        return len(self._urgent) + len(self._waiting)

    @asynccontextmanager
    async def place(self, *, most_waiting: int, deadline: float, urgent: bool) -> AsyncIterator[None]:
        """Hold one of the server's slots, in turn; who is urgent goes before the others, and is not held up by them.

        Raises:
            LaneFull: ``most_waiting`` wait already.
            TimeoutError: the deadline (in the event loop's time) passed while waiting.
        """
        await self._enter(most_waiting, deadline, self._urgent if urgent else self._waiting)
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, most_waiting: int, deadline: float, queue: deque[asyncio.Future[None]]) -> None:
        if self.running < self._room and not self.waiting:
            self.running += 1
            return
        if len(queue) >= most_waiting:
            raise LaneFull
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            async with asyncio.timeout_at(deadline):
                await turn
        except (TimeoutError, asyncio.CancelledError):
            if turn.done() and not turn.cancelled():
                self._leave()  # its turn came in the same moment: pass it on
            elif turn in queue:
                queue.remove(turn)
            raise

    def _leave(self) -> None:
        self.running -= 1
        while self.running < self._room and self.waiting:
            turn = (self._urgent or self._waiting).popleft()
            if not turn.done():
                turn.set_result(None)
                self.running += 1


_LANES: WeakValueDictionary[str, Lane] = WeakValueDictionary()


def server_key(url: str) -> str:
    """Return one name for a server, however its URL is spelt."""
    return url.lower().replace("://localhost", "://127.0.0.1", 1).replace("://[::1]", "://127.0.0.1", 1)


def lane_of(url: str) -> Lane:
    """Return what is shared for a server; it is forgotten with the last that uses it."""
    key = server_key(url)
    lane = _LANES.get(key)
    if lane is None:
        lane = _LANES[key] = Lane()
    return lane
