"""What the host's figures do over days: which run full, which are not as they usually are. Pure.

Only words that hold for a while come out of it: ordinary jitter changes none of them.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median
from typing import Final, NamedTuple

from ai_sysadmin.stores.metric_store import Point, Series

WINDOW: Final = timedelta(days=8)
BUCKET_SECONDS: Final = 3600
RECENT: Final = timedelta(hours=6)
_LEAST_HOURS: Final = 24
_HALF_DAY_HOURS: Final = 12
_STEADY: Final = 0.7
"""So large a part of all half-day steps must go the same way."""
_LEAST_RISE: Final = 2.0
"""Of a hundred, over the whole time: less is no trend."""
_FULL_WITHIN: Final = timedelta(days=30)
_UNUSUAL_DEVIATIONS: Final = 6.0
_UNUSUAL_LEAST: Final = 15.0
"""In percent points, so that what hardly varies is not unusual at once."""

FILLING: Final = frozenset({"file_system_used_percent", "file_system_inodes_used_percent", "zfs_pool_used_percent"})
COMPARED: Final = frozenset(
    {
        "memory_available_percent",
        "swap_used_percent",
        "cpu_used_percent",
        "pressure_some_percent",
        "pressure_full_percent",
        "temperature_of_critical_percent",
        "open_files_used_percent",
        "processes_used_percent",
        "conntrack_used_percent",
    }
)
WATCHED: Final = FILLING | COMPARED


class Trend(NamedTuple):
    """One figure that stands out. ``key`` stays the same while it goes on in the same way."""

    key: str
    text: str
    severity: int


def trend(series: Series, points: Sequence[Point], now: datetime) -> Trend | None:
    """Return what stands out of a series' hourly means, the oldest first; none: nothing does."""
    if len(points) < _LEAST_HOURS or now - points[-1].at > RECENT:
        return None
    if series.name in FILLING:
        return _filling(series, points)
    return _unusual(series, points, now) if series.name in COMPARED else None


def _filling(series: Series, points: Sequence[Point]) -> Trend | None:
    """Return when a figure reaches a hundred percent if it goes on as it did."""
    steps = points[::-_HALF_DAY_HOURS][::-1]
    rises = [later.value - earlier.value for earlier, later in pairwise(steps)]
    hours = (steps[-1].at - steps[0].at) / timedelta(hours=1) if len(steps) > 1 else 0.0
    rise = steps[-1].value - steps[0].value if hours else 0.0
    if rise < _LEAST_RISE or sum(each > 0 for each in rises) < _STEADY * len(rises):
        return None
    full_in = timedelta(hours=max(0.0, (100 - points[-1].value)) / (rise / hours))
    if full_in > _FULL_WITHIN:
        return None
    when, severity = _when(full_in)
    name = _name(series)
    return Trend(f"{name} full {when}", f"{name} grows steadily and is full {when} if it goes on so", severity)


def _when(full_in: timedelta) -> tuple[str, int]:
    """Return when in words that change seldom, and how bad that is."""
    if full_in <= timedelta(days=1):
        return "within a day", 70
    return ("within a week", 50) if full_in <= timedelta(days=7) else ("within a month", 30)


def _unusual(series: Series, points: Sequence[Point], now: datetime) -> Trend | None:
    """Return how the last hours differ from the same hours of the day and of the week before."""
    recent = [point.value for point in points if now - point.at <= RECENT]
    usual = [
        point.value
        for point in points
        for days in (1, 7)
        if timedelta(days=days) - timedelta(hours=1) <= now - point.at <= timedelta(days=days) + RECENT
    ]
    if not recent or len(usual) < RECENT / timedelta(hours=1):
        return None
    middle = median(usual)
    deviation = median(abs(value - middle) for value in usual)
    away = median(recent) - middle
    if abs(away) < max(_UNUSUAL_LEAST, _UNUSUAL_DEVIATIONS * deviation):
        return None
    name, way = _name(series), "higher" if away > 0 else "lower"
    text = f"{name} is {way} than at this time a day and a week ago: {_rounded(median(recent))} %,"
    return Trend(f"{name} {way}", f"{text} usually {_rounded(middle)} %", 35)


def _rounded(value: float) -> int:
    return round(value / 5) * 5


def _name(series: Series) -> str:
    words = series.name.removesuffix("_percent").replace("_", " ")
    return f"{words} of {series.about}" if series.about else words
