"""The one door to SQLite: a database in WAL mode, owned by one thread, with numbered migrations.

Work is a plain function of a connection; it runs as one transaction (``BEGIN IMMEDIATE``) on the database's own
thread, so an event loop is never blocked and no ``await`` can fall into a transaction.
"""

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar

from ai_sysadmin.core.errors import StoreUnavailable
from ai_sysadmin.runtime import migrations
from ai_sysadmin.runtime.database_faults import is_fault_of_statement, sqlite_fault
from ai_sysadmin.runtime.migrations import Applied, Script, needs_of
from ai_sysadmin.runtime.relational import Dialect, Row, Work, completed

T = TypeVar("T")
_BUSY_SECONDS = 10.0
_BUSY_PAUSE_SECONDS = 0.02
_WAL_BYTES = 32 * 1024 * 1024
_LOOK_AT_WAL_EVERY = 256


class Database:
    """A SQLite database. Several processes may have the same file open.

    Args:
        path: the file; its directory must exist.
        scripts: a directory of ``NNNN-name.sql`` files, applied in order, each once.
        durable: fsync at every commit (the executor's intents); otherwise at checkpoints, which survives a killed
            process but not the last moments before a power loss.
        known_before: the last schema version of suites that know ``user_version`` only, so that they open a database
            that begins with this one; 0: there are none.
    """

    def __init__(self, path: Path, scripts: Traversable, *, durable: bool = False, known_before: int = 0) -> None:
        self.path = path
        self._scripts = scripts
        self._durable = durable
        self._known_before = known_before
        self._thread: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None
        self._transactions = 0

    async def open(self) -> None:
        """Open the file and bring its tables up to date.

        Raises:
            StoreUnavailable: it cannot be opened.
            SchemaUnusable: its tables are of a newer version, or cannot be made.
        """
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"sqlite-{self.path.name}")
        await self._in_thread(self._open)

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` as one transaction; it is rolled back when ``work`` raises."""
        return await self._in_thread(lambda: self._transaction(work, "BEGIN IMMEDIATE"))

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` on one consistent view."""
        return await self._in_thread(lambda: self._transaction(work, "BEGIN"))

    async def close(self) -> None:
        if (thread := self._thread) is None:
            return
        await self._in_thread(self._close)
        self._thread = None
        thread.shutdown()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._thread is None:
            raise StoreUnavailable(f"the database {self.path} is not open")
        running = asyncio.get_running_loop().run_in_executor(self._thread, work)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            while not running.done():  # a transaction is never left half-observed
                with suppress(asyncio.CancelledError):
                    await asyncio.wait((running,))
            raise
        except sqlite3.Error as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: sqlite3.Error) -> StoreUnavailable:
        return StoreUnavailable(sqlite_fault(_code(error), str(error), str(self.path)))

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
                connection.execute(f"PRAGMA journal_size_limit={_WAL_BYTES}")
                self._bring_up_to_date(connection)
                undo.pop_all()
        except OSError as error:
            raise StoreUnavailable(
                f"the database {self.path} cannot be opened: {error}; "
                f"is its directory writable by uid {os.geteuid()}, and is there room on its disk?"
            ) from error
        except sqlite3.Error as error:
            raise self._unavailable(error) from error
        self._connection = connection

    def _bring_up_to_date(self, connection: sqlite3.Connection) -> None:
        scripts, name = migrations.scripts_in(self._scripts), str(self.path)
        with connection:  # without a lock, so that a full disk keeps nobody from reading
            connection.execute("BEGIN")
            if not migrations.pending(scripts, _applied(scripts, connection), name):
                return
        with connection:
            connection.execute("BEGIN IMMEDIATE")  # several services start at once: one migrates, the others wait
            for script in migrations.pending(scripts, _record(scripts, connection), name):
                self._apply(script, connection)
            _mark_for_earlier_suites(connection, self._known_before)

    def _apply(self, script: Script, connection: sqlite3.Connection) -> None:
        for number, statement in enumerate(script.statements, 1):
            try:
                connection.execute(statement)
            except sqlite3.Error as error:
                if is_fault_of_statement(_code(error)):
                    raise migrations.broken(str(self.path), script, number, str(error)) from error
                raise
        _note(script, connection)

    def _transaction(self, work: Callable[[sqlite3.Connection], T], begin: str) -> T:
        connection = self._connection
        if connection is None:
            raise StoreUnavailable(f"the database {self.path} is not open")
        with connection:  # commits what it ends well, takes back what raises
            connection.execute(begin)
            value = work(connection)
        self._transactions += 1
        if self._transactions % _LOOK_AT_WAL_EVERY == 0:
            self._bound_wal(connection)
        return value

    def _bound_wal(self, connection: sqlite3.Connection) -> None:
        """Write a log back that readers, one after the other, kept from beginning anew."""
        with suppress(OSError, sqlite3.Error):  # the next look tries again
            if Path(f"{self.path}-wal").stat().st_size > _WAL_BYTES:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class SqliteTransaction:
    """``runtime.relational.Transaction`` on a connection; nothing in it ever waits."""

    dialect = Dialect.SQLITE

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def all(self, statement: str, values: Sequence[object] = ()) -> Sequence[Row]:
        return self._connection.execute(statement, values).fetchall()

    async def one(self, statement: str, values: Sequence[object] = ()) -> Row | None:
        row: Row | None = self._connection.execute(statement, values).fetchone()
        return row

    async def value(self, statement: str, values: Sequence[object] = ()) -> Any:
        return self._connection.execute(statement, values).fetchone()[0]

    async def run(self, statement: str, values: Sequence[object] = ()) -> int:
        return self._connection.execute(statement, values).rowcount

    async def many(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        self._connection.executemany(statement, rows)

    def tell(self, topic: str) -> None:
        """Nobody listens to a file."""


class SqliteRelational:
    """``runtime.relational.Relational`` on a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def write(self, work: Work[T]) -> T:
        return await self._database.write(lambda connection: completed(work(SqliteTransaction(connection))))

    async def read(self, work: Work[T]) -> T:
        return await self._database.read(lambda connection: completed(work(SqliteTransaction(connection))))


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


