"""What is proposed, for which incidents, and what is not needed any more. Plain functions of a connection."""

import sqlite3
from datetime import datetime
from typing import Final

from ai_sysadmin.core.acting import ActionRequest, ActionState
from ai_sysadmin.core.incident import Adopted, Incident, advance
from ai_sysadmin.stores import Action
from ai_sysadmin.stores.sqlite.rows import (
    IS_LIVE,
    LIVE,
    UNDER_WAY,
    incident_by_id,
    stamp,
    tell,
    update_action,
    update_incident,
)

_LIVE_INCIDENT = (
    "SELECT 1 FROM incident_actions JOIN incidents ON incidents.id = incident_actions.incident_id"  # noqa: S608
    f" WHERE incident_actions.action_id = actions.id AND {IS_LIVE}"
)
HAS_LIVE_INCIDENT: Final = f"EXISTS ({_LIVE_INCIDENT})"
_IS_UNDER_WAY: Final = f"actions.state IN ({','.join('?' * len(UNDER_WAY))})"
BEGUN: Final = frozenset({ActionState.STARTED, ActionState.RAN, ActionState.CONFIRMING, ActionState.REVERTING})
_NOT_BEGUN: Final = frozenset({ActionState.PROPOSED, ActionState.SUBMITTED, ActionState.PREPARING, ActionState.PENDING})


def propose(connection: sqlite3.Connection, request: ActionRequest) -> ActionRequest:
    """Put a request into the outbox and return it; where the same is under way already, return that one.

    That one then belongs to the request's incident as well, which is told so and stands where the action does.
    """
    same = _same_under_way(connection, request)
    if same is not None:
        return _adopted(connection, same, request) if request.incident_id else same.request
    action = Action(request=request, state=ActionState.PROPOSED, updated_at=request.at)
    connection.execute(
        "INSERT INTO actions (id, host, digest, incident_id, state, updated_at, body) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            request.id,
            request.host,
            request.digest,
            request.incident_id,
            action.state,
            stamp(action.updated_at),
            action.model_dump_json(),
        ),
    )
    if request.incident_id:
        _link(connection, request.id, request.incident_id)
        if (incident := incident_by_id(connection, request.incident_id)) is not None:
            _tell_proposed(connection, incident, request)
    return request


def supersede(connection: sqlite3.Connection, incident: Incident, kept: ActionRequest, at: datetime) -> None:
    """Let a proposal take the place of the incident's earlier ones that were not begun and that no person asked for.

    What the executor knows of already is taken back by the courier once it waits for a person.
    """
    for action in actions_of(connection, incident.id):
        others = [each for each in _live_incidents(connection, action.request.id) if each != incident.id]
        is_free = action.state in _NOT_BEGUN and not action.request.origin.is_person and not others
        if not is_free or action.request.id == kept.id or action.superseded_by:
            continue
        changes: dict[str, object] = {"superseded_by": kept.id}
        if action.state is ActionState.PROPOSED:
            changes |= {"state": ActionState.WITHDRAWN, "text": superseded_text(kept.id), "updated_at": at}
        update_action(connection, action.model_copy(update=changes))
        tell(connection, incident, "action_superseded", kept.origin.value, f"{action.request.id} by {kept.id}", at)


def superseded_text(action_id: str) -> str:
    return f"superseded by {action_id}"


def withdraw_proposed(connection: sqlite3.Connection, incident: Incident, at: datetime) -> None:
    """Take back what was proposed for an incident that has ended, was not carried on yet, and is for no other one."""
    for action in actions_of(connection, incident.id):
        if action.state is ActionState.PROPOSED and not _live_incidents(connection, action.request.id):
            changes = {"state": ActionState.WITHDRAWN, "text": incident.note, "updated_at": at}
            update_action(connection, action.model_copy(update=changes))


def actions_of(connection: sqlite3.Connection, incident_id: str) -> list[Action]:
    """Return the actions of an incident, the oldest first."""
    rows = connection.execute(
        "SELECT body FROM actions WHERE id IN (SELECT action_id FROM incident_actions WHERE incident_id = ?)"
        " ORDER BY rowid",
        (incident_id,),
    )
    return [Action.model_validate_json(row["body"]) for row in rows]


def incidents_of(connection: sqlite3.Connection, action_id: str) -> list[str]:
    """Return the ids of the incidents that an action belongs to."""
    rows = connection.execute(
        "SELECT incident_id FROM incident_actions WHERE action_id = ? ORDER BY incident_id", (action_id,)
    )
    return [row["incident_id"] for row in rows]


def others_of(connection: sqlite3.Connection, incident_id: str, action_id: str) -> list[Action]:
    """Return an incident's other actions that go on; of those whose place another has taken only what was begun."""
    under_way = (each for each in actions_of(connection, incident_id) if not each.state.ended)
    return [
        each for each in under_way if each.request.id != action_id and (each.state in BEGUN or not each.superseded_by)
    ]


def _same_under_way(connection: sqlite3.Connection, request: ActionRequest) -> Action | None:
    """Return the action under way that would do the same."""
    rows = connection.execute(
        f"SELECT body FROM actions WHERE host = ? AND {_IS_UNDER_WAY}",  # noqa: S608
        (request.host, *UNDER_WAY),
    )
    under_way = (Action.model_validate_json(row["body"]) for row in rows)
    return next((each for each in under_way if each.request.digest == request.digest), None)


def _adopted(connection: sqlite3.Connection, action: Action, request: ActionRequest) -> ActionRequest:
    """Let an action that is under way belong to the incident of a request for the same."""
    kept, incident = action.request, incident_by_id(connection, request.incident_id)
    if incident is None:
        return kept
    is_known = incident.id in incidents_of(connection, kept.id) and not action.superseded_by
    if not kept.incident_id:
        kept = kept.model_copy(update={"incident_id": incident.id})
    if action.superseded_by or kept is not action.request:
        action = action.model_copy(update={"request": kept, "superseded_by": ""})
        update_action(connection, action)
    if is_known:
        return kept
    _link(connection, kept.id, incident.id)
    text = f"{_said(kept)} is {action.state.value} already"
    after = advance(incident, Adopted(action.state, request.at, action.text or text))
    after = update_incident(connection, incident, after, request.at)
    tell(connection, after, "action_adopted", request.origin.value, text, request.at)
    return kept


def _link(connection: sqlite3.Connection, action_id: str, incident_id: str) -> None:
    connection.execute(
        "INSERT INTO incident_actions (action_id, incident_id) VALUES (?, ?) ON CONFLICT DO NOTHING",
        (action_id, incident_id),
    )


def _live_incidents(connection: sqlite3.Connection, action_id: str) -> list[str]:
    rows = connection.execute(
        "SELECT incidents.id FROM incident_actions JOIN incidents ON incidents.id = incident_id"  # noqa: S608
        f" WHERE action_id = ? AND {IS_LIVE}",
        (action_id, *LIVE),
    )
    return [row["id"] for row in rows]


def _tell_proposed(connection: sqlite3.Connection, incident: Incident, request: ActionRequest) -> None:
    tell(connection, incident, "action_proposed", request.origin.value, _said(request), request.at)


def _said(request: ActionRequest) -> str:
    said = ", ".join(f"{key}={value}" for key, value in request.arguments.items())
    return f"{request.name} {said} (action {request.id})"
