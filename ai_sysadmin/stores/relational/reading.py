"""What people and the API read."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from ai_sysadmin.core.acting import ActionState, ExecutorEventKind
from ai_sysadmin.core.errors import NotFound
from ai_sysadmin.core.incident import Incident, State
from ai_sysadmin.core.records import EvidencePack
from ai_sysadmin.runtime.relational import Dialect, Relational, Transaction
from ai_sysadmin.stores import Action, IncidentDetail, JournalPosition, ServiceNote, TimelineEntry
from ai_sysadmin.stores.relational.history import history_as_found
from ai_sysadmin.stores.relational.notices import read_position
from ai_sysadmin.stores.relational.proposing import actions_of
from ai_sysadmin.stores.relational.rows import investigations_of, reviews_of, stamp, symptoms_of

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


class SqlReader:
    """``ReadStore`` in SQL."""

    def __init__(self, database: Relational, host: str) -> None:
        self._database = database
        self._host = host

    async def incidents(self, states: Sequence[State] = (), limit: int = 100) -> Sequence[Incident]:
        async def work(tx: Transaction) -> Sequence[Incident]:
            chosen = [state.value for state in (states or tuple(State))]
            rows = await tx.all(
                f"SELECT body FROM incidents WHERE host = ? AND state IN ({','.join('?' * len(chosen))})"  # noqa: S608
                " ORDER BY opened_at DESC, rowid DESC LIMIT ?",
                (self._host, *chosen, limit),
            )
            return tuple(Incident.model_validate_json(row["body"]) for row in rows)

        return await self._database.read(work)

    async def incident(self, id_or_prefix: str) -> IncidentDetail:
        async def work(tx: Transaction) -> IncidentDetail:
            incident = Incident.model_validate_json(await self._one(tx, "incidents", id_or_prefix))
            return await _detail(tx, incident)

        return await self._database.read(work)

    async def actions(self, states: Sequence[str] = (), limit: int = 100) -> Sequence[Action]:
        async def work(tx: Transaction) -> Sequence[Action]:
            only = f" AND state IN ({','.join('?' * len(states))})" if states else ""
            rows = await tx.all(
                f"SELECT body FROM actions WHERE host = ?{only} ORDER BY updated_at DESC, rowid DESC LIMIT ?",  # noqa: S608
                (self._host, *states, limit),
            )
            return tuple(Action.model_validate_json(row["body"]) for row in rows)

        return await self._database.read(work)

    async def action(self, id_or_prefix: str) -> Action:
        body = await self._database.read(lambda tx: self._one(tx, "actions", id_or_prefix))
        return Action.model_validate_json(body)

    async def actions_since(self, since: datetime) -> Sequence[Action]:
        async def work(tx: Transaction) -> Sequence[Action]:
            rows = await tx.all(
                "SELECT body FROM actions WHERE host = ? AND updated_at >= ? ORDER BY updated_at, rowid",
                (self._host, stamp(since)),
            )
            return tuple(Action.model_validate_json(row["body"]) for row in rows)

        return await self._database.read(work)

    async def healed_since(self, since: datetime) -> Sequence[Incident]:
        async def work(tx: Transaction) -> Sequence[Incident]:
            rows = await tx.all(
                "SELECT id, body FROM incidents WHERE host = ? AND state = ?"
                " AND substr(json_extract(body, '$.resolved_at'), 1, 10) >= ? ORDER BY opened_at, rowid",
                (self._host, State.RESOLVED.value, stamp(since - timedelta(days=1))[:10]),
            )
            found = [Incident.model_validate_json(row["body"]) for row in rows]
            recent = [each for each in found if each.resolved_at and each.resolved_at >= since]
            return tuple([each for each in recent if await _healed_by_itself(tx, each)])

        return await self._database.read(work)

    async def position(self) -> JournalPosition | None:
        return await self._database.read(lambda tx: read_position(tx, self._host))

    async def notes(self) -> Sequence[ServiceNote]:
        async def work(tx: Transaction) -> Sequence[ServiceNote]:
            rows = await tx.all("SELECT body FROM conditions WHERE host = ? ORDER BY service", (self._host,))
            return tuple(ServiceNote.model_validate_json(row["body"]) for row in rows)

        return await self._database.read(work)

    async def kept_by(self) -> str:
        async def work(tx: Transaction) -> str:
            if tx.dialect is Dialect.SQLITE:
                return f"SQLite {await tx.value('SELECT sqlite_version()')}"
            version = await tx.value("SELECT current_setting('server_version')")
            return f"PostgreSQL {str(version).split()[0]}, {await history_as_found(tx)}"

        return await self._database.read(work)

    async def _one(self, tx: Transaction, table: str, id_or_prefix: str) -> str:
        noun = table.removesuffix("s")
        rows = await tx.all(
            f"SELECT id, body FROM {table} WHERE host = ? AND substr(id, 1, ?) = ? ORDER BY id LIMIT 2",  # noqa: S608
            (self._host, len(id_or_prefix), id_or_prefix),
        )
        if not rows or not id_or_prefix:
            raise NotFound(f"there is no {noun} {id_or_prefix!r}; `ai-sysadmin {table}` lists them")
        exact = [row for row in rows if row["id"] == id_or_prefix]
        if len(rows) > 1 and not exact:
            raise NotFound(f"more than one {noun} begins with {id_or_prefix!r}; give more of its id")
        return str((exact or rows)[0]["body"])


_ENDS = ("fault_cleared", "incident_resolved", f"action_{ExecutorEventKind.FINISHED}")


async def _healed_by_itself(tx: Transaction, incident: Incident) -> bool:
    """Tell whether a fault was last measured gone, and no action of the incident was ever begun."""
    row = await tx.one(
        "SELECT json_extract(body, '$.event') AS event FROM timeline WHERE incident_id = ?"  # noqa: S608
        f" AND json_extract(body, '$.event') IN ({','.join('?' * len(_ENDS))}) ORDER BY sequence DESC LIMIT 1",
        (incident.id, *_ENDS),
    )
    untouched = all(action.state in _NEVER_BEGUN for action in await actions_of(tx, incident.id))
    return untouched and row is not None and row["event"] == "fault_cleared"


async def _detail(tx: Transaction, incident: Incident) -> IncidentDetail:
    evidence = await tx.one("SELECT body FROM evidence WHERE incident_id = ?", (incident.id,))
    timeline = await tx.all("SELECT body FROM timeline WHERE incident_id = ? ORDER BY sequence", (incident.id,))
    return IncidentDetail(
        incident=incident,
        symptoms=await symptoms_of(tx, incident.id),
        timeline=tuple(TimelineEntry.model_validate_json(row["body"]) for row in timeline),
        reviews=await reviews_of(tx, incident.id),
        investigations=await investigations_of(tx, incident.id),
        evidence=EvidencePack.model_validate_json(evidence["body"]) if evidence else None,
        actions=tuple(await actions_of(tx, incident.id)),
    )
