"""The whole host as pieces of evidence: what is wrong, what becomes worse, what is to be done. Pure.

Every piece says what stands out in it, by keys that ordinary jitter does not change; their hash tells whether there is
anything new to say.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from ai_sysadmin.context.defuse import one_line
from ai_sysadmin.core.clock import local
from ai_sysadmin.core.incident import Incident
from ai_sysadmin.core.records import Evidence, EvidenceKind, Judgement, Template
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.review_model.trends import Trend
from ai_sysadmin.sources.units import UnitStatus
from ai_sysadmin.stores.metric_store import Series

MOST_LINES: Final = 30
OFTEN: Final = 3
LATELY: Final = timedelta(days=1)
_STALE: Final = timedelta(days=2)
_DAYS_LEFT: Final = (0, 7, 14, 30)


@dataclass(frozen=True)
class Notable:
    """One thing that stands out. ``key`` is what it is, without what changes from minute to minute."""

    key: str
    text: str
    severity: int


@dataclass(frozen=True)
class Section:
    """What is known of one side of the host; ``gap`` says why it could not be looked at."""

    kind: EvidenceKind
    title: str
    notable: tuple[Notable, ...] = ()
    calm: str = "nothing stands out"
    gap: str = ""


@dataclass(frozen=True)
class HostSeen:
    """All sections, in their order, as seen at one moment."""

    sections: tuple[Section, ...]
    at: datetime

    @property
    def pieces(self) -> tuple[Evidence, ...]:
        """Return a piece of evidence for each section, ``e1``, ``e2`` and so on."""
        return tuple(_piece(number, each, self.at) for number, each in enumerate(self.sections, start=1))

    @property
    def notable(self) -> tuple[tuple[str, Notable], ...]:
        """Return what stands out, the worst first, each with its piece's id."""
        found = [
            (f"e{number}", each) for number, section in enumerate(self.sections, start=1) for each in section.notable
        ]
        return tuple(sorted(found, key=lambda pair: (-pair[1].severity, pair[0], pair[1].key)))

    @property
    def gaps(self) -> tuple[str, ...]:
        return tuple(f"{section.title}: {section.gap}" for section in self.sections if section.gap)

    @property
    def hash(self) -> str:
        """Return what changes exactly when there is something else to say."""
        body = [
            [section.kind, section.title, sorted(each.key for each in section.notable), bool(section.gap)]
            for section in self.sections
        ]
        return hashlib.sha256(json.dumps(body).encode()).hexdigest()[:32]


def _piece(number: int, section: Section, at: datetime) -> Evidence:
    if section.gap:
        text = one_line(f"not known: {section.gap}", 300)
        return Evidence(id=f"e{number}", kind="unavailable", title=section.title, text=text, at=at)
    lines = [one_line(each.text, 300) for each in section.notable[:MOST_LINES]]
    beyond = len(section.notable) - MOST_LINES
    left_out = f"{beyond} more" if beyond > 0 else ""
    text = "\n".join(lines) or section.calm
    return Evidence(id=f"e{number}", kind=section.kind, title=section.title, text=text, at=at, left_out=left_out)


# --- the sections


def open_incidents(live: Sequence[Incident]) -> Section:
    """Return what is wrong and not over."""
    found = [
        Notable(
            f"{each.id} {each.kind.value} {each.state.value}",
            f"{each.id}: {each.title} ({each.state.value}, since {local(each.opened_at)})"
            + (f"; cause: {each.cause}" if each.cause else ""),
            max(each.severity, 20),
        )
        for each in sorted(live, key=lambda incident: (-incident.severity, incident.id))
    ]
    return Section("symptoms", "open incidents", tuple(found), "no incident is open")


def failed_units(failed: Sequence[UnitStatus]) -> Section:
    found = [
        Notable(f"{each.name} {each.result}", f"{each.name} is failed ({each.result or each.sub_state})", 60)
        for each in sorted(failed, key=lambda status: status.name)
    ]
    return Section("unit_status", "failed units", tuple(found), "no unit is failed")


