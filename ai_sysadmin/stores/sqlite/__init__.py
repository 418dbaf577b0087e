"""The embedded default: one SQLite file in WAL mode, shared by the services of one host."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from ai_sysadmin.core.clock import Clock, SystemClock
from ai_sysadmin.core.errors import StoreUnavailable
from ai_sysadmin.runtime.sqlite import Database
from ai_sysadmin.stores.sqlite.decisions import SqliteDecisions
from ai_sysadmin.stores.sqlite.health import SqliteHealth
from ai_sysadmin.stores.sqlite.judgements import SqliteInvestigations, SqliteReviews
from ai_sysadmin.stores.sqlite.keys import SqliteKeys
from ai_sysadmin.stores.sqlite.knowledge import SqliteKnowledge
from ai_sysadmin.stores.sqlite.leases import SqliteLeases
from ai_sysadmin.stores.sqlite.metrics import SqliteMetrics
from ai_sysadmin.stores.sqlite.mutes import SqliteAlerts, SqliteMutes
from ai_sysadmin.stores.sqlite.notes import SqliteNotes
from ai_sysadmin.stores.sqlite.notices import SqliteNotices
from ai_sysadmin.stores.sqlite.notifications import SqliteNotifications
from ai_sysadmin.stores.sqlite.outbox import SqliteOutbox
from ai_sysadmin.stores.sqlite.outcomes import SqliteOutcomes
from ai_sysadmin.stores.sqlite.proposals import SqliteProposals
from ai_sysadmin.stores.sqlite.reading import SqliteReader
from ai_sysadmin.stores.sqlite.templates import SqliteTemplates

__all__ = ["SqliteStores", "open_stores"]


@dataclass(frozen=True)
class SqliteStores:
    """Every protocol of ``ai_sysadmin.stores`` over one open database."""

    notices: SqliteNotices
    reviews: SqliteReviews
    investigations: SqliteInvestigations
    outbox: SqliteOutbox
    reader: SqliteReader
    notes: SqliteNotes
    templates: SqliteTemplates
    mutes: SqliteMutes
    alerts: SqliteAlerts
    metrics: SqliteMetrics
    decisions: SqliteDecisions
    health: SqliteHealth
    knowledge: SqliteKnowledge
    leases: SqliteLeases
    proposals: SqliteProposals
    keys: SqliteKeys
    outcomes: SqliteOutcomes
    notifications: SqliteNotifications


@asynccontextmanager
async def open_stores(path: Path, host: str, clock: Clock | None = None) -> AsyncIterator[SqliteStores]:
    """Open the database (made where there is none) for one host's records.

    Raises:
        StoreUnavailable: it cannot be opened; the message says what to look at.
    """
    clock = clock or SystemClock()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(f"the state directory {path.parent} cannot be made: {error}") from error
    database = Database(path, files(__name__) / "migrations")
    await database.open()
    try:
        yield SqliteStores(
            SqliteNotices(database, host),
            SqliteReviews(database, host),
            SqliteInvestigations(database, host),
            SqliteOutbox(database, host, clock),
            SqliteReader(database, host),
            SqliteNotes(database),
            SqliteTemplates(database, host),
            SqliteMutes(database, host),
            SqliteAlerts(database, host),
            SqliteMetrics(database, host),
            SqliteDecisions(database, host),
            SqliteHealth(database, host),
            SqliteKnowledge(database, host),
            SqliteLeases(database),
            SqliteProposals(database, host),
            SqliteKeys(database, host),
            SqliteOutcomes(database, host),
            SqliteNotifications(database, host),
        )
    finally:
        await database.close()
