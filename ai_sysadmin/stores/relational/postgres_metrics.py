"""Figures over time on PostgreSQL: as they were read in the prototype's ``system_metrics``, rolled up in our own table.

A figure of ours is a row whose metadata is nothing or names what it is about; the prototype's rows always have metadata
and never name that. So both read as one history, and only what is ours is rolled up: the prototype's rows stay as they
are until ``drop``.
"""

import asyncio
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Final, NamedTuple

from ai_sysadmin.core.errors import StoreUnavailable
from ai_sysadmin.core.records import Sample
from ai_sysadmin.runtime.postgres import PostgresDatabase, PostgresTransaction
from ai_sysadmin.runtime.relational import Transaction
from ai_sysadmin.stores.metric_store import Point, Series
from ai_sysadmin.stores.relational import metric_statements as statements
from ai_sysadmin.stores.relational import timescale
from ai_sysadmin.stores.relational.history import (
    METRICS,
    Form,
    History,
    Part,
    drop_part,
    droppable,
    make_days,
    prepare_history,
)

log = logging.getLogger(__name__)

_LATE: Final = timedelta(days=1)
"""A figure that comes later than this behind those already rolled up is rolled up at the next start only."""

_WINDOW: Final = timedelta(days=1)
_LONGEST_NAME: Final = 200  # an index takes 2,700 bytes of name, what it is about and host
_LONGEST_ABOUT: Final = 400
_WINDOW_SECONDS: Final = 80  # a transaction has 90

Key = tuple[str, str]
Row = tuple[datetime, str, str, float, str, dict[str, str] | None]


class _Batch(NamedTuple):
    """Figures of one moment, the last of each series."""

    at: datetime
    figures: Mapping[Key, Sample]


