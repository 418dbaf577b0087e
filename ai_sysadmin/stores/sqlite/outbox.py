"""The outbox of requests, and the executor's events with the position up to which they were applied."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime

from ai_sysadmin.core.acting import ActionRequest, ActionState, ExecutorEvent, ExecutorEventKind, Origin, state_after
from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.incident import ENDED, Incident, advance
from ai_sysadmin.runtime.sqlite import Database
from ai_sysadmin.stores import Action
from ai_sysadmin.stores.sqlite.placing import IS_LIVE, LIVE, STORM
from ai_sysadmin.stores.sqlite.rows import action_by_id, incident_by_id, tell, update_action, update_incident

_OF_NO_INCIDENT = "actions.incident_id = ''"
_ASKED_IN_CHAT = "json_extract(actions.body, '$.request.origin') = ?"


class SqliteOutbox:
    """``OutboxStore`` on SQLite."""

    def __init__(self, database: Database, host: str, clock: Clock) -> None:
        self._database = database
        self._host = host
        self._clock = clock

    async def unsubmitted(self) -> Sequence[ActionRequest]:
        def work(connection: sqlite3.Connection) -> Sequence[ActionRequest]:
            rows = connection.execute(
                "SELECT actions.body FROM actions LEFT JOIN incidents ON incidents.id = incident_id"  # noqa: S608
                f" WHERE actions.state = ? AND actions.host = ? AND ({_OF_NO_INCIDENT} OR {IS_LIVE}"
                f" AND ({_ASKED_IN_CHAT} OR NOT EXISTS (SELECT 1 FROM incidents storm"
                f" WHERE storm.host = ? AND storm.subject = ? AND storm.{IS_LIVE.removeprefix('incidents.')})))"
                " ORDER BY actions.updated_at",
                (ActionState.PROPOSED.value, self._host, *LIVE, Origin.CHAT.value, self._host, STORM, *LIVE),
            )
            return tuple(Action.model_validate_json(row["body"]).request for row in rows)

        return await self._database.read(work)

    async def submitted(self, action_id: str) -> None:
        def work(connection: sqlite3.Connection) -> None:
            action = action_by_id(connection, action_id)
            if action is not None and action.state is ActionState.PROPOSED:  # an event may have been faster
                update_action(
                    connection,
                    action.model_copy(update={"state": ActionState.SUBMITTED, "updated_at": self._clock.now()}),
                )

        await self._database.write(work)

    async def unneeded(self) -> Sequence[tuple[ActionRequest, str]]:
        def work(connection: sqlite3.Connection) -> Sequence[tuple[ActionRequest, str]]:
            ended = [state.value for state in ENDED]
            rows = connection.execute(
                "SELECT actions.body AS action, incidents.body AS incident"  # noqa: S608
                " FROM actions JOIN incidents ON incidents.id = incident_id"
                f" WHERE actions.state = ? AND actions.host = ? AND incidents.state IN ({','.join('?' * len(ended))})",
                (ActionState.PENDING.value, self._host, *ended),
            )
            return tuple(
                (Action.model_validate_json(row["action"]).request, Incident.model_validate_json(row["incident"]).note)
                for row in rows
            )

        return await self._database.read(work)

    async def refused(self, request: ActionRequest, why: str, at: datetime) -> None:
        event = ExecutorEvent(
            epoch="",
            sequence=0,
            action_id=request.id,
            incident_id=request.incident_id,
            kind=ExecutorEventKind.REFUSED,
            text=why,
            at=at,
        )
        await self._database.write(lambda connection: _apply(connection, event))

    async def executor_position(self) -> tuple[str, int]:
        return await self._database.read(self._position)

    async def apply(self, events: Sequence[ExecutorEvent]) -> Sequence[Incident]:
        def work(connection: sqlite3.Connection) -> Sequence[Incident]:
            changed = {}
            for event in events:
                epoch, sequence = self._position(connection)
                if event.epoch == epoch and event.sequence <= sequence:
                    continue
                incident = _apply(connection, event)
                if incident is not None:
                    changed[incident.id] = incident
                connection.execute(
                    "INSERT INTO executor_position (host, epoch, sequence) VALUES (?, ?, ?)"
                    " ON CONFLICT (host) DO UPDATE SET epoch = excluded.epoch, sequence = excluded.sequence",
                    (self._host, event.epoch, event.sequence),
                )
            return tuple(changed.values())

        return await self._database.write(work)

    def _position(self, connection: sqlite3.Connection) -> tuple[str, int]:
        row = connection.execute(
            "SELECT epoch, sequence FROM executor_position WHERE host = ?", (self._host,)
        ).fetchone()
        return (row["epoch"], row["sequence"]) if row else ("", 0)


def _apply(connection: sqlite3.Connection, event: ExecutorEvent) -> Incident | None:
    action = action_by_id(connection, event.action_id)
    if action is not None:
        update_action(connection, _acted(action, event))
    incident = incident_by_id(connection, event.incident_id)
    if incident is None:
        return None
    after = update_incident(connection, incident, advance(incident, event))
    tell(connection, after, f"action_{event.kind.value}", "executor", event.text, event.at)
    return after


def _acted(action: Action, event: ExecutorEvent) -> Action:
    state = state_after(event.kind, event.outcome)
    changes: dict[str, object] = {"state": state, "text": event.text, "updated_at": event.at}
    if event.ruling is not None:
        changes["risk"] = event.ruling.risk.value
    if event.approval is not None:
        changes["by"] = event.approval.by
    return action.model_copy(update=changes)
