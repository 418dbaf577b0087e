"""The outbox of what a person is to be told."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from ai_sysadmin.runtime.relational import Relational, Transaction
from ai_sysadmin.stores.notification_store import Notice
from ai_sysadmin.stores.relational.notifying import keep_latest, resolved_meanwhile
from ai_sysadmin.stores.relational.rows import incident_by_id, stamp

KEPT: Final = timedelta(days=7)
_MOST_ABOUT: Final = 200


class SqlNotifications:
    """``NotificationStore`` in SQL."""

    def __init__(self, database: Relational, host: str) -> None:
        self._database = database
        self._host = host

    async def waiting(self, now: datetime, limit: int = 50) -> Sequence[Notice]:
        async def work(tx: Transaction) -> Sequence[Notice]:
            rows = await tx.all(
                "SELECT id, host, occasion, incident_id, unit, kind, at, attempts FROM notifications"
                " WHERE host = ? AND delivered_at = '' AND superseded = 0 AND retry_at <= ? ORDER BY id LIMIT ?",
                (self._host, stamp(now), limit),
            )
            return tuple(Notice.model_validate(dict(row)) for row in rows)

        return await self._database.read(work)

    async def delivered(self, ids: Sequence[int], at: datetime) -> None:
        async def work(tx: Transaction) -> None:
            fresh = [each for each in ids if await _is_untold(tx, self._host, each)]
            for notice_id in fresh:
                await tx.run(
                    "UPDATE notifications SET delivered_at = ?, message = ? WHERE id = ?",
                    (stamp(at), min(fresh), notice_id),
                )
                await self._check_ended(tx, notice_id, at)
            await self._forget(tx, at)

        await self._database.write(work)

    async def failed(self, ids: Sequence[int], retry_at: datetime) -> None:
        async def work(tx: Transaction) -> None:
            await tx.many(
                "UPDATE notifications SET attempts = attempts + 1, retry_at = ?"
                " WHERE id = ? AND host = ? AND delivered_at = ''",
                [(stamp(retry_at), notice_id, self._host) for notice_id in ids],
            )

        await self._database.write(work)

    async def withdraw(self, ids: Sequence[int]) -> None:
        async def work(tx: Transaction) -> None:
            await tx.many(
                "UPDATE notifications SET superseded = 1 WHERE id = ? AND host = ? AND delivered_at = ''",
                [(notice_id, self._host) for notice_id in ids],
            )

        await self._database.write(work)

    async def delivered_since(self, since: datetime) -> int:
        async def work(tx: Transaction) -> int:
            count = await tx.value(
                "SELECT count(DISTINCT message) FROM notifications WHERE host = ? AND delivered_at >= ?",
                (self._host, stamp(since)),
            )
            return int(count)

        return await self._database.read(work)

    async def raise_trouble(self, host_service: str, about: str, at: datetime) -> None:
        async def work(tx: Transaction) -> None:
            raised = await tx.run(
                "INSERT INTO troubles (host, service) VALUES (?, ?) ON CONFLICT DO NOTHING", (self._host, host_service)
            )
            if raised:
                await tx.run(
                    "INSERT INTO notifications (host, occasion, incident_id, state, reopened, unit, kind, at)"
                    " VALUES (?, 'suite_trouble', '', '', 0, ?, ?, ?)",
                    (self._host, host_service, about[:_MOST_ABOUT], stamp(at)),
                )
            await self._forget(tx, at)
            await keep_latest(tx, self._host)

        await self._database.write(work)

    async def clear_trouble(self, host_service: str) -> None:
        async def work(tx: Transaction) -> None:
            key = (self._host, host_service)
            await tx.run("DELETE FROM troubles WHERE host = ? AND service = ?", key)
            await tx.run(
                "UPDATE notifications SET superseded = 1"
                " WHERE host = ? AND unit = ? AND occasion = 'suite_trouble' AND delivered_at = ''",
                key,
            )

        await self._database.write(work)

    async def _check_ended(self, tx: Transaction, notice_id: int, at: datetime) -> None:
        incident_id = await tx.value("SELECT incident_id FROM notifications WHERE id = ?", (notice_id,))
        incident = await incident_by_id(tx, incident_id)
        if incident is not None:
            await resolved_meanwhile(tx, notice_id, incident, stamp(at))

    async def _forget(self, tx: Transaction, now: datetime) -> None:
        await tx.run(
            "DELETE FROM notifications WHERE host = ? AND at < ?"
            " AND (superseded = 1 OR delivered_at BETWEEN '0' AND ?)",
            (self._host, stamp(now - KEPT), stamp(now - KEPT)),
        )


async def _is_untold(tx: Transaction, host: str, notice_id: int) -> bool:
    row = await tx.one("SELECT 1 FROM notifications WHERE id = ? AND host = ? AND delivered_at = ''", (notice_id, host))
    return row is not None
