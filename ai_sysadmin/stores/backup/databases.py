"""SQLite files as files: copied while others write, checked, and closed up before another takes their place."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from ai_sysadmin.core.errors import AiSysadminError, Refused, StoreUnavailable
from ai_sysadmin.runtime.migrations import Applied

_BUSY_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.5
_PRIMARY: Final = 0xFF


def copy_database(source: Path, target: Path) -> Applied:
    """Copy a database as it is at one moment, while others write to it; return its schema.

    The copy is one file, and whole: ``PRAGMA integrity_check`` has passed.

    Raises:
        StoreUnavailable: it cannot be read, or the copy cannot be written.
        AiSysadminError: it is damaged.
    """
    try:
        with closing(_connect(source, _BUSY_SECONDS)) as live, closing(sqlite3.connect(target)) as copy:
            # one step: all pages of one view, which writers neither wait for nor restart
            live.backup(copy, pages=-1)
            copy.execute("PRAGMA journal_mode=DELETE").fetchone()
    except sqlite3.Error as error:
        raise StoreUnavailable(f"the database {source} cannot be copied to {target.parent}: {error}") from error
    return check_database(target, str(source))


def check_database(path: Path, name: str) -> Applied:
    """Return the schema of a database that nobody else has open. Raises: AiSysadminError: it is damaged."""
    try:
        with closing(_connect(path, _BUSY_SECONDS)) as connection:
            (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            applied = _applied(connection)
    except sqlite3.Error as error:
        raise AiSysadminError(f"{name} is damaged: {error}") from error
    if found != "ok":
        raise AiSysadminError(f"{name} is damaged: {str(found)[:200]}")
    return applied


def _applied(connection: sqlite3.Connection) -> Applied:
    """Return what a database says of its schema; one that only says its version may need all of it."""
    if connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'schema_versions'").fetchone()[0]:
        found = connection.execute("SELECT coalesce(max(version), 0), coalesce(max(needs), 0) FROM schema_versions")
        return Applied(*map(int, found.fetchone()))
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return Applied(version, version)


@contextmanager
def closed_up(path: Path) -> Iterator[None]:
    """Fold the write-ahead log into a database, and keep everybody out of it for the while.

    A damaged one is left as it is.

    Raises:
        Refused: somebody has it open.
        StoreUnavailable: the log cannot be folded in.
    """
    try:
        connection = _connect(path, _LOOK_SECONDS)
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{path} cannot be opened: {error}") from error
    with closing(connection):
        try:
            # SQLite leaves WAL mode only for who is alone with the file
            connection.execute("PRAGMA journal_mode=DELETE").fetchone()
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & _PRIMARY in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                raise Refused(f"{path} is in use: stop what runs on it first") from error
            raise StoreUnavailable(f"{path} cannot be closed up: {error}") from error
        except sqlite3.DatabaseError:
            pass  # nothing can be made of it: it is put aside with its log, as both are
        yield


def _connect(path: Path, timeout: float) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True, timeout=timeout, isolation_level=None)
