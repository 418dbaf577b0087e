"""What comes to the trigger monitor from outside: mutes by people, alerts of other systems."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from ai_sysadmin.core.errors import StoreUnavailable
from ai_sysadmin.core.records import Symptom
from ai_sysadmin.runtime.relational import Relational, Transaction
from ai_sysadmin.stores.opinion_store import Alert, Mute
from ai_sysadmin.stores.relational.rows import stamp

MOST_WAITING_ALERTS: Final = 20_000
"""More than these are not taken: whoever sends alerts keeps them and tries again."""
_MOST_FOUND: Final = 10


class SqlMutes:
    """``MuteStore`` on a relational database."""

    def __init__(self, database: Relational, host: str) -> None:
        self._database = database
        self._host = host

    async def mute(self, mute: Mute) -> None:
        async def work(tx: Transaction) -> None:
            await tx.run("DELETE FROM mutes WHERE host = ? AND until < ?", (self._host, stamp(mute.at)))
            await tx.run(
                "INSERT INTO mutes (host, fingerprint, until, body) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (host, fingerprint) DO UPDATE SET until = excluded.until, body = excluded.body",
                (self._host, mute.fingerprint, stamp(mute.until), mute.model_dump_json()),
            )

        await self._database.write(work)

    async def mutes(self, now: datetime) -> Sequence[Mute]:
        async def work(tx: Transaction) -> Sequence[Mute]:
            rows = await tx.all(
                "SELECT body FROM mutes WHERE host = ? AND until > ? ORDER BY until, fingerprint",
                (self._host, stamp(now)),
            )
            return tuple(Mute.model_validate_json(row["body"]) for row in rows)

        return await self._database.read(work)

    async def held(self, fingerprint_or_prefix: str) -> Sequence[Symptom]:
        """Return the symptoms that incidents hold, one for each fingerprint that begins so, the latest seen first."""

        async def work(tx: Transaction) -> Sequence[Symptom]:
            rows = await tx.all(
                "SELECT body FROM (SELECT body, last_at, fingerprint,"
                " row_number() OVER (PARTITION BY fingerprint ORDER BY last_at DESC, rowid DESC) AS place FROM symptoms"
                " WHERE incident_id IS NOT NULL AND host = ? AND substr(fingerprint, 1, ?) = ?) AS found"
                " WHERE place = 1 ORDER BY last_at DESC, fingerprint LIMIT ?",
                (self._host, len(fingerprint_or_prefix), fingerprint_or_prefix, _MOST_FOUND),
            )
            return tuple(Symptom.model_validate_json(row["body"]) for row in rows)

        return await self._database.read(work) if fingerprint_or_prefix else ()


class SqlAlerts:
    """``AlertStore`` on a relational database."""

    def __init__(self, database: Relational, host: str) -> None:
        self._database = database
        self._host = host

    async def receive(self, alerts: Sequence[Alert]) -> None:
        async def work(tx: Transaction) -> None:
            waiting = await tx.value("SELECT count(*) FROM alerts WHERE host = ?", (self._host,))
            if waiting + len(alerts) > MOST_WAITING_ALERTS:
                raise StoreUnavailable(
                    f"{waiting} alerts wait already, and the trigger monitor does not take them in: "
                    "`ai-sysadmin status` says whether it runs"
                )
            await tx.many(
                "INSERT INTO alerts (host, body) VALUES (?, ?)",
                [(self._host, alert.model_dump_json()) for alert in alerts],
            )

        await self._database.write(work)
