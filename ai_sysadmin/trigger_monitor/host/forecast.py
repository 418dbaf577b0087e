"""When a file system will be full if it goes on as it did: a robust line through the last hours. Pure.

Five-minute means of the free space over six hours; the slope is the median over pairs half the stretch apart, so that
single steps do not bend it. A steady leak is told; a saw-tooth, and a big copy that has ended, are none.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import median
from typing import Final, NamedTuple

from pydantic import TypeAdapter, ValidationError

from ai_sysadmin.core.clock import local
from ai_sysadmin.core.records import Sample, Symptom, Trigger
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.trigger_monitor.host.figures import mount_unit, priority_of, shown
from ai_sysadmin.trigger_monitor.host.thresholds import Quiet

NAME: Final = "disk_filling"
METRIC: Final = "file_system_free_bytes"
BUCKET_SECONDS: Final = 300
WINDOW: Final = timedelta(hours=6)
_BUCKETS: Final = int(WINDOW.total_seconds()) // BUCKET_SECONDS
_LEAST_BUCKETS: Final = 12
_FULL_WITHIN: Final = timedelta(hours=24)
_OVER_BEYOND: Final = timedelta(hours=36)
_LOOKS_AHEAD: Final = 2.5
"""A stretch says nothing of what is more than so many times its own length ahead."""
_USED_PERCENT: Final = 60.0
_LEAST_GROWTH: Final = 0.002
"""Of the whole size, over the stretch: less is no growth."""
_MOST_STRAY: Final = 0.15
"""Of the growth: half of the points may lie this far off the line."""
_CONFIRMED_BY: Final = 2
_OVER_AFTER: Final = 3
_SEVERITY: Final = 60
_MOST_SERIES: Final = 200
_TOLD: Final = TypeAdapter(list[str])


class Fit(NamedTuple):
    """A line through free space: bytes lost per second, and when nothing would be left."""

    bytes_per_second: float
    full_in: timedelta


def fit(points: Sequence[tuple[float, float]], total_bytes: float) -> Fit | None:
    """Return the line through (seconds, free bytes), the oldest first; none: it does not shrink steadily."""
    half, third = len(points) // 2, len(points) // 3
    if len(points) < _LEAST_BUCKETS:
        return None
    loss = _loss(points, half)
    growth = loss * (points[-1][0] - points[0][0])
    if loss <= 0 or growth < _LEAST_GROWTH * total_bytes:
        return None
    lately = _loss(points[-max(third, 4) :], max(third // 2, 2))
    at, level = median(t for t, _ in points), median(free for _, free in points)
    stray = median(abs(free - (level - loss * (t - at))) for t, free in points)
    if lately < loss / 2 or stray > _MOST_STRAY * growth:
        return None
    return Fit(loss, timedelta(seconds=min(points[-1][1] / loss, 1e8)))


def _loss(points: Sequence[tuple[float, float]], apart: int) -> float:
    pairs = zip(points, points[apart:], strict=False)
    return median((before - after) / (t1 - t0) for (t0, before), (t1, after) in pairs)


@dataclass
class _Series:
    """One file system's means, the newest last, and the bucket that is being filled."""

    points: list[tuple[float, float]] = field(default_factory=list)
    bucket: int = -1
    sum: float = 0.0
    count: int = 0
    seen_at: float = 0.0
    total: float = 0.0
    used_percent: float = 0.0
    soon: int = 0
    calm: int = 0
    is_active: bool = False
    is_told: bool = False


