"""Whether a figure around a fault is out of its ordinary. Pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from statistics import median
from typing import Final, NamedTuple

from ai_sysadmin.stores.metric_store import Point

AROUND: Final = timedelta(minutes=5)
"""How far on each side of the fault a figure counts as of it."""

FEW_POINTS: Final = 12
_DEVIATIONS: Final = 4.0
_FLOORS: Final = {"percent": 5.0, "celsius": 8.0, "bool": 0.5, "count": 0.5, "ratio": 0.25}
_SHARE: Final = 0.25


class Figure(NamedTuple):
    """A series around a fault. ``usual`` and ``spread`` are median and median deviation; none: too little is known.

    ``ratio`` is how many times the allowed deviation ``value`` is off: above 1 it is unusual. ``later`` is the newest
    figure after the fault.
    """

    name: str
    about: str
    unit: str
    value: float
    usual: float | None = None
    spread: float = 0.0
    ratio: float = 0.0
    later: float | None = None

    @property
    def is_unusual(self) -> bool:
        return self.ratio > 1


def figure_of(name: str, about: str, unit: str, points: Sequence[Point], at: datetime) -> Figure | None:
    """Return a series' figure at a moment, against what is usual; none: it has no figure around it.

    The highest figures are compared with the highest of other times and the lowest with the lowest, so that a series
    that is restless at all times is not unusual for that.
    """
    around = [point for point in points if abs(point.at - at) <= AROUND]
    if not around:
        return None
    before = [point for point in points if point.at < at - AROUND]
    later = points[-1].value if points[-1].at > at + AROUND else None
    nearest = min(around, key=lambda point: abs(point.at - at))
    found = Figure(name, about, unit, nearest.value, later=later)
    if len(before) < FEW_POINTS:
        return found
    usual, spread = _centre([point.value for point in before])
    high, low = max(point.most for point in around), min(point.least for point in around)
    over = _ratio(high - median(point.most for point in before), [point.most for point in before], unit)
    under = _ratio(median(point.least for point in before) - low, [point.least for point in before], unit)
    found = found._replace(usual=usual, spread=spread, ratio=max(over, under, 0.0))
    return found._replace(value=high if over >= under else low) if found.is_unusual else found


def _centre(values: Sequence[float]) -> tuple[float, float]:
    middle = median(values)
    return middle, median(abs(value - middle) for value in values)


def _ratio(off: float, values: Sequence[float], unit: str) -> float:
    middle, deviation = _centre(values)
    floor = _FLOORS.get(unit, max(_SHARE * abs(middle), 1e-9))
    return off / max(_DEVIATIONS * deviation, floor)
