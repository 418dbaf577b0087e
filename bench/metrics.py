"""The metric store's ``write``, in ticks of a hundred series: rows per second, beside the bare inserts.

Peer: a plain sqlite3 loop in the same run, which puts the same rows into an equal table of its own, one transaction a
tick, with the same journal mode. Both are measured by the wall clock; rounds alternate, and the best of each counts.
"""

import asyncio
import random
import sqlite3
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ai_sysadmin.core.records import Sample
from ai_sysadmin.stores.relational import open_stores

TICKS = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
SERIES = 100
ROUNDS = 3
BEGAN = datetime(2026, 11, 20, tzinfo=UTC)

TABLE = """
CREATE TABLE metric_points (
    series INTEGER NOT NULL, at REAL NOT NULL, bucket INTEGER NOT NULL DEFAULT 0,
    value REAL NOT NULL, least REAL NOT NULL, most REAL NOT NULL,
    PRIMARY KEY (series, at)
) WITHOUT ROWID
"""


def ticks() -> list[tuple[datetime, list[Sample]]]:
    rng = random.Random(1)
    return [
        (
            BEGAN + timedelta(seconds=15 * tick),
            [Sample(f"metric_{number}", rng.random(), "", "ratio") for number in range(SERIES)],
        )
        for tick in range(TICKS)
    ]


def bare(path: Path, all_ticks: list[tuple[datetime, list[Sample]]]) -> float:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute(TABLE)
    began = time.perf_counter()
    for at, samples in all_ticks:
        second = at.timestamp()
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            "INSERT INTO metric_points (series, at, value, least, most) VALUES (?, ?, ?, ?, ?)",
            [(number, second, each.value, each.value, each.value) for number, each in enumerate(samples)],
        )
        connection.execute("COMMIT")
    seconds = time.perf_counter() - began
    connection.close()
    return TICKS * SERIES / seconds


async def store(path: Path, all_ticks: list[tuple[datetime, list[Sample]]]) -> float:
    async with open_stores(path, "host1") as stores:
        began = time.perf_counter()
        for at, samples in all_ticks:
            await stores.metrics.write(samples, at)
        return TICKS * SERIES / (time.perf_counter() - began)


async def ageing(path: Path, all_ticks: list[tuple[datetime, list[Sample]]]) -> None:
    async with open_stores(path, "host1") as stores:
        now = all_ticks[-1][0] + timedelta(days=1)
        for name, work in (
            ("list all series", stores.metrics.list()),
            ("one series in 5-minute buckets", stores.metrics.points("metric_7", "", BEGAN, 300)),
            ("roll up everything", stores.metrics.roll_up(now, 300)),
            ("roll up once more", stores.metrics.roll_up(now, 300)),
            ("forget half", stores.metrics.drop(BEGAN + (all_ticks[-1][0] - BEGAN) / 2)),
        ):
            began = time.perf_counter()
            await work
            print(f"  {name:32} {1000 * (time.perf_counter() - began):>8.1f} ms")


def main() -> None:
    all_ticks = ticks()
    with tempfile.TemporaryDirectory() as directory:
        rounds = [
            (
                bare(Path(directory) / f"bare-{number}.db", all_ticks),
                asyncio.run(store(Path(directory) / f"store-{number}.db", all_ticks)),
            )
            for number in range(ROUNDS)
        ]
        peer, ours = (max(rates) for rates in zip(*rounds, strict=True))
        print(f"{TICKS} ticks of {SERIES} rows, one transaction each, rows per second:")
        print(f"  {'bare sqlite3 (peer)':32} {peer:>10,.0f}")
        print(f"  {'MetricStore.write':32} {ours:>10,.0f}   {ours / peer:5.2f} of the peer")
        asyncio.run(ageing(Path(directory) / "store-0.db", all_ticks))


if __name__ == "__main__":
    main()
