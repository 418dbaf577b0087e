"""What one batch of entries says, as it is gathered: lines, and the manager's words of its units in order. Pure."""

from dataclasses import dataclass, field

from ai_sysadmin.core.records import JournalEntry, Trigger
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.trigger_monitor import rules
from ai_sysadmin.trigger_monitor.lines.bursts import BatchLines
from ai_sysadmin.trigger_monitor.lines.hits import Hits
from ai_sysadmin.trigger_monitor.rules import Said, Says
from ai_sysadmin.trigger_monitor.units.failures import Candidate

_TEXT = 500


@dataclass
class Heard:
    """What was heard within a batch: lines, and what the manager says of its units, in order."""

    at_limit: set[str]
    lines: BatchLines = field(default_factory=dict)
    hits: Hits = field(default_factory=Hits)
    failed: dict[str, Candidate] = field(default_factory=dict)
    said: list[Said] = field(default_factory=list)
    dropped: list[Trigger] = field(default_factory=list)
    suppressed: int = 0

    def takes(self, entry: JournalEntry, host: str) -> bool:
        """Take an entry by which the manager or journald says something; return whether it is one."""
        says = rules.said(entry)
        if says is None:
            return False
        if says is Says.SUPPRESSED:
            unit, number = rules.suppressed(entry)
            self.suppressed += number
            self.dropped += [_suppressed(host, unit, number, entry)] if number and rules.is_watched(unit) else []
        elif rules.is_watched(entry.unit):
            self._of_unit(entry, entry.unit, says)
        return True

    def _of_unit(self, entry: JournalEntry, unit: str, says: Says) -> None:
        invocation = entry.fields.get("INVOCATION_ID", "")
        self.said.append(Said(unit, says, entry.at, invocation, entry.fields, entry.message[:_TEXT]))
        if says is Says.UNIT_FAILED:
            self.failed[unit] = _candidate(entry, unit in self.at_limit)
            self.at_limit.discard(unit)
        elif says in {Says.RESTART_SCHEDULED, Says.STARTING, Says.STARTED}:
            self.failed.pop(unit, None)
            self.at_limit.discard(unit)
        elif says is Says.AT_START_LIMIT:
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
