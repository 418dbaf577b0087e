"""What every metric store must do; the same assertions on every implementation."""

import asyncio
import math
from contextlib import asynccontextmanager
from datetime import timedelta
from importlib.resources import files
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ai_sysadmin.core.records import Sample
from ai_sysadmin.runtime.postgres import PostgresDatabase
from ai_sysadmin.stores.metric_store import Point
from ai_sysadmin.stores.relational import open_stores
from ai_sysadmin.stores.relational.postgres_metrics import PostgresMetrics
from tests.builders import HOST, NOW

LONG_AGO = NOW - timedelta(days=365)
HOSTS = count(1)


@asynccontextmanager
async def opened(place, host: str = HOST):
    """Open the metrics of a place alone: a file of SQLite's, or by its URL a database of PostgreSQL's."""
    if isinstance(place, Path):
        async with open_stores(place, host) as stores:
            yield stores.metrics
        return
    database = PostgresDatabase(place, host, files("ai_sysadmin.stores.relational") / "migrations" / "postgres")
    await database.open()
    try:
        yield PostgresMetrics(database, host)
    finally:
        await database.close()


@pytest.fixture
async def metrics(place):
    async with opened(place) as metrics:
        yield metrics


def at(seconds: float):
    return NOW + timedelta(seconds=seconds)


async def fill(metrics, values: dict[float, float], name: str = "load", about: str = "") -> None:
    for second, value in values.items():
        await metrics.write([Sample(name, value, about, "ratio")], at(second))


async def values(metrics, name: str = "load", about: str = "", since=LONG_AGO, bucket: int = 0) -> list[float]:
    return [point.value for point in await metrics.points(name, about, since, bucket)]


async def test_what_is_written_comes_back_oldest_first(metrics):
    await fill(metrics, {30: 3.0, 0: 1.0, 15: 2.0})
    assert await metrics.points("load", "", LONG_AGO) == (
        Point(at(0), 1.0, 1.0, 1.0),
        Point(at(15), 2.0, 2.0, 2.0),
        Point(at(30), 3.0, 3.0, 3.0),
    )
    assert await values(metrics, since=at(15)) == [2.0, 3.0]


async def test_series_are_told_apart_by_name_and_by_what_they_are_about(metrics):
    await metrics.write([Sample("used", 1, "/"), Sample("used", 2, "/var"), Sample("free", 3, "/")], NOW)
    assert await values(metrics, "used", "/") == [1]
    assert await values(metrics, "used", "/var") == [2]
    assert await values(metrics, "free", "/") == [3]
    assert await values(metrics, "free", "/var") == []


async def test_the_list_names_every_series_with_its_newest_figure(metrics):
    await metrics.write([Sample("used", 1, "/", "percent"), Sample("load", 5, "", "ratio")], at(0))
    await metrics.write([Sample("used", 2, "/", "percent")], at(15))
    await metrics.write([Sample("used", 9, "/", "percent")], at(-15))
    listed = [(each.name, each.about, each.unit, each.value, each.at) for each in await metrics.list()]
    assert listed == [("load", "", "ratio", 5, at(0)), ("used", "/", "percent", 2, at(15))]


async def test_two_figures_of_one_moment_are_one_the_later_one(metrics):
    await fill(metrics, {0: 1.0})
    await fill(metrics, {0: 4.0})
    assert await metrics.points("load", "", LONG_AGO) == (Point(NOW, 4.0, 4.0, 4.0),)


async def test_what_is_no_number_is_not_kept_and_harms_nothing(metrics):
    await metrics.write([Sample("a", math.nan), Sample("b", math.inf), Sample("c", 1.0)], NOW)
    await metrics.write([Sample("a", math.nan)], NOW)
    await metrics.write([], NOW)
    assert [each.name for each in await metrics.list()] == ["c"]


async def test_buckets_hold_mean_least_and_most_and_only_where_there_is_any(metrics):
    start = at(0).timestamp() % 300
    assert start == 0
    await fill(metrics, {0: 1.0, 100: 2.0, 299: 6.0, 300: 10.0, 900: 7.0})
    assert await metrics.points("load", "", LONG_AGO, 300) == (
        Point(at(0), 3.0, 1.0, 6.0),
        Point(at(300), 10.0, 10.0, 10.0),
        Point(at(900), 7.0, 7.0, 7.0),
    )