class Forecasts:
    """Follows every file system's free space.

    Args:
        is_quiet: tells whether something is not to be told now; it is told later if it goes on.
    """

    def __init__(self, host: str, is_quiet: Quiet) -> None:
        self._host = host
        self._is_quiet = is_quiet
        self._series: dict[str, _Series] = {}

    def restore(self, about: str, means: Iterable[tuple[datetime, float]]) -> None:
        """Take up a file system's means of free bytes from before a restart."""
        series = self._series.setdefault(about, _Series())
        if not series.points:
            series.points = [(at.timestamp(), free) for at, free in means][-_BUCKETS:]

    def remember(self) -> str:
        """Return the file systems that were told of and are not over, as JSON."""
        told = sorted(about for about, series in self._series.items() if series.is_active and series.is_told)
        return _TOLD.dump_json(told).decode()

    def recall(self, text: str) -> None:
        """Take up which file systems the previous run had told of. Raises: ValueError: it cannot be read."""
        try:
            told = _TOLD.validate_json(text)
        except ValidationError as error:
            raise ValueError(f"what was told of file systems that fill up cannot be read: {error}") from error
        for about in told[:_MOST_SERIES]:
            series = self._series.setdefault(about, _Series())
            series.is_active = series.is_told = True

    def take(self, samples: Sequence[Sample], now: datetime) -> list[Trigger]:
        """Count the file systems' samples in; return those that are found to fill up from now on."""
        figures = {
            name: self._of(samples, f"file_system_{name}") for name in ("free_bytes", "total_bytes", "used_percent")
        }
        triggers: list[Trigger] = []
        for about, free in figures["free_bytes"].items():
            if about not in self._series and len(self._series) >= _MOST_SERIES:
                self._forget()
            series = self._series.setdefault(about, _Series())
            total = figures["total_bytes"].get(about, series.total)
            series.total, series.used_percent = total, figures["used_percent"].get(about, 0.0)
            triggers += self._step(about, series, free, now)
        return triggers

    def _of(self, samples: Sequence[Sample], name: str) -> dict[str, float]:
        return {sample.about: sample.value for sample in samples if sample.name == name}

    def _forget(self) -> None:
        oldest = min(self._series, key=lambda about: self._series[about].seen_at)
        del self._series[oldest]

    def _step(self, about: str, series: _Series, free: float, now: datetime) -> list[Trigger]:
        second = now.timestamp()
        series.seen_at = second
        bucket = int(second) // BUCKET_SECONDS
        if series.count and bucket != series.bucket:
            middle = (series.bucket + 0.5) * BUCKET_SECONDS
            if series.points and middle <= series.points[-1][0]:
                series.points = []  # the clock was set back: what was before cannot be placed any more
            series.points = [*series.points, (middle, series.sum / series.count)][-_BUCKETS:]
            series.points = [point for point in series.points if point[0] > second - WINDOW.total_seconds()]
            series.bucket, series.sum, series.count = bucket, free, 1
            return self._looked(about, series, now) if series.points else []
        series.bucket, series.sum, series.count = bucket, series.sum + free, series.count + 1
        return []

    def _looked(self, about: str, series: _Series, now: datetime) -> list[Trigger]:
        found = fit(series.points, series.total)
        ahead = timedelta(seconds=_LOOKS_AHEAD * (series.points[-1][0] - series.points[0][0]))
        is_soon = found is not None and found.full_in < min(_FULL_WITHIN, ahead) and series.used_percent > _USED_PERCENT
        is_calm = found is None or found.full_in > _OVER_BEYOND
        series.soon = series.soon + 1 if is_soon else 0
        series.calm = series.calm + 1 if is_calm else 0
        if series.is_active and series.calm >= _OVER_AFTER:
            series.is_active = series.is_told = False
        elif series.soon >= _CONFIRMED_BY:
            series.is_active = True
        if not series.is_active or series.is_told or found is None:
            return []
        trigger = self._trigger(about, series, found, now)
        if self._is_quiet(trigger.unit, about, trigger.why, NAME):
            return []
        series.is_told = True
        return [trigger]

    def _trigger(self, about: str, series: _Series, found: Fit, now: datetime) -> Trigger:
        full_at = local(now + found.full_in)[:16]
        free = shown(series.points[-1][1], "bytes")
        rate = shown(found.bytes_per_second * 3600, "bytes")
        return Trigger(
            host=self._host,
            unit=mount_unit(about),
            about=about,
            kind=SymptomKind.DISK_FILLING,
            template=NAME,
            opens=True,
            at=now,
            priority=priority_of(_SEVERITY),
            why=f"{about} fills up: {free} are left and shrink by {rate} an hour, full about {full_at}",
            details={
                "threshold": NAME,
                "metric": METRIC,
                "on": about,
                "value": free,
                "full_at": full_at,
                "per_hour": rate,
                "severity": str(_SEVERITY),
            },
        )

    def over(self, fault: Symptom, now: datetime) -> str | None:
        """Return why a file system does not fill up any more; none: it does, or not enough is known."""
        about = fault.subject
        if self._is_gone(about, now):
            return f"{about} is not there any more"
        series = self._series.get(about)
        if series is None or series.is_active or series.calm < _OVER_AFTER:
            return None
        return f"{about} does not fill up any more: {shown(series.points[-1][1], 'bytes')} are left"

    def _is_gone(self, about: str, now: datetime) -> bool:
        """Tell whether a file system was not seen for long, though others are."""
        series = self._series.get(about)
        newest = max((each.seen_at for each in self._series.values()), default=0.0)
        lately = now.timestamp() - newest < BUCKET_SECONDS
        return series is not None and lately and newest - series.seen_at > 2 * BUCKET_SECONDS and series.seen_at > 0
