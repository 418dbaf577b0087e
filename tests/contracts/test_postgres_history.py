"""Metric history in the prototype's own table: taken over, written beside its rows, kept by day."""

import asyncio
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from importlib.resources import files

import pytest

from ai_sysadmin.core.errors import StoreUnavailable
from ai_sysadmin.core.records import Sample
from ai_sysadmin.runtime.postgres import PostgresDatabase
from ai_sysadmin.stores.relational.history import Form, history_kind
from ai_sysadmin.stores.relational.postgres_metrics import PostgresMetrics
from tests.builders import HOST, NOW

LONG_AGO = NOW - timedelta(days=365)
DAY = timedelta(days=1)
SCRIPTS = files("ai_sysadmin.stores.relational") / "migrations" / "postgres"
TABLE = (
    "CREATE TABLE IF NOT EXISTS system_metrics (time TIMESTAMPTZ NOT NULL, hostname TEXT NOT NULL,"
    " metric_name TEXT NOT NULL, value DOUBLE PRECISION, unit TEXT, metadata JSONB)"
)
# 10,000 rows: ten metrics, one row each every 57.6 minutes of forty days.
FILL = (
    "INSERT INTO system_metrics (time, hostname, metric_name, value, unit, metadata)"
    f" SELECT TIMESTAMPTZ '{NOW - 40 * DAY}' + n * INTERVAL '57.6 minutes', '{HOST}', 'proto_' || m, n + m, 'percent',"
    " '{}' FROM generate_series(0, 999) AS n, generate_series(0, 9) AS m"
)
INSERT = "INSERT INTO system_metrics (time, hostname, metric_name, value, unit, metadata) VALUES "


@pytest.fixture
def server(postgres):
    return postgres


@pytest.fixture
def name(server, request):
    name = f"history{abs(hash(request.node.nodeid))}"
    server.sql(f"CREATE DATABASE {name}")
    return name


@asynccontextmanager
async def opened(url: str, host: str = HOST):
    database = PostgresDatabase(url, host, SCRIPTS)
    await database.open()
    try:
        yield PostgresMetrics(database, host)
    finally:
        await database.close()


def days_of(server, name: str, table: str = "system_metrics") -> list[str]:
    """Return the days that have a partition of their own."""
    listed = server.sql(
        f"SELECT right(relname, 8) FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid"
        f" WHERE inhparent = 'public.{table}'::regclass AND relname NOT LIKE '%other' ORDER BY 1",
        name,
    )
    return listed.split()


def row(moment: datetime, name: str, value: float, host: str = HOST) -> str:
    return f"('{moment.isoformat()}', '{host}', '{name}', {value}, 'percent', '{{}}')"


async def values(metrics, name: str, about: str = "", bucket: int = 0) -> list[float]:
    return [point.value for point in await metrics.points(name, about, LONG_AGO, bucket)]


async def test_the_prototypes_rows_stay_and_are_read_and_its_own_insert_still_works(server, name):
    server.sql(TABLE, name)
    server.sql(FILL, name)
    server.sql(INSERT + row(NOW, "proto_0", 1, "elsewhere"), name)
    before = server.sql("SELECT md5(string_agg(s::text, ',' ORDER BY s::text)) FROM system_metrics AS s", name)
    async with opened(server.url(name)) as metrics:
        listed = await metrics.list()
        assert [each.name for each in listed] == [f"proto_{n}" for n in range(10)]
        assert (listed[3].value, listed[3].unit) == (1002, "percent")
        assert await values(metrics, "proto_3") == [n + 3 for n in range(1000)]
        assert (await metrics.history()).forms["system_metrics"] is Form.TABLE
        assert (
            server.sql("SELECT md5(string_agg(s::text, ',' ORDER BY s::text)) FROM system_metrics AS s", name) == before
        )

        server.sql(TABLE, name)  # as it says at each of its starts
        server.sql(INSERT + row(NOW + DAY, "proto_3", 7) + "," + row(NOW, "proto_new", 8), name)
        await metrics.write([Sample("proto_3", 9.0, "", "percent"), Sample("used", 5.0, "/var", "percent")], NOW + DAY)
        assert [each.name for each in await metrics.list()][-2:] == ["proto_new", "used"]
        assert (await values(metrics, "used", "/var")) == [5.0]
    kept = server.sql(f"SELECT value, unit, metadata FROM system_metrics WHERE time = '{NOW + DAY}' ORDER BY 1", name)
    assert kept.splitlines() == ['5|percent|{"about": "/var"}', "7|percent|{}", "9|percent|"]


