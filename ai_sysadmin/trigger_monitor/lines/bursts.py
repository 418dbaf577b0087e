"""Error lines that are alike, and when so many of them make a burst. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from ai_sysadmin.core.records import Symptom, Trigger
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.trigger_monitor.lines.mined import OTHER_LINES, Mined, template_id

MOST_TEMPLATES: Final = 50
"""So many different severe lines of one subject are told apart within a burst window."""

BURST_OVER: Final = timedelta(minutes=10)
"""A burst without a line for so long is over."""

USUAL_AFTER: Final = timedelta(minutes=10)
"""A template heard for so long has a rate that is usual for it."""

JUMP: Final = 10
"""A burst is so many times as much as usual."""

_TEXT = 2000
"""So much of a line is held on to; it is cut once its secrets are out of it."""


@dataclass(frozen=True)
class Burst:
    """When equal lines make a burst: so many within so many seconds."""

    count: int
    seconds: float


@dataclass(frozen=True)
class Recent:
    """The severe lines of one fingerprint within the window: how many in which second."""

    subject: str
    hits: tuple[tuple[int, int], ...] = ()
    raised_at: int = 0

    @property
    def last(self) -> int:
        return self.hits[-1][0] if self.hits else self.raised_at


@dataclass
class Lines:
    """The severe lines of one subject and template within a batch. ``usual`` is how many a second are usual."""

    unit: str
    about: str
    template: str
    source: str
    text: str
    at: datetime
    may_open: bool = True
    usual: float = 0.0
    priority: int = 7
    seconds: Counter[int] = field(default_factory=Counter)

    @property
    def subject(self) -> str:
        return self.about or self.unit

    def trigger(self, host: str) -> Trigger:
        return Trigger(
            host=host,
            unit=self.unit,
            about=self.about,
            kind=SymptomKind.SEVERE_LOG,
            template=self.template,
            opens=False,
            at=self.at,
            count=self.seconds.total(),
            priority=self.priority,
            text=self.text,
            why="it logged an error",
            details={"template": self.template},
        )


BatchLines = dict[tuple[str, str], Lines]


def add_line(lines: BatchLines, mined: Mined, unit: str, about: str, text: str, at: datetime, priority: int) -> Lines:
    """Count a severe line of a batch by its subject and template."""
    held = lines.get((about or unit, mined.id))
    if held is None:
        held = Lines(unit, about, mined.id, mined.source, text[:_TEXT], at, usual=usual_rate(mined, at))
        lines[about or unit, mined.id] = held
    if at > held.at:
        held.at = at
    if priority < held.priority:
        held.priority = priority
    held.seconds[int(at.timestamp())] += 1
    return held


def usual_rate(mined: Mined, at: datetime) -> float:
    """Return how many lines a second are usual for a template; 0 while that cannot be said yet."""
    span = at - mined.first_at
    return mined.count / span.total_seconds() if span >= USUAL_AFTER else 0.0


def bursts_in(
    lines: BatchLines, recent: Mapping[str, Recent], host: str, burst: Burst, now: datetime
) -> tuple[list[Trigger], list[Trigger], Mapping[str, Recent]]:
    """Return the bursts that began, all severe lines as supporting triggers, and the window after them."""
    if not lines:
        return [], [], recent
    opened: list[Trigger] = []
    logged: list[Trigger] = []
    after = dict(recent)
    for each, trigger in _folded(lines, recent, host):
        logged.append(trigger)
        limit = max(burst.count, JUMP * each.usual * burst.seconds)
        held = after.get(trigger.fingerprint) or Recent(each.subject)
        held, peak_at = _slid(held, each.seconds, limit, burst.seconds)
        after[trigger.fingerprint] = held
        if peak_at and each.may_open and now - datetime.fromtimestamp(peak_at, UTC) < BURST_OVER:
            opened.append(_burst(trigger, burst))
    newest = max(each.last for each in after.values())
    return opened, logged, {key: each for key, each in after.items() if each.last > newest - burst.seconds}


def _slid(recent: Recent, seconds: Mapping[int, int], limit: float, within: float) -> tuple[Recent, int]:
    """Slide the window over new lines; return it, and when it held a burst that was not raised yet (0: never)."""
    peak_at = 0
    for second, number in sorted(seconds.items()):
        kept = tuple(hit for hit in recent.hits if hit[0] > second - within)
        recent = replace(recent, hits=(*kept, (second, number)))
        is_burst = sum(hit[1] for hit in recent.hits) >= limit
        if is_burst and second - recent.raised_at >= within:
            peak_at = second
            recent = replace(recent, raised_at=second)
    return recent, peak_at


def _burst(trigger: Trigger, burst: Burst) -> Trigger:
    """Return the burst that a supporting trigger is part of; that one counts the lines, this one opens."""
    why = f"the same error at least {burst.count} times within {burst.seconds:g} s"
    return trigger.model_copy(update={"kind": SymptomKind.BURST, "opens": True, "count": 0, "why": why})


def _folded(lines: BatchLines, recent: Mapping[str, Recent], host: str) -> Iterable[tuple[Lines, Trigger]]:
    """Return the lines with a subject's too many templates folded into one, so that a flood cannot starve us."""
    known = Counter(each.subject for each in recent.values())
    kept: dict[tuple[str, str], Lines] = {}
    for key, each in lines.items():
        if each.trigger(host).fingerprint not in recent:
            known[each.subject] += 1
            if known[each.subject] > MOST_TEMPLATES:
                key = each.subject, template_id(each.source, OTHER_LINES)
        held = kept.get(key)
        kept[key] = replace(each, template=key[1]) if held is None else _merged(held, each)
    return [(each, each.trigger(host)) for each in kept.values()]


def _merged(one: Lines, other: Lines) -> Lines:
    return replace(
        one,
        at=max(one.at, other.at),
        usual=one.usual + other.usual,
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
    return Recent(symptom.subject, ((int(symptom.last_at.timestamp()), within),))
