"""What TimescaleDB would be told, by a transaction that pretends to be one on it."""

from datetime import UTC, datetime, timedelta

import pytest

from ai_sysadmin.core.errors import StoreUnavailable
from ai_sysadmin.runtime.relational import Dialect
from ai_sysadmin.stores.relational.history import Form, History, Part, drop_part, droppable, make, prepare_history
from ai_sysadmin.stores.relational.timescale import Edition, Timescale, installed

DAY = datetime(2026, 11, 20, tzinfo=UTC)
TABLES = ("system_metrics", "service_status", "log_events", "trigger_events")

DROP = (
    "SELECT public.drop_chunks('public.system_metrics'::regclass,"
    " older_than => ?::timestamptz, newer_than => ?::timestamptz)"
)


class Pretended:
    """A database with TimescaleDB: it knows which tables were made and keeps every other statement it was sent."""

    dialect = Dialect.POSTGRES

    def __init__(self, version: str | None = "2.28.0", licence: str = "timescale", can_install: bool = False) -> None:
        self.version, self.licence, self.can_install = version, licence, can_install
        self.tables: dict[str, str] = {}
        self.hypertables: dict[str, bool] = {}
        self.owners: dict[str, str] = {}
        self.others: set[datetime] = set()
        self.refuses_to_install = False
        self.sent: list[str] = []
        self.values: tuple[object, ...] = ()

    async def all(self, statement, values=()):
        if "FROM pg_class WHERE relnamespace" in statement and "relkind" in statement:
            return [
                {
                    "name": name,
                    "is_partitioned": kind == "p",
                    "owner": self.owners.get(name, "us"),
                    "ours": int(name not in self.owners),
                }
                for name, kind in self.tables.items()
            ]
        if "timescaledb_information.hypertables" in statement:
            return [{"name": name, "is_compressed": is_so} for name, is_so in self.hypertables.items()]
        if "timescaledb_information.chunks" in statement:
            assert values[0] == "system_metrics"
            days = [DAY, DAY + timedelta(days=1)]
            return [
                {"range_start": day, "begins": day, "ends": day + timedelta(days=1)} for day in days if day < values[1]
            ]
        self._keep(statement, values)
        if "create_hypertable" in statement:
            self.hypertables[statement.split("'public.")[1].split("'")[0]] = False
        return []

    async def one(self, statement, values=()):
        if "FROM pg_extension" not in statement:
            raise AssertionError(statement)
        return self.version and {"version": self.version, "schema": "public", "license": self.licence}

    async def value(self, statement, values=()):
        if "pg_available_extensions" in statement:
            return int(self.can_install)
        if "has_schema_privilege" in statement:
            return True
        if "current_user" in statement:
            return "us"
        if "EXISTS" in statement:
            return values[0] in self.others
        return 0

    async def run(self, statement, values=()):
        self._keep(statement, values)
        if statement.startswith("CREATE EXTENSION"):
            if self.refuses_to_install:
                raise StoreUnavailable("permission denied to create extension")
            self.version = "2.28.0"
        if statement.startswith("CREATE TABLE public."):
            self.tables[statement.split("public.")[1].split()[0]] = "p" if "PARTITION BY" in statement else "r"
        return 0

    async def many(self, statement, rows):
        raise AssertionError(statement)

    def tell(self, topic: str) -> None: ...

    def _keep(self, statement, values) -> None:
        if not statement.startswith(("SET LOCAL", "SELECT pg_advisory")):
            self.sent.append(statement)
            self.values = tuple(values)

    def said(self, word: str) -> list[str]:
        return [statement for statement in self.sent if word in statement]

    async def read(self, work):
        return await work(self)

    async def append(self, work):
        return await work(self)

    write = append


def adopted(**given) -> Pretended:
    """Return a database as the prototype left it."""
    database = Pretended(**given)
    database.tables = dict.fromkeys(TABLES, "r")
    database.hypertables = dict.fromkeys(TABLES, False)
    return database


async def test_each_table_is_made_and_turned_into_a_hypertable_by_day_while_it_is_empty():
    database = Pretended()
    history = await make(database)
    assert set(history.forms) == set(TABLES)
    assert set(history.forms.values()) == {Form.HYPERTABLE}
    begun = [each for each in database.sent if "system_metrics" in each]
    assert begun[0] == (
        "CREATE TABLE public.system_metrics (time TIMESTAMPTZ NOT NULL, hostname TEXT NOT NULL,"
        " metric_name TEXT NOT NULL, value DOUBLE PRECISION, unit TEXT, metadata JSONB)"
    )
    assert begun[1] == (
        "SELECT public.create_hypertable('public.system_metrics'::regclass, public.by_range('time', INTERVAL '1 day'),"
        " create_default_indexes => FALSE, if_not_exists => TRUE)"
    )
    assert len(database.said("create_hypertable")) == len(TABLES)
    assert not database.said("PARTITION")