async def test_the_prototypes_rows_are_not_rolled_up_and_go_when_they_are_older_than_is_kept(server, name):
    server.sql(TABLE, name)
    server.sql(FILL, name)
    async with opened(server.url(name)) as metrics:
        for number in range(4):
            await metrics.write(
                [Sample("proto_0", float(number)), Sample("load", 1.0)], NOW + number * timedelta(minutes=1)
            )
        server.sql(INSERT + row(NOW + timedelta(minutes=1, seconds=30), "proto_0", 50), name)
        await metrics.roll_up(NOW + DAY, 300)
        assert int(server.sql("SELECT count(*) FROM system_metrics", name)) == 10_001
        assert await values(metrics, "proto_0") == [*range(1000), 1.5, 50]
        await metrics.drop(NOW - 20 * DAY)
        assert int(server.sql("SELECT count(*) FROM system_metrics", name)) == 5_001
        assert await values(metrics, "proto_0") == [*range(500, 1000), 1.5, 50]
        await metrics.drop(NOW + 2 * DAY)
        assert await metrics.list() == ()
        assert server.sql("SELECT count(*) FROM system_metrics", name) == "0"


async def test_where_nothing_was_there_days_have_partitions_that_go_in_one_piece(server, name):
    async with opened(server.url(name)) as metrics:
        for day in range(3):
            await metrics.write([Sample("load", float(day))], NOW + day * DAY)
        assert days_of(server, name) == ["20261120", "20261121", "20261122", "20261123", "20261124"]
        assert days_of(server, name, "log_events") == days_of(server, name)
        assert server.sql("SELECT count(*) FROM ai_sysadmin.system_metrics_other", name) == "0"
        await metrics.drop(datetime(2026, 11, 22, 1, tzinfo=NOW.tzinfo))
        assert days_of(server, name)[0] == "20261122"
        assert await values(metrics, "load") == [2.0]
        await metrics.roll_up(NOW + 2.9 * DAY, 300)
        await metrics.roll_up(NOW + 4 * DAY, 300)
        assert days_of(server, name) == ["20261124"]
        assert await values(metrics, "load") == [2.0]
        await metrics.write([Sample("load", 7.0)], NOW)  # its day was dropped: a late figure has a place all the same
        assert await values(metrics, "load") == [7.0, 2.0]


async def test_a_day_with_another_hosts_rows_stays_and_loses_only_ours(server, name):
    async with opened(server.url(name), "one") as one, opened(server.url(name), "two") as two:
        await one.write([Sample("load", 1.0)], NOW)
        await two.write([Sample("load", 2.0)], NOW)
        await one.drop(NOW + 5 * DAY)
        assert "20261120" in days_of(server, name)
        assert await values(one, "load") == []
        assert await values(two, "load") == [2.0]
        await two.drop(NOW + 5 * DAY)
        assert "20261120" not in days_of(server, name)


async def test_rows_of_a_day_without_a_partition_move_in_when_it_gets_one(server, name):
    async with opened(server.url(name)) as metrics:
        await metrics.history()
        server.sql(INSERT + row(NOW, "proto", 3), name)
        assert server.sql("SELECT count(*) FROM ai_sysadmin.system_metrics_other", name) == "1"
        await metrics.write([Sample("load", 1.0)], NOW)
        assert server.sql("SELECT count(*) FROM ai_sysadmin.system_metrics_other", name) == "0"
        assert await values(metrics, "proto") == [3.0]
        assert await values(metrics, "load") == [1.0]


async def test_what_is_written_again_after_a_restart_is_not_there_twice(server, name):
    moments = [NOW + number * timedelta(seconds=15) for number in range(4)]
    async with opened(server.url(name)) as metrics:
        for moment in moments:
            await metrics.write([Sample("load", 1.0), Sample("used", 1.0, "/")], moment)
    async with opened(server.url(name)) as metrics:
        for moment in moments[1:]:
            await metrics.write([Sample("load", 2.0), Sample("used", 2.0, "/")], moment)
        assert await values(metrics, "load") == [1.0, 2.0, 2.0, 2.0]
        assert await values(metrics, "used", "/") == [1.0, 2.0, 2.0, 2.0]
    assert server.sql("SELECT count(*) FROM system_metrics", name) == "8"


class HardOfHearing(PostgresDatabase):
    """A database whose answer to a commit gets lost when it is told so."""

    loses = False

    async def append(self, work):
        answer = await super().append(work)
        if self.loses:
            raise StoreUnavailable("the connection was lost")
        return answer


