"""What acting does to an incident: asked, begun, helped, failed, or nobody decided. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from ai_sysadmin.core.acting import ActionState, ExecutorEvent, ExecutorEventKind, OutcomeKind
from ai_sysadmin.core.incident_state import Incident, State, ended, moved

MOST_EXPIRIES: Final = 3
"""So often a proposal that nobody decided on is made again by itself; then it is left to a person."""

_LEAST_REST: Final = timedelta(minutes=1)
_MOST_REST: Final = timedelta(days=1)
_COURSE: Final = frozenset({ActionState.STARTED, ActionState.RAN, ActionState.CONFIRMING, ActionState.REVERTING})


@dataclass(frozen=True)
class Adopted:
    """What is proposed for the incident is under way already, as far as ``state``."""

    state: ActionState
    at: datetime
    text: str


def adopted(incident: Incident, event: Adopted) -> Incident:
    if event.state in _COURSE:
        return moved(incident, State.ACTING, note=event.text)
    if event.state is ActionState.PENDING:
        return _asked(incident, event.at, event.text)
    return incident


def _asked(incident: Incident, at: datetime, note: str) -> Incident:
    if incident.state is State.ACTING:
        return incident
    return moved(incident, State.AWAITING_APPROVAL, note=note, asked_at=at)


def executed(incident: Incident, event: ExecutorEvent) -> Incident:
    kind, outcome = event.kind, event.outcome
    match kind:
        case ExecutorEventKind.ASKED:
            return _asked(incident, event.at, event.text)
        case ExecutorEventKind.STARTED:
            return moved(incident, State.ACTING, note=event.text)
        case ExecutorEventKind.EXPIRED:
            return _undecided(incident, event)
        case ExecutorEventKind.WITHDRAWN if incident.state is State.AWAITING_APPROVAL:
            return _undecided(incident, event)
        case ExecutorEventKind.FINISHED if _mended(event):
            return ended(incident, State.RESOLVED, event.at, event.text)
        case ExecutorEventKind.FINISHED if outcome and outcome.kind in {OutcomeKind.FAILED, OutcomeKind.REVERTED}:
            return _failed(incident, event)
        case _ if kind in _LEFT_AS_IT_IS:
            return incident
        case _:
            return moved(incident, State.NEEDS_PERSON, note=event.text)


_LEFT_AS_IT_IS: Final = frozenset(
    {
        ExecutorEventKind.PREPARING,
        ExecutorEventKind.APPROVED,
        ExecutorEventKind.RAN,
        ExecutorEventKind.CONFIRMING,
        ExecutorEventKind.REVERTING,
        ExecutorEventKind.WITHDRAWN,
    }
)


def _undecided(incident: Incident, event: ExecutorEvent) -> Incident:
    """Return an incident whose proposal ended without a word: its judgement is due again after a while, that doubles.

    The first while is as long as the proposal waited for a person.
    """
    owes_look = incident.state is State.INVESTIGATING and incident.failures > incident.failures_investigated
    if incident.state in {State.ACTING, State.NEEDS_PERSON} or owes_look:
        return incident
    expiries = incident.expiries + 1
    if expiries > MOST_EXPIRIES:
        note = f"proposed {expiries} times, and nobody decided: {event.text}"
        return moved(incident, State.NEEDS_PERSON, note=note, expiries=expiries)
    waited = min(_MOST_REST, max(_LEAST_REST, event.at - (incident.asked_at or event.at)))
    return moved(
        incident,
        State.OPEN,
        note=event.text,
        expiries=expiries,
        waits_until=event.at + waited * (1 << (expiries - 1)),
        reviewed_revision=max(0, incident.evidence_revision - 1),
    )


def _failed(incident: Incident, event: ExecutorEvent) -> Incident:
    """Return an incident whose remedy did not help: that is investigated once, and then left to a person."""
    state = State.NEEDS_PERSON if incident.failures_investigated else State.INVESTIGATING
    return moved(incident, state, note=event.text, failures=incident.failures + 1)


def _mended(event: ExecutorEvent) -> bool:
    """Tell whether the fault is measured gone; for an action that cannot be proved, the post-check alone says so."""
    outcome = event.outcome
    return outcome is not None and (
        outcome.kind is OutcomeKind.SUCCEEDED
        or (outcome.kind is OutcomeKind.UNKNOWN and outcome.post_check_passed is True)
    )
