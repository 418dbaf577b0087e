"""The prototype's tables in PostgreSQL: how many rows of whom and of when. They are adopted where they are."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from ai_sysadmin.runtime.relational import Relational, Transaction
from ai_sysadmin.stores.prototype import Table

TABLES: Final = ("system_metrics", "service_status", "log_events", "trigger_events")


async def tables_in(database: Relational) -> tuple[Table, ...]:
    """Return what the tables hold, host by host; of one that is not there, nothing.

    Raises: StoreUnavailable, also where a table is too large to be counted in a statement's time.
    """

    async def work(tx: Transaction) -> tuple[Table, ...]:
        return tuple([table for name in TABLES if await _is_there(tx, name) for table in await _counted(tx, name)])

    return await database.read(work)


async def _is_there(tx: Transaction, name: str) -> bool:
    return await tx.value("SELECT to_regclass(?) IS NOT NULL AS there", (f"public.{name}",)) is True


async def _counted(tx: Transaction, name: str) -> Sequence[Table]:
    rows = await tx.all(
        "SELECT hostname, count(*) AS rows, min(time) AS first, max(time) AS last"  # noqa: S608, one of TABLES
        f" FROM public.{name} GROUP BY hostname ORDER BY hostname"
    )
    return [Table(name=name, **row) for row in rows]


@asynccontextmanager
async def opened(url: str, host: str) -> AsyncIterator[Relational]:
    """Open a PostgreSQL database as it is: none of our tables is made in it.

    Raises: StoreUnavailable: it does not answer; SettingsError: the URL is none of PostgreSQL's.
    """
    from importlib.resources import files

    from ai_sysadmin.runtime.postgres import PostgresDatabase

    class AsItIs(PostgresDatabase):
        async def _migrate(self, *_: object) -> None:
            """Leave the tables alone."""

    database = AsItIs(url, host, files("ai_sysadmin.stores.relational") / "migrations" / "postgres")
    await database.open()
    try:
        yield database
    finally:
        await database.close()
