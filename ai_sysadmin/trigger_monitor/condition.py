"""What the trigger monitor says of its own condition, for ``status``."""

from ai_sysadmin.core.clock import Clock
from ai_sysadmin.stores import NoteStore, ServiceNote

SERVICE = "trigger-monitor"
_WELL = "reads the journal and knows the units' states"


class Condition:
    """Notes what the monitor cannot see, when that changes."""

    def __init__(self, notes: NoteStore | None, clock: Clock) -> None:
        self._notes = notes
        self._clock = clock
        self._troubles: dict[str, str] = {}
        self._said: str | None = None

    def hold(self, **troubles: str) -> None:
        """Note troubles that will be said with the next others."""
        self._troubles |= troubles

    async def say(self, **troubles: str) -> None:
        """Note troubles by what they are of; an empty one is over. Raises: StoreUnavailable."""
        self._troubles |= troubles
        text = "; ".join(filter(None, self._troubles.values()))
        if text == self._said or self._notes is None:
            return
        state, words = ("degraded", text) if text else ("ok", _WELL)
        await self._notes.note(ServiceNote(service=SERVICE, state=state, text=words, at=self._clock.now()))
        self._said = text
