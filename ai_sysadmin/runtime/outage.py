"""What is known of a server that lets nobody connect: whoever waits or asks is told at once, and nobody hammers it."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_PAUSE_SECONDS: Final = (0.25, 5.0)


class Outage:
    """Between a failed connection and the next try there is a pause, which doubles while connecting goes on failing."""

    def __init__(self) -> None:
        self.why = ""
        self._pause = _PAUSE_SECONDS[0]
        self._until = 0.0
        self._waiting: set[asyncio.Timeout] = set()

    def began(self, why: str) -> None:
        now = time.monotonic()
        if not self.why:
            self._pause = _PAUSE_SECONDS[0]
        elif now >= self._until:
            self._pause = min(self._pause * 2, _PAUSE_SECONDS[1])
        self.why = why
        self._until = now + self._pause

    def ended(self) -> None:
        self.why = ""

    @property
    def pausing(self) -> bool:
        """Whether connecting has just failed, and nobody should try again yet."""
        return bool(self.why) and time.monotonic() < self._until

    @contextmanager
    def waiting(self, deadline: asyncio.Timeout) -> Iterator[None]:
        """Let a wait for a connection end early by its deadline, when it turns out that none can be made."""
        self._waiting.add(deadline)
        try:
            yield
        finally:
            self._waiting.discard(deadline)

    def tell_waiters(self) -> None:
        """End every wait now: each raises ``TimeoutError`` where its deadline stands."""
        now = asyncio.get_running_loop().time()
        for deadline in self._waiting:
            deadline.reschedule(now)
        self._waiting.clear()
