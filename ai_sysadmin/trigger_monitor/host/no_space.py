"""A unit that fails for want of space belongs to the incident of the full file system, whichever is seen first."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.records import SymptomKind, Trigger

FULL: Final = frozenset({SymptomKind.DISK_FULL, SymptomKind.INODES_FULL})
REMEMBERED: Final = timedelta(minutes=2)


class NoSpace:
    """Remembers which units lately said that there is no space.

    Args:
        full: the subjects that are measured full now, by kind.
    """

    def __init__(self, clock: Clock, full: Callable[[SymptomKind], Sequence[str]]) -> None:
        self._clock = clock
        self._full = full
        self._said: dict[str, datetime] = {}

    def heard(self, triggers: Iterable[Trigger]) -> None:
        """Take in what the log came to."""
        for trigger in triggers:
            if trigger.kind in FULL and trigger.unit and trigger.details.get("rule"):
                self._said[trigger.unit] = trigger.at

    def joins(self, unit: str) -> Sequence[str]:
        """Return the full file systems, for a unit that lacks space."""
        return self._measured() if unit in self._lately() else ()

    def related(self, trigger: Trigger) -> Trigger:
        """Return a trigger with what it belongs to: a full file system is why units lack space."""
        if trigger.kind not in FULL or not trigger.opens:
            return trigger
        if trigger.details.get("rule"):
            return trigger.model_copy(update={"joins": (*trigger.joins, *self._measured())})
        return trigger.model_copy(update={"explains": (*trigger.explains, *self._lately())})

    def _measured(self) -> Sequence[str]:
        return [subject for kind in FULL for subject in self._full(kind)]

    def _lately(self) -> Sequence[str]:
        since = self._clock.now() - REMEMBERED
        self._said = {unit: at for unit, at in self._said.items() if at > since}
        return tuple(self._said)
