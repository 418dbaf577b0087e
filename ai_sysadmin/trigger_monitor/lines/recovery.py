"""Faults that only a log told of are over when no such line came for long."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from ai_sysadmin.core.clock import local
from ai_sysadmin.core.incident import Incident
from ai_sysadmin.core.records import Symptom
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.trigger_monitor.lines.bursts import BURST_OVER
from ai_sysadmin.trigger_monitor.recoveries import Clearer

LINE_KINDS: Final = frozenset(
    {
        SymptomKind.BURST,
        SymptomKind.HARDWARE_ERROR,
        SymptomKind.STORAGE_ERROR,
        SymptomKind.KERNEL_FAULT,
        SymptomKind.PORT_TAKEN,
        SymptomKind.LOG_RULE,
        SymptomKind.SUPPRESSED,
        SymptomKind.SEVERE_LOG,
    }
)
"""What nothing but a log tells of; other kinds may be told by a log too, and then name the ``rule``."""


class QuietClearer:
    """Tells when such a fault is over.

    Args:
        is_current: whether the journal is read up to now; silence proves nothing otherwise.
        awake_since: when this machine last woke; silence while everything slept proves nothing.
    """

    def __init__(self, is_current: Callable[[], bool], awake_since: Callable[[], datetime | None]) -> None:
        self._is_current = is_current
        self._awake_since = awake_since

    async def over(self, fault: Symptom, incident: Incident, now: datetime) -> str | None:
        """Return why a fault is over; none: it is not."""
        last = max(fault.last_at, incident.changed_at if fault.kind is SymptomKind.BURST else fault.last_at)
        quiet_since = max(last, self._awake_since() or last)
        if not self._is_current() or now - quiet_since < BURST_OVER:
            return None
        return f"no such line since {local(last)}"


class ByOrigin:
    """Asks whoever measures a kind of fault, or, for one that a log rule told of, whoever listens."""

    def __init__(self, lines: Clearer, measured: Clearer) -> None:
        self._lines = lines
        self._measured = measured

    async def over(self, fault: Symptom, incident: Incident, now: datetime) -> str | None:
        """Return why a fault is over; none: it is not."""
        clearer = self._lines if fault.details.get("rule") else self._measured
        return await clearer.over(fault, incident, now)


def by_origin(lines: Clearer, measured: Mapping[SymptomKind, Clearer]) -> Mapping[SymptomKind, Clearer]:
    """Return who tells that a fault is over, for every kind."""
    return {
        **dict.fromkeys(LINE_KINDS, lines),
        **{kind: ByOrigin(lines, clearer) for kind, clearer in measured.items()},
    }
