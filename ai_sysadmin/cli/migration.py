"""A migration of the prototype's data: read all of it, import what is not here yet, count the rest."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from ai_sysadmin.cli.migrate_page import Migration
from ai_sysadmin.context.knowledge.gathered import imported_by
from ai_sysadmin.context.redact import Redactor
from ai_sysadmin.core.clock import SystemClock
from ai_sysadmin.core.errors import StoreUnavailable
from ai_sysadmin.core.knowledge import Document
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.runtime import privileges
from ai_sysadmin.stores.prototype import CHROMA_URL, Left, Reading, Table
from ai_sysadmin.stores.prototype.chroma import answers, read_collections
from ai_sysadmin.stores.prototype.directory import served_copy
from ai_sysadmin.stores.prototype.files import left_alone, read_files
from ai_sysadmin.stores.prototype.importing import Clean, Shelf, take_in
from ai_sysadmin.stores.prototype.shelves import StoreShelf, dry_shelf
from ai_sysadmin.stores.prototype.tables import opened, tables_in
from ai_sysadmin.stores.relational import open_stores

SOURCE = imported_by("migrate --from-prototype")


class Prototype:
    """Where the prototype's data is, and the whole of its migration."""

    def __init__(
        self,
        settings: Settings,
        directory: Path | None,
        chroma: str | None,
        chroma_directory: Path | None,
        database: str | None,
    ) -> None:
        self._settings = settings
        self._directory = (directory or settings.state_dir).absolute()
        self._chroma = chroma
        self._chroma_directory = chroma_directory.absolute() if chroma_directory else None
        self._database = database or settings.database.url

    async def migrate(self, most: int, *, dry_run: bool) -> Migration:
        """Read everything first, then import it.

        Raises:
            IndexUnavailable: a ChromaDB that was named cannot be read; nothing was imported.
            StoreUnavailable: our own database does not answer.
        """
        files, unread = read_files(self._directory, most)
        collections, unasked = await self._collections()
        tables, uncounted = await self._tables()
        clean, now = cleaner(Redactor(self._settings.context.redaction)), SystemClock().now()
        async with self._shelf(dry_run=dry_run) as shelf:
            parts = [await take_in(each, shelf, clean, SOURCE, now) for each in (*collections, *files)]
        return Migration(
            dry_run=dry_run,
            directory=str(self._directory),
            parts=tuple(parts),
            tables=tables,
            left=(*unasked, *self._adopted(tables), *left_alone(self._directory, self._settings.models_directory)),
            unread=(*unread, *uncounted),
        )

    async def _collections(self) -> tuple[tuple[Reading, ...], tuple[Left, ...]]:
        if self._chroma_directory is not None:
            async with served_copy(self._settings, self._chroma_directory) as url:
                return _at(await read_collections(url), url, self._chroma_directory), ()
        url = self._chroma or self._settings.knowledge.chroma_url
        if not url and not await answers(CHROMA_URL):
            why = (
                "no ChromaDB answers there: --chroma URL or --chroma-directory DIR names the prototype's, if it had one"
            )
            return (), (Left(where=CHROMA_URL, why=why),)
        return await read_collections(url or CHROMA_URL), ()

    async def _tables(self) -> tuple[tuple[Table, ...], tuple[Left, ...]]:
        """Count the tables; that they cannot be counted keeps nothing else from being imported."""
        if not self._database:
            return (), ()
        try:
            async with opened(self._database, self._settings.host_name) as database:
                return await tables_in(database), ()
        except StoreUnavailable as error:
            return (), (Left(where="the prototype's tables", why=str(error)),)

    def _adopted(self, tables: tuple[Table, ...]) -> tuple[Left, ...]:
        if not tables:
            return ()
        is_ours = self._database == self._settings.database.url
        why = "adopted where they are" if is_ours else "not adopted, as database.url names another database"
        return (Left(where="the prototype's tables", why=f"they stay, {why}"),)

    @asynccontextmanager
    async def _shelf(self, *, dry_run: bool) -> AsyncIterator[Shelf]:
        place, host = self._settings.store_place, self._settings.host_name
        async with AsyncExitStack() as exits:
            if dry_run:
                yield await dry_shelf(place, host)
            else:
                yield StoreShelf((await exits.enter_async_context(open_stores(place, host))).knowledge)


def _at(readings: tuple[Reading, ...], url: str, directory: Path) -> tuple[Reading, ...]:
    """Return readings that say the directory in the place of the server on its copy."""
    return tuple(each.model_copy(update={"where": each.where.replace(url, str(directory))}) for each in readings)


def cleaner(redactor: Redactor) -> Clean:
    """Return what takes the secrets out of a document, its name included."""

    def clean(document: Document) -> tuple[Document, dict[str, int]]:
        name, title, text = (redactor.redact(each) for each in (document.name, document.title, document.text))
        facts, counts = redactor.mapping(document.facts)
        for found in (title.counts, text.counts):
            counts = {kind: counts.get(kind, 0) + found.get(kind, 0) for kind in {*counts, *found}}
        changes = {"name": name.text, "title": title.text, "text": text.text, "facts": facts}
        return document.model_copy(update=changes), counts

    return clean


def become_owner(settings: Settings) -> None:
    """Give root up for the services' user, where the database's file or the state directory is that user's."""
    who = privileges.account() if os.geteuid() == 0 else None
    if who is None:
        return
    files = (settings.state_dir / "ai-sysadmin.db", settings.state_dir)
    nearest = next((each for each in files if each.exists()), None)
    if nearest is not None and _is_of(nearest, who):
        privileges.drop(who)


def _is_of(path: Path, who: privileges.Account) -> bool:
    found = path.stat()
    return found.st_uid == who.uid or found.st_gid == who.gid
