"""The host's figures around the fault against what is usual: what is out of the ordinary first."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from ai_sysadmin.context.pieces.drafts import Cleaner, Draft, first_lines, lasting, shown
from ai_sysadmin.context.pieces.unusual import FEW_POINTS, Figure, figure_of
from ai_sysadmin.core.records import Sample
from ai_sysadmin.sources.sysstat import Recorded, Sysstat
from ai_sysadmin.stores.metric_store import MetricStore, Point

_BUCKET_SECONDS: Final = 300
_MOST_SERIES: Final = 300
_AT_ONCE: Final = 8
_CHARACTERS: Final = 4000
_TRENDS: Final = frozenset(
    {"file_system_total_bytes", "file_system_free_bytes", "certificate_days_left", "backup_age_hours"}
)
"""Figures that move by their nature, or say what another one says better."""

_ORDINARY: Final = (
    "cpu_used_percent",
    "load_per_processor",
    "memory_available_percent",
    "memory_available_bytes",
    "swap_used_percent",
    "file_system_used_percent",
    "file_system_inodes_used_percent",
    "pressure_some_percent",
    "pressure_full_percent",
    "oom_kills",
)
"""What is told even where it is as usual, in this order."""

Key = tuple[str, str]


@dataclass(frozen=True)
class Around:
    """The fault's time, how far back is usual, and what its symptoms are about."""

    at: datetime
    baseline_hours: float
    about: frozenset[str]

    @property
    def since(self) -> datetime:
        return self.at - timedelta(hours=self.baseline_hours)


@dataclass(frozen=True)
class Recording:
    """A series in the making."""

    unit: str
    points: Sequence[Point]


async def look(
    metrics: MetricStore | None, sysstat: Sysstat | None, around: Around, now: datetime, clean: Cleaner
) -> Draft | None:
    """Return the figures around a fault; none: there are none. Raises: StoreUnavailable."""
    recordings = await _kept(metrics, around.since) if metrics else {}
    gaps: Sequence[str] = ()
    if sysstat and not _reaches_back(recordings.values(), around):
        seen = await sysstat.between(around.since, now)
        recordings, gaps = with_recorded(recordings, seen.recorded), seen.gaps
    found = [figure_of(*key, each.unit, each.points, around.at) for key, each in recordings.items()]
    told = ranked([figure for figure in found if figure], around.about)
    if not told and not gaps:
        return None
    lines, missing = first_lines([clean.line(_said(figure)) for figure in told], _CHARACTERS)
    unusual = [clean.line(_named(figure)) for figure in told if figure.is_unusual]
    return Draft(
        kind="metrics",
        title=f"the host's figures at the fault, against the {lasting(around.baseline_hours * 3600)} before",
        lines=(*lines, *(clean.line(f"not known: {gap}") for gap in gaps)),
        facts={"unusual": ", ".join(unusual)} if unusual else {},
        left_out=f"{missing} more figures" if missing else "",
    )


async def _kept(metrics: MetricStore, since: datetime) -> dict[Key, Recording]:
    series = [each for each in await metrics.list() if each.name not in _TRENDS and each.at >= since][:_MOST_SERIES]
    found: dict[Key, Recording] = {}
    for start in range(0, len(series), _AT_ONCE):
        some = series[start : start + _AT_ONCE]
        points = await asyncio.gather(*(metrics.points(s.name, s.about, since, _BUCKET_SECONDS) for s in some))
        found |= {(s.name, s.about): Recording(s.unit, p) for s, p in zip(some, points, strict=True)}
    return found


def _reaches_back(recordings: Iterable[Recording], around: Around) -> bool:
    """Tell whether the suite kept figures itself for at least half of the time that is compared with."""
    first = min((each.points[0].at for each in recordings if each.points), default=around.at)
    return first <= around.at - timedelta(hours=around.baseline_hours / 2)


def with_recorded(recordings: Mapping[Key, Recording], recorded: Sequence[Recorded]) -> dict[Key, Recording]:
    """Return series with what sysstat recorded before each of them begins."""
    found = dict(recordings)
    for key, sample_points in _series_of(recorded).items():
        unit, points = sample_points
        own = recordings.get(key, Recording(unit, ())).points
        if len(own) < FEW_POINTS or points[0].at < own[0].at:
            earlier = [point for point in points if not own or point.at < own[0].at]
            found[key] = Recording(unit, [*earlier, *own])
    return found


def _series_of(recorded: Sequence[Recorded]) -> dict[Key, tuple[str, list[Point]]]:
    series: dict[Key, tuple[str, list[Point]]] = {}
    for each in recorded:
        for sample in each.samples:
            series.setdefault(_key(sample), (sample.unit, []))[1].append(Point(each.at, *[sample.value] * 3))
    return series


def _key(sample: Sample) -> Key:
    return sample.name, sample.about


def ranked(figures: Sequence[Figure], about: frozenset[str]) -> list[Figure]:
    """Return the figures that are told: the unusual, then what the symptoms are about, then the ordinary ones."""

    def rank(figure: Figure) -> tuple[int, float, int, str, str]:
        place = _ORDINARY.index(figure.name) if figure.name in _ORDINARY else len(_ORDINARY)
        group = 0 if figure.is_unusual else 1 if figure.about and figure.about in about else 2
        return group, -round(figure.ratio, 3) if figure.is_unusual else 0.0, place, figure.name, figure.about

    told = [f for f in figures if f.is_unusual or f.name in _ORDINARY or (f.about and f.about in about)]
    return sorted(told, key=rank)


def _named(figure: Figure) -> str:
    return f"{figure.name} {figure.about}".rstrip()


def _said(figure: Figure) -> str:
    said = f"{_named(figure)}: {shown(figure.value, figure.unit)}"
    if figure.usual is None:
        said += " (no earlier figures to compare with)"
    else:
        spread = f" ± {shown(figure.spread, figure.unit)}" if figure.unit != "bool" else ""
        said += f" (usual {shown(figure.usual, figure.unit)}{spread})"
    if figure.later is not None and shown(figure.later, figure.unit) != shown(figure.value, figure.unit):
        said += f", now {shown(figure.later, figure.unit)}"
    return f"UNUSUAL {said}" if figure.is_unusual else said
