"""What the trigger monitor writes: the journal position together with what it came to."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime, timedelta

from ai_sysadmin.core.incident import (
    ENDED,
    FaultCleared,
    Incident,
    Returned,
    State,
    advance,
    attach,
    open_incident,
    reopens,
)
from ai_sysadmin.core.records import Symptom, Trigger
from ai_sysadmin.runtime.sqlite import Database
from ai_sysadmin.stores import Cleared, JournalPosition, Noticed
from ai_sysadmin.stores.sqlite.rows import insert_incident, stamp, tell, update_incident

_LIVE = tuple(state.value for state in State if state not in ENDED)
_IS_LIVE = f"state IN ({','.join('?' * len(_LIVE))})"
BY = "trigger-monitor"


class SqliteNotices:
    """``NoticeStore`` on SQLite."""

    def __init__(self, database: Database, host: str) -> None:
        self._database = database
        self._host = host

    async def position(self) -> JournalPosition | None:
        return await self._database.read(lambda connection: read_position(connection, self._host))

    async def commit(self, noticed: Noticed, *, join_within: timedelta, reopen_within: timedelta) -> Sequence[Incident]:
        def work(connection: sqlite3.Connection) -> Sequence[Incident]:
            began = {}
            for trigger in noticed.triggers:
                incident = _place(connection, trigger, join_within, reopen_within)
                if incident is not None:
                    began[incident.id] = incident
            for cleared in noticed.cleared:
                _clear(connection, cleared)
            if noticed.position is not None:
                _save_position(connection, self._host, noticed)
            return tuple(began.values())

        return await self._database.write(work)

    async def unattached(self, since: datetime) -> Sequence[Symptom]:
        def work(connection: sqlite3.Connection) -> Sequence[Symptom]:
            rows = connection.execute(
                "SELECT body FROM symptoms WHERE incident_id IS NULL AND host = ? AND last_at >= ?",
                (self._host, stamp(since)),
            )
            return tuple(Symptom.model_validate_json(row["body"]) for row in rows)

        return await self._database.read(work)

    async def live(self) -> Sequence[Incident]:
        def work(connection: sqlite3.Connection) -> Sequence[Incident]:
            rows = connection.execute(
                f"SELECT body FROM incidents WHERE host = ? AND {_IS_LIVE} ORDER BY opened_at",  # noqa: S608
                (self._host, *_LIVE),
            )
            return tuple(Incident.model_validate_json(row["body"]) for row in rows)

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


def _place(
    connection: sqlite3.Connection, trigger: Trigger, join_within: timedelta, reopen_within: timedelta
) -> Incident | None:
    """Put a trigger where it belongs; return the incident when this opened or reopened it."""
    if _is_repetition(connection, trigger):
        return None
    last = _last_incident(connection, trigger)
    if last is not None and not last.ended:
        joined = _join(connection, last, trigger)
        if trigger.opens and joined.evidence_revision > last.evidence_revision:
            tell(connection, joined, "symptom_joined", BY, trigger.why or trigger.text, trigger.at)
        return None
    if last is not None and reopens(last, trigger, reopen_within):
        reopened = update_incident(connection, last, advance(last, Returned(trigger)))
        tell(connection, reopened, "incident_reopened", BY, f"it came back: {trigger.why}", trigger.at)
        return _join(connection, reopened, trigger)
    if not trigger.opens:
        _wait(connection, trigger, join_within)
        return None
    incident = open_incident(trigger)
    insert_incident(connection, incident)
    tell(connection, incident, "incident_opened", BY, incident.title, trigger.at)
    incident = _adopt(connection, incident, trigger.at - join_within)
    return _join(connection, incident, trigger)


def _is_repetition(connection: sqlite3.Connection, trigger: Trigger) -> bool:
    """One failure has one invocation: seen in the journal and again on the bus, it is still one."""
    invocation = trigger.details.get("invocation", "")
    if not invocation:
        return False
    return (
        connection.execute(
            "SELECT 1 FROM symptoms WHERE unit = ? AND host = ? AND invocation = ? AND incident_id IS NOT NULL",
            (trigger.unit, trigger.host, invocation),
        ).fetchone()
        is not None
    )


def _last_incident(connection: sqlite3.Connection, trigger: Trigger) -> Incident | None:
    row = connection.execute(
        "SELECT body FROM incidents WHERE host = ? AND unit = ? ORDER BY opened_at DESC, rowid DESC LIMIT 1",
        (trigger.host, trigger.unit),
    ).fetchone()
    return Incident.model_validate_json(row["body"]) if row else None


def _join(connection: sqlite3.Connection, incident: Incident, trigger: Trigger) -> Incident:
    row = connection.execute(
        "SELECT body FROM symptoms WHERE incident_id = ? AND fingerprint = ?", (incident.id, trigger.fingerprint)
    ).fetchone()
    before = Symptom.model_validate_json(row["body"]) if row else None
    _save_symptom(connection, merged(before, trigger), incident.id, is_known=before is not None)
    return update_incident(connection, incident, attach(incident, trigger, before is not None, trigger.at))


def _wait(connection: sqlite3.Connection, trigger: Trigger, join_within: timedelta) -> None:
    row = connection.execute(
        "SELECT body FROM symptoms WHERE incident_id IS NULL AND fingerprint = ?", (trigger.fingerprint,)
    ).fetchone()
    before = Symptom.model_validate_json(row["body"]) if row else None
    stale = before is not None and before.last_at < trigger.at - join_within
    _save_symptom(connection, merged(None if stale else before, trigger), None, is_known=before is not None)


def _adopt(connection: sqlite3.Connection, incident: Incident, since: datetime) -> Incident:
    """Give a new incident the symptoms of its unit that were waiting for it; drop those too old to belong."""
    where = "incident_id IS NULL AND host = ? AND unit = ?"
    key = (incident.host, incident.unit)
    connection.execute(f"DELETE FROM symptoms WHERE {where} AND last_at < ?", (*key, stamp(since)))  # noqa: S608
    rows = connection.execute(f"SELECT body FROM symptoms WHERE {where}", key).fetchall()  # noqa: S608
    connection.execute(f"UPDATE symptoms SET incident_id = ? WHERE {where}", (incident.id, *key))  # noqa: S608
    waiting = [Symptom.model_validate_json(row["body"]) for row in rows]
    if not waiting:
        return incident
    adopted = incident.model_copy(
        update={
            "count": incident.count + sum(symptom.count for symptom in waiting),
            "evidence_revision": incident.evidence_revision + len(waiting),
        }
    )
    return update_incident(connection, incident, adopted)


def _save_symptom(connection: sqlite3.Connection, symptom: Symptom, incident_id: str | None, *, is_known: bool) -> None:
    values = (stamp(symptom.last_at), symptom.details.get("invocation", ""), symptom.model_dump_json())
    if is_known:
        connection.execute(
            "UPDATE symptoms SET last_at = ?, invocation = ?, body = ? WHERE incident_id IS ? AND fingerprint = ?",
            (*values, incident_id, symptom.fingerprint),
        )
    else:
        connection.execute(
            "INSERT INTO symptoms (last_at, invocation, body, incident_id, fingerprint, host, unit)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*values, incident_id, symptom.fingerprint, symptom.host, symptom.unit),
        )


def merged(before: Symptom | None, trigger: Trigger) -> Symptom:
    """Return a symptom with one more trigger counted in."""
    return Symptom(
        fingerprint=trigger.fingerprint,
        host=trigger.host,
        unit=trigger.unit,
        kind=trigger.kind,
        opens=trigger.opens or (before.opens if before else False),
        count=trigger.count + (before.count if before else 0),
        first_at=min(before.first_at, trigger.at) if before else trigger.at,
        last_at=max(before.last_at, trigger.at) if before else trigger.at,
        priority=min(before.priority, trigger.priority) if before else trigger.priority,
        text=trigger.text,
        why=trigger.why,
        details=trigger.details,
    )


def _clear(connection: sqlite3.Connection, cleared: Cleared) -> None:
    rows = connection.execute(
        f"SELECT body FROM incidents WHERE host = ? AND unit = ? AND {_IS_LIVE}",  # noqa: S608
        (cleared.host, cleared.unit, *_LIVE),
    ).fetchall()
    for row in rows:
        before = Incident.model_validate_json(row["body"])
        after = update_incident(connection, before, advance(before, FaultCleared(cleared.at, cleared.why)))
        if after.state is not before.state:
            tell(connection, after, "fault_cleared", BY, cleared.why, cleared.at)
