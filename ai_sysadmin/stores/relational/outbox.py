"""The outbox of requests, and the executor's events with the position up to which they were applied."""

from collections.abc import Sequence
from datetime import datetime

from ai_sysadmin.core.acting import (
    ActionRequest,
    ActionState,
    ExecutorEvent,
    ExecutorEventKind,
    Origin,
    OutcomeKind,
    state_after,
)
from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.incident import Incident, State, advance
from ai_sysadmin.runtime.relational import Relational, Transaction
from ai_sysadmin.stores import Action
from ai_sysadmin.stores.relational.notifying import notify
from ai_sysadmin.stores.relational.outcomes import count_outcome
from ai_sysadmin.stores.relational.placing import STORM
from ai_sysadmin.stores.relational.proposing import (
    BEGUN,
    HAS_LIVE_INCIDENT,
    incidents_of,
    others_of,
    superseded_text,
    withdraw_proposed,
)
from ai_sysadmin.stores.relational.rows import (
    IS_LIVE,
    LIVE,
    action_by_id,
    incident_by_id,
    stamp,
    tell,
    update_action,
    update_incident,
)

_OF_NO_INCIDENT = "actions.incident_id = ''"
_IS_SUPERSEDED = "coalesce(json_extract(actions.body, '$.superseded_by'), '') <> ''"
_ASKED_IN_CHAT = "json_extract(actions.body, '$.request.origin') = ?"


class SqlOutbox:
    """``OutboxStore`` in SQL."""

    def __init__(self, database: Relational, host: str, clock: Clock) -> None:
        self._database = database
        self._host = host
        self._clock = clock

    async def unsubmitted(self) -> Sequence[ActionRequest]:
        async def work(tx: Transaction) -> Sequence[ActionRequest]:
            rows = await tx.all(
                "SELECT actions.body FROM actions"  # noqa: S608
                f" WHERE actions.state = ? AND actions.host = ? AND ({_OF_NO_INCIDENT} OR {HAS_LIVE_INCIDENT}"
                f" AND ({_ASKED_IN_CHAT} OR NOT EXISTS (SELECT 1 FROM incidents storm"
                f" WHERE storm.host = ? AND storm.subject = ? AND storm.{IS_LIVE.removeprefix('incidents.')})))"
                " ORDER BY actions.updated_at, actions.rowid",
                (ActionState.PROPOSED.value, self._host, *LIVE, Origin.CHAT.value, self._host, STORM, *LIVE),
            )
            return tuple(Action.model_validate_json(row["body"]).request for row in rows)

        return await self._database.read(work)

    async def submitted(self, action_id: str) -> None:
        async def work(tx: Transaction) -> None:
            action = await action_by_id(tx, action_id)
            if action is not None and action.state is ActionState.PROPOSED:  # an event may have been faster
                await update_action(
                    tx,
                    action.model_copy(update={"state": ActionState.SUBMITTED, "updated_at": self._clock.now()}),
                )

        await self._database.write(work)

    async def unneeded(self) -> Sequence[tuple[ActionRequest, str]]:
        async def work(tx: Transaction) -> Sequence[tuple[ActionRequest, str]]:
            rows = await tx.all(
                f"SELECT body FROM actions WHERE state = ? AND host = ? AND ({_IS_SUPERSEDED}"  # noqa: S608
                f" OR NOT ({_OF_NO_INCIDENT} OR {HAS_LIVE_INCIDENT})) ORDER BY updated_at, rowid",
                (ActionState.PENDING.value, self._host, *LIVE),
            )
            actions = [Action.model_validate_json(row["body"]) for row in rows]
            return tuple([(action.request, await _why_unneeded(tx, action)) for action in actions])

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
        await self._database.write(lambda tx: _apply(tx, event))

    async def executor_position(self) -> tuple[str, int]:
        return await self._database.read(self._position)

    async def apply(self, events: Sequence[ExecutorEvent]) -> Sequence[Incident]:
        async def work(tx: Transaction) -> Sequence[Incident]:
            changed: dict[str, Incident] = {}
            for event in events:
                epoch, sequence = await self._position(tx)
                if event.epoch == epoch and event.sequence <= sequence:
                    continue
                changed.update({incident.id: incident for incident in await _apply(tx, event)})
                await tx.run(
                    "INSERT INTO executor_position (host, epoch, sequence) VALUES (?, ?, ?)"
                    " ON CONFLICT (host) DO UPDATE SET epoch = excluded.epoch, sequence = excluded.sequence",
                    (self._host, event.epoch, event.sequence),
                )
            return tuple(changed.values())

        return await self._database.write(work)

    async def _position(self, tx: Transaction) -> tuple[str, int]:
        row = await tx.one("SELECT epoch, sequence FROM executor_position WHERE host = ?", (self._host,))
        return (row["epoch"], row["sequence"]) if row else ("", 0)


