"""What people and the API read."""

import sqlite3
from collections.abc import Sequence

from ai_sysadmin.core.errors import NotFound
from ai_sysadmin.core.incident import Incident, State
from ai_sysadmin.core.records import EvidencePack, Investigation
from ai_sysadmin.runtime.sqlite import Database
from ai_sysadmin.stores import Action, IncidentDetail, JournalPosition, ServiceNote, TimelineEntry
from ai_sysadmin.stores.sqlite.notices import read_position
from ai_sysadmin.stores.sqlite.rows import reviews_of, symptoms_of


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
        investigations=tuple(map(Investigation.model_validate_json, bodies("investigations"))),
        evidence=EvidencePack.model_validate_json(packs[0]) if packs else None,
        actions=tuple(map(Action.model_validate_json, bodies("actions"))),
    )
