"""The outbox of what a person is to be told."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from ai_sysadmin.runtime.sqlite import Database
from ai_sysadmin.stores.notification_store import Notice
from ai_sysadmin.stores.sqlite.notifying import keep_latest, resolved_meanwhile
from ai_sysadmin.stores.sqlite.rows import incident_by_id, stamp

KEPT: Final = timedelta(days=7)
_MOST_ABOUT: Final = 200


class SqliteNotifications:
    """``NotificationStore`` on SQLite."""

    def __init__(self, database: Database, host: str) -> None:
        self._database = database
        self._host = host

    async def waiting(self, now: datetime, limit: int = 50) -> Sequence[Notice]:
        def work(connection: sqlite3.Connection) -> Sequence[Notice]:
            rows = connection.execute(
                "SELECT id, host, occasion, incident_id, unit, kind, at, attempts FROM notifications"
                " WHERE host = ? AND delivered_at = '' AND NOT superseded AND retry_at <= ? ORDER BY id LIMIT ?",
                (self._host, stamp(now), limit),
            )
            return tuple(Notice.model_validate(dict(row)) for row in rows)

        return await self._database.read(work)

    async def delivered(self, ids: Sequence[int], at: datetime) -> None:
        def work(connection: sqlite3.Connection) -> None:
            fresh = [each for each in ids if _is_untold(connection, self._host, each)]
            for notice_id in fresh:
                connection.execute(
                    "UPDATE notifications SET delivered_at = ?, message = ? WHERE id = ?",
                    (stamp(at), min(fresh), notice_id),
                )
                self._check_ended(connection, notice_id, at)
            self._forget(connection, at)

        await self._database.write(work)

    async def failed(self, ids: Sequence[int], retry_at: datetime) -> None:
        def work(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "UPDATE notifications SET attempts = attempts + 1, retry_at = ?"
                " WHERE id = ? AND host = ? AND delivered_at = ''",
                [(stamp(retry_at), notice_id, self._host) for notice_id in ids],
            )

        await self._database.write(work)

    async def withdraw(self, ids: Sequence[int]) -> None:
        def work(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "UPDATE notifications SET superseded = 1 WHERE id = ? AND host = ? AND delivered_at = ''",
                [(notice_id, self._host) for notice_id in ids],
            )

        await self._database.write(work)

    async def delivered_since(self, since: datetime) -> int:
        def work(connection: sqlite3.Connection) -> int:
            row = connection.execute(
                "SELECT count(DISTINCT message) FROM notifications WHERE host = ? AND delivered_at >= ?",
                (self._host, stamp(since)),
            ).fetchone()
            return int(row[0])

        return await self._database.read(work)

    async def raise_trouble(self, host_service: str, about: str, at: datetime) -> None:
        def work(connection: sqlite3.Connection) -> None:
            raised = connection.execute(
                "INSERT INTO troubles (host, service) VALUES (?, ?) ON CONFLICT DO NOTHING", (self._host, host_service)
            )
            if raised.rowcount:
                connection.execute(
                    "INSERT INTO notifications (host, occasion, incident_id, state, reopened, unit, kind, at)"
                    " VALUES (?, 'suite_trouble', '', '', 0, ?, ?, ?)",
                    (self._host, host_service, about[:_MOST_ABOUT], stamp(at)),
                )
            self._forget(connection, at)
            keep_latest(connection, self._host)

        await self._database.write(work)

    async def clear_trouble(self, host_service: str) -> None:
        def work(connection: sqlite3.Connection) -> None:
            key = (self._host, host_service)
            connection.execute("DELETE FROM troubles WHERE host = ? AND service = ?", key)
            connection.execute(
                "UPDATE notifications SET superseded = 1"
                " WHERE host = ? AND unit = ? AND occasion = 'suite_trouble' AND delivered_at = ''",
                key,
            )

        await self._database.write(work)

    def _check_ended(self, connection: sqlite3.Connection, notice_id: int, at: datetime) -> None:
        (incident_id,) = connection.execute(
            "SELECT incident_id FROM notifications WHERE id = ?", (notice_id,)
        ).fetchone()
        incident = incident_by_id(connection, incident_id)
        if incident is not None:
            resolved_meanwhile(connection, notice_id, incident, stamp(at))

    def _forget(self, connection: sqlite3.Connection, now: datetime) -> None:
        connection.execute(
            "DELETE FROM notifications WHERE host = ? AND at < ? AND (superseded OR delivered_at BETWEEN '0' AND ?)",
            (self._host, stamp(now - KEPT), stamp(now - KEPT)),
        )


def _is_untold(connection: sqlite3.Connection, host: str, notice_id: int) -> bool:
    row = connection.execute(
        "SELECT 1 FROM notifications WHERE id = ? AND host = ? AND delivered_at = ''", (notice_id, host)
    ).fetchone()
    return row is not None
