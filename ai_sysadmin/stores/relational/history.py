"""The prototype's tables of history, in ``public``: taken over where they are, made where they are not.

A table that we make is TimescaleDB's hypertable where the extension can be used, and otherwise partitioned by day
(UTC), the partitions in our own schema with one for what no day takes. A table that was there already keeps its form.
"""

import logging
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Final, NamedTuple, Protocol, TypeVar

from ai_sysadmin.core.errors import StoreUnavailable
from ai_sysadmin.core.records import Record
from ai_sysadmin.runtime.relational import Relational, Transaction, Work
from ai_sysadmin.stores.relational import timescale
from ai_sysadmin.stores.relational.timescale import Timescale

log = logging.getLogger(__name__)
T = TypeVar("T")

METRICS: Final = "system_metrics"
ABOUT: Final = "coalesce(metadata ->> 'about', '')"
_SCHEMA: Final = "ai_sysadmin"
_DAYS_AHEAD: Final = 2
_LOCK: Final = 0x41495F74  # "AI_t": everybody who makes or drops tables of history waits here
_METRIC_INDEX: Final = "idx_system_metrics_series"

_COLUMNS: Final = {
    METRICS: "metric_name TEXT NOT NULL, value DOUBLE PRECISION, unit TEXT",
    "service_status": "service_name TEXT NOT NULL, status TEXT NOT NULL, active_state TEXT",
    "log_events": "severity TEXT NOT NULL, message TEXT, unit TEXT",
    "trigger_events": "trigger_type TEXT NOT NULL, trigger_reason TEXT",
}
_INDEXES: Final = {
    METRICS: {
        "idx_system_metrics_hostname_time": "hostname, time DESC",
        "idx_system_metrics_name": "metric_name, time DESC",
        _METRIC_INDEX: f"hostname, metric_name, ({ABOUT}), time",
    },
    "service_status": {
        "idx_service_status_hostname": "hostname, service_name, time DESC",
        "idx_service_status_hostname_time": "hostname, time DESC",
    },
    "log_events": {
        "idx_log_events_severity": "hostname, severity, time DESC",
        "idx_log_events_hostname_time": "hostname, time DESC",
    },
    "trigger_events": {"idx_trigger_events_hostname_time": "hostname, time DESC"},
}
_EVERY_INDEX: Final = tuple(name for indexes in _INDEXES.values() for name in indexes)


class Form(StrEnum):
    """How a table of history is kept."""

    HYPERTABLE = "hypertable"
    PARTITIONS = "partitions"
    TABLE = "table"


class History(Record):
    """What the database offers and how each of the tables is kept; those that are not ours to change are left out."""

    timescale: Timescale | None
    forms: dict[str, Form]
    is_compressed: bool

    def __str__(self) -> str:
        kept = {
            Form.HYPERTABLE: "a hypertable" + (", compressed when old" if self.is_compressed else ""),
            Form.PARTITIONS: "a table partitioned by day",
            Form.TABLE: "one plain table, as it was found",
        }
        form = kept[self.forms[METRICS]] if METRICS in self.forms else "not made yet"
        if self.timescale is None:
            return f"plain PostgreSQL; {METRICS} is {form}"
        return f"TimescaleDB {self.timescale.version} ({self.timescale.edition} edition); {METRICS} is {form}"


class Part(NamedTuple):
    """A day's partition or a chunk."""

    table: str
    begins: datetime
    ends: datetime


class Server(Relational, Protocol):
    async def append(self, work: Work[T]) -> T:
        """Run work as one transaction that waits for no other writer of the host."""
        ...


class _Found(NamedTuple):
    history: History
    owners: dict[str, str]
    is_complete: bool
    can_install: bool


async def prepare_history(database: Server) -> History:
    """Take over or make the tables. Raises: StoreUnavailable: they cannot be had; the message says what to grant."""
    found = await database.read(_look)
    if found.can_install and METRICS not in found.history.forms:
        try:
            await database.append(_install)
        except StoreUnavailable as error:
            log.warning("TimescaleDB is left out: %s", error, extra={"event": "timescale_refused"})
    elif found.is_complete:
        return found.history
    history = await database.append(make)
    log.info("metric history: %s", history, extra={"event": "history_prepared"})
    return history


async def history_kind(database: Relational) -> History:
    """Say how history is kept, changing nothing."""
    return (await database.read(_look)).history


