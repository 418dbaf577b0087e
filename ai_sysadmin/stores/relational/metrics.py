"""Figures over time: a clustered key of series and time, rolled up by age."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final

from ai_sysadmin.core.records import Sample
from ai_sysadmin.runtime.relational import Relational, Transaction
from ai_sysadmin.stores.metric_store import Point, Series

_LATE_SECONDS: Final = 86400.0
"""A figure that comes later than this behind those already rolled up is rolled up at the next start only."""


class SqlMetrics:
    """``MetricStore`` on SQLite. One process writes; the numbers of its series are kept in it."""

    def __init__(self, database: Relational, host: str) -> None:
        self._database = database
        self._host = host
        self._numbers: dict[tuple[str, str], int] = {}
        self._rolled_up_to: dict[int, float] = {}

    async def write(self, samples: Sequence[Sample], at: datetime) -> None:
        second = at.timestamp()
        figures = [each for each in samples if math.isfinite(each.value)]
        if not figures:
            return

        async def work(tx: Transaction) -> dict[tuple[str, str], int]:
            new = {(each.name, each.about): each for each in figures if (each.name, each.about) not in self._numbers}
            begun = {key: await self._begin(tx, each) for key, each in new.items()}
            numbers = self._numbers | begun
            await tx.many(
                "INSERT INTO metric_points (series, at, value, least, most) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (series, at) DO UPDATE"
                " SET value = excluded.value, least = excluded.least, most = excluded.most, bucket = 0",
                [(numbers[each.name, each.about], second, each.value, each.value, each.value) for each in figures],
            )
            return begun

        # Only what was committed is remembered: the number of a series that was rolled back names nothing.
        self._numbers |= await self._database.write(work)

    async def _begin(self, tx: Transaction, sample: Sample) -> int:
        number = await tx.value(
            "INSERT INTO metric_series (host, name, about, unit) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (host, name, about) DO UPDATE SET unit = excluded.unit RETURNING id",
            (self._host, sample.name, sample.about, sample.unit),
        )
        return int(number)

    async def list(self) -> Sequence[Series]:
        async def work(tx: Transaction) -> Sequence[Series]:
            rows = await tx.all(
                "SELECT name, about, unit, value, newest AS at FROM"
                " (SELECT id, name, about, unit, (SELECT max(at) FROM metric_points WHERE series = id) AS newest"
                " FROM metric_series WHERE host = ?)"
                " JOIN metric_points ON series = id AND at = newest ORDER BY name, about",
                (self._host,),
            )
            return tuple(
                Series(
                    name=row["name"], about=row["about"], unit=row["unit"], value=row["value"], at=_moment(row["at"])
                )
                for row in rows
            )

        return await self._database.read(work)

    async def points(self, name: str, about: str, since: datetime, bucket_seconds: int = 0) -> Sequence[Point]:
        if bucket_seconds:
            slot = "CAST(at / ? AS INTEGER) * ?"
            figures = f"{slot} AS at, avg(value) AS value, min(least) AS least, max(most) AS most"
            widths: tuple[int, ...] = (bucket_seconds,) * 2
        else:
            figures, widths = "at, value, least, most", ()
        grouped = " GROUP BY 1" if bucket_seconds else ""

        async def work(tx: Transaction) -> Sequence[Point]:
            rows = await tx.all(
                f"SELECT {figures} FROM metric_points JOIN metric_series ON id = series"  # noqa: S608
                f" WHERE host = ? AND name = ? AND about = ? AND metric_points.at >= ?{grouped} ORDER BY 1",
                (*widths, self._host, name, about, since.timestamp()),
            )
            return tuple(Point(_moment(row["at"]), row["value"], row["least"], row["most"]) for row in rows)

        return await self._database.read(work)

    async def roll_up(self, before: datetime, bucket_seconds: int) -> None:
        until = before.timestamp() // bucket_seconds * bucket_seconds
        since = self._rolled_up_to.get(bucket_seconds, float("-inf")) - _LATE_SECONDS
        for series in await self._all_series():  # one at a time, so that others who write need not wait for all
            work = partial(_roll_up, series=series, since=since, until=until, bucket=bucket_seconds)
            await self._database.write(work)
        self._rolled_up_to[bucket_seconds] = until

    async def drop(self, before: datetime) -> None:
        for series in await self._all_series():
            await self._database.write(partial(_drop, series=series, before=before.timestamp()))
        await self._database.write(self._drop_empty)

    async def _drop_empty(self, tx: Transaction) -> None:
        await tx.run(
            "DELETE FROM metric_series WHERE host = ?"
            " AND NOT EXISTS (SELECT 1 FROM metric_points WHERE series = metric_series.id)",
            (self._host,),
        )
        self._numbers = {}

    async def _all_series(self) -> Sequence[int]:
        async def work(tx: Transaction) -> Sequence[int]:
            rows = await tx.all("SELECT id FROM metric_series WHERE host = ?", (self._host,))
            return tuple(row["id"] for row in rows)

        return await self._database.read(work)


async def _drop(tx: Transaction, series: int, before: float) -> None:
    await tx.run("DELETE FROM metric_points WHERE series = ? AND at < ?", (series, before))


async def _roll_up(tx: Transaction, series: int, since: float, until: float, bucket: int) -> None:
    which = "series = ? AND at >= ? AND at < ? AND bucket < ?"
    values = (series, since, until, bucket)
    rolled = await tx.all(
        "SELECT CAST(at / ? AS INTEGER) * ? AS slot, avg(value) AS value, min(least) AS least, max(most) AS most"  # noqa: S608
        f" FROM metric_points WHERE {which} GROUP BY 1",
        (bucket, bucket, *values),
    )
    await tx.run(f"DELETE FROM metric_points WHERE {which}", values)  # noqa: S608
    await tx.many(
        "INSERT INTO metric_points (series, at, bucket, value, least, most) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (series, at) DO UPDATE SET bucket = excluded.bucket, value = excluded.value,"
        " least = excluded.least, most = excluded.most",
        [(series, row["slot"], bucket, row["value"], row["least"], row["most"]) for row in rolled],
    )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
