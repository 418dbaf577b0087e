"""Error lines that are alike, and when so many of them make a burst. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from ai_sysadmin.core.records import JournalEntry, Symptom, SymptomKind, Trigger
from ai_sysadmin.trigger_monitor import rules
from ai_sysadmin.trigger_monitor.templates import template_of

MOST_TEMPLATES: Final = 50
"""So many different severe lines of one unit are told apart within a burst window."""

BURST_OVER: Final = timedelta(minutes=10)
"""A burst without a line for so long is over."""

_TEXT = 500


@dataclass(frozen=True)
class Burst:
    """When equal lines make a burst: so many within so many seconds."""

    count: int
    seconds: float


@dataclass(frozen=True)
class Recent:
    """The severe lines of one fingerprint within the window: how many in which second."""

    unit: str
    hits: tuple[tuple[int, int], ...] = ()
    raised_at: int = 0

    @property
    def last(self) -> int:
        return self.hits[-1][0] if self.hits else self.raised_at


@dataclass
class Lines:
    """The severe lines of one unit and template within a batch."""

    unit: str
    template: str
    text: str
    at: datetime
    priority: int = 7
    seconds: Counter[int] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        return self.seconds.total()

    def fingerprint(self, host: str) -> str:
        kind = SymptomKind.SEVERE_LOG
        return Trigger.model_construct(
            host=host, unit=self.unit, kind=kind, template=self.template, opens=False, at=self.at
        ).fingerprint

    def trigger(self, host: str) -> Trigger:
        return Trigger(
            host=host,
            unit=self.unit,
            kind=SymptomKind.SEVERE_LOG,
            template=self.template,
            opens=False,
            at=self.at,
            count=self.count,
            priority=self.priority,
            text=self.text,
            why="it logged an error",
        )


def bursts_in(
    lines: Mapping[tuple[str, str], Lines], recent: Mapping[str, Recent], host: str, burst: Burst, now: datetime
) -> tuple[list[Trigger], list[Trigger], Mapping[str, Recent]]:
    """Return the bursts that began, all severe lines as supporting triggers, and the window after them."""
    if not lines:
        return [], [], recent
    opened: list[Trigger] = []
    logged: list[Trigger] = []
    after = dict(recent)
    for each in _folded(lines, recent, host):
        trigger = each.trigger(host)
        logged.append(trigger)
        held, peak_at = _slid(after.get(trigger.fingerprint) or Recent(each.unit), each.seconds, burst)
        after[trigger.fingerprint] = held
        if peak_at and now - datetime.fromtimestamp(peak_at, UTC) < BURST_OVER:
            opened.append(_burst(trigger, burst))
    newest = max(each.last for each in after.values())
    return opened, logged, {key: each for key, each in after.items() if each.last > newest - burst.seconds}


def _slid(recent: Recent, seconds: Mapping[int, int], burst: Burst) -> tuple[Recent, int]:
    """Slide the window over new lines; return it, and when it held a burst that was not raised yet (0: never)."""
    peak_at = 0
    for second, number in sorted(seconds.items()):
        kept = tuple(hit for hit in recent.hits if hit[0] > second - burst.seconds)
        recent = replace(recent, hits=(*kept, (second, number)))
        is_burst = sum(hit[1] for hit in recent.hits) >= burst.count
        if is_burst and second - recent.raised_at >= burst.seconds:
            peak_at = second
            recent = replace(recent, raised_at=second)
    return recent, peak_at


def _burst(trigger: Trigger, burst: Burst) -> Trigger:
    """Return the burst that a supporting trigger is part of; that one counts the lines, this one opens."""
    why = f"the same error at least {burst.count} times within {burst.seconds:g} s"
    return trigger.model_copy(update={"kind": SymptomKind.BURST, "opens": True, "count": 0, "why": why})


def _folded(lines: Mapping[tuple[str, str], Lines], recent: Mapping[str, Recent], host: str) -> list[Lines]:
    """Return the lines with a unit's too many templates folded into one, so that a flood cannot starve us."""
    known = Counter(each.unit for each in recent.values())
    kept: dict[tuple[str, str], Lines] = {}
    for key, each in lines.items():
        if each.fingerprint(host) not in recent:
            known[each.unit] += 1
            if known[each.unit] > MOST_TEMPLATES:
                key = each.unit, rules.OTHER_LINES
        held = kept.get(key)
        kept[key] = replace(each, template=key[1]) if held is None else _merged(held, each)
    return list(kept.values())


def _merged(one: Lines, other: Lines) -> Lines:
    return replace(
        one,
        at=max(one.at, other.at),
        priority=min(one.priority, other.priority),
        seconds=one.seconds + other.seconds,
    )


def seeded(symptoms: Iterable[Symptom], burst: Burst) -> dict[str, Recent]:
    """Return the recent lines as they were before a restart, from the symptoms that wait for an incident."""
    waiting = (each for each in symptoms if each.kind is SymptomKind.SEVERE_LOG)
    return {each.fingerprint: _seed(each, burst) for each in waiting}


def _seed(symptom: Symptom, burst: Burst) -> Recent:
    """Return a waiting symptom as recent lines; those spread over longer than the window count in proportion."""
    span = (symptom.last_at - symptom.first_at).total_seconds()
    within = symptom.count if span <= burst.seconds else int(symptom.count * burst.seconds / span)
    return Recent(symptom.unit, ((int(symptom.last_at.timestamp()), within),))


def add_line(lines: dict[tuple[str, str], Lines], entry: JournalEntry) -> None:
    key = entry.unit, template_of(entry.message)
    held = lines.get(key)
    if held is None:
        held = lines[key] = Lines(*key, text=entry.message[:_TEXT], at=entry.at)
    held.at = max(held.at, entry.at)
    held.priority = min(held.priority, entry.priority)
    held.seconds[int(entry.at.timestamp())] += 1
