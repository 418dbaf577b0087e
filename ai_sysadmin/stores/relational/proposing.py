"""What is proposed, for which incidents, and what is not needed any more. Plain functions of a connection."""

from datetime import datetime
from typing import Final

from ai_sysadmin.core.acting import ActionRequest, ActionState
from ai_sysadmin.core.incident import Adopted, Incident, advance
from ai_sysadmin.runtime.relational import Transaction
from ai_sysadmin.stores import Action
from ai_sysadmin.stores.relational.rows import (
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


async def propose(tx: Transaction, request: ActionRequest) -> ActionRequest:
    """Put a request into the outbox and return it; where the same is under way already, return that one.

    That one then belongs to the request's incident as well, which is told so and stands where the action does.
    """
    same = await _same_under_way(tx, request)
    if same is not None:
        return await _adopted(tx, same, request) if request.incident_id else same.request
    action = Action(request=request, state=ActionState.PROPOSED, updated_at=request.at)
    await tx.run(
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
        await _link(tx, request.id, request.incident_id)
        if (incident := await incident_by_id(tx, request.incident_id)) is not None:
            await _tell_proposed(tx, incident, request)
    return request


async def supersede(tx: Transaction, incident: Incident, kept: ActionRequest, at: datetime) -> None:
    """Let a proposal take the place of the incident's earlier ones that were not begun and that no person asked for.

    What the executor knows of already is taken back by the courier once it waits for a person.
    """
    for action in await actions_of(tx, incident.id):
        others = [each for each in await _live_incidents(tx, action.request.id) if each != incident.id]
        is_free = action.state in _NOT_BEGUN and not action.request.origin.is_person and not others
        if not is_free or action.request.id == kept.id or action.superseded_by:
            continue
        changes: dict[str, object] = {"superseded_by": kept.id}
        if action.state is ActionState.PROPOSED:
            changes |= {"state": ActionState.WITHDRAWN, "text": superseded_text(kept.id), "updated_at": at}
        await update_action(tx, action.model_copy(update=changes))
        await tell(tx, incident, "action_superseded", kept.origin.value, f"{action.request.id} by {kept.id}", at)


def superseded_text(action_id: str) -> str:
    return f"superseded by {action_id}"


async def withdraw_proposed(tx: Transaction, incident: Incident, at: datetime) -> None:
    """Take back what was proposed for an incident that has ended, was not carried on yet, and is for no other one."""
    for action in await actions_of(tx, incident.id):
        if action.state is ActionState.PROPOSED and not await _live_incidents(tx, action.request.id):
            changes = {"state": ActionState.WITHDRAWN, "text": incident.note, "updated_at": at}
            await update_action(tx, action.model_copy(update=changes))


async def actions_of(tx: Transaction, incident_id: str) -> list[Action]:
    """Return the actions of an incident, the oldest first."""
    rows = await tx.all(
        "SELECT body FROM actions WHERE id IN (SELECT action_id FROM incident_actions WHERE incident_id = ?)"
        " ORDER BY rowid",
        (incident_id,),
    )
    return [Action.model_validate_json(row["body"]) for row in rows]


async def incidents_of(tx: Transaction, action_id: str) -> list[str]:
    """Return the ids of the incidents that an action belongs to."""
    rows = await tx.all(
        "SELECT incident_id FROM incident_actions WHERE action_id = ? ORDER BY incident_id", (action_id,)
    )
    return [row["incident_id"] for row in rows]


async def others_of(tx: Transaction, incident_id: str, action_id: str) -> list[Action]:
    """Return an incident's other actions that go on; of those whose place another has taken only what was begun."""
    under_way = (each for each in await actions_of(tx, incident_id) if not each.state.ended)
    return [
        each for each in under_way if each.request.id != action_id and (each.state in BEGUN or not each.superseded_by)
    ]


async def _same_under_way(tx: Transaction, request: ActionRequest) -> Action | None:
    """Return the action under way that would do the same."""
    rows = await tx.all(
        f"SELECT body FROM actions WHERE host = ? AND {_IS_UNDER_WAY}",  # noqa: S608
        (request.host, *UNDER_WAY),
    )
    under_way = (Action.model_validate_json(row["body"]) for row in rows)
    return next((each for each in under_way if each.request.digest == request.digest), None)


async def _adopted(tx: Transaction, action: Action, request: ActionRequest) -> ActionRequest:
    """Let an action that is under way belong to the incident of a request for the same."""
    kept, incident = action.request, await incident_by_id(tx, request.incident_id)
    if incident is None:
        return kept
    is_known = incident.id in await incidents_of(tx, kept.id) and not action.superseded_by
    if not kept.incident_id:
        kept = kept.model_copy(update={"incident_id": incident.id})
    if action.superseded_by or kept is not action.request:
        action = action.model_copy(update={"request": kept, "superseded_by": ""})
        await update_action(tx, action)
    text = f"{_said(kept)} is {action.state.value} already"
    after = advance(incident, Adopted(action.state, request.at, action.text or text))
    if is_known and after.state is incident.state:
        return kept
    await _link(tx, kept.id, incident.id)
    after = await update_incident(tx, incident, after, request.at)
    await tell(tx, after, "action_adopted", request.origin.value, text, request.at)
    return kept


async def _link(tx: Transaction, action_id: str, incident_id: str) -> None:
    await tx.run(
        "INSERT INTO incident_actions (action_id, incident_id) VALUES (?, ?) ON CONFLICT DO NOTHING",
        (action_id, incident_id),
    )


async def _live_incidents(tx: Transaction, action_id: str) -> list[str]:
    rows = await tx.all(
        "SELECT incidents.id FROM incident_actions JOIN incidents ON incidents.id = incident_id"  # noqa: S608
        f" WHERE action_id = ? AND {IS_LIVE}",
        (action_id, *LIVE),
    )
    return [row["id"] for row in rows]


async def _tell_proposed(tx: Transaction, incident: Incident, request: ActionRequest) -> None:
    await tell(tx, incident, "action_proposed", request.origin.value, _said(request), request.at)


def _said(request: ActionRequest) -> str:
    said = ", ".join(f"{key}={value}" for key, value in request.arguments.items())
    return f"{request.name} {said} (action {request.id})"
