"""Figures over time, over HTTP: which there are, and how one went."""

import difflib
import math
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Query
from starlette.responses import Response

from ai_sysadmin.actions.periods import LONGEST_DAYS, period_of
from ai_sysadmin.context.defuse import one_line
from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.errors import NotFound
from ai_sysadmin.core.records import Record
from ai_sysadmin.openai_api_server.errors import Fault, Faulty
from ai_sysadmin.openai_api_server.system.metric_views import MetricHistories, MetricHistory, MetricPoint, Metrics
from ai_sysadmin.stores.metric_store import MetricStore, Point, Series

DEFAULT_SINCE: Final = "24h"
DEFAULT_LISTED: Final = 500
MOST_LISTED: Final = 10_000
DEFAULT_THINGS: Final = 20
MOST_THINGS: Final = 100
FINEST_POINTS: Final = 6000
"""So many points of one series at most: a day of figures that are read every 15 s."""

_DRAWN_POINTS: Final = 200
_ANSWERED_POINTS: Final = 24_000
_MOST_SECONDS: Final = LONGEST_DAYS * 86_400
_BUCKETS: Final = (1, 5, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400, 172_800)
_MOST_NEAR: Final = 5
_NAMED: Final = 100


class Figures:
    """The look-ups behind ``/v1/system/metrics``."""

    def __init__(self, store: MetricStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def listing(self, beginning: str, limit: int) -> Metrics:
        """Return the series whose names begin so. Raises: StoreUnavailable."""
        found = [each for each in await self._every() if each.name.startswith(beginning)]
        listed = tuple(found[: max(1, min(limit, MOST_LISTED))])
        return Metrics(metrics=listed, found=len(found), left_off=len(found) - len(listed), at=self._clock.now())

    async def histories(self, name: str, about: str, period: timedelta, bucket: int, limit: int) -> MetricHistories:
        """Return how a metric went on every thing, or on one.

        Args:
            about: the thing; empty: every one.
            bucket: how many seconds one point stands for; 0: such that a terminal can show them.
            limit: so many things at most.

        Raises: StoreUnavailable; NotFound: the names near it are named.
        """
        found = named(await self._every(), name, about)
        now = self._clock.now()
        since = now - period
        seconds = period.total_seconds()
        bucket = bucket or bucket_of(seconds)
        most = max(1, min(limit, MOST_THINGS, int(_ANSWERED_POINTS / (seconds / bucket))))
        ordered = sorted(found, key=lambda each: (each.at < since, each.about))
        series = [
            history_of(each, await self._store.points(name, each.about, since, bucket) if each.at >= since else ())
            for each in ordered[:most]
        ]
        return MetricHistories(
            name=name,
            since=since,
            at=now,
            bucket_seconds=bucket,
            series=tuple(series),
            left_off=len(found) - len(series),
        )

    async def _every(self) -> Sequence[Series]:
        return [each for each in await self._store.list() if math.isfinite(each.value)]


def named(every: Sequence[Series], name: str, about: str) -> Sequence[Series]:
    """Return the series of a name, all of them or those about one thing. Raises: NotFound: there is none."""
    if not every:
        raise NotFound("no figures are kept yet: the trigger monitor writes them once it runs")
    of_name = [each for each in every if each.name == name]
    if not of_name:
        near = _near(name, sorted({each.name for each in every}))
        hint = f"near it: {', '.join(near)}; " if near else ""
        every_one = "`ai-sysadmin metrics list` shows every one"
        raise NotFound(f"there is no metric {one_line(name, _NAMED)!r}; {hint}{every_one}")
    found = [each for each in of_name if not about or each.about == about]
    if not found:
        things = sorted(each.about for each in of_name)
        near = _near(about, [each for each in things if each]) or things[:_MOST_NEAR]
        told = ", ".join(one_line(each, _NAMED) or "(the host)" for each in near)
        more = f" and {len(things) - len(near)} more" if len(things) > len(near) else ""
        raise NotFound(f"{name} is not measured on {one_line(about, _NAMED)!r}, but on {told}{more}")
    return found


def _near(wanted: str, names: Collection[str]) -> list[str]:
    """Return the names most like what was asked for, those first that hold it."""
    short = wanted[:_NAMED].casefold()
    by_fold = {each[:_NAMED].casefold(): each for each in names}
    holding = [name for fold, name in by_fold.items() if len(short) > 2 and short in fold]
    alike = [by_fold[fold] for fold in difflib.get_close_matches(short, by_fold, _MOST_NEAR)]
    return list(dict.fromkeys([*holding, *alike]))[:_MOST_NEAR]


def bucket_of(seconds: float) -> int:
    """Return the least usual bucket, in seconds, with which a time has about 200 points or fewer."""
    return next((each for each in _BUCKETS if seconds / each <= _DRAWN_POINTS), _BUCKETS[-1])


def history_of(series: Series, points: Sequence[Point]) -> MetricHistory:
    """Return a series with its points and what they come to."""
    kept = [each for each in points if math.isfinite(each.value + each.least + each.most)]
    return MetricHistory(
        about=series.about,
        unit=series.unit,
        value=series.value,
        newest_at=series.at,
        least=min((each.least for each in kept), default=None),
        mean=sum(each.value for each in kept) / len(kept) if kept else None,
        most=max((each.most for each in kept), default=None),
        points=tuple(MetricPoint(at=each.at, value=each.value, least=each.least, most=each.most) for each in kept),
    )


def router(figures: Figures) -> APIRouter:
    """Return the paths below ``/v1/system``."""
    paths = APIRouter()

    @paths.get("/metrics")
    async def listing(name: str = "", limit: int = DEFAULT_LISTED) -> Response:
        return _record(await figures.listing(name, limit))

    @paths.get("/metrics/{name:path}")
    async def histories(
        name: str,
        about: str = "",
        since: str = DEFAULT_SINCE,
        bucket: Annotated[int, Query(ge=0, le=_MOST_SECONDS)] = 0,
        limit: int = DEFAULT_THINGS,
    ) -> Response:
        period = _period(since)
        if bucket and period.total_seconds() / bucket > FINEST_POINTS:
            least = math.ceil(period.total_seconds() / FINEST_POINTS)
            text = f"bucket: {bucket} s make too many points of this time; at least {least}, or a shorter time"
            raise Faulty(Fault(400, text, code="invalid_request", param="bucket"))
        return _record(await figures.histories(name, about, period, bucket, limit))

    return paths


def _period(since: str) -> timedelta:
    try:
        return period_of(since)
    except ValueError as error:
        raise Faulty(Fault(400, str(error), code="invalid_request", param="since")) from error


def _record(record: Record) -> Response:
    return Response(record.model_dump_json(), media_type="application/json")