def figures(trends: Iterable[Trend]) -> Section:
    found = [Notable(each.key, each.text, each.severity) for each in sorted(trends)]
    return Section("metrics", "the host's figures over days", tuple(found), "no figure runs full or is unusual")


def came_back(recent: Sequence[Incident], now: datetime) -> Section:
    """Return what fails again and again: units that were restarted often, faults that returned."""
    lately = [each for each in recent if now - max(each.opened_at, each.changed_at) <= LATELY and not each.merged_into]
    times: Counter[str] = Counter()
    for each in lately:
        times[each.subject] += 1 + each.reopened
    flapping = {each.subject for each in lately if each.kind is SymptomKind.FLAPPING}
    found = [
        Notable(
            f"{subject} {_many(count)}",
            f"{subject} was at fault {count} times within a day" + (", restarted often" if subject in flapping else ""),
            45,
        )
        for subject, count in sorted(times.items())
        if subject and (count >= OFTEN or subject in flapping)
    ]
    return Section("past_incidents", "what came back often", tuple(found), "nothing came back often within a day")


def _many(count: int) -> str:
    return next((f"{most} or more" for most in (30, 10, OFTEN) if count >= most), "flaps")


def new_lines(templates: Sequence[Template], now: datetime) -> Section:
    """Return the kinds of log line that were first seen lately and matter."""
    found = [
        Notable(each.id, f"{each.source}: {each.text} (seen {each.count} times)", _matters(each))
        for each in sorted(templates, key=lambda template: (template.first_at, template.id), reverse=True)
        if now - each.first_at <= LATELY and not each.known and _matters(each)
    ]
    return Section("unit_log", "new kinds of log line that matter", tuple(found), "no new kind of line matters")


def _matters(template: Template) -> int:
    """Return how bad a template is; 0: it does not matter."""
    if template.judgement is not None:
        return 50 if template.judgement is Judgement.MATTERS else 0
    if template.label is None or not template.label.matters:
        return 0
    return max(1, template.label.severity)


def upkeep(latest: Sequence[Series], now: datetime) -> Section:
    """Return what is to be done: a restart, a backup, a certificate, a probe that fails."""
    found = [
        notable
        for each in latest
        if now - each.at <= _STALE and (notable := _UPKEEP.get(each.name, _nothing)(each)) is not None
    ]
    ordered = tuple(sorted(found, key=lambda notable: notable.key))
    return Section("metrics", "restart, backups, certificates, probes", ordered, "nothing is overdue")


def _nothing(_: Series) -> Notable | None:
    return None


def _reboot(series: Series) -> Notable | None:
    return Notable("reboot", "a restart is pending: what runs is not what is installed", 25) if series.value else None


def _backup(series: Series) -> Notable | None:
    return Notable(f"backup {series.about}", f"the backup {series.about} is overdue", 55) if series.value else None


def _certificate(series: Series) -> Notable | None:
    most = next((days for days in _DAYS_LEFT if series.value <= days), None)
    if most is None:
        return None
    when = f"expires within {most} days" if most else "has expired"
    return Notable(f"certificate {series.about} {when}", f"the certificate {series.about} {when}", 70 - most)


def _probe(series: Series) -> Notable | None:
    if series.value:
        return None
    return Notable(f"probe {series.about}", f"the probe {series.about} failed when it was last carried out", 55)


_UPKEEP: Final = {
    "reboot_pending": _reboot,
    "backup_overdue": _backup,
    "certificate_days_left": _certificate,
    "probe_up": _probe,
}


def of_the_host(facts: Sequence[tuple[str, str]]) -> Section:
    """Return what kind of host it is; it changes nothing about what there is to say."""
    lines = [f"{name}: {value}" for name, value in facts if value]
    return Section("host", "this host", calm=one_line("; ".join(lines), 600))