async def test_a_write_whose_end_was_not_heard_is_not_there_twice(server, name):
    database = HardOfHearing(server.url(name), HOST, SCRIPTS)
    await database.open()
    try:
        metrics = PostgresMetrics(database, HOST)
        await metrics.write([Sample("load", 1.0)], NOW)
        database.loses = True
        later = NOW + timedelta(seconds=15)
        with pytest.raises(StoreUnavailable):
            await metrics.write([Sample("load", 2.0)], later)
        database.loses = False
        await metrics.write([Sample("load", 3.0)], later)
        assert await values(metrics, "load") == [1.0, 3.0]
    finally:
        await database.close()


async def test_a_figure_that_comes_after_its_bucket_was_rolled_up_counts_in_it(server, name):
    async with opened(server.url(name)) as metrics:
        for second, value in ((0, 1.0), (10, 2.0)):
            await metrics.write([Sample("load", value)], NOW + timedelta(seconds=second))
        await metrics.roll_up(NOW + timedelta(seconds=300), 300)
        await metrics.write([Sample("load", 6.0)], NOW + timedelta(seconds=20))
        await metrics.roll_up(NOW + timedelta(seconds=600), 300)
        assert [tuple(point[1:]) for point in await metrics.points("load", "", LONG_AGO)] == [(3.0, 1.0, 6.0)]
        await metrics.roll_up(NOW + timedelta(hours=1), 3600)
        assert server.sql("SELECT width, figures FROM ai_sysadmin.metric_rollups", name) == "3600|3"


async def test_what_no_number_is_in_the_prototypes_rows_is_passed_over(server, name):
    server.sql(TABLE, name)
    rows = (row(NOW + n * DAY, "proto", value) for n, value in enumerate(["1", "NULL", "'NaN'", "'Infinity'"]))
    server.sql(INSERT + ",".join(rows), name)
    async with opened(server.url(name)) as metrics:
        assert await values(metrics, "proto") == [1.0]
        assert await values(metrics, "proto", bucket=300) == [1.0]
        assert [each.value for each in await metrics.list()] == [1.0]


async def test_any_text_can_name_what_a_figure_is_about(server, name):
    abouts = ["a\0b", "\udcff", "'; --", '"', "%s ?", "ä" * 3000, "\\u0000"]
    async with opened(server.url(name)) as metrics:
        await metrics.write([Sample("used", float(n), about, "a\0") for n, about in enumerate(abouts)], NOW)
        for number, about in enumerate(abouts):
            assert await values(metrics, "used", about) == [number]
        assert len(await metrics.list()) == len(abouts)


async def test_several_services_that_start_at_once_make_the_tables_once(server, name):
    hosts = [f"h{number}" for number in range(4)]
    async with opened(server.url(name), "first"):
        pass  # the numbered migrations are not what is tried here

    async def start(host: str) -> None:
        async with opened(server.url(name), host) as metrics:
            await metrics.write([Sample("load", 1.0)], NOW)

    await asyncio.gather(*map(start, hosts))
    assert server.sql("SELECT string_agg(hostname, ' ' ORDER BY hostname) FROM system_metrics", name) == " ".join(hosts)


async def test_a_table_of_another_owner_is_refused_with_what_to_run(server, name):
    server.sql(TABLE, name)
    user = f"plain{name}"
    server.sql(f"CREATE USER {user}", name)
    server.sql(f"GRANT CREATE ON DATABASE {name} TO {user}", name)
    url = server.url(name).replace("postgres@", f"{user}@")
    async with opened(url) as metrics:
        with pytest.raises(StoreUnavailable, match=f'GRANT "postgres" TO {user}'):
            await metrics.write([Sample("load", 1.0)], NOW)
        server.sql(f"ALTER TABLE system_metrics OWNER TO {user}", name)
        with pytest.raises(StoreUnavailable, match=f"GRANT CREATE ON SCHEMA public TO {user}"):
            await metrics.write([Sample("load", 1.0)], NOW)
        server.sql(f"GRANT CREATE ON SCHEMA public TO {user}", name)
        await metrics.write([Sample("load", 1.0)], NOW)
        assert await values(metrics, "load") == [1.0]


async def test_what_is_kept_is_said_without_changing_anything(server, name):
    database = PostgresDatabase(server.url(name), HOST, SCRIPTS)
    await database.open()
    try:
        assert str(await history_kind(database)) == "plain PostgreSQL; system_metrics is not made yet"
        await PostgresMetrics(database, HOST).list()
        assert str(await history_kind(database)) == "plain PostgreSQL; system_metrics is a table partitioned by day"
    finally:
        await database.close()
