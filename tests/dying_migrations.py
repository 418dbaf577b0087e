"""Bring a database up to date, killed at its n-th statement for every n: what is left each time is told as JSON.

``python -m tests.dying_migrations PLACE SCRIPTS``: PLACE is a file of SQLite's or a URL of PostgreSQL's. Every
attempt is a process of its own; the last one lives.
"""

import asyncio
import json
import os
import signal
import sqlite3
import sys
from itertools import count
from pathlib import Path

import psycopg

from ai_sysadmin.runtime.postgres import PostgresDatabase
from ai_sysadmin.runtime.postgres_session import Connection
from ai_sysadmin.runtime.sqlite import Database
from tests.builders import HOST

_TABLES = (
    "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'ai_sysadmin'"
    " UNION ALL SELECT 'index', indexname FROM pg_indexes WHERE schemaname = 'ai_sysadmin' ORDER BY 1, 2"
)


class _Dying:
    """Counts the statements of this process and ends it at once after one of them."""

    after = 0
    seen = 0

    @classmethod
    def statement(cls) -> None:
        cls.seen += 1
        if cls.seen == cls.after:
            os.kill(os.getpid(), signal.SIGKILL)


class _DyingFile(sqlite3.Connection):
    def execute(self, *given):
        done = super().execute(*given)
        _Dying.statement()
        return done


async def _dying_execute(self, *given, **named):
    done = await psycopg.AsyncConnection.execute(self, *given, **named)
    _Dying.statement()
    return done


def shape(place: str) -> str:
    """Return what the database is made of, as somebody else sees it."""
    if place.startswith("postgresql:"):
        with psycopg.connect(place) as connection:
            return json.dumps(connection.execute(_TABLES).fetchall())
    with sqlite3.connect(place) as connection:
        found = connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
    connection.close()
    return json.dumps(found)


async def bring_up_to_date(place: str, scripts: Path) -> None:
    if place.startswith("postgresql:"):
        database = PostgresDatabase(place, HOST, scripts)
    else:
        database = Database(Path(place), scripts)
    await database.open()
    await database.close()


def _attempt(place: str, scripts: Path, after: int) -> bool:
    """Tell whether it lived."""
    child = os.fork()
    if child == 0:
        _Dying.after = after
        asyncio.run(bring_up_to_date(place, scripts))
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def main(place: str, scripts: str) -> None:
    connect = sqlite3.connect
    before, left = shape(place), []
    sqlite3.connect = lambda *given, **named: connect(*given, factory=_DyingFile, **named)
    Connection.execute = _dying_execute
    for after in count(1):
        lived = _attempt(place, Path(scripts), after)
        sqlite3.connect, dying = connect, sqlite3.connect
        left.append(shape(place))
        sqlite3.connect = dying
        if lived or left[-1] != before:
            break
    lived = lived or _attempt(place, Path(scripts), 0)
    print(
        json.dumps(
            {"deaths": len(left), "unchanged": left.count(before), "changed": left[-1] != before, "lived": lived}
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
