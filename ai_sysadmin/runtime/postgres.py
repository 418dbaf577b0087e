"""The one door to PostgreSQL: a pool of connections to one database, with numbered migrations.

Everything of ours stands in a schema of its own, ``ai_sysadmin``, beside whatever else the database holds. Work runs as
one transaction in the event loop. Writers of one host wait for each other (within a process in a queue, between
processes at an advisory lock until the end of the transaction), as they do on SQLite, so that work may read first and
write what follows from it; hosts that share the database do not wait for each other.

While the server is away, whoever asks is told at once: after a failed connection nobody tries another for a moment.
"""

import asyncio
import hashlib
import logging
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from functools import partial
from importlib.resources.abc import Traversable
from typing import Final, TypeVar

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_delay, wait_random_exponential

from ai_sysadmin.core.errors import StoreUnavailable
from ai_sysadmin.runtime import migrations
from ai_sysadmin.runtime.database_faults import postgres_fault
from ai_sysadmin.runtime.migrations import Applied, SchemaUnusable, Script
from ai_sysadmin.runtime.notify import notify
from ai_sysadmin.runtime.outage import Outage
from ai_sysadmin.runtime.postgres_session import (
    CONNECTION_SECONDS,
    LOCK_SECONDS,
    SCHEMA,
    Connection,
    answering,
    commit,
    parts,
    server,
    session,
)
from ai_sysadmin.runtime.postgres_transaction import PostgresTransaction
from ai_sysadmin.runtime.relational import Work

__all__ = ["PostgresDatabase", "PostgresTransaction"]

log = logging.getLogger(__name__)
T = TypeVar("T")

_MOST_CONNECTIONS: Final = 4
_IDLE_SECONDS: Final = 60.0
_POOL_SECONDS: Final = CONNECTION_SECONDS + 1
_ANSWER_SECONDS: Final = 90.0  # for a server that says nothing any more; one that lives ends it earlier itself
_FRESH_SECONDS: Final = 1.0
_WAIT_SECONDS: Final = (0.25, 15.0)
_MIGRATION_LOCK: Final = 0x41495F73  # "AI_s": everybody who migrates waits here
_HOST_LOCK: Final = 0x41495F68  # "AI_h", with a hash of the host

_READING: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"
_MIGRATING: Final = (
    "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; "
    f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK}); SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"
)

logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # what is away is said once, by who asked


_OurWork = Callable[[PostgresTransaction], Awaitable[T]]


