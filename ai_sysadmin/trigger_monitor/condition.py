"""What the trigger monitor says of its own condition, for ``status``."""

import logging
import time

from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.errors import StoreUnavailable
from ai_sysadmin.stores import NoteStore, ServiceNote

log = logging.getLogger(__name__)

SERVICE = "trigger-monitor"
_PAUSE_SECONDS = 10.0
_WELL = "reads the journal and knows the units' states"


class Condition:
    """Notes what the monitor cannot see, when that changes."""

    def __init__(self, notes: NoteStore | None, clock: Clock) -> None:
        self._notes = notes
        self._clock = clock
        self._troubles: dict[str, str] = {}
        self._said: str | None = None
        self._try_at = 0.0

    def hold(self, **troubles: str) -> None:
        """Note troubles that will be said with the next others."""
        self._troubles |= troubles

    async def say(self, **troubles: str) -> None:
        """Note troubles by what they are of; an empty one is over. While the store is away, they are held."""
        self._troubles |= troubles
        text = "; ".join(filter(None, self._troubles.values()))
        if text == self._said or self._notes is None or time.monotonic() < self._try_at:
            return
        state, words = ("degraded", text) if text else ("ok", _WELL)
        try:
            await self._notes.note(ServiceNote(service=SERVICE, state=state, text=words, at=self._clock.now()))
        except StoreUnavailable as error:
            if text:
                log.warning("%s (and that cannot be noted: %s)", text, error, extra={"event": "condition_unsaid"})
            self._try_at = time.monotonic() + _PAUSE_SECONDS
        else:
            self._said = text
