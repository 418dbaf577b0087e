"""Judge a batch of journal entries: pure, from values to values.

    entries + Window → triggers (log lines), candidates (units that systemd calls failed), settled units, new Window

A candidate is confirmed later, when it has stayed failed (``failures.confirmed``).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ai_sysadmin.core.records import JournalEntry, Symptom, SymptomKind, Trigger
from ai_sysadmin.trigger_monitor import rules
from ai_sysadmin.trigger_monitor.bursts import Burst, Lines, Recent, add_line, bursts_in, seeded
from ai_sysadmin.trigger_monitor.failures import Candidate
from ai_sysadmin.trigger_monitor.rules import Says

_TEXT = 500


@dataclass(frozen=True)
class Window:
    """What the judgement of the next batch depends on."""

    recent: Mapping[str, Recent] = field(default_factory=dict)
    at_limit: frozenset[str] = frozenset()

    @staticmethod
    def seeded(symptoms: Iterable[Symptom], burst: Burst) -> "Window":
        """Return the window as it was before a restart, from the symptoms that wait for an incident."""
        return Window(seeded(symptoms, burst))


@dataclass(frozen=True)
class Decided:
    """What a batch came to. ``settled``: units that systemd started again, so that no older candidate counts."""

    triggers: tuple[Trigger, ...]
    candidates: tuple[Candidate, ...]
    settled: frozenset[str]
    suppressed: int
    window: Window


def decide(entries: Sequence[JournalEntry], window: Window, host: str, burst: Burst, now: datetime) -> Decided:
    """Judge a batch. The counts of its ``severe_log`` triggers add up to the severe lines of watched units."""
    lines: dict[tuple[str, str], Lines] = {}
    states = _States(set(window.at_limit))
    dropped: list[Trigger] = []
    total_dropped = 0
    for entry in entries:
        if rules.is_own(entry):
            continue
        says = rules.said(entry) if entry.message_id else None
        if says is Says.SUPPRESSED:
            unit, number = rules.suppressed(entry)
            total_dropped += number
            dropped += [_suppressed(host, unit, number, entry)] if number and rules.is_watched(unit) else []
        elif says is not None or "UNIT" in entry.fields:
            states.take(entry, says)
        if says is None and entry.priority <= rules.SEVERE_PRIORITY and rules.is_watched(entry.unit):
            add_line(lines, entry)
    opened, logged, recent = bursts_in(lines, window.recent, host, burst, now)
    return Decided(
        triggers=(*opened, *logged, *dropped),
        candidates=tuple(states.failed.values()),
        settled=frozenset(states.settled),
        suppressed=total_dropped,
        window=Window(recent, frozenset(states.at_limit)),
    )


class _States:
    """What the manager says of its units within a batch, in order."""

    def __init__(self, at_limit: set[str]) -> None:
        self.at_limit = at_limit
        self.failed: dict[str, Candidate] = {}
        self.settled: set[str] = set()

    def take(self, entry: JournalEntry, says: Says | None) -> None:
        unit = entry.unit
        if not rules.is_watched(unit):
            return
        if says is Says.UNIT_FAILED:
            self.failed[unit] = _candidate(entry, unit in self.at_limit)
            self.at_limit.discard(unit)
            self.settled.discard(unit)
        elif says in {Says.RESTART_SCHEDULED, Says.STARTING, Says.STARTED}:
            self.failed.pop(unit, None)
            self.at_limit.discard(unit)
            self.settled.add(unit)
        elif entry.message.endswith(rules.START_LIMIT_TEXT):
            self.at_limit.add(unit)


def _candidate(entry: JournalEntry, at_limit: bool) -> Candidate:
    return Candidate(
        unit=entry.unit,
        at=entry.at,
        text=entry.message[:_TEXT],
        result=entry.fields.get("UNIT_RESULT", ""),
        invocation=entry.fields.get("INVOCATION_ID", ""),
        at_limit=at_limit,
    )


def _suppressed(host: str, unit: str, number: int, entry: JournalEntry) -> Trigger:
    return Trigger(
        host=host,
        unit=unit,
        kind=SymptomKind.SUPPRESSED,
        template="",
        opens=False,
        at=entry.at,
        count=number,
        priority=entry.priority,
        text=entry.message[:_TEXT],
        why="journald dropped lines that came too fast",
    )
