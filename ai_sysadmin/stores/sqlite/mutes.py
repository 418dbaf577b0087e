"""What comes to the trigger monitor from outside: mutes by people, alerts of other systems."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from ai_sysadmin.core.errors import StoreUnavailable
from ai_sysadmin.core.records import Symptom
from ai_sysadmin.runtime.sqlite import Database
from ai_sysadmin.stores.opinion_store import Alert, Mute
from ai_sysadmin.stores.sqlite.rows import stamp

MOST_WAITING_ALERTS: Final = 20_000
"""More than these are not taken: whoever sends alerts keeps them and tries again."""
_MOST_FOUND: Final = 10


class SqliteMutes:
    """``MuteStore`` on SQLite."""

    def __init__(self, database: Database, host: str) -> None:
        self._database = database
        self._host = host

    async def mute(self, mute: Mute) -> None:
        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM mutes WHERE host = ? AND until < ?", (self._host, stamp(mute.at)))
            connection.execute(
                "INSERT INTO mutes (host, fingerprint, until, body) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (host, fingerprint) DO UPDATE SET until = excluded.until, body = excluded.body",
                (self._host, mute.fingerprint, stamp(mute.until), mute.model_dump_json()),
            )

        await self._database.write(work)

    async def mutes(self, now: datetime) -> Sequence[Mute]:
        def work(connection: sqlite3.Connection) -> Sequence[Mute]:
            rows = connection.execute(
                "SELECT body FROM mutes WHERE host = ? AND until > ? ORDER BY until", (self._host, stamp(now))
            )
            return tuple(Mute.model_validate_json(row["body"]) for row in rows)

        return await self._database.read(work)

    async def held(self, fingerprint_or_prefix: str) -> Sequence[Symptom]:
        """Return the symptoms that incidents hold, one for each fingerprint that begins so, the latest seen first."""

        def work(connection: sqlite3.Connection) -> Sequence[Symptom]:
            rows = connection.execute(
                "SELECT body, max(last_at) AS newest FROM symptoms WHERE incident_id IS NOT NULL AND host = ?"
                " AND substr(fingerprint, 1, ?) = ? GROUP BY fingerprint ORDER BY newest DESC LIMIT ?",
                (self._host, len(fingerprint_or_prefix), fingerprint_or_prefix, _MOST_FOUND),
            )
            return tuple(Symptom.model_validate_json(row["body"]) for row in rows)

        return await self._database.read(work) if fingerprint_or_prefix else ()


class SqliteAlerts:
    """``AlertStore`` on SQLite."""

    def __init__(self, database: Database, host: str) -> None:
        self._database = database
        self._host = host

    async def receive(self, alerts: Sequence[Alert]) -> None:
        def work(connection: sqlite3.Connection) -> None:
            (waiting,) = connection.execute("SELECT count(*) FROM alerts WHERE host = ?", (self._host,)).fetchone()
            if waiting + len(alerts) > MOST_WAITING_ALERTS:
                raise StoreUnavailable(
                    f"{waiting} alerts wait already, and the trigger monitor does not take them in: "
                    "`ai-sysadmin status` says whether it runs"
                )
            connection.executemany(
                "INSERT INTO alerts (host, body) VALUES (?, ?)",
                [(self._host, alert.model_dump_json()) for alert in alerts],
            )

        await self._database.write(work)
