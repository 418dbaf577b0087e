"""What is usual at this hour, learnt per figure: a minute far off it supports an incident, and opens none. Pure.

Each series has 24 hourly slots of a level and a spread (means that forget slowly: of the figure, of its distance from
what was expected); between the middles of two slots the level is a straight line. A slow level follows what has changed
for good, so that a shift stops being unusual within hours. A figure that is itself unusual teaches little.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from pydantic import TypeAdapter, ValidationError

from ai_sysadmin.core.records import Record, Sample, Trigger
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.trigger_monitor.host.figures import shown

NAME: Final = "unusual"
_SLOTS: Final = 24
_MOST_SERIES: Final = 200
_LEARNS_SECONDS: Final = 2 * 86400.0
_FORGETS_SLOT: Final = 1 / 90
"""A slot sees 60 minutes a day: after three days two parts in three of it are new."""
_FORGETS_LEVEL: Final = 1 / 240
_LEAST_MINUTES: Final = 40
_FAR: Final = 6.0
_NEAR: Final = 3.5
"""In spreads: unusual from, and over below. A spread is a mean distance, about 0.8 of a standard deviation."""
_TEACHES: Final = 3.0
_VOTES: Final = (5, 6)
_AGAIN_SECONDS: Final = 240.0
_GAP_SECONDS: Final = 600.0

LEAST_SPREAD: Final = {
    "memory_available_percent": 1.0,
    "load_per_processor": 0.1,
    "cpu_used_percent": 2.0,
    "pressure_some_percent": 1.0,
    "pressure_full_percent": 1.0,
    "network_errors_per_second": 0.2,
    "network_drops_per_second": 0.5,
    "file_system_used_percent": 0.5,
}
"""The metrics that are learnt, and the spread below which a difference means nothing to anybody."""


class _Kept(Record):
    name: str
    about: str
    began: float
    drift: float
    levels: list[float]
    spreads: list[float]
    minutes: list[int]


_KEPT: Final = TypeAdapter(list[_Kept])


@dataclass
class _Series:
    """What is known of one figure. ``minute`` is being summed up; ``bits`` are the last verdicts, the newest lowest."""

    name: str
    about: str
    began: float
    drift: float = 0.0
    levels: "array[float]" = field(default_factory=lambda: array("d", [0.0] * _SLOTS))
    spreads: "array[float]" = field(default_factory=lambda: array("d", [0.0] * _SLOTS))
    minutes: "array[int]" = field(default_factory=lambda: array("L", [0] * _SLOTS))
    minute: int = -1
    sum: float = 0.0
    count: int = 0
    bits: int = 0
    is_unusual: bool = False
    told_at: float = 0.0
    unit: str = ""


class Baselines:
    """Learns all series; says which are unusual now."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._series: dict[tuple[str, str], _Series] = {}

    def take(self, samples: Sequence[Sample], now: datetime) -> list[Trigger]:
        """Count samples in; return what is unusual (said again from time to time while it lasts)."""
        second = now.timestamp()
        triggers: list[Trigger] = []
        for sample in samples:
            if sample.name not in LEAST_SPREAD:
                continue
            series = self._series.get((sample.name, sample.about)) or self._begun(sample, second)
            if series is None:
                continue
            series.unit = sample.unit
            minute = int(second // 60)
            if minute != series.minute and series.count:
                mean = series.sum / series.count
                ended, series.sum, series.count = series.minute, 0.0, 0
                triggers += self._minute_over(series, ended, mean, now)
            series.minute, series.sum, series.count = minute, series.sum + sample.value, series.count + 1
        return triggers

    def _begun(self, sample: Sample, second: float) -> _Series | None:
        if len(self._series) >= _MOST_SERIES:
            return None
        series = self._series[sample.name, sample.about] = _Series(sample.name, sample.about, second)
        return series

    def _minute_over(self, series: _Series, minute: int, mean: float, now: datetime) -> list[Trigger]:
        second = now.timestamp()
        expected, spread = _expected(series, minute * 60), self._spread(series, minute * 60)
        slot = _slot(minute * 60)
        far = abs(mean - expected) / spread
        knows = second - series.began >= _LEARNS_SECONDS and series.minutes[slot] >= _LEAST_MINUTES
        _learn(series, slot, mean, expected, spread)
        if second - minute * 60 > _GAP_SECONDS or second < minute * 60:
            series.bits = 0
        series.bits = (series.bits << 1 | (knows and far > _FAR)) & ((1 << _VOTES[1]) - 1)
        if series.is_unusual and (far < _NEAR or not knows):
            series.is_unusual, series.bits = False, 0
        elif series.bits.bit_count() >= _VOTES[0] and not series.is_unusual:
            series.is_unusual, series.told_at = True, float("-inf")
        if not series.is_unusual or 0 <= second - series.told_at < _AGAIN_SECONDS:
            return []
        series.told_at = second
        return [self._trigger(series, mean, expected, now)]

    def _spread(self, series: _Series, second: float) -> float:
        """Return how far off is usual at that time, never less than what means something."""
        known = [spread for spread, minutes in zip(series.spreads, series.minutes, strict=True) if minutes]
        whole = sum(known) / len(known) if known else 0.0
        return max(series.spreads[_slot(second)], whole / 2, LEAST_SPREAD[series.name])

    def _trigger(self, series: _Series, mean: float, expected: float, now: datetime) -> Trigger:
        value, usual = shown(mean, series.unit), shown(expected, series.unit)
        of = f" of {series.about}" if series.about else ""
        return Trigger(
            host=self._host,
            unit="",
            about=_subject(series),
            kind=SymptomKind.UNUSUAL,
            template=series.name,
            opens=False,
            at=now,
            priority=6,
            why=f"{series.name.replace('_', ' ')}{of} is {value}, at this hour usually {usual}",
            details={"metric": series.name, "on": series.about, "value": value, "usual": usual},
        )

    # --- over a restart

    def remember(self) -> str:
        """Return all that was learnt, as JSON of a bounded size."""
        return _KEPT.dump_json([_kept(series) for series in self._series.values()]).decode()

    def recall(self, text: str) -> None:
        """Take up what an earlier run had learnt. Raises: ValueError: it cannot be read."""
        try:
            kept = _KEPT.validate_json(text)
        except ValidationError as error:
            raise ValueError(f"what was learnt of the host's figures cannot be read: {error}") from error
        for each in kept[:_MOST_SERIES]:
            if each.name in LEAST_SPREAD and len(each.levels) == len(each.spreads) == len(each.minutes) == _SLOTS:
                self._series[each.name, each.about] = _Series(
                    each.name,
                    each.about,
                    each.began,
                    each.drift,
                    array("d", each.levels),
                    array("d", each.spreads),
                    array("L", [max(0, minutes) for minutes in each.minutes]),
                )


def _slot(second: float) -> int:
    """Return the hour of the day. In UTC: all that matters is that a day has the same slots as the day before."""
    return int(second // 3600) % _SLOTS


def _expected(series: _Series, second: float) -> float:
    """Return the level between the middles of the two nearest slots, plus what has drifted since."""
    position = second / 3600 - 0.5
    left = int(position // 1) % _SLOTS
    right, part = (left + 1) % _SLOTS, position % 1
    if not series.minutes[left] or not series.minutes[right]:
        only = left if series.minutes[left] else right
        return series.levels[only] + series.drift
    return series.levels[left] * (1 - part) + series.levels[right] * part + series.drift


def _learn(series: _Series, slot: int, mean: float, expected: float, spread: float) -> None:
    """Let a minute teach its slot. The first ones teach as in a plain mean."""
    series.minutes[slot] = min(series.minutes[slot] + 1, 1_000_000)
    if series.minutes[slot] == 1:
        series.levels[slot], series.spreads[slot] = mean - series.drift, spread
        return
    rate = max(1 / series.minutes[slot], _FORGETS_SLOT)
    is_young = series.minutes[slot] < _LEAST_MINUTES
    off = mean - expected
    lesson = off if is_young else max(-_TEACHES * spread, min(off, _TEACHES * spread))
    drifts = 0.0 if is_young else lesson * _FORGETS_LEVEL
    series.drift += drifts
    series.levels[slot] += (lesson - drifts) * rate
    series.spreads[slot] += (abs(lesson) - series.spreads[slot]) * rate


def _subject(series: _Series) -> str:
    if series.name.startswith("memory") or series.about == "memory":
        return "memory"
    if series.about == "io":
        return "disks"
    return series.about if series.about not in {"", "cpu"} else "processors"


def _kept(series: _Series) -> _Kept:
    return _Kept(
        name=series.name,
        about=series.about,
        began=round(series.began),
        drift=_short(series.drift),
        levels=[_short(value) for value in series.levels],
        spreads=[_short(value) for value in series.spreads],
        minutes=list(series.minutes),
    )


def _short(value: float) -> float:
    return float(f"{value:.4g}")
