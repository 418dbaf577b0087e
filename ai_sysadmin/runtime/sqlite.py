"""The one door to SQLite: a database in WAL mode, owned by one thread, with numbered migrations.

Work is a plain function of a connection; it runs as one transaction (``BEGIN IMMEDIATE``) on the database's own
thread, so an event loop is never blocked and no ``await`` can fall into a transaction.
"""

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TypeVar

from ai_sysadmin.core.errors import StoreUnavailable

T = TypeVar("T")
_BUSY_SECONDS = 10.0
_BUSY_PAUSE_SECONDS = 0.02


class Database:
    """A SQLite database. Several processes may have the same file open.

    Args:
        path: the file; its directory must exist.
        migrations: a directory of ``NNNN-name.sql`` files, applied in order, each once.
        durable: fsync at every commit (the executor's intents); otherwise at checkpoints, which survives a killed
            process but not the last moments before a power loss.
    """

    def __init__(self, path: Path, migrations: Traversable, *, durable: bool = False) -> None:
        self.path = path
        self._migrations = migrations
        self._durable = durable
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"sqlite-{path.name}")
        self._connection: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Open the file and bring its tables up to date.

        Raises:
            StoreUnavailable: it cannot be opened, or was written by a newer version.
        """
        await self._in_thread(self._open)

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` as one transaction; it is rolled back when ``work`` raises."""
        return await self._in_thread(lambda: self._transaction(work, "BEGIN IMMEDIATE"))

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` on one consistent view."""
        return await self._in_thread(lambda: self._transaction(work, "BEGIN"))

    async def close(self) -> None:
        await self._in_thread(self._close)
        self._thread.shutdown()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        running = asyncio.get_running_loop().run_in_executor(self._thread, work)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait((running,))  # a transaction is never left half-observed
            raise
        except sqlite3.Error as error:
            raise StoreUnavailable(f"the database {self.path} cannot be used: {error}") from error

    def _open(self) -> None:
        try:
            # SQLite itself would ask for 0644; who else may write is the umask's to say, not SQLite's
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o666))
            with ExitStack() as undo:
                connection = sqlite3.connect(
                    self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
                )
                undo.callback(connection.close)
                connection.row_factory = sqlite3.Row
                _use_wal(connection)
                connection.execute(f"PRAGMA synchronous={'FULL' if self._durable else 'NORMAL'}")
                connection.execute("PRAGMA foreign_keys=ON")
                self._migrate(connection)
                undo.pop_all()
        except (OSError, sqlite3.Error) as error:
            raise StoreUnavailable(
                f"the database {self.path} cannot be opened: {error}; "
                f"is its directory writable by uid {os.geteuid()}, and is there room on its disk?"
            ) from error
        self._connection = connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        scripts = sorted(
            (entry for entry in self._migrations.iterdir() if entry.name.endswith(".sql")), key=lambda e: e.name
        )
        with connection:
            connection.execute("BEGIN IMMEDIATE")  # several services start at once: one migrates, the others wait
            (applied,) = connection.execute("PRAGMA user_version").fetchone()
            if applied > len(scripts):
                raise StoreUnavailable(
                    f"the database {self.path} was written by a newer version "
                    f"(schema {applied}, this version knows {len(scripts)}): update this service"
                )
            for script in scripts[applied:]:
                for statement in script.read_text().split(";\n"):
                    if statement.strip():
                        connection.execute(statement)
            connection.execute(f"PRAGMA user_version={len(scripts)}")

    def _transaction(self, work: Callable[[sqlite3.Connection], T], begin: str) -> T:
        connection = self._connection
        if connection is None:
            raise StoreUnavailable(f"the database {self.path} is not open")
        with connection:  # commits what it ends well, takes back what raises
            connection.execute(begin)
            return work(connection)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to a write-ahead log; while another process just does that, SQLite does not wait by itself."""
    until = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() >= until:
                raise
            time.sleep(_BUSY_PAUSE_SECONDS)
