"""The unit of attention, and the pure function that moves it.

``advance(incident, event)`` is total: every event is allowed in every state, and where it changes nothing the
incident comes back as it was. Stores apply it by compare-and-set on ``revision``. ARCHITECTURE.md tabulates
event → state → who writes it; a test holds that table against this module.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from ai_sysadmin.core.acting import ExecutorEvent
from ai_sysadmin.core.incident_acting import Adopted, adopted, executed
from ai_sysadmin.core.incident_state import ANEW, ENDED, Incident, State, ended, moved
from ai_sysadmin.core.naming import RANK
from ai_sysadmin.core.records import Investigation, Review, Trigger, Verdict
from ai_sysadmin.core.symptom_kinds import SymptomKind

__all__ = [
    "ENDED",
    "Adopted",
    "Decided",
    "Event",
    "FaultCleared",
    "Incident",
    "Investigated",
    "Judged",
    "Merged",
    "Returned",
    "State",
    "advance",
    "rests_until",
]


@dataclass(frozen=True)
class Judged:
    """A review came to a verdict on the evidence it saw at ``evidence_revision``, when the incident was of a kind."""

    review: Review
    evidence_revision: int
    requested: bool
    kind: SymptomKind | None = None


@dataclass(frozen=True)
class Investigated:
    """The meta model came to the end of an escalation."""

    investigation: Investigation
    requested: bool


@dataclass(frozen=True)
class FaultCleared:
    """The fault was measured gone, without an action of ours."""

    at: datetime
    why: str


@dataclass(frozen=True)
class Returned:
    """A fingerprint that opens came back soon after the incident had ended."""

    trigger: Trigger


@dataclass(frozen=True)
class Merged:
    """Another incident turned out to be the root of this one."""

    root_id: str
    at: datetime
    why: str


@dataclass(frozen=True)
class Decided:
    """A person said what becomes of the incident: over, nothing to do, or to be looked at again."""

    decision: Literal["resolve", "dismiss", "reopen"]
    by: str
    at: datetime
    why: str = ""


Event = Judged | Investigated | FaultCleared | Returned | Merged | Decided | Adopted | ExecutorEvent


def rests_until(incident: Incident, first: timedelta, at_most: timedelta) -> datetime | None:
    """Return before when an incident is not judged anew; none: it may be at any time.

    One that keeps changing rests twice as long with each judgement by a model; one whose proposal expired rests until
    it is to be made again. A stronger fault than was judged does not wait.
    """
    if incident.judged_kind and RANK.index(incident.kind) < RANK.index(incident.judged_kind):
        return None
    if not incident.judgements or incident.judged_at is None:
        return incident.waits_until
    rested = incident.judged_at + min(first * (1 << min(incident.judgements - 1, 30)), at_most)
    return max(rested, incident.waits_until or rested)


def advance(incident: Incident, event: Event) -> Incident:
    """Return the incident after an event. What cannot apply in its state leaves it as it is."""
    match event:
        case Returned():
            return _returned(incident, event)
        case Decided():
            return _decided(incident, event)
        case _ if incident.ended:
            return incident
        case Judged():
            return _judged(incident, event)
        case Investigated():
            return _investigated(incident, event)
        case FaultCleared():
            if incident.state is State.ACTING:  # the executor is measuring that itself
                return incident
            return ended(incident, State.RESOLVED, event.at, event.why)
        case Merged():
            if incident.state is State.ACTING:  # it ends by its own action
                return incident
            merged = incident.model_copy(update={"merged_into": event.root_id})
            return ended(merged, State.DISMISSED, event.at, event.why)
        case Adopted():
            return adopted(incident, event)
        case ExecutorEvent():
            return executed(incident, event)


def _returned(incident: Incident, event: Returned) -> Incident:
    if not incident.ended:
        return incident
    return moved(
        incident,
        State.OPEN,
        resolved_at=None,
        merged_into="",
        reopened=incident.reopened + 1,
        evidence_revision=incident.evidence_revision + 1,
        evidence_at=event.trigger.at,
        note="it came back",
        **ANEW,
    )


def _decided(incident: Incident, event: Decided) -> Incident:
    if incident.state is State.ACTING:  # what is under way ends first
        return incident
    why = event.why or f"{event.by} said so"
    match event.decision:
        case "reopen" if incident.ended or incident.state is State.NEEDS_PERSON:
            return moved(
                incident,
                State.OPEN,
                resolved_at=None,
                merged_into="",
                reopened=incident.reopened + int(incident.ended),
                evidence_revision=incident.evidence_revision + 1,
                evidence_at=event.at,
                reviewed_hash="",  # whoever asks for another look wants it judged anew
                judgements=0,
                judged_at=None,
                note=why,
                **ANEW,
            )
        case "reopen":
            return incident
        case _ if incident.ended:
            return incident
        case "resolve":
            return ended(incident, State.RESOLVED, event.at, why)
        case "dismiss":
            return ended(incident, State.DISMISSED, event.at, why)


def _judged(incident: Incident, event: Judged) -> Incident:
    review = event.review
    judged = incident.model_copy(
        update={
            "severity": review.severity,
            "cause": review.cause,
            "judged_by": review.judged_by,
            "reviewed_hash": review.evidence_hash,
            "reviewed_revision": max(incident.reviewed_revision, event.evidence_revision),
            "waits_until": None,
        }
        | _by_model(incident, event)
    )
    if incident.state is not State.OPEN:
        return judged
    match review.verdict:
        case Verdict.BENIGN:
            return ended(judged, State.DISMISSED, review.at, review.why)
        case Verdict.WATCH:
            return judged
        case Verdict.ACT if event.requested:
            return judged
        case Verdict.ACT:
            return moved(judged, State.NEEDS_PERSON, note="nothing in the catalogue would help")
        case Verdict.ESCALATE:
            return moved(judged, State.INVESTIGATING)


def _by_model(incident: Incident, event: Judged) -> dict[str, object]:
    if not event.review.model_calls:
        return {}
    return {
        "judgements": incident.judgements + 1,
        "judged_at": event.review.at,
        "judged_kind": event.kind or incident.kind,
    }


def _investigated(incident: Incident, event: Investigated) -> Incident:
    if incident.state is not State.INVESTIGATING:
        return incident
    found = incident.model_copy(
        update={
            "cause": event.investigation.cause,
            "judged_by": event.investigation.investigated_by,
            "failures_investigated": incident.failures,
        }
    )
    if event.requested:
        return found
    return moved(found, State.NEEDS_PERSON, note=event.investigation.diagnosis[:500])
