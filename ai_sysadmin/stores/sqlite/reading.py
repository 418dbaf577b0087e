"""What people and the API read."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime, timedelta

from ai_sysadmin.core.acting import ActionState, ExecutorEventKind
from ai_sysadmin.core.errors import NotFound
from ai_sysadmin.core.incident import Incident, State
from ai_sysadmin.core.records import EvidencePack
from ai_sysadmin.runtime.sqlite import Database
from ai_sysadmin.stores import Action, IncidentDetail, JournalPosition, ServiceNote, TimelineEntry
from ai_sysadmin.stores.sqlite.notices import read_position
from ai_sysadmin.stores.sqlite.proposing import actions_of
from ai_sysadmin.stores.sqlite.rows import investigations_of, reviews_of, stamp, symptoms_of

_NEVER_BEGUN = frozenset(
    {
        ActionState.PROPOSED,
        ActionState.SUBMITTED,
        ActionState.PREPARING,
        ActionState.PENDING,
        ActionState.REFUSED,
        ActionState.RECORDED,
        ActionState.REJECTED,
        ActionState.EXPIRED,
        ActionState.WITHDRAWN,
    }
)


class SqliteReader:
    """``ReadStore`` on SQLite."""

    def __init__(self, database: Database, host: str) -> None:
        self._database = database
        self._host = host

    async def incidents(self, states: Sequence[State] = (), limit: int = 100) -> Sequence[Incident]:
        def work(connection: sqlite3.Connection) -> Sequence[Incident]:
            chosen = [state.value for state in (states or tuple(State))]
            rows = connection.execute(
                f"SELECT body FROM incidents WHERE host = ? AND state IN ({','.join('?' * len(chosen))})"  # noqa: S608
                " ORDER BY opened_at DESC LIMIT ?",
                (self._host, *chosen, limit),
            )
            return tuple(Incident.model_validate_json(row["body"]) for row in rows)

        return await self._database.read(work)

    async def incident(self, id_or_prefix: str) -> IncidentDetail:
        def work(connection: sqlite3.Connection) -> IncidentDetail:
            incident = Incident.model_validate_json(self._one(connection, "incidents", id_or_prefix))
            return _detail(connection, incident)

        return await self._database.read(work)

    async def actions(self, states: Sequence[str] = (), limit: int = 100) -> Sequence[Action]:
        def work(connection: sqlite3.Connection) -> Sequence[Action]:
            only = f" AND state IN ({','.join('?' * len(states))})" if states else ""
            rows = connection.execute(
                f"SELECT body FROM actions WHERE host = ?{only} ORDER BY updated_at DESC LIMIT ?",  # noqa: S608
                (self._host, *states, limit),
            )
            return tuple(Action.model_validate_json(row["body"]) for row in rows)

        return await self._database.read(work)

    async def action(self, id_or_prefix: str) -> Action:
        return await self._database.read(
            lambda connection: Action.model_validate_json(self._one(connection, "actions", id_or_prefix))
        )

    async def actions_since(self, since: datetime) -> Sequence[Action]:
        def work(connection: sqlite3.Connection) -> Sequence[Action]:
            rows = connection.execute(
                "SELECT body FROM actions WHERE host = ? AND updated_at >= ? ORDER BY updated_at",
                (self._host, stamp(since)),
            )
            return tuple(Action.model_validate_json(row["body"]) for row in rows)

        return await self._database.read(work)

    async def healed_since(self, since: datetime) -> Sequence[Incident]:
        def work(connection: sqlite3.Connection) -> Sequence[Incident]:
            rows = connection.execute(
                "SELECT id, body FROM incidents WHERE host = ? AND state = ?"
                " AND substr(json_extract(body, '$.resolved_at'), 1, 10) >= ? ORDER BY opened_at",
                (self._host, State.RESOLVED.value, stamp(since - timedelta(days=1))[:10]),
            ).fetchall()
            found = (Incident.model_validate_json(row["body"]) for row in rows)
            return tuple(
                each
                for each in found
                if each.resolved_at and each.resolved_at >= since and _healed_by_itself(connection, each)
            )

        return await self._database.read(work)

    async def position(self) -> JournalPosition | None:
        return await self._database.read(lambda connection: read_position(connection, self._host))

    async def notes(self) -> Sequence[ServiceNote]:
        def work(connection: sqlite3.Connection) -> Sequence[ServiceNote]:
            rows = connection.execute("SELECT body FROM service_notes ORDER BY service")
            return tuple(ServiceNote.model_validate_json(row["body"]) for row in rows)

        return await self._database.read(work)

    def _one(self, connection: sqlite3.Connection, table: str, id_or_prefix: str) -> str:
        noun = table.removesuffix("s")
        rows = connection.execute(
            f"SELECT id, body FROM {table} WHERE host = ? AND substr(id, 1, ?) = ? ORDER BY id LIMIT 2",  # noqa: S608
            (self._host, len(id_or_prefix), id_or_prefix),
        ).fetchall()
        if not rows or not id_or_prefix:
            raise NotFound(f"there is no {noun} {id_or_prefix!r}; `ai-sysadmin {table}` lists them")
        exact = [row for row in rows if row["id"] == id_or_prefix]
        if len(rows) > 1 and not exact:
            raise NotFound(f"more than one {noun} begins with {id_or_prefix!r}; give more of its id")
        return str((exact or rows)[0]["body"])


_ENDS = ("fault_cleared", "incident_resolved", f"action_{ExecutorEventKind.FINISHED}")


def _healed_by_itself(connection: sqlite3.Connection, incident: Incident) -> bool:
    """Tell whether a fault was last measured gone, and no action of the incident was ever begun."""
    row = connection.execute(
        "SELECT json_extract(body, '$.event') AS event FROM timeline WHERE incident_id = ?"  # noqa: S608
        f" AND json_extract(body, '$.event') IN ({','.join('?' * len(_ENDS))}) ORDER BY sequence DESC LIMIT 1",
        (incident.id, *_ENDS),
    ).fetchone()
    untouched = all(action.state in _NEVER_BEGUN for action in actions_of(connection, incident.id))
    return untouched and row is not None and row["event"] == "fault_cleared"


def _detail(connection: sqlite3.Connection, incident: Incident) -> IncidentDetail:
    def bodies(table: str) -> list[str]:
        rows = connection.execute(
            f"SELECT body FROM {table} WHERE incident_id = ? ORDER BY rowid",  # noqa: S608
            (incident.id,),
        )
        return [row["body"] for row in rows]

    packs = bodies("evidence")
    return IncidentDetail(
        incident=incident,
        symptoms=symptoms_of(connection, incident.id),
        timeline=tuple(map(TimelineEntry.model_validate_json, bodies("timeline"))),
        reviews=reviews_of(connection, incident.id),
        investigations=investigations_of(connection, incident.id),
        evidence=EvidencePack.model_validate_json(packs[0]) if packs else None,
        actions=tuple(actions_of(connection, incident.id)),
    )