async def test_rolling_up_leaves_one_point_a_bucket_and_the_young_as_they_are(metrics):
    await fill(metrics, {0: 1.0, 100: 2.0, 299: 6.0, 300: 10.0, 450: 20.0, 610: 5.0})
    await metrics.roll_up(at(650), 300)  # 600 to 900 is not over yet
    assert await metrics.points("load", "", LONG_AGO) == (
        Point(at(0), 3.0, 1.0, 6.0),
        Point(at(300), 15.0, 10.0, 20.0),
        Point(at(610), 5.0, 5.0, 5.0),
    )
    assert await metrics.points("load", "", LONG_AGO, 600) == (
        Point(at(0), 9.0, 1.0, 20.0),
        Point(at(600), 5.0, 5.0, 5.0),
    )


async def test_rolling_up_again_changes_nothing_that_is_rolled_up(metrics):
    await fill(metrics, {0: 1.0, 100: 2.0, 299: 6.0, 400: 8.0})
    await metrics.roll_up(at(300), 300)
    before = await metrics.points("load", "", LONG_AGO)
    await metrics.roll_up(at(300), 300)
    assert await metrics.points("load", "", LONG_AGO) == before
    await fill(metrics, {700: 9.0})
    await metrics.roll_up(at(900), 300)
    assert await values(metrics) == [3.0, 8.0, 9.0]
    assert (await metrics.list())[0].value == 9.0


async def test_what_is_old_is_forgotten_with_the_series_that_hold_nothing_else(metrics):
    await fill(metrics, {0: 1.0, 100: 2.0, 400: 8.0})
    await fill(metrics, {0: 1.0}, "gone")
    await metrics.roll_up(at(300), 300)
    await metrics.drop(at(300))
    assert await values(metrics) == [8.0]
    assert [each.name for each in await metrics.list()] == ["load"]
    await fill(metrics, {500: 3.0}, "gone")
    assert await values(metrics, "gone") == [3.0]


async def test_many_series_at_one_moment(metrics):
    many = [Sample("used", float(number), f"/{number}", "percent") for number in range(3000)]
    await metrics.write(many, at(0))
    await metrics.write(many, at(15))
    assert len(await metrics.list()) == 3000
    assert await values(metrics, "used", "/2999") == [2999, 2999]


async def test_writers_and_readers_at_the_same_time(metrics):
    await asyncio.gather(
        *(fill(metrics, {number: float(number) for number in range(20)}, about=f"{n}") for n in range(5)),
        *(metrics.list() for _ in range(20)),
        metrics.roll_up(at(-1), 300),
    )
    assert {each.value for each in await metrics.list()} == {19.0}


async def test_another_host_has_its_own(place):
    async with opened(place, "one") as one, opened(place, "two") as two:
        await fill(one, {0: 1.0})
        await fill(two, {0: 2.0})
        await fill(two, {0: 2.0}, "only two's")
        assert [each.name for each in await one.list()] == ["load"]
        await two.roll_up(at(300), 300)
        assert await values(one) == [1.0]
        await two.drop(NOW + timedelta(days=2))
        assert await values(one) == [1.0]
        assert await values(two) == []


@settings(
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
)
@given(st.dictionaries(st.integers(0, 3000), st.floats(-1e6, 1e6), min_size=1, max_size=20), st.integers(0, 3300))
def test_rolled_up_or_not_buckets_of_that_width_are_the_same(place, figures, until):
    async def both() -> None:
        async with opened(place, f"host{next(HOSTS)}") as metrics:
            for second, value in figures.items():
                await metrics.write([Sample("load", value)], at(second))
            before = await metrics.points("load", "", LONG_AGO, 300)
            await metrics.roll_up(at(until), 300)
            after = await metrics.points("load", "", LONG_AGO, 300)
        assert [point.at for point in before] == [point.at for point in after]
        for one, other in zip(before, after, strict=True):
            assert one[1:] == pytest.approx(other[1:])

    asyncio.run(both())