class PostgresDatabase:
    """A PostgreSQL database, for one host's records: ``runtime.relational.Relational``.

    Args:
        url: a connection string of libpq's, ``postgresql://user@host/name`` or ``dbname=…``.
        host: whose records are written.
        scripts: a directory of ``NNNN-name.sql`` files, applied in order, each once.
        answer_seconds: how long a transaction may take; after that its server is taken for one that hangs.
    """

    def __init__(self, url: str, host: str, scripts: Traversable, *, answer_seconds: float = _ANSWER_SECONDS) -> None:
        self._scripts = scripts
        self._answer_seconds = answer_seconds
        given = parts(url)
        self._server = server(given)
        self.name = self._server.name
        self._url = url
        self._options = session(given.get("options") or "")
        self._outage = Outage()
        self._writing = asyncio.Lock()
        self._begin = f"BEGIN; SELECT pg_advisory_xact_lock({_HOST_LOCK}, {_signed(zlib.crc32(host.encode()))})"
        self._channel = f"{SCHEMA}_{hashlib.sha256(host.encode()).hexdigest()[:16]}"
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            url,
            connection_class=Connection,
            kwargs=self._options | {"outage": self._outage},
            min_size=0,
            max_size=_MOST_CONNECTIONS,
            max_idle=_IDLE_SECONDS,
            timeout=_POOL_SECONDS,
            reconnect_timeout=0,
            reconnect_failed=self._none_made,
            check=self._check,
            open=False,
        )

    async def open(self, wait_seconds: float = 0.0) -> None:
        """Bring the tables up to date; a server that is away is waited for, which is said once.

        Raises:
            StoreUnavailable: it did not answer for so long.
            SchemaUnusable: its tables are of a newer version, or cannot be made.
        """
        await self._pool.open()
        tries = AsyncRetrying(
            retry=retry_if_exception(_may_come_back),
            stop=stop_after_delay(wait_seconds),
            wait=wait_random_exponential(multiplier=_WAIT_SECONDS[0], max=_WAIT_SECONDS[1]),
            before_sleep=self._say_waiting,
            reraise=True,
        )
        try:
            await tries(self._bring_up_to_date)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        await self._pool.close(timeout=2)

    async def write(self, work: Work[T]) -> T:
        try:
            async with asyncio.timeout(LOCK_SECONDS):
                await self._writing.acquire()
        except TimeoutError as error:
            raise StoreUnavailable(
                f"the database {self.name} cannot be used: writes of this process have held it for {LOCK_SECONDS} s"
            ) from error
        try:
            return await self._run(self._begin, work)
        finally:
            self._writing.release()

    async def append(self, work: Work[T]) -> T:
        """Run work as one transaction that only adds rows, or that whoever comes first decides: without a lock."""
        return await self._run("BEGIN", work)

    async def read(self, work: Work[T]) -> T:
        return await self._run(_READING, work)

    async def changes(self) -> AsyncIterator[str]:
        """Yield each topic that a transaction of this host told of (``tx.tell``), once it is committed. Never ends.

        An empty topic: news may have been missed (listening has begun, or begun again), so look at everything.
        """
        while True:
            connection = await self._listening()
            try:
                yield ""
                async with aclosing(connection.notifies()) as told:
                    async for each in told:
                        yield each.payload
            except psycopg.Error as error:
                log.debug("listening to %s ended: %s", self.name, error, extra={"event": "listening_ended"})
            finally:
                await connection.close()
            await asyncio.sleep(_WAIT_SECONDS[0])

    # --- one transaction

    async def _run(self, begin: str, work: _OurWork[T], *, bounded: bool = True) -> T:
        """Run a transaction to its end, whoever stops waiting for it: none is left half-observed."""
        with self._translated():
            connection = await self._connected()
            seconds = self._answer_seconds if bounded else None
            running = asyncio.create_task(self._transaction(connection, begin, work, seconds))
            try:
                return await asyncio.shield(running)
            except asyncio.CancelledError:
                await _ended(running)
                raise

    async def _transaction(self, connection: Connection, begin: str, work: _OurWork[T], seconds: float | None) -> T:
        try:
            with answering(connection, seconds):
                return await _committed(connection, begin, work, self._channel)
        finally:
            lost = connection.closed
            await self._pool.putconn(connection)
            if lost:
                await self._pool.drain()  # what else stands idle was most likely lost with it

    async def _connected(self) -> Connection:
        if self._outage.pausing and self._has_none(self._pool):
            raise psycopg.OperationalError(self._outage.why)
        try:
            async with asyncio.timeout(None) as deadline:
                with self._outage.waiting(deadline):
                    return await self._pool.getconn()
        except (TimeoutError, PoolTimeout) as error:
            busy = f"all {_MOST_CONNECTIONS} connections of this process have been busy for {_POOL_SECONDS} s"
            raise psycopg.OperationalError(self._outage.why or busy) from error

    def _none_made(self, pool: AsyncConnectionPool[Connection]) -> None:
        if self._has_none(pool):
            self._outage.tell_waiters()

    def _has_none(self, pool: AsyncConnectionPool[Connection]) -> bool:
        """Whether there is no connection at all; one that is in use comes back to whoever waits."""
        return pool.get_stats()["pool_size"] == 0

    async def _check(self, connection: Connection) -> None:
        """Ask a connection that has stood idle whether it lives. Raises: psycopg.Error."""
        if time.monotonic() - connection.worked_at < _FRESH_SECONDS and not connection.closed:
            return
        try:
            with answering(connection, CONNECTION_SECONDS):
                await connection.execute("")
        except psycopg.Error:
            await self._pool.drain()
            raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (psycopg.Error, PoolClosed, OSError) as error:
            code = (error.sqlstate or "") if isinstance(error, psycopg.Error) else ""
            raise StoreUnavailable(postgres_fault(code, str(error) or type(error).__name__, self._server)) from error

    # --- the schema

    async def _bring_up_to_date(self) -> None:
        scripts = migrations.scripts_in(self._scripts)
        applied = await self._run(_READING, _applied)
        if migrations.pending(scripts, applied, self.name):
            await self._run(_MIGRATING, partial(self._migrate, scripts), bounded=False)

    async def _migrate(self, scripts: Sequence[Script], tx: PostgresTransaction) -> None:
        if await tx.value("SELECT to_regnamespace(?) IS NULL", (SCHEMA,)):
            await tx.run(f"CREATE SCHEMA {SCHEMA}")
        await tx.run(
            f"CREATE TABLE IF NOT EXISTS {SCHEMA}.schema_versions (version INTEGER PRIMARY KEY, name TEXT NOT NULL,"
            " needs INTEGER NOT NULL, applied_at TIMESTAMPTZ NOT NULL DEFAULT now())"
        )
        for script in migrations.pending(scripts, await _applied(tx), self.name):
            await self._apply(script, tx)

    async def _apply(self, script: Script, tx: PostgresTransaction) -> None:
        for number, statement in enumerate(script.statements, 1):
            try:
                await tx.connection.execute(statement.encode())
            except (psycopg.ProgrammingError, psycopg.DataError, psycopg.IntegrityError) as error:
                if isinstance(error, psycopg.errors.InsufficientPrivilege):
                    raise
                raise migrations.broken(self.name, script, number, str(error).splitlines()[0]) from error
        values = (script.number, script.name, script.needs)
        await tx.run("INSERT INTO ai_sysadmin.schema_versions (version, name, needs) VALUES (?, ?, ?)", values)

    # --- waiting

    def _say_waiting(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        level = logging.WARNING if state.attempt_number == 1 else logging.DEBUG
        log.log(level, "%s; it is waited for", error, extra={"event": "database_awaited"})
        notify(STATUS=f"waits for its database: {error}", EXTEND_TIMEOUT_USEC=round(4e6 * _WAIT_SECONDS[1]))

    async def _listening(self) -> Connection:
        tries = AsyncRetrying(
            retry=retry_if_exception(_may_come_back),
            wait=wait_random_exponential(multiplier=_WAIT_SECONDS[0], max=_WAIT_SECONDS[1]),
        )
        return await tries(self._listen)

    async def _listen(self) -> Connection:
        with self._translated():
            connection = await Connection.connect(self._url, **self._options, outage=Outage())
            try:
                await connection.execute(f"LISTEN {self._channel}")
            except BaseException:
                await connection.close()
                raise
            return connection


async def _committed(connection: Connection, begin: str, work: _OurWork[T], channel: str) -> T:
    tx = PostgresTransaction(connection)
    try:
        await connection.execute(begin, prepare=False)
        value = await work(tx)
        if tx.topics:
            told = (channel, list(tx.topics))
            await connection.execute("SELECT pg_notify(%s, topic) FROM unnest(%s::text[]) AS topic", told)
    except BaseException:
        with suppress(psycopg.Error):
            await connection.rollback()
        raise
    await commit(connection)
    connection.worked_at = time.monotonic()
    return value


async def _ended(running: asyncio.Task[T]) -> None:
    """Wait for a task's end, however often we are told not to."""
    while not running.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait((running,))
    if not running.cancelled():
        running.exception()  # nobody asks for it any more


async def _applied(tx: PostgresTransaction) -> Applied:
    if await tx.value("SELECT to_regclass(?) IS NULL", (f"{SCHEMA}.schema_versions",)):
        return Applied(0, 0)
    (row,) = await tx.all(
        "SELECT coalesce(max(version), 0) AS version, coalesce(max(needs), 0) AS needs FROM ai_sysadmin.schema_versions"
    )
    return Applied(row["version"], row["needs"])


def _may_come_back(error: BaseException) -> bool:
    return isinstance(error, StoreUnavailable) and not isinstance(error, SchemaUnusable)


def _signed(number: int) -> int:
    """Return an unsigned 32-bit number as PostgreSQL's INTEGER has it."""
    return number - (1 << 32) if number >= 1 << 31 else number
