"""The stores on PostgreSQL beside bare psycopg doing the same, in the same run, on a cluster of its own.

Metrics: ``write`` in ticks of a hundred series, beside a loop of binary COPY that puts the same rows, one transaction a
tick, into a table with the same columns, indexes and partitions; ``points`` beside SQL written by hand for the one
table; ``list`` and ``roll_up`` over all of it. Rounds alternate, and the best of each counts.
"""

import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from itertools import count
from pathlib import Path

import psycopg

sys.path.insert(0, str(Path(__file__).parents[1]))

from ai_sysadmin.core.records import Sample
from ai_sysadmin.runtime.postgres import PostgresDatabase
from ai_sysadmin.stores.relational.postgres_metrics import PostgresMetrics
from tests.postgres_server import PostgresServer, postgres_server

TICKS = int(sys.argv[1]) if len(sys.argv) > 1 else 500
HISTORY_TICKS = int(sys.argv[2]) if len(sys.argv) > 2 else 10080
SERIES = 100
ROUNDS = 3
REPEATS = 15
BEGAN = datetime(2026, 11, 10, tzinfo=UTC)
HOST = "host1"
TYPES = ("timestamptz", "text", "text", "float8", "text", "jsonb")
COPY = "COPY public.system_metrics (time, hostname, metric_name, value, unit, metadata) FROM STDIN (FORMAT BINARY)"
FILL = f"""
INSERT INTO public.system_metrics (time, hostname, metric_name, value, unit)
SELECT '{BEGAN.isoformat()}'::timestamptz + tick * INTERVAL '1 minute', '{HOST}', 'metric_' || series, random(), 'ratio'
FROM generate_series(0, {HISTORY_TICKS - 1}) AS tick, generate_series(0, {SERIES - 1}) AS series
"""
BY_HAND = """
SELECT date_bin('5 minutes', time, TIMESTAMPTZ 'epoch') AS at, avg(value), min(value), max(value)
FROM public.system_metrics WHERE hostname = %s AND metric_name = %s AND time >= %s GROUP BY 1 ORDER BY 1
"""
NUMBERS = count(1)
Tick = tuple[datetime, list[Sample]]


def ticks(apart: timedelta) -> list[Tick]:
    rng = random.Random(1)
    return [
        (BEGAN + tick * apart, [Sample(f"metric_{number}", rng.random(), "", "ratio") for number in range(SERIES)])
        for tick in range(TICKS)
    ]


async def empty(server: PostgresServer, days: int) -> tuple[PostgresDatabase, PostgresMetrics, str]:
    """Return a database of its own with the tables made, and the partitions of so many days."""
    name = f"bench{next(NUMBERS)}"
    server.sql(f"CREATE DATABASE {name}")
    scripts = files("ai_sysadmin.stores.relational") / "migrations" / "postgres"
    database = PostgresDatabase(server.url(name), HOST, scripts)
    await database.open()
    metrics = PostgresMetrics(database, HOST)
    for day in range(days):
        await metrics.write([Sample("begun", 0.0)], BEGAN - timedelta(hours=1) + timedelta(days=day))
    server.sql("DELETE FROM public.system_metrics", name)
    return database, PostgresMetrics(database, HOST), name


async def bare(server: PostgresServer, all_ticks: list[Tick]) -> float:
    database, _, name = await empty(server, 2)
    await database.close()
    async with await psycopg.AsyncConnection.connect(server.url(name), autocommit=True) as connection:
        began = time.perf_counter()
        for at, samples in all_ticks:
            async with (
                connection.transaction(),
                connection.cursor() as cursor,
                cursor.copy(COPY) as copy,
            ):
                copy.set_types(TYPES)
                for each in samples:
                    await copy.write_row((at, HOST, each.name, each.value, each.unit, None))
        return TICKS * SERIES / (time.perf_counter() - began)


async def store(server: PostgresServer, all_ticks: list[Tick]) -> float:
    database, metrics, _ = await empty(server, 2)
    began = time.perf_counter()
    for at, samples in all_ticks:
        await metrics.write(samples, at)
    rate = TICKS * SERIES / (time.perf_counter() - began)
    await database.close()
    return rate


async def median_ms(work: Callable[[], Awaitable[object]]) -> float:
    taken = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        await work()
        taken.append((time.perf_counter() - began) * 1000)
    return sorted(taken)[REPEATS // 2]


async def history(server: PostgresServer) -> None:
    days = HISTORY_TICKS // 1440 + 2
    database, metrics, name = await empty(server, days)
    server.sql(FILL, name)
    server.sql("VACUUM ANALYZE", name)
    print(f"{HISTORY_TICKS * SERIES:,} rows of {SERIES} series in {days} days:")
    async with await psycopg.AsyncConnection.connect(server.url(name), autocommit=True) as connection:
        for what, since in (("all", BEGAN), ("last hour", BEGAN + timedelta(minutes=HISTORY_TICKS - 60))):

            async def by_hand(since: datetime = since) -> None:
                await (await connection.execute(BY_HAND, (HOST, "metric_7", since))).fetchall()

            async def by_store(since: datetime = since) -> None:
                await metrics.points("metric_7", "", since, 300)

            peer, ours = await median_ms(by_hand), await median_ms(by_store)
            print(f"  5-minute buckets of one series, {what:10} by hand {peer:7.1f} ms   points {ours:7.1f} ms")
    print(f"  list                                       {await median_ms(metrics.list):7.1f} ms")
    server.sql(
        "INSERT INTO ai_sysadmin.metric_names SELECT hostname, metric_name, '', 'ratio', min(time)"
        " FROM public.system_metrics GROUP BY 1, 2",
        name,
    )
    for what in ("roll up all of it", "roll up once more"):
        began = time.perf_counter()
        await metrics.roll_up(BEGAN + timedelta(days=days), 300)
        print(f"  {what:42} {time.perf_counter() - began:7.2f} s")
    await database.close()


def main() -> None:
    """Print the figures."""
    with postgres_server(options="") as server:
        all_ticks = ticks(timedelta(seconds=15))
        rates = [(asyncio.run(bare(server, all_ticks)), asyncio.run(store(server, all_ticks))) for _ in range(ROUNDS)]
        peer, ours = (max(each) for each in zip(*rates, strict=True))
        print(f"{TICKS} ticks of {SERIES} rows, one transaction each, rows per second:")
        print(f"  {'bare psycopg, binary COPY (peer)':32} {peer:>10,.0f}")
        print(f"  {'PostgresMetrics.write':32} {ours:>10,.0f}   {ours / peer:5.2f} of the peer")
        asyncio.run(history(server))


if __name__ == "__main__":
    main()