async def history_as_found(tx: Transaction) -> History:
    """Say how history is kept, within another look at the database."""
    return (await _look(tx)).history


async def _install(tx: Transaction) -> None:
    await _alone(tx)
    await tx.run(timescale.INSTALL)


async def _look(tx: Transaction) -> _Found:
    extension = await timescale.installed(tx)
    usable = extension if extension and extension.is_usable else None
    rows = await tx.all(
        "SELECT relname AS name, relkind = 'p' AS is_partitioned, pg_get_userbyid(relowner) AS owner,"
        " pg_has_role(relowner, 'USAGE') AS ours FROM pg_class"
        " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND relname = ANY(?)",
        (list(_COLUMNS),),
    )
    hyper = await timescale.hypertables(tx) if usable else {}
    forms = {
        row["name"]: Form.HYPERTABLE
        if row["name"] in hyper
        else (Form.PARTITIONS if row["is_partitioned"] else Form.TABLE)
        for row in rows
        if row["ours"]
    }
    there = await tx.value(
        "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname = ANY(?)",
        (list(_EVERY_INDEX),),
    )
    history = History(timescale=usable, forms=forms, is_compressed=hyper.get(METRICS, False))
    owners = {row["name"]: row["owner"] for row in rows if not row["ours"]}
    can_install = extension is None and await timescale.can_install(tx)
    return _Found(history, owners, len(forms) == len(_COLUMNS) and there == len(_EVERY_INDEX), can_install)


async def make(tx: Transaction) -> History:
    """Make the tables and indexes that are missing. Raises: StoreUnavailable: a table or schema is another's."""
    await _alone(tx)
    found = await _look(tx)
    await _may(tx, found)
    extension = found.history.timescale
    for table, columns in _COLUMNS.items():
        if table in found.owners:
            continue
        if table not in found.history.forms:
            await _make_table(tx, extension, table, columns)
        for name, on in _INDEXES[table].items():
            await tx.run(f"CREATE INDEX IF NOT EXISTS {name} ON public.{table} ({on})")
    made = (await _look(tx)).history
    is_hypertable = made.forms[METRICS] is Form.HYPERTABLE
    if extension and extension.can_compress and is_hypertable and not made.is_compressed:
        await timescale.compress_when_old(tx, extension, METRICS, "hostname, metric_name")
        made = made.model_copy(update={"is_compressed": True})
    return made


async def _may(tx: Transaction, found: _Found) -> None:
    user = await tx.value("SELECT quote_ident(current_user) AS name")
    if owner := found.owners.get(METRICS):
        raise StoreUnavailable(
            f'the table public.{METRICS} belongs to "{owner}", and taking it over needs an index on it: '
            f'as an administrator run GRANT "{owner}" TO {user}'
        )
    missing = len(found.history.forms) + len(found.owners) < len(_COLUMNS)
    if missing and not await tx.value("SELECT has_schema_privilege('public', 'CREATE') AS may"):
        raise StoreUnavailable(
            f"the tables of history cannot be made: as an administrator run GRANT CREATE ON SCHEMA public TO {user}"
        )


async def _make_table(tx: Transaction, extension: Timescale | None, table: str, columns: str) -> None:
    shape = f"time TIMESTAMPTZ NOT NULL, hostname TEXT NOT NULL, {columns}, metadata JSONB"
    if extension:
        await tx.run(f"CREATE TABLE public.{table} ({shape})")
        await timescale.make_hypertable(tx, extension, table)
        return
    await tx.run(f"CREATE TABLE public.{table} ({shape}) PARTITION BY RANGE (time)")
    await tx.run(f"CREATE TABLE {_SCHEMA}.{table}_other PARTITION OF public.{table} DEFAULT")


async def _alone(tx: Transaction) -> None:
    """Wait for whoever else makes or drops tables, however long an index of theirs takes."""
    await tx.run("SET LOCAL statement_timeout = 0")  # the transaction as a whole has its limit
    await tx.run("SET LOCAL lock_timeout = 0")
    await tx.all("SELECT pg_advisory_xact_lock(?)", (_LOCK,))


