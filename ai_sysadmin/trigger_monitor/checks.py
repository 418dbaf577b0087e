"""A person asks for a look at everything now: units, figures, probes, out of their turn."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Final

from ai_sysadmin.core.clock import Clock
from ai_sysadmin.runtime.service import Heartbeat, Loop, backing_off
from ai_sysadmin.stores.health_store import HealthStore

log = logging.getLogger(__name__)

POLL_SECONDS: Final = 2.0
LOOK_SECONDS: Final = 15.0
"""Whoever asks waits a little longer than this, and then goes on without us."""
_PROMISE_SECONDS: Final = 60.0

Look = Callable[[], Awaitable[None]]


class Checks:
    """Looks when a check waits for it. ``looks`` are done side by side; what takes too long goes on in its own time."""

    def __init__(self, store: HealthStore, looks: Mapping[str, Look], clock: Clock, heart: Heartbeat) -> None:
        self._store = store
        self._looks = looks
        self._clock = clock
        self._heart = heart

    def loops(self) -> Mapping[str, Loop]:
        """Return what runs for ever, by name; backed off while the store is away."""
        return {"looks for checks": partial(backing_off, "looks for checks", self.look_forever, most_seconds=5)}

    async def look_forever(self) -> None:
        """Look for a check that waits, for ever. Raises: Unavailable."""
        while True:
            await self.look_next()
            await asyncio.sleep(POLL_SECONDS)

    async def look_next(self) -> bool:
        """Look at everything where somebody asked; tell whether anybody had. Raises: Unavailable."""
        check = await self._store.waiting_check("asked")
        if check is None:
            return False
        with self._heart.within(_PROMISE_SECONDS, "a check"):
            late = await self._look()
        text = f"not done looking within {LOOK_SECONDS:g} s: {', '.join(late)}" if late else ""
        await self._store.keep_check(
            check.model_copy(update={"state": "looked", "looked_at": self._clock.now(), "text": text})
        )
        log.info("looked at everything for %s", check.by, extra={"event": "check_looked", "check_id": check.id})
        return True

    async def _look(self) -> list[str]:
        """Do all looks; return the names of those that were not done in time. Raises: Unavailable."""
        tasks = {name: asyncio.ensure_future(look()) for name, look in self._looks.items()}
        try:
            done, pending = await asyncio.wait(tasks.values(), timeout=LOOK_SECONDS)
        finally:
            for task in tasks.values():
                task.cancel()
        for task in pending:
            with suppress(asyncio.CancelledError):
                await task
        for task in done:
            task.result()
        return [name for name, task in tasks.items() if task in pending]
