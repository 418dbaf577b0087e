"""What the trigger monitor writes: the journal position together with what it came to."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from ai_sysadmin.core.incident import FaultCleared, Incident, advance
from ai_sysadmin.core.records import Symptom
from ai_sysadmin.runtime.sqlite import Database
from ai_sysadmin.stores import Cleared, JournalPosition, Live, Noticed, Placing
from ai_sysadmin.stores.opinion_store import Alert
from ai_sysadmin.stores.sqlite.placing import BY, forget_waiting, place
from ai_sysadmin.stores.sqlite.proposing import withdraw_proposed
from ai_sysadmin.stores.sqlite.rows import IS_LIVE, LIVE, incident_by_id, stamp, tell, update_incident
from ai_sysadmin.stores.sqlite.templates import save_templates

_MOST_ALERTS = 1000


class SqliteNotices:
    """``NoticeStore`` on SQLite."""

    def __init__(self, database: Database, host: str) -> None:
        self._database = database
        self._host = host

    async def position(self) -> JournalPosition | None:
        return await self._database.read(lambda connection: read_position(connection, self._host))

    async def commit(self, noticed: Noticed, placing: Placing) -> Sequence[Incident]:
        def work(connection: sqlite3.Connection) -> Sequence[Incident]:
            placed = (place(connection, trigger, placing) for trigger in noticed.triggers)
            began = dict.fromkeys(incident.id for incident in placed if incident is not None)
            if noticed.triggers:
                forget_waiting(connection)
            for cleared in noticed.cleared:
                _clear(connection, cleared)
            save_templates(connection, self._host, noticed.templates)
            _remember(connection, self._host, noticed.memory)
            connection.executemany("DELETE FROM alerts WHERE sequence = ?", [(number,) for number in noticed.alerts])
            if noticed.position is not None:
                _save_position(connection, self._host, noticed)
            return _as_they_are(connection, began)

        return await self._database.write(work)

    async def unattached(self, since: datetime) -> Sequence[Symptom]:
        def work(connection: sqlite3.Connection) -> Sequence[Symptom]:
            rows = connection.execute(
                "SELECT body FROM symptoms WHERE incident_id IS NULL AND host = ? AND last_at >= ?",
                (self._host, stamp(since)),
            )
            return tuple(Symptom.model_validate_json(row["body"]) for row in rows)

        return await self._database.read(work)

    async def live(self) -> Sequence[Live]:
        def work(connection: sqlite3.Connection) -> Sequence[Live]:
            rows = connection.execute(
                f"SELECT id, body FROM incidents WHERE host = ? AND {IS_LIVE} ORDER BY opened_at",  # noqa: S608
                (self._host, *LIVE),
            ).fetchall()
            return tuple(
                Live(Incident.model_validate_json(row["body"]), _faults(connection, row["id"])) for row in rows
            )

        return await self._database.read(work)

    async def memory(self) -> Mapping[str, str]:
        def work(connection: sqlite3.Connection) -> Mapping[str, str]:
            rows = connection.execute("SELECT name, body FROM monitor_memory WHERE host = ?", (self._host,))
            return {row["name"]: row["body"] for row in rows}

        return await self._database.read(work)

    async def alerts(self) -> Sequence[tuple[int, Alert]]:
        def work(connection: sqlite3.Connection) -> Sequence[tuple[int, Alert]]:
            rows = connection.execute(
                "SELECT sequence, body FROM alerts WHERE host = ? ORDER BY sequence LIMIT ?", (self._host, _MOST_ALERTS)
            )
            return tuple((row["sequence"], Alert.model_validate_json(row["body"])) for row in rows)

        return await self._database.read(work)


def read_position(connection: sqlite3.Connection, host: str) -> JournalPosition | None:
    row = connection.execute("SELECT body FROM journal_position WHERE host = ?", (host,)).fetchone()
    return JournalPosition.model_validate_json(row["body"]) if row else None


def _save_position(connection: sqlite3.Connection, host: str, noticed: Noticed) -> None:
    position = noticed.position
    if position is None:
        return
    before = read_position(connection, host)
    summed = position.model_copy(
        update={
            "entries_read": noticed.read + (before.entries_read if before else 0),
            "entries_lost": noticed.lost + (before.entries_lost if before else 0),
            "entries_suppressed": noticed.suppressed + (before.entries_suppressed if before else 0),
        }
    )
    connection.execute(
        "INSERT INTO journal_position (host, body) VALUES (?, ?) ON CONFLICT (host) DO UPDATE SET body = excluded.body",
        (host, summed.model_dump_json()),
    )


def _remember(connection: sqlite3.Connection, host: str, memory: Mapping[str, str]) -> None:
    connection.executemany(
        "INSERT INTO monitor_memory (host, name, body) VALUES (?, ?, ?)"
        " ON CONFLICT (host, name) DO UPDATE SET body = excluded.body",
        [(host, name, body) for name, body in memory.items()],
    )


def _as_they_are(connection: sqlite3.Connection, began: Iterable[str]) -> tuple[Incident, ...]:
    """Return incidents by id, without those that became part of another meanwhile."""
    found = (incident_by_id(connection, incident_id) for incident_id in began)
    return tuple(incident for incident in found if incident is not None and not incident.merged_into)


def _faults(connection: sqlite3.Connection, incident_id: str) -> tuple[Symptom, ...]:
    rows = connection.execute(
        "SELECT body FROM symptoms WHERE incident_id = ? AND opens ORDER BY rowid", (incident_id,)
    )
    return tuple(Symptom.model_validate_json(row["body"]) for row in rows)


def _clear(connection: sqlite3.Connection, cleared: Cleared) -> None:
    before = incident_by_id(connection, cleared.incident_id)
    if before is None:
        return
    after = update_incident(connection, before, advance(before, FaultCleared(cleared.at, cleared.why)), cleared.at)
    if after.state is not before.state:
        tell(connection, after, "fault_cleared", BY, cleared.why, cleared.at)
        withdraw_proposed(connection, after, cleared.at)