async def _why_unneeded(tx: Transaction, action: Action) -> str:
    if action.superseded_by:
        return superseded_text(action.superseded_by)
    incident = await incident_by_id(tx, action.request.incident_id)
    return incident.note if incident is not None else ""


_NOT_CARRIED_OUT = frozenset(
    {
        ExecutorEventKind.REFUSED,
        ExecutorEventKind.RECORDED,
        ExecutorEventKind.REJECTED,
        ExecutorEventKind.EXPIRED,
        ExecutorEventKind.WITHDRAWN,
    }
)


async def _apply(tx: Transaction, event: ExecutorEvent) -> Sequence[Incident]:
    """Apply one event to the action and to its incidents, as they are known here; return the incidents."""
    action = await action_by_id(tx, event.action_id)
    if action is None:
        incident_ids = [event.incident_id]
    else:
        await update_action(tx, _acted(action, event))
        incident_ids = await incidents_of(tx, event.action_id)
        if not action.state.ended:
            await count_outcome(tx, action.request, incident_ids, event)
    return [
        await _moved(tx, incident, action, event)
        for incident_id in incident_ids
        if (incident := await incident_by_id(tx, incident_id)) is not None
    ]


async def _moved(tx: Transaction, incident: Incident, action: Action | None, event: ExecutorEvent) -> Incident:
    after = incident
    if not await _leaves_as_it_is(tx, incident, action, event):
        after = advance(incident, event)
    if event.outcome is not None and not incident.ended:
        await _notify_outcome(tx, after, event)
    after = await update_incident(tx, incident, after, event.at)
    if after.ended:
        await withdraw_proposed(tx, after, event.at)
    await tell(tx, after, f"action_{event.kind.value}", "executor", event.text, event.at)
    return after


async def _leaves_as_it_is(tx: Transaction, incident: Incident, action: Action | None, event: ExecutorEvent) -> bool:
    """Tell whether an event says nothing of the incident: another of its actions goes on, or has taken the place.

    But a person's no to what the suite proposed counts, whatever else waits.
    """
    is_superseded = action is not None and bool(action.superseded_by)
    if event.kind is ExecutorEventKind.ASKED:
        return is_superseded
    if event.kind not in _NOT_CARRIED_OUT:
        return False
    if is_superseded:
        return True
    others = await others_of(tx, incident.id, event.action_id)
    is_no = event.kind is ExecutorEventKind.REJECTED and action is not None and not action.request.origin.is_person
    return any(other.state in BEGUN for other in others) if is_no else bool(others)


async def _notify_outcome(tx: Transaction, after: Incident, event: ExecutorEvent) -> None:
    """Have it told that an action helped or was taken back; before what becomes of the incident by that is told."""
    if after.state is State.RESOLVED:
        await notify(tx, after, "acted", "acted", stamp(event.at))
    if event.outcome is not None and event.outcome.kind is OutcomeKind.REVERTED:
        await notify(tx, after, "reverted", "reverted", stamp(event.at))


_UNDECIDED_NO_MORE = frozenset({ExecutorEventKind.REJECTED, ExecutorEventKind.EXPIRED, ExecutorEventKind.WITHDRAWN})


def _acted(action: Action, event: ExecutorEvent) -> Action:
    state = state_after(event.kind, event.outcome)
    changes: dict[str, object] = {"state": state, "text": event.text, "updated_at": event.at}
    if event.ruling is not None:
        changes |= {"risk": event.ruling.risk.value, "ruling": event.ruling}
    if event.approval is not None:
        changes |= {"by": event.approval.by, "decided_at": event.approval.at}
    elif event.kind in _UNDECIDED_NO_MORE:
        changes["decided_at"] = event.at
    if event.plan is not None:
        changes["plan"] = event.plan
    if event.digest:
        changes["digest"] = event.digest
    if event.outcome is not None:
        changes["output"] = event.outcome.output
    return action.model_copy(update=changes)