async def make_days(tx: Transaction, table: str, day: date) -> None:
    """Make a table's partitions for a day and the next ones; what waited for them elsewhere moves in."""
    await _alone(tx)
    there = {part.begins.date() for part in await _days(tx, table)}
    for each in (day + timedelta(ahead) for ahead in range(_DAYS_AHEAD + 1)):
        if each not in there:
            await _make_day(tx, table, each)


async def _make_day(tx: Transaction, table: str, day: date) -> None:
    begins, part = _midnight(day), f"{_SCHEMA}.{table}_{day:%Y%m%d}"
    bounds = (begins, begins + timedelta(days=1))
    await tx.run(f"CREATE TABLE {part} (LIKE public.{table} INCLUDING DEFAULTS)")
    other = f"{_SCHEMA}.{table}_other"
    if await tx.value(f"SELECT EXISTS (SELECT 1 FROM {other} WHERE time >= ? AND time < ?) AS is_any", bounds):  # noqa: S608
        await tx.run(f"LOCK TABLE ONLY public.{table} IN ACCESS EXCLUSIVE MODE")
        await tx.run(
            f"WITH moved AS (DELETE FROM {other} WHERE time >= ? AND time < ? RETURNING *)"  # noqa: S608
            f" INSERT INTO {part} SELECT * FROM moved",
            bounds,
        )
    since, until = (f"{moment:%Y-%m-%d}T00:00:00+00" for moment in bounds)
    await tx.run(f"ALTER TABLE public.{table} ATTACH PARTITION {part} FOR VALUES FROM ('{since}') TO ('{until}')")


async def _days(tx: Transaction, table: str) -> tuple[Part, ...]:
    rows = await tx.all(
        "SELECT relname AS name FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid"  # noqa: S608
        f" WHERE inhparent = 'public.{table}'::regclass AND relnamespace = '{_SCHEMA}'::regnamespace ORDER BY 1"
    )
    stamps = (row["name"].removeprefix(f"{table}_") for row in rows)
    days = (datetime.strptime(stamp, "%Y%m%d").replace(tzinfo=UTC) for stamp in stamps if stamp.isdigit())
    return tuple(Part(table, begins, begins + timedelta(days=1)) for begins in days)


async def droppable(tx: Transaction, history: History, table: str, until: datetime, host: str | None) -> list[Part]:
    """Return what of a table ends by a moment and holds rows of no other host (of none at all), the oldest first."""
    match history.forms[table]:
        case Form.HYPERTABLE:
            parts = [Part(table, *chunk) for chunk in await timescale.chunks(tx, table, until)]
        case Form.PARTITIONS:
            parts = [part for part in await _days(tx, table) if part.ends <= until]
        case Form.TABLE:
            parts = []
    return [part for part in parts if await _holds_no_other(tx, part, host)]


async def drop_part(tx: Transaction, history: History, part: Part, host: str | None) -> bool:
    """Drop a part, unless it now holds rows that are to stay; say whether it did.

    A transaction of its own: who waits here for the others must hold nothing that they wait for.
    """
    is_hypertable = history.forms[part.table] is Form.HYPERTABLE
    await _alone(tx)
    await tx.run("SET LOCAL lock_timeout = '5s'")  # everybody who writes waits behind this
    mode = "SHARE ROW EXCLUSIVE" if is_hypertable else "ACCESS EXCLUSIVE"
    await tx.run(f"LOCK TABLE ONLY public.{part.table} IN {mode} MODE")
    if not await _holds_no_other(tx, part, host):
        return False
    if is_hypertable and history.timescale:
        await timescale.drop_chunk(tx, history.timescale, part.table, timescale.Chunk(part.begins, part.ends))
    else:
        await tx.run(f"DROP TABLE IF EXISTS {_SCHEMA}.{part.table}_{part.begins:%Y%m%d}")
    return True


async def _holds_no_other(tx: Transaction, part: Part, host: str | None) -> bool:
    rows = f"SELECT 1 FROM public.{part.table} WHERE time >= ? AND time < ?"  # noqa: S608
    bounds = (part.begins, part.ends)
    if host is None:
        return not await tx.value(f"SELECT EXISTS ({rows}) AS is_any", bounds)
    return not await tx.value(  # two look-ups in the index, where "is another's" would read all of ours
        f"SELECT EXISTS ({rows} AND hostname < ?) OR EXISTS ({rows} AND hostname > ?) AS is_any",
        (*bounds, host, *bounds, host),
    )


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
