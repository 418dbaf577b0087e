"""Figures of the host held against the threshold table: so many of the last so many, and back again. Pure."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from pydantic import TypeAdapter, ValidationError

from ai_sysadmin.core.clock import local
from ai_sysadmin.core.records import Record, Sample, Symptom, Trigger
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.trigger_monitor.host.figures import mount_unit, priority_of, shown
from ai_sysadmin.trigger_monitor.host.threshold_rows import Also, Row

_MOST_WATCHES: Final = 4000
_GONE_SECONDS: Final = 600.0
"""What its look-up has not named for so long is not there any more."""
_FRESH_SECONDS: Final = 120.0

Quiet = Callable[[str, str, str, str], bool]
"""Tells whether something is not to be told now: its unit, subject, words and the threshold's name."""


@dataclass
class _Watch:
    """One row on one thing. ``bits`` are the last samples, the newest lowest; ``good`` counts good ones in a row."""

    row: Row
    about: str
    look_up: str = ""
    bits: int = 0
    good: int = 0
    seen_at: float = 0.0
    value: float = 0.0
    unit: str = ""
    before: float | None = None
    was_good: bool = False
    is_active: bool = False
    is_told: bool = False
    since: datetime | None = None


class _Kept(Record):
    """What of a watch outlives a restart."""

    row: str
    about: str
    look_up: str
    bits: int
    good: int
    seen_at: float
    before: float | None
    was_good: bool
    is_active: bool
    is_told: bool
    since: datetime | None


_KEPT: Final = TypeAdapter(list[_Kept])


def _never(unit: str, subject: str, text: str, rule: str) -> bool:
    del unit, subject, text, rule
    return False