async def test_under_timescales_licence_old_chunks_are_compressed():
    database = Pretended()
    history = await make(database)
    settings, policy = database.sent[-2:]
    assert settings == (
        "ALTER TABLE public.system_metrics SET (timescaledb.enable_columnstore = true,"
        " timescaledb.segmentby = 'hostname, metric_name', timescaledb.orderby = 'time DESC')"
    )
    assert policy == (
        "CALL public.add_columnstore_policy('public.system_metrics'::regclass,"
        " after => INTERVAL '7 days', if_not_exists => TRUE)"
    )
    assert history.is_compressed
    assert str(history) == "TimescaleDB 2.28.0 (tsl edition); system_metrics is a hypertable, compressed when old"


async def test_the_apache_edition_is_asked_for_no_compression_and_no_policy():
    database = Pretended(licence="apache")
    history = await make(database)
    assert not database.said("columnstore")
    assert not database.said("policy")
    assert database.said("create_hypertable")
    assert str(history) == "TimescaleDB 2.28.0 (apache edition); system_metrics is a hypertable"


async def test_the_prototypes_hypertables_are_not_made_again_but_compressed_once():
    database = adopted()
    assert (await make(database)).forms == dict.fromkeys(TABLES, Form.HYPERTABLE)
    assert not database.said("create_hypertable")
    assert not database.said("CREATE TABLE")
    assert database.said("add_columnstore_policy")
    assert database.said("CREATE INDEX IF NOT EXISTS idx_system_metrics_hostname_time ON public.system_metrics")
    database.hypertables["system_metrics"], database.sent = True, []
    await make(database)
    assert not database.said("columnstore")


async def test_one_plain_table_that_was_there_stays_plain():
    database = adopted()
    database.hypertables = {}
    history = await make(database)
    assert history.forms["system_metrics"] is Form.TABLE
    assert not database.said("columnstore")
    assert not database.said("create_hypertable")


@pytest.mark.parametrize(("version", "form"), [("2.12.4", Form.PARTITIONS), ("2.13.0", Form.HYPERTABLE)])
async def test_a_version_without_ranges_is_left_alone(version, form):
    history = await make(Pretended(version=version))
    assert history.forms["system_metrics"] is form
    assert not history.is_compressed


async def test_the_extension_is_installed_where_the_server_lets_us():
    database = Pretended(version=None, can_install=True)
    history = await prepare_history(database)
    assert database.sent[0] == "CREATE EXTENSION IF NOT EXISTS timescaledb SCHEMA public"
    assert history.timescale == Timescale(version="2.28.0", edition=Edition.TSL, schema_name="public")


async def test_an_extension_that_cannot_be_installed_after_all_leaves_partitions():
    database = Pretended(version=None, can_install=True)
    database.refuses_to_install = True
    history = await prepare_history(database)
    assert history.timescale is None
    assert str(history) == "plain PostgreSQL; system_metrics is a table partitioned by day"


async def test_where_the_prototypes_tables_are_already_the_extension_is_not_installed_for_them():
    database = adopted(version=None, can_install=True)
    database.hypertables = {}
    await prepare_history(database)
    assert not database.said("CREATE EXTENSION")


async def test_a_table_of_another_owner_is_refused_with_what_to_run():
    database = adopted()
    database.owners = {"system_metrics": "macha-ai"}
    with pytest.raises(StoreUnavailable, match='GRANT "macha-ai" TO us'):
        await make(database)


async def test_a_chunk_goes_by_its_own_bounds_unless_another_host_has_rows_in_it():
    database = adopted()
    history = await make(database)
    until, database.others = DAY + timedelta(days=9), {DAY}
    (part,) = await droppable(database, history, "system_metrics", until, "host1")
    assert part == Part("system_metrics", DAY + timedelta(days=1), DAY + timedelta(days=2))
    assert await drop_part(database, history, part, "host1")
    assert database.sent[-2:] == ["LOCK TABLE ONLY public.system_metrics IN SHARE ROW EXCLUSIVE MODE", DROP]
    assert database.values == (part.ends, part.begins)


async def test_a_chunk_that_another_host_has_just_written_to_stays():
    database = adopted()
    history = await make(database)
    part = Part("system_metrics", DAY, DAY + timedelta(days=1))
    database.others, database.sent = {DAY}, []
    assert not await drop_part(database, history, part, "host1")
    assert not database.said("drop_chunks")


@pytest.mark.parametrize(("version", "release"), [("2.28.0-dev", (2, 28)), ("2.28.0", (2, 28)), ("3.0", (3, 0))])
async def test_versions_are_read(version, release):
    found = await installed(Pretended(version=version))
    assert found is not None
    assert found.release == release


def test_before_anything_is_made_that_is_said():
    assert str(History(timescale=None, forms={}, is_compressed=False)).endswith("system_metrics is not made yet")
