"""Any log judged without a daemon: the same templates, scores, rules and bursts, with nothing kept. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from ai_sysadmin.core.noticing_settings import TriggerMonitor as Settings
from ai_sysadmin.core.records import Record, Trigger
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.sources.lines import Line
from ai_sysadmin.trigger_monitor.lines.decide import Decided, Noticer, Told
from ai_sysadmin.trigger_monitor.lines.scores import FORWARDED, Scored
from ai_sysadmin.trigger_monitor.rules import Says

LOG: Final = "log"
"""What lines are about that name no writer."""

_BEGINS_AGAIN: Final = frozenset({Says.RESTART_SCHEDULED, Says.STARTING, Says.STARTED})
_MOST_FINDINGS = 2000
_MOST_TEMPLATES = 100_000
_MOST_SUBJECTS = 10_000


class Verdict(NamedTuple):
    """What one line came to; ``template`` is empty for a blank line and for what the manager itself said."""

    line: int
    template: str
    forwarded: bool
    why: tuple[str, ...]
    score: int


class Summary(Record):
    """What a log came to. ``incidents`` would have been opened; ``seconds`` were needed."""

    lines: int
    templates: int
    forwarded: int
    incidents: int
    seconds: float


@dataclass
class Finding:
    """A template of which at least one line was forwarded."""

    source: str
    text: str
    example: str
    first_line: int
    score: int
    why: tuple[str, ...]
    forwarded: int = 0
    count: int = 0


@dataclass
class Incidents:
    """Counts what would have been opened: by subject, an open one takes in what comes within ``within``."""

    within: timedelta
    debounce: timedelta
    count: int = 0
    _last: dict[str, datetime] = field(default_factory=dict)
    _failing: dict[str, datetime] = field(default_factory=dict)

    def take(self, decided: Decided) -> None:
        """Take what a batch came to."""
        for said in decided.said:
            if said.what is Says.UNIT_FAILED:
                self._failing.setdefault(said.unit, said.at)
            elif said.what in _BEGINS_AGAIN and said.unit in self._failing:
                failed_at = self._failing.pop(said.unit)
                if said.at - failed_at >= self.debounce:
                    self._open(said.unit, failed_at)
        for trigger in decided.triggers:
            if trigger.opens:
                self._open(trigger.subject, trigger.at)

    def end(self) -> None:
        """Count the units that were failed at the end."""
        for unit, failed_at in self._failing.items():
            self._open(unit, failed_at)
        self._failing.clear()

    def _open(self, subject: str, at: datetime) -> None:
        last = self._last.get(subject)
        if last is None or at - last > self.within:
            self.count += 1
        if last is None and len(self._last) >= _MOST_SUBJECTS:
            self._last.clear()
        self._last[subject] = at if last is None else max(at, last)


class Triage:
    """Judges a log in batches, and sums up."""

    def __init__(self, settings: Settings, host: str) -> None:
        self._noticer = Noticer(host, settings, now=datetime.now(UTC), nameless=LOG, has_learned=True)
        reopen, debounce = settings.reopen_within_seconds, settings.debounce_seconds
        self._incidents = Incidents(timedelta(seconds=reopen), timedelta(seconds=debounce))
        self._findings: dict[str, Finding] = {}
        self._templates: set[str] = set()
        self._lines = 0
        self._forwarded = 0

    def judge(self, batch: Sequence[Line]) -> list[Verdict]:
        """Judge the next lines of the log."""
        filled = [line.entry for line in batch if not line.blank]
        told: list[Told] = []
        if filled:
            decided = self._noticer.decide(filled, filled[0].at, told)
            self._incidents.take(decided)
            for trigger in decided.triggers:
                if trigger.kind is SymptomKind.BURST:
                    _mark_burst(told, trigger)
        judged = iter(told)
        verdicts = [self._verdict(line, None if line.blank else next(judged)) for line in batch]
        self._lines += len(batch)
        return verdicts

    def _verdict(self, line: Line, told: Told | None) -> Verdict:
        if told is None or told.template is None:
            return Verdict(line.number, "", False, (), 0)
        mined, scored = told.template, told.scored
        if len(self._templates) < _MOST_TEMPLATES:
            self._templates.add(mined.id)
        finding = self._findings.get(mined.id)
        if scored.forwarded:
            self._forwarded += 1
            if finding is None and len(self._findings) < _MOST_FINDINGS:
                example = line.entry.message
                finding = Finding(mined.source, mined.text, example[:300], line.number, scored.score, scored.why)
                self._findings[mined.id] = finding
        if finding is not None:
            finding.count += 1
            finding.forwarded += scored.forwarded
            finding.score = max(finding.score, scored.score)
        return Verdict(line.number, mined.id, scored.forwarded, scored.why, scored.score)

    def findings(self) -> list[Finding]:
        """Return the templates that were forwarded, the worst first."""
        return sorted(self._findings.values(), key=lambda each: (-each.score, each.first_line))

    def summary(self, seconds: float) -> Summary:
        """Sum up; to be called once, at the end of the log."""
        self._incidents.end()
        return Summary(
            lines=self._lines,
            templates=len(self._templates),
            forwarded=self._forwarded,
            incidents=self._incidents.count,
            seconds=round(seconds, 3),
        )


def _mark_burst(told: list[Told], trigger: Trigger) -> None:
    """Forward the last line of a burst that began in a batch."""
    for index in range(len(told) - 1, -1, -1):
        template, scored = told[index]
        if template is not None and template.id == trigger.template:
            told[index] = Told(template, Scored(max(scored.score, FORWARDED), (*scored.why, "burst")))
            return
