"""Every store on a relational database: one SQLite file (the embedded default) or PostgreSQL, the same code on both."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from ai_sysadmin.core.clock import Clock, SystemClock
from ai_sysadmin.core.errors import StoreUnavailable
from ai_sysadmin.runtime.relational import Relational
from ai_sysadmin.runtime.restoring import refuse_interrupted
from ai_sysadmin.runtime.sqlite import Database, SqliteRelational
from ai_sysadmin.stores.metric_store import MetricStore
from ai_sysadmin.stores.relational.decisions import SqlDecisions
from ai_sysadmin.stores.relational.health import SqlHealth
from ai_sysadmin.stores.relational.judgements import SqlInvestigations, SqlReviews
from ai_sysadmin.stores.relational.keys import SqlKeys
from ai_sysadmin.stores.relational.knowledge import SqlKnowledge
from ai_sysadmin.stores.relational.leases import SqlLeases
from ai_sysadmin.stores.relational.metrics import SqlMetrics
from ai_sysadmin.stores.relational.mutes import SqlAlerts, SqlMutes
from ai_sysadmin.stores.relational.notes import SqlNotes
from ai_sysadmin.stores.relational.notices import SqlNotices
from ai_sysadmin.stores.relational.notifications import SqlNotifications
from ai_sysadmin.stores.relational.outbox import SqlOutbox
from ai_sysadmin.stores.relational.outcomes import SqlOutcomes
from ai_sysadmin.stores.relational.proposals import SqlProposals
from ai_sysadmin.stores.relational.reading import SqlReader
from ai_sysadmin.stores.relational.retention import SqlRetention
from ai_sysadmin.stores.relational.templates import SqlTemplates

__all__ = ["SqlStores", "open_stores"]


@dataclass(frozen=True)
class SqlStores:
    """Every protocol of ``ai_sysadmin.stores`` over one open database."""

    notices: SqlNotices
    reviews: SqlReviews
    investigations: SqlInvestigations
    outbox: SqlOutbox
    reader: SqlReader
    notes: SqlNotes
    templates: SqlTemplates
    mutes: SqlMutes
    alerts: SqlAlerts
    metrics: MetricStore
    decisions: SqlDecisions
    health: SqlHealth
    knowledge: SqlKnowledge
    leases: SqlLeases
    proposals: SqlProposals
    keys: SqlKeys
    outcomes: SqlOutcomes
    notifications: SqlNotifications
    retention: SqlRetention


@asynccontextmanager
async def open_stores(
    place: Path | str, host: str, clock: Clock | None = None, wait_seconds: float = 0.0
) -> AsyncIterator[SqlStores]:
    """Open a database for one host's records: a file of SQLite's, or by its URL one of PostgreSQL's.

    Args:
        wait_seconds: how long a PostgreSQL that does not answer is waited for.

    Raises:
        StoreUnavailable: it cannot be opened; the message says what to look at.
        SettingsError: the URL is none of PostgreSQL's.
    """
    clock = clock or SystemClock()
    async with _file(place) if isinstance(place, Path) else _server(place, host, wait_seconds) as database:
        yield SqlStores(
            SqlNotices(database, host),
            SqlReviews(database, host),
            SqlInvestigations(database, host),
            SqlOutbox(database, host, clock),
            SqlReader(database, host),
            SqlNotes(database, host),
            SqlTemplates(database, host),
            SqlMutes(database, host),
            SqlAlerts(database, host),
            _metrics(database, host),
            SqlDecisions(database, host),
            SqlHealth(database, host),
            SqlKnowledge(database, host),
            SqlLeases(database, host),
            SqlProposals(database, host),
            SqlKeys(database, host),
            SqlOutcomes(database, host),
            SqlNotifications(database, host),
            SqlRetention(database, host),
        )


def _metrics(database: Relational, host: str) -> MetricStore:
    if isinstance(database, SqliteRelational):
        return SqlMetrics(database, host)
    from ai_sysadmin.runtime.postgres import PostgresDatabase
    from ai_sysadmin.stores.relational.postgres_metrics import PostgresMetrics

    if not isinstance(database, PostgresDatabase):
        raise TypeError(f"{type(database).__name__} keeps no figures")
    return PostgresMetrics(database, host)


@asynccontextmanager
async def _file(path: Path) -> AsyncIterator[Relational]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(f"the state directory {path.parent} cannot be made: {error}") from error
    refuse_interrupted(path.parent)
    file = Database(path, files(__name__) / "migrations" / "sqlite", known_before=7)
    await file.open()
    try:
        yield SqliteRelational(file)
    finally:
        await file.close()


@asynccontextmanager
async def _server(url: str, host: str, wait_seconds: float) -> AsyncIterator[Relational]:
    from ai_sysadmin.runtime.postgres import PostgresDatabase

    database = PostgresDatabase(url, host, files(__name__) / "migrations" / "postgres")
    await database.open(wait_seconds)
    try:
        yield database
    finally:
        await database.close()
