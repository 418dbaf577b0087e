"""Figures over time: how one metric went, and when it last was out of its ordinary."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Final

from pydantic import Field

from ai_sysadmin.context.defuse import one_line
from ai_sysadmin.context.pieces.drafts import iso, lasting, shown
from ai_sysadmin.context.pieces.unusual import AROUND, FEW_POINTS, Figure, figure_of
from ai_sysadmin.core.clock import Clock, since
from ai_sysadmin.core.errors import NotFound
from ai_sysadmin.stores.metric_store import MetricStore, Point, Series
from ai_sysadmin.tools.table import columns
from ai_sysadmin.tools.tool import Part, Told, Tool, beyond, tool_of

SHOWN_POINTS: Final = 24
_BUCKETS: Final = 288
_LEAST_BUCKET_SECONDS: Final = 300
_MOST_SERIES: Final = 60
_MOST_NAMES: Final = 120
_ABOUT: Final = 120


def figure_tools(metrics: MetricStore, clock: Clock) -> tuple[Tool, ...]:
    """Return the tool ``metric_history``."""

    async def metric_history(
        name: Annotated[Part, Field(description="a metric, such as memory_available_percent; empty: list them")] = "",
        about: Annotated[
            str, Field(max_length=300, description="what it is measured on: a mount point, an interface, a unit")
        ] = "",
        hours: Annotated[int, Field(ge=1, le=2160, description="how far back")] = 24,
    ) -> Told:
        """Show how a metric went: least, mean, most, last, a short series, and when it last was unusual."""
        every = await metrics.list()
        found = [each for each in every if each.name == name and (each.about == about or not about)]
        if not name or not found:
            return _names(every, name, about)
        if len(found) > 1:
            exact = [each for each in found if each.about == about]
            if not exact:
                return _choices(found, clock.now())
            found = exact
        now = clock.now()
        bucket = max(_LEAST_BUCKET_SECONDS, hours * 3600 // _BUCKETS)
        points = await metrics.points(name, found[0].about, now - timedelta(hours=hours), bucket)
        return Told("\n".join(history(found[0], points, hours, now)), narrow="give fewer `hours`")

    return (tool_of(metric_history, says="metric history {name} {about}"),)


def _names(every: Sequence[Series], name: str, about: str) -> Told:
    """Return the metrics that there are, those first whose names hold what was asked for. Raises: NotFound."""
    if not every:
        raise NotFound("no figures are kept yet: the trigger monitor writes them once it runs")
    counts: dict[str, int] = {}
    for each in every:
        counts[each.name] = counts.get(each.name, 0) + 1
    if name in counts:
        things = ", ".join(one_line(each.about, _ABOUT) or "(the host)" for each in every if each.name == name)
        return Told(f"{name} is not measured on {one_line(about, _ABOUT)!r}, but on: {things}")
    parts = [part for part in name.casefold().replace("-", "_").split("_") if len(part) > 2]
    near = [each for each in counts if any(part in each.casefold() for part in parts)]
    told = near or list(counts)
    rows = [f"{each} ({counts[each]} series)" if counts[each] > 1 else each for each in sorted(told)[:_MOST_NAMES]]
    asked = f"there is no metric {one_line(name, 100)!r}; " if name else ""
    head = f"{asked}{'there are' if not near else 'near it'}:"
    return Told(
        "\n".join([head, *rows]),
        narrow="give a part of the `name`",
        truncated=beyond(len(told) - len(rows), "metrics"),
    )


def _choices(found: Sequence[Series], now: datetime) -> Told:
    """Return the newest figure of each thing that a metric is measured on."""
    rows = [
        (one_line(each.about, _ABOUT) or "(the host)", shown(each.value, each.unit), f"{since(each.at, now)} ago")
        for each in found[:_MOST_SERIES]
    ]
    head = f"{found[0].name} is measured on {len(found)} things; give one of them as `about`:"
    return Told(
        "\n".join([head, *columns(("about", "last", "read"), rows)]),
        truncated=beyond(len(found) - len(rows), "of them"),
    )


def history(series: Series, points: Sequence[Point], hours: int, now: datetime) -> list[str]:
    """Say how a series went. ``points`` are the oldest first."""
    title = f"{series.name} {one_line(series.about, _ABOUT)}".rstrip()
    last = f"last {shown(series.value, series.unit)} at {iso(series.at)} ({since(series.at, now)} ago)"
    if not points:
        return [f"{title}: no figures in the last {hours} h; {last}"]
    values = [point.value for point in points]
    mean = sum(values) / len(values)
    span = lasting((now - points[0].at).total_seconds())
    # The mean of a yes or no is a share.
    middle = f"{100 * mean:.0f} % of the time yes" if series.unit == "bool" else f"mean {shown(mean, series.unit)}"
    least, most = min(point.least for point in points), max(point.most for point in points)
    return [
        f"{title}, the last {span}:",
        f"least {shown(least, series.unit)}, {middle}, most {shown(most, series.unit)}, {last}",
        _ordinary(series, points),
        *columns(("at", "mean", "least", "most"), [_row(each, series.unit) for each in _thinned(points)]),
    ]


def _row(point: Point, unit: str) -> tuple[str, ...]:
    is_share = unit == "bool" and 0 < point.value < 1
    mean = f"{100 * point.value:.0f} % yes" if is_share else shown(point.value, unit)
    return iso(point.at), mean, shown(point.least, unit), shown(point.most, unit)


def _thinned(points: Sequence[Point]) -> list[Point]:
    """Return at most so many points over the same time, each the mean, least and most of those it stands for."""
    share = -(-len(points) // SHOWN_POINTS)
    groups = [points[start : start + share] for start in range(0, len(points), share)]
    return [
        Point(
            group[0].at,
            sum(each.value for each in group) / len(group),
            min(each.least for each in group),
            max(each.most for each in group),
        )
        for group in groups
    ]


def _ordinary(series: Series, points: Sequence[Point]) -> str:
    """Say when the series last was out of its ordinary, against what had been usual until then."""
    if len(points) <= FEW_POINTS:
        return "too few figures to say what is usual"
    found = last_unusual(series, points)
    if found is None:
        return "never out of its ordinary in this time"
    at, figure = found
    usual = f", usual was {shown(figure.usual, series.unit)}" if figure.usual is not None else ""
    ending = " and still is" if at == points[-1].at else ""
    return f"last out of its ordinary at {iso(at)}{ending}: {shown(figure.value, series.unit)}{usual}"


def last_unusual(series: Series, points: Sequence[Point]) -> tuple[datetime, Figure] | None:
    """Return the newest point that was out of the ordinary of those before it; none: no one was, or too few are."""
    for end in range(len(points), FEW_POINTS, -1):
        at = points[end - 1].at
        figure = figure_of(series.name, series.about, series.unit, points[:end], at)
        if figure is not None and figure.is_unusual:
            return _moment(points[:end], at, figure.value), figure
    return None


def _moment(points: Sequence[Point], at: datetime, value: float) -> datetime:
    """Return when a figure was read that counts around a moment."""
    around = (each.at for each in points if at - each.at <= AROUND and value in {each.least, each.value, each.most})
    return max(around, default=at)
