"""A unit that fails for want of space belongs to the incident of the full file system, whichever is seen first."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.records import Trigger
from ai_sysadmin.core.symptom_kinds import SymptomKind

FULL: Final = frozenset({SymptomKind.DISK_FULL, SymptomKind.INODES_FULL})
REMEMBERED: Final = timedelta(minutes=2)
_PATH = re.compile(r"(?<![\w/])/[\w.-]+/")


class NoSpace:
    """Remembers which units lately said that there is no space.

    Args:
        full: the subjects that are measured full now, by kind.
    """

    def __init__(self, clock: Clock, full: Callable[[SymptomKind], Sequence[str]]) -> None:
        self._clock = clock
        self._full = full
        self._said: dict[str, tuple[datetime, str]] = {}

    def heard(self, triggers: Iterable[Trigger]) -> None:
        """Take in what the log came to."""
        for trigger in triggers:
            if trigger.kind in FULL and trigger.unit and trigger.details.get("rule"):
                self._said[trigger.unit] = trigger.at, trigger.text

    def joins(self, unit: str) -> Sequence[str]:
        """Return the full file systems that a unit which lacks space may mean."""
        return meant(self._lately().get(unit, ""), self._measured()) if unit in self._said else ()

    def related(self, trigger: Trigger) -> Trigger:
        """Return a trigger with what it belongs to: a full file system is why units lack space."""
        if trigger.kind not in FULL or not trigger.opens:
            return trigger
        measured = self._measured()
        if trigger.details.get("rule"):
            return trigger.model_copy(update={"joins": (*trigger.joins, *meant(trigger.text, measured))})
        everything = {*measured, trigger.subject}
        units = [unit for unit, text in self._lately().items() if trigger.subject in meant(text, everything)]
        return trigger.model_copy(update={"explains": (*trigger.explains, *units)})

    def _measured(self) -> Sequence[str]:
        return [subject for kind in FULL for subject in self._full(kind)]

    def _lately(self) -> Mapping[str, str]:
        """Return what units said, by unit."""
        since = self._clock.now() - REMEMBERED
        self._said = {unit: said for unit, said in self._said.items() if said[0] > since}
        return {unit: text for unit, (_, text) in self._said.items()}


def meant(text: str, mount_points: Collection[str]) -> Sequence[str]:
    """Return which of the full file systems a complaint is about: the one of the path that it names, else any."""
    if not _PATH.search(text):
        return tuple(sorted(mount_points))
    named = [point for point in mount_points if f"{point.rstrip('/')}/" in text]
    return (max(named, key=len),) if named else ()