def _code(error: sqlite3.Error) -> int | None:
    return getattr(error, "sqlite_errorcode", None)  # what the module itself raises has none


# --- how far the schema is


def _applied(scripts: Sequence[Script], connection: sqlite3.Connection) -> Applied:
    """Return what the database says of itself; one that only says its version is as those scripts leave it."""
    if connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'schema_versions'").fetchone()[0]:
        found = connection.execute("SELECT coalesce(max(version), 0), coalesce(max(needs), 0) FROM schema_versions")
        return Applied(*found.fetchone())
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return Applied(version, version if version > len(scripts) else needs_of(scripts[:version]))


def _record(scripts: Sequence[Script], connection: sqlite3.Connection) -> Applied:
    """Let the database say of itself what is known of it, if it does not yet."""
    applied = _applied(scripts, connection)
    connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_versions (version INTEGER PRIMARY KEY, name TEXT NOT NULL,"
        " needs INTEGER NOT NULL, applied_at TEXT NOT NULL)"
    )
    if not connection.execute("SELECT count(*) FROM schema_versions").fetchone()[0]:
        for script in scripts[: applied.version]:
            _note(script, connection)
    return applied


def _note(script: Script, connection: sqlite3.Connection) -> None:
    connection.execute(
        "INSERT INTO schema_versions (version, name, needs, applied_at)"
        " VALUES (?, ?, ?, strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))",
        (script.number, script.name, script.needs),
    )


def _mark_for_earlier_suites(connection: sqlite3.Connection, known_before: int) -> None:
    """Set ``user_version``, all that a suite from before ``schema_versions`` looks at, so that it goes on if it can.

    It applies what is above that number, and refuses a number above its own.
    """
    version, needs = connection.execute("SELECT max(version), max(needs) FROM schema_versions").fetchone()
    (before,) = connection.execute("PRAGMA user_version").fetchone()
    connection.execute(f"PRAGMA user_version={min(version, max(before or known_before or version, needs))}")
