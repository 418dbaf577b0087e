"""Where imported documents go: our knowledge store, or, for a dry run, nowhere."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Final

from ai_sysadmin.core.knowledge import Document
from ai_sysadmin.runtime.relational import Dialect, Relational, Transaction
from ai_sysadmin.runtime.sqlite import Database, SqliteRelational
from ai_sysadmin.stores.knowledge_store import KnowledgeStore
from ai_sysadmin.stores.prototype.tables import opened

_IS_THERE: Final = {
    Dialect.SQLITE: "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'documents'",
    Dialect.POSTGRES: "SELECT count(to_regclass('ai_sysadmin.documents'))",
}


class StoreShelf:
    """Keeps documents in a store."""

    def __init__(self, store: KnowledgeStore) -> None:
        self._store = store

    async def known(self, ids: Sequence[str]) -> frozenset[str]:
        return frozenset(await self._store.by_ids(ids))

    async def put(self, documents: Sequence[Document]) -> int:
        return await self._store.put(documents) if documents else 0


class DryShelf:
    """Keeps nothing; it knows what there is already."""

    def __init__(self, held: frozenset[str]) -> None:
        self._held = held

    async def known(self, ids: Sequence[str]) -> frozenset[str]:
        return self._held.intersection(ids)

    async def put(self, documents: Sequence[Document]) -> int:
        return len(documents)


async def dry_shelf(place: Path | str, host: str) -> DryShelf:
    """Look up what there is, without making or changing anything in the database. Raises: StoreUnavailable."""

    async def work(tx: Transaction) -> frozenset[str]:
        if not await tx.value(_IS_THERE[tx.dialect]):
            return frozenset()
        rows = await tx.all("SELECT id FROM documents WHERE host = ?", (host,))
        return frozenset(str(row["id"]) for row in rows)

    if isinstance(place, Path) and not place.exists():
        return DryShelf(frozenset())
    async with _file(place) if isinstance(place, Path) else opened(place, host) as database:
        return DryShelf(await database.read(work))


class _AsItIs(Database):
    def _migrate(self, *_: object) -> None:
        """Leave the tables alone."""


@asynccontextmanager
async def _file(path: Path) -> AsyncIterator[Relational]:
    database = _AsItIs(path, files("ai_sysadmin.stores.relational") / "migrations" / "sqlite")
    await database.open()
    try:
        yield SqliteRelational(database)
    finally:
        await database.close()
