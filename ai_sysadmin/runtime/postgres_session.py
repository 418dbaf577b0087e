"""Sessions of PostgreSQL's, as every connection of ours is opened, and what people may read of where it goes."""

import asyncio
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row

from ai_sysadmin.core.errors import SettingsError
from ai_sysadmin.runtime.database_faults import Server
from ai_sysadmin.runtime.outage import Outage

SCHEMA: Final = "ai_sysadmin"
CONNECTION_SECONDS: Final = 5
LOCK_SECONDS: Final = 20
_STATEMENT_SECONDS: Final = 30


class Connection(psycopg.AsyncConnection[dict[str, Any]]):
    """A connection that tells its database's outage how connecting went, and knows when it last worked."""

    worked_at = 0.0

    @classmethod
    async def connect(cls, *given: Any, **named: Any) -> Self:
        outage: Outage = named.pop("outage")
        try:
            connection = await super().connect(*given, **named)
        except psycopg.Error as error:
            outage.began(str(error))
            raise
        outage.ended()
        connection.worked_at = time.monotonic()
        return connection


@contextmanager
def answering(connection: Connection, seconds: float | None) -> Iterator[None]:
    """Break a connection that the block has not done with by then: a server may hang, and say nothing any more.

    Raises:
        psycopg.OperationalError: it was broken.
    """
    if seconds is None:
        yield
        return
    loop = asyncio.get_running_loop()
    timer = loop.call_later(seconds, _cut, connection)
    try:
        yield
    except psycopg.Error as error:
        if loop.time() < timer.when():
            raise
        raise psycopg.OperationalError(f"its server has given no answer within {seconds:g} s") from error
    finally:
        timer.cancel()


def _cut(connection: Connection) -> None:
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.pgconn.socket)) as line:
        line.shutdown(socket.SHUT_RDWR)


async def commit(connection: Connection) -> None:
    """Raises: psycopg.Error: nothing was kept, or the connection broke and nobody knows."""
    try:
        done = await connection.execute("COMMIT", prepare=False)
    except psycopg.Error as error:
        if connection.closed:
            raise psycopg.OperationalError(
                f"the connection broke at a commit, so whether its change holds is not known: {error}"
            ) from error
        raise
    if done.statusmessage != "COMMIT":
        raise psycopg.errors.InFailedSqlTransaction("one of its statements had failed, so nothing of it was kept")


def session(options: str) -> dict[str, Any]:
    """Return how every connection is opened. ``options``: what the URL itself says for the session."""
    ours = (
        f"search_path={SCHEMA},public",
        f"statement_timeout={_STATEMENT_SECONDS}s",
        f"lock_timeout={LOCK_SECONDS}s",
        "idle_in_transaction_session_timeout=60s",
        "timezone=UTC",
    )
    return {
        "row_factory": dict_row,
        "options": " ".join((options, *(f"-c {each}" for each in ours))).strip(),
        "application_name": "ai-sysadmin",
        "connect_timeout": CONNECTION_SECONDS,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 20_000,
        "autocommit": True,
    }


def parts(url: str) -> Mapping[str, Any]:
    """Return the parts of a connection string. Raises: SettingsError: it is none."""
    try:
        return conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        raise SettingsError(f"the database's URL is none of PostgreSQL's: {str(error).splitlines()[0]}") from error


def server(given: Mapping[str, Any]) -> Server:
    """Return what people may read of a connection string: no password."""
    place = given.get("host") or given.get("hostaddr") or "this host"
    user, database = given.get("user") or "", given.get("dbname") or given.get("user") or ""
    return Server(f"{given.get('dbname') or 'by the name of the user'} at {place}", database, user)