@dataclass
class Thresholds:
    """All watches, and what they last said.

    ``is_held_back``: in maintenance; what is still wrong afterwards is told then. ``is_silenced``: never told.
    """

    host: str
    rows: Sequence[Row]
    is_held_back: Quiet = _never
    is_silenced: Quiet = _never
    _watches: dict[tuple[str, str], list[_Watch]] = field(default_factory=dict)
    _latest: dict[tuple[str, str], tuple[float, str, float]] = field(default_factory=dict)
    _asked_at: dict[str, float] = field(default_factory=dict)
    _recalled: dict[tuple[str, str], _Kept] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._by_metric: dict[str, list[Row]] = {}
        for row in self.rows:
            self._by_metric.setdefault(row.metric, []).append(row)
        self._named = {row.name: row for row in self.rows}
        self._conditions = {also.metric for row in self.rows for also in row.also}

    def take(
        self, samples: Sequence[Sample], now: datetime, ticks: float, *, look_up: str, every_seconds: float
    ) -> list[Trigger]:
        """Hold what one look-up said against the table; return what is a fault from now on.

        Args:
            ticks: seconds of a clock that only moves forward and also counts sleep.
            every_seconds: how often the look-up is asked; after a gap of more than three times that, counting begins
                again.
        """
        self._asked_at[look_up] = ticks
        for sample in samples:
            if sample.name in self._conditions:
                self._latest[sample.name, sample.about] = (sample.value, sample.unit, ticks)
        triggers: list[Trigger] = []
        for sample in samples:
            if sample.name in self._by_metric:
                for watch in self._watching(sample):
                    watch.look_up = look_up
                    if ticks - watch.seen_at > 3 * every_seconds + 5 or ticks < watch.seen_at:
                        watch.bits = watch.good = 0
                    triggers += self._step(watch, sample, now, ticks)
        return triggers

    def _watching(self, sample: Sample) -> list[_Watch]:
        key = (sample.name, sample.about)
        found = self._watches.get(key)
        if found is None:
            if len(self._watches) >= _MOST_WATCHES:
                self._forget()
            rows = [row for row in self._by_metric[sample.name] if row.is_for(sample.about)]
            found = self._watches[key] = [self._begun(row, sample.about) for row in rows]
        return found

    def _begun(self, row: Row, about: str) -> _Watch:
        kept = self._recalled.pop((row.name, about), None)
        if kept is None:
            return _Watch(row, about)
        return _Watch(
            row,
            about,
            kept.look_up,
            kept.bits,
            kept.good,
            seen_at=kept.seen_at,
            before=kept.before,
            was_good=kept.was_good,
            is_active=kept.is_active,
            is_told=kept.is_told,
            since=kept.since,
        )

    def _forget(self) -> None:
        """Make room: drop the half that was not seen for longest, of what is no fault."""
        idle = [key for key, held in self._watches.items() if not any(watch.is_active for watch in held)]
        idle.sort(key=lambda key: max((watch.seen_at for watch in self._watches[key]), default=0.0))
        for key in idle[: len(idle) // 2 + 1]:
            del self._watches[key]
            self._latest.pop(key, None)

    def _step(self, watch: _Watch, sample: Sample, now: datetime, ticks: float) -> list[Trigger]:
        row = watch.row
        value = sample.value
        if row.counts_up:
            value, watch.before = sample.value - (sample.value if watch.before is None else watch.before), sample.value
        watch.seen_at, watch.unit = ticks, sample.unit
        is_bad = _is_beyond(value, row.above, row.below) and self._also_bad(row, sample.about, ticks)
        if is_bad or not row.counts_up or not watch.is_active:
            watch.value = value
        watch.was_good = watch.was_good or not is_bad
        if row.only_after_good and not watch.was_good:
            is_bad = False
        wanted, of = row.votes
        watch.bits = (watch.bits << 1 | is_bad) & ((1 << of) - 1)
        watch.good = watch.good + 1 if self._is_good(row, value, sample.about, ticks) else 0
        if watch.is_active:
            if watch.good >= row.clear_samples:
                watch.is_active, watch.is_told, watch.since = False, False, now
        elif watch.bits.bit_count() >= wanted:
            watch.is_active, watch.since = True, now
        return self._told(watch, now) if watch.is_active and not watch.is_told else []

    def _also_bad(self, row: Row, about: str, ticks: float) -> bool:
        return all(
            (value := self._figure(also, about, ticks)) is not None and _is_beyond(value, also.above, also.below)
            for also in row.also
        )

    def _is_good(self, row: Row, value: float, about: str, ticks: float) -> bool:
        """Tell whether a figure is back on the good side of its ``clear``, or one of its conditions is."""
        if _is_back(value, row.above, row.below, row.clear):
            return True
        figures = [(also, self._figure(also, about, ticks)) for also in row.also]
        return any(figure is not None and _is_back(figure, a.above, a.below, a.clear) for a, figure in figures)

    def _figure(self, also: Also, about: str, ticks: float) -> float | None:
        """Return a second figure; none: it is not known now."""
        value, _, at = self._latest.get(_place(also, about), (0.0, "", float("-inf")))
        return value if 0 <= ticks - at <= _FRESH_SECONDS else None

    def _told(self, watch: _Watch, now: datetime) -> list[Trigger]:
        trigger = self._trigger(watch, now)
        if self.is_held_back(trigger.unit, trigger.subject, trigger.why, watch.row.name):
            return []
        watch.is_told = True
        is_worse_told = any(each.is_told and each.row.severity > watch.row.severity for each in self._alike(watch))
        is_silenced = self.is_silenced(trigger.unit, trigger.subject, trigger.why, watch.row.name)
        return [] if is_silenced or is_worse_told else [trigger]

    def _alike(self, watch: _Watch) -> Iterable[_Watch]:
        """Return the other rows of the same kind on the same figure: full, beside nearly full."""
        held = self._watches.get((watch.row.metric, watch.about), ())
        return (each for each in held if each is not watch and each.row.kind is watch.row.kind)

    def _trigger(self, watch: _Watch, now: datetime) -> Trigger:
        row = watch.row
        details = {
            "threshold": row.name,
            "metric": row.metric,
            "on": watch.about,
            "value": shown(watch.value, watch.unit),
            "limit": shown(row.limit, watch.unit),
            "severity": str(row.severity),
        }
        return Trigger(
            host=self.host,
            unit=mount_unit(watch.about) if row.metric.startswith("file_system_") else "",
            about=_subject(row, watch.about),
            kind=row.kind,
            template=row.name,
            opens=row.opens,
            at=now,
            priority=priority_of(row.severity),
            why=self._words(watch),
            details={key: value for key, value in details.items() if value},
        )

    def _words(self, watch: _Watch) -> str:
        row, also = watch.row, ""
        if row.also:
            value, unit, _ = self._latest.get(_place(row.also[0], watch.about), (0.0, "", 0.0))
            also = shown(value, unit)
        value_text, limit = shown(watch.value, watch.unit), shown(row.limit, watch.unit)
        about = watch.about or "the host"
        return row.words.format(about=about, value=value_text, limit=limit, metric=row.metric, also=also)

    def over(self, fault: Symptom) -> str | None:
        """Return why a fault is over, in words; none: it is not, or nothing is known of it."""
        name, about = fault.details.get("threshold", ""), fault.details.get("on", "")
        row = self._named.get(name)
        if row is None or not row.is_for(about):
            return f"the threshold {name} is not watched any more"
        watch = next((each for each in self._watches.get((row.metric, about), ()) if each.row is row), None)
        if watch is None:
            kept = self._recalled.get((name, about))
            return self._gone(about, kept.look_up, kept.seen_at) if kept else None
        if any(each.is_active for each in self._alike(watch)):
            return None
        if not watch.is_active and watch.good >= row.clear_samples:
            since = f" since {local(watch.since)}" if watch.since else ""
            how = (
                "is well again"
                if watch.unit == "bool" or row.counts_up
                else f"is back at {shown(watch.value, watch.unit)}"
            )
            return f"{about or row.metric} {how}{since}"
        return self._gone(about, watch.look_up, watch.seen_at)

    def _gone(self, about: str, look_up: str, seen_at: float) -> str | None:
        asked_at = self._asked_at.get(look_up, seen_at)
        return f"{about} is not there any more" if asked_at - seen_at > _GONE_SECONDS else None

    def wrong(self, kind: SymptomKind) -> Iterator[str]:
        """Yield the subjects that a threshold of that kind finds at fault now."""
        for held in self._watches.values():
            yield from (_subject(each.row, each.about) for each in held if each.is_active and each.row.kind is kind)

    # --- over a restart

    def remember(self) -> str:
        """Return what the next start has to know, as JSON."""
        kept = [_kept(watch) for held in self._watches.values() for watch in held if _is_worth_keeping(watch)]
        return _KEPT.dump_json([*kept, *self._recalled.values()][:_MOST_WATCHES]).decode()

    def recall(self, text: str) -> None:
        """Take up what the previous run remembered. Raises: ValueError: it cannot be read."""
        try:
            kept = _KEPT.validate_json(text)
        except ValidationError as error:
            raise ValueError(f"what was remembered of the thresholds cannot be read: {error}") from error
        self._recalled = {(each.row, each.about): each for each in kept if each.row in self._named}


def _kept(watch: _Watch) -> _Kept:
    return _Kept(
        row=watch.row.name,
        about=watch.about,
        look_up=watch.look_up,
        bits=watch.bits,
        good=min(watch.good, watch.row.clear_samples),
        seen_at=watch.seen_at,
        before=watch.before,
        was_good=watch.was_good,
        is_active=watch.is_active,
        is_told=watch.is_told,
        since=watch.since,
    )


def _is_worth_keeping(watch: _Watch) -> bool:
    return watch.is_active or bool(watch.bits) or watch.row.only_after_good or watch.row.counts_up


def _place(also: Also, about: str) -> tuple[str, str]:
    return also.metric, about if also.about is None else also.about


def _is_beyond(value: float, above: float | None, below: float | None) -> bool:
    return (above is not None and value > above) or (below is not None and value < below)


def _is_back(value: float, above: float | None, below: float | None, clear: float | None) -> bool:
    if above is not None:
        return value <= (above if clear is None else clear)
    return below is not None and value >= (below if clear is None else clear)


def _subject(row: Row, about: str) -> str:
    return row.subject.format(about=about) or row.metric