class PostgresMetrics:
    """``MetricStore`` on PostgreSQL. One process writes a host's figures; its newest moment is kept in it."""

    def __init__(self, database: PostgresDatabase, host: str) -> None:
        self._database = database
        self._host = host
        self._history: History | None = None
        self._preparing = asyncio.Lock()
        self._writing = asyncio.Lock()
        self._began: dict[Key, datetime] = {}
        self._days: set[date] = set()
        self._newest: datetime | None = None
        self._rolled_up_to: dict[int, datetime] = {}

    async def history(self) -> History:
        """Return how the figures are kept; the first who asks has the tables made. Raises: StoreUnavailable."""
        async with self._preparing:
            if self._history is None:
                self._history = await prepare_history(self._database)
            return self._history

    async def write(self, samples: Sequence[Sample], at: datetime) -> None:
        figures = {(_name(each.name), _about(each.about)): each for each in samples if math.isfinite(each.value)}
        if not figures:
            return
        batch, history = _Batch(at, figures), await self.history()
        async with self._writing:
            await self._make_days(history, at)
            # Unknown until the end is known: what was not answered may be in the table all the same.
            newest, self._newest = self._newest, None
            begun = {key: at for key in figures if at < self._began.get(key, datetime.max.replace(tzinfo=UTC))}
            self._newest = await self._database.append(partial(self._write, batch=batch, begun=begun, newest=newest))
            self._began |= begun

    async def _write(
        self, tx: Transaction, batch: _Batch, begun: Mapping[Key, datetime], newest: datetime | None
    ) -> datetime:
        if newest is None:
            statement = f"SELECT max(time) AS newest FROM public.{METRICS} WHERE hostname = ?"  # noqa: S608
            newest = await tx.value(statement, (self._host,))
        if newest is not None and batch.at <= newest:
            names, abouts = [name for name, _ in batch.figures], [about for _, about in batch.figures]
            await tx.run(statements.FORGET_SAME, (self._host, batch.at, names, abouts))
        await tx.many(
            statements.BEGIN,
            [(self._host, *key, _text(batch.figures[key].unit), moment) for key, moment in begun.items()],
        )
        if not isinstance(tx, PostgresTransaction):
            raise TypeError(f"{type(tx).__name__} has no COPY")
        await tx.copy(statements.COPY, statements.TYPES, self._rows(batch))
        return max(newest, batch.at) if newest else batch.at

    def _rows(self, batch: _Batch) -> Iterator[Row]:
        for (name, about), each in batch.figures.items():
            metadata = {"about": about} if about else None
            yield batch.at, self._host, name, each.value, _text(each.unit), metadata

    async def _make_days(self, history: History, at: datetime) -> None:
        day = at.astimezone(UTC).date()
        if day in self._days:
            return
        for table, form in history.forms.items():
            if form is Form.PARTITIONS:
                await self._database.append(partial(make_days, table=table, day=day))
        self._days.add(day)

    async def list(self) -> Sequence[Series]:
        await self.history()

        async def work(tx: Transaction) -> Sequence[Series]:
            rows = await tx.all(statements.LIST, (self._host,) * 6)
            found = (
                Series(name=row["name"], about=row["about"], unit=row["unit"], value=row["value"], at=row["at"])
                for row in rows
            )
            return tuple(sorted(found, key=lambda each: (each.name, each.about)))

        return await self._database.read(work)

    async def points(self, name: str, about: str, since: datetime, bucket_seconds: int = 0) -> Sequence[Point]:
        await self.history()
        series = (self._host, _name(name), _about(about), since)

        async def work(tx: Transaction) -> Sequence[Point]:
            if bucket_seconds:
                rows = await tx.all(statements.BUCKETS, (bucket_seconds, *series, *series))
            else:
                rows = await tx.all(statements.POINTS, (*series, *series))
            return tuple(Point(*row.values()) for row in rows)

        return await self._database.read(work)

    async def roll_up(self, before: datetime, bucket_seconds: int) -> None:
        """Replace raw figures of ours by one point a bucket, and drop days that hold nothing any more."""
        history = await self.history()
        until = datetime.fromtimestamp(before.timestamp() // bucket_seconds * bucket_seconds, UTC)
        since = self._rolled_up_to.get(bucket_seconds)
        began = await self._database.read(self._first_began)
        if began is not None:
            start = max(began, since - _LATE) if since else began
            await self._roll_up_windows(start, until, bucket_seconds)
        self._rolled_up_to[bucket_seconds] = until
        await self._drop_parts(history, until, None)

    async def _first_began(self, tx: Transaction) -> datetime | None:
        began: datetime | None = await tx.value(
            "SELECT min(began) AS began FROM metric_names WHERE host = ?", (self._host,)
        )
        return began

    async def _roll_up_windows(self, start: datetime, until: datetime, bucket: int) -> None:
        """Work through the days that hold any figures, one transaction each, so that none lasts long."""
        while (first := await self._first(METRICS, start, until)) is not None:
            end = min(_bucket_end(first + _WINDOW, bucket), until)
            await self._database.append(partial(self._roll_up, since=first, until=end, bucket=bucket))
            start = end
        await self._database.append(partial(self._widen, until=until, bucket=bucket))

    async def _roll_up(self, tx: Transaction, since: datetime, until: datetime, bucket: int) -> None:
        await _take_time(tx)
        await tx.run(statements.ROLL_UP, (self._host, since, until, self._host, self._host, bucket, bucket))

    async def _widen(self, tx: Transaction, until: datetime, bucket: int) -> None:
        await _take_time(tx)
        narrower = "SELECT min(at) AS at FROM metric_rollups WHERE host = ? AND at < ? AND width < ?"
        since = await tx.value(narrower, (self._host, until, bucket))
        if since is not None:
            await tx.run(statements.WIDEN, (self._host, since, until, bucket, self._host, bucket, bucket))

    async def drop(self, before: datetime) -> None:
        """Forget what is older than a moment, here and in the prototype's other tables: whole days in one piece."""
        history = await self.history()
        await self._drop_parts(history, before, self._host)
        for table in history.forms:
            await self._delete_windows(table, before)
        await self._database.append(partial(self._drop_rollups, before=before))
        async with self._writing:
            await self._database.append(self._drop_names)
            self._began = {}

    async def _drop_parts(self, history: History, until: datetime, host: str | None) -> None:
        async def work(tx: Transaction) -> Sequence[Part]:
            return [part for table in history.forms for part in await droppable(tx, history, table, until, host)]

        try:
            for part in await self._database.read(work):
                if await self._database.append(partial(drop_part, history=history, part=part, host=host)):
                    self._days.discard(part.begins.astimezone(UTC).date())
        except StoreUnavailable as error:  # somebody reads it for long, as a dump does; its rows go one by one
            log.info("old days stay for now: %s", error, extra={"event": "history_kept"})

    async def _delete_windows(self, table: str, before: datetime) -> None:
        start = datetime.min.replace(tzinfo=UTC)
        statement = f"DELETE FROM public.{table} WHERE hostname = ? AND time >= ? AND time < ?"  # noqa: S608
        while (first := await self._first(table, start, before)) is not None:
            start = min(first + _WINDOW, before)
            await self._database.append(partial(_delete, statement=statement, values=(self._host, first, start)))

    async def _first(self, table: str, since: datetime, until: datetime) -> datetime | None:
        """Return the moment of the host's oldest row in a span; none: it holds none."""
        statement = f"SELECT min(time) AS time FROM public.{table} WHERE hostname = ? AND time >= ? AND time < ?"  # noqa: S608

        async def work(tx: Transaction) -> datetime | None:
            first: datetime | None = await tx.value(statement, (self._host, since, until))
            return first

        return await self._database.read(work)

    async def _drop_rollups(self, tx: Transaction, before: datetime) -> None:
        await _take_time(tx)
        await tx.run("DELETE FROM metric_rollups WHERE host = ? AND at < ?", (self._host, before))

    async def _drop_names(self, tx: Transaction) -> None:
        await _take_time(tx)
        await tx.run(statements.FORGET_EMPTY, (self._host,))


async def _delete(tx: Transaction, statement: str, values: Sequence[object]) -> None:
    await _take_time(tx)
    await tx.run(statement, values)


async def _take_time(tx: Transaction) -> None:
    """Let a statement that works through a whole day run longer than those that somebody waits for."""
    await tx.run(f"SET LOCAL statement_timeout = '{_WINDOW_SECONDS}s'")
    await timescale.unpack_any_number(tx)


def _bucket_end(moment: datetime, bucket: int) -> datetime:
    """Return the end of the bucket a moment falls into, so that no bucket is divided."""
    return datetime.fromtimestamp((moment.timestamp() // bucket + 1) * bucket, UTC)


def _name(text: str) -> str:
    return _text(text)[:_LONGEST_NAME]


def _about(text: str) -> str:
    return _text(text)[:_LONGEST_ABOUT]


def _text(text: str) -> str:
    """Return a text as PostgreSQL can keep it: UTF-8, without NUL."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
