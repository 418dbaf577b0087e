"""The unit of attention, and the pure function that moves it.

``advance(incident, event)`` is total: every event is allowed in every state, and where it changes nothing the
incident comes back as it was. Stores apply it by compare-and-set on ``revision``. ARCHITECTURE.md tabulates
event → state → who writes it; a test holds that table against this module.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from pydantic import AwareDatetime, Field

from ai_sysadmin.core.acting import ExecutorEvent, ExecutorEventKind, OutcomeKind
from ai_sysadmin.core.naming import RANK, title_of
from ai_sysadmin.core.records import Investigation, Record, Review, Trigger, Verdict, short_id
from ai_sysadmin.core.symptom_kinds import SymptomKind


class State(StrEnum):
    OPEN = "open"
    INVESTIGATING = "investigating"
    AWAITING_APPROVAL = "awaiting_approval"
    ACTING = "acting"
    NEEDS_PERSON = "needs_person"
    RESOLVED = "resolved"
    DISMISSED = "dismissed"


ENDED = frozenset({State.RESOLVED, State.DISMISSED})


class Incident(Record):
    """One thing that is wrong, with every symptom of it.

    ``evidence_revision`` grows with each new fingerprint (never with a mere repetition); a review is due while
    ``reviewed_revision`` is behind it. ``reviewed_hash`` is the evidence hash of the last judgement: while it is
    unchanged no model is asked again. ``count`` is the number of entries behind all symptoms together.
    ``merged_into`` names the incident that turned out to be its root: this one is then dismissed.
    ``judgements`` is how often a model has judged it, ``judged_at`` when last, ``judged_kind`` as what.
    """

    id: str
    host: str
    unit: str
    about: str = ""
    kind: SymptomKind
    title: str
    state: State = State.OPEN
    severity: int = Field(default=0, ge=0, le=100)
    cause: str = ""
    judged_by: str = ""
    note: str = ""
    count: int = 0
    opened_at: AwareDatetime
    changed_at: AwareDatetime
    evidence_at: AwareDatetime
    resolved_at: AwareDatetime | None = None
    reopened: int = 0
    evidence_revision: int = 1
    reviewed_revision: int = 0
    reviewed_hash: str = ""
    judgements: int = 0
    judged_at: AwareDatetime | None = None
    judged_kind: SymptomKind | None = None
    merged_into: str = ""
    revision: int = 0

    @property
    def subject(self) -> str:
        """Name what is wrong: the unit, or what else it is about."""
        return self.about or self.unit

    @property
    def ended(self) -> bool:
        return self.state in ENDED


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


Event = Judged | Investigated | FaultCleared | Returned | Merged | Decided | ExecutorEvent


def open_incident(trigger: Trigger) -> Incident:
    """Return the incident that an opening trigger begins; its symptoms and count are added by ``attach``."""
    return Incident(
        id=short_id(),
        host=trigger.host,
        unit=trigger.unit,
        about=trigger.about,
        kind=trigger.kind,
        title=title_of(trigger),
        opened_at=trigger.at,
        changed_at=trigger.at,
        evidence_at=trigger.at,
        evidence_revision=0,
    )


def attach(incident: Incident, trigger: Trigger, known: bool, at: datetime) -> Incident:
    """Return the incident with one more trigger: a new fingerprint is new evidence, a known one only counts.

    The strongest symptom names the incident: a burst that ends in the unit's failure becomes that failure. A new
    fault takes the incident back to ``open`` from where a judgement of the old evidence had left it.
    """
    changes: dict[str, object] = {
        "count": incident.count + trigger.count,
        "changed_at": max(incident.changed_at, at),
    }
    if not known:
        changes |= {"evidence_revision": incident.evidence_revision + 1, "evidence_at": at}
    is_own = trigger.subject == incident.subject
    if trigger.opens and is_own and RANK.index(trigger.kind) < RANK.index(incident.kind):
        changes |= {"kind": trigger.kind, "title": title_of(trigger)}
    if trigger.opens and not known and incident.state in {State.INVESTIGATING, State.NEEDS_PERSON}:
        changes |= {"state": State.OPEN, "note": ""}
    return incident.model_copy(update=changes)


def rests_until(incident: Incident, first: timedelta, at_most: timedelta) -> datetime | None:
    """Return before when an incident that keeps changing is not judged anew; none: it may be at any time.

    The time doubles with each judgement by a model. A stronger fault than was judged does not wait.
    """
    if not incident.judgements or incident.judged_at is None:
        return None
    if incident.judged_kind and RANK.index(incident.kind) < RANK.index(incident.judged_kind):
        return None
    return incident.judged_at + min(first * (1 << min(incident.judgements - 1, 30)), at_most)


def reopens(incident: Incident, trigger: Trigger, within: timedelta) -> bool:
    """Tell whether a trigger continues an incident that has ended, rather than beginning a new one."""
    return incident.ended and trigger.opens and trigger.at - (incident.resolved_at or incident.changed_at) <= within


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
            return _ended(incident, State.RESOLVED, event.at, event.why)
        case Merged():
            if incident.state is State.ACTING:  # it ends by its own action
                return incident
            merged = incident.model_copy(update={"merged_into": event.root_id})
            return _ended(merged, State.DISMISSED, event.at, event.why)
        case ExecutorEvent():
            return _executed(incident, event)


def _to(incident: Incident, state: State, **changes: object) -> Incident:
    return incident.model_copy(update={"state": state, **changes})


def _ended(incident: Incident, state: State, at: datetime, note: str) -> Incident:
    return _to(incident, state, resolved_at=at, note=note)


def _returned(incident: Incident, event: Returned) -> Incident:
    if not incident.ended:
        return incident
    return _to(
        incident,
        State.OPEN,
        resolved_at=None,
        merged_into="",
        reopened=incident.reopened + 1,
        evidence_revision=incident.evidence_revision + 1,
        evidence_at=event.trigger.at,
        note="it came back",
    )


def _decided(incident: Incident, event: Decided) -> Incident:
    if incident.state is State.ACTING:  # what is under way ends first
        return incident
    why = event.why or f"{event.by} said so"
    match event.decision:
        case "reopen" if incident.ended or incident.state is State.NEEDS_PERSON:
            return _to(
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
            )
        case "reopen":
            return incident
        case _ if incident.ended:
            return incident
        case "resolve":
            return _ended(incident, State.RESOLVED, event.at, why)
        case "dismiss":
            return _ended(incident, State.DISMISSED, event.at, why)


def _judged(incident: Incident, event: Judged) -> Incident:
    review = event.review
    judged = incident.model_copy(
        update={
            "severity": review.severity,
            "cause": review.cause,
            "judged_by": review.judged_by,
            "reviewed_hash": review.evidence_hash,
            "reviewed_revision": max(incident.reviewed_revision, event.evidence_revision),
        }
        | _by_model(incident, event)
    )
    if incident.state is not State.OPEN:
        return judged
    match review.verdict:
        case Verdict.BENIGN:
            return _ended(judged, State.DISMISSED, review.at, review.why)
        case Verdict.WATCH:
            return judged
        case Verdict.ACT if event.requested:
            return judged
        case Verdict.ACT:
            return _to(judged, State.NEEDS_PERSON, note="nothing in the catalogue would help")
        case Verdict.ESCALATE:
            return _to(judged, State.INVESTIGATING)


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
        update={"cause": event.investigation.cause, "judged_by": event.investigation.investigated_by}
    )
    if event.requested:
        return found
    return _to(found, State.NEEDS_PERSON, note=event.investigation.diagnosis[:500])


def _executed(incident: Incident, event: ExecutorEvent) -> Incident:
    match event.kind:
        case ExecutorEventKind.ASKED:
            return (
                incident if incident.state is State.ACTING else _to(incident, State.AWAITING_APPROVAL, note=event.text)
            )
        case ExecutorEventKind.APPROVED | ExecutorEventKind.RAN | ExecutorEventKind.WITHDRAWN:
            return incident
        case ExecutorEventKind.STARTED:
            return _to(incident, State.ACTING, note=event.text)
        case ExecutorEventKind.FINISHED if event.outcome and _mended(event):
            return _ended(incident, State.RESOLVED, event.at, event.text)
        case _:
            return _to(incident, State.NEEDS_PERSON, note=event.text)


def _mended(event: ExecutorEvent) -> bool:
    """Tell whether the fault is measured gone; for an action that cannot be proved, the post-check alone says so."""
    outcome = event.outcome
    return outcome is not None and (
        outcome.kind is OutcomeKind.SUCCEEDED
        or (outcome.kind is OutcomeKind.UNKNOWN and outcome.post_check_passed is True)
    )
