"""The lines of a batch that a rule hits or that are unheard of and bad, counted into triggers. Pure."""

from dataclasses import dataclass, field
from datetime import datetime

from ai_sysadmin.core.records import JournalEntry, Trigger
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.trigger_monitor import rules
from ai_sysadmin.trigger_monitor.lines.log_rule import Rule
from ai_sysadmin.trigger_monitor.lines.mined import Mined
from ai_sysadmin.trigger_monitor.lines.origins import Speaker
from ai_sysadmin.trigger_monitor.lines.rule_book import about, named
from ai_sysadmin.trigger_monitor.lines.scores import Scored

Subject = tuple[str, str]
"""A unit and what else it is about; one of them is empty, except where something is about both."""

_TEXT = 2000
"""So much of a line is held on to; it is cut once its secrets are out of it."""

_MOST_VICTIMS = 64
_MOST_SUBJECTS = 50


@dataclass
class Hit:
    """Lines of a batch that are one symptom."""

    subject: Subject
    kind: SymptomKind
    template: str
    opens: bool
    text: str
    at: datetime
    why: str
    details: dict[str, str]
    priority: int
    count: int = 0

    def trigger(self, host: str) -> Trigger:
        return Trigger(
            host=host,
            unit=self.subject[0],
            about=self.subject[1],
            kind=self.kind,
            template=self.template,
            opens=self.opens,
            at=self.at,
            count=self.count,
            priority=self.priority,
            text=self.text,
            why=self.why,
            details=self.details,
        )


@dataclass
class Hits:
    """All of a batch, by subject and what they are; a rule with too many subjects goes on with the last one."""

    _hits: dict[tuple[Subject, str], Hit] = field(default_factory=dict)

    def add(
        self, rule: Rule, subject: Subject, entry: JournalEntry, priority: int, scored: Scored, *, opens: bool
    ) -> None:
        """Count a line that a rule hits."""
        hit = self._hits.get((subject, rule.name))
        if hit is None:
            same = [each for (_, name), each in self._hits.items() if name == rule.name]
            hit = same[-1] if len(same) >= _MOST_SUBJECTS else None
        if hit is None:
            details = {"rule": rule.name, "severity": str(rule.severity), "score": str(scored.score)}
            hit = _hit(entry, subject, rule.kind, rule.name, rule.why, details, opens=opens)
            self._hits[subject, rule.name] = hit
        hit.opens = hit.opens or opens
        _count(hit, entry, priority)

    def add_news(self, mined: Mined, entry: JournalEntry, speaker: Speaker, priority: int, scored: Scored) -> None:
        """Count a line that matters though its writer does not call it an error."""
        subject = speaker.unit, speaker.about
        hit = self._hits.get((subject, mined.id))
        if hit is None:
            details = {"template": mined.id, "score": str(scored.score)}
            why = ", ".join(scored.why)
            hit = _hit(entry, subject, SymptomKind.NOVEL_LOG, mined.id, why, details, opens=False)
            self._hits[subject, mined.id] = hit
        _count(hit, entry, priority)

    def triggers(self, host: str) -> list[Trigger]:
        return [hit.trigger(host) for hit in self._hits.values()]


def _hit(
    entry: JournalEntry,
    subject: Subject,
    kind: SymptomKind,
    template: str,
    why: str,
    details: dict[str, str],
    *,
    opens: bool,
) -> Hit:
    return Hit(subject, kind, template, opens, entry.message[:_TEXT], entry.at, why, details, entry.priority)


def _count(hit: Hit, entry: JournalEntry, priority: int) -> None:
    hit.count += 1
    hit.at = max(hit.at, entry.at)
    hit.priority = min(hit.priority, priority)


def victim_of(rule: Rule, message: str, victims: dict[str, Subject]) -> Subject | None:
    """Return what a hit is about where that is not its writer; none: it is.

    The kernel names a victim's control group in one line and kills it in another: ``victims`` remembers, by process
    id, whom the first spoke of.
    """
    if not rule.about:
        return None
    names = named(rule, message)
    pid = names.get("pid", "")
    subject = _unit_in(names.get("cgroup", "")), about(rule, names)
    if subject[0]:
        subject = subject[0], ""
    elif pid in victims:
        subject = victims[pid]
    if pid:
        if len(victims) >= _MOST_VICTIMS:
            del victims[next(iter(victims))]
        victims[pid] = subject
    return subject


def _unit_in(cgroup: str) -> str:
    """Return the system's unit that a control group belongs to; empty: none (a session, a container, the user's)."""
    if "/user.slice/" in cgroup:
        return ""
    found = next((part for part in cgroup.split("/") if part.endswith(".service")), "")
    return found if rules.is_watched(found) else ""
