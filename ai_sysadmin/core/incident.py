"""The unit of attention, and the pure function that moves it.

``advance(incident, event)`` is total: every event is allowed in every state, and where it changes nothing the
incident comes back as it was. Stores apply it by compare-and-set on ``revision``. ARCHITECTURE.md tabulates
event → state → who writes it; a test holds that table against this module.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import AwareDatetime, Field

from ai_sysadmin.core.acting import ExecutorEvent, ExecutorEventKind, OutcomeKind
from ai_sysadmin.core.records import Investigation, Record, Review, SymptomKind, Trigger, Verdict, short_id


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
    """A review came to a verdict on the evidence it saw at ``evidence_revision``."""

    review: Review
    evidence_revision: int
    requested: bool


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


Event = Judged | Investigated | FaultCleared | Returned | Merged | ExecutorEvent


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


RANK = (
    SymptomKind.STORM,
    SymptomKind.UNITS_FAILED,
    SymptomKind.HARDWARE_ERROR,
    SymptomKind.READ_ONLY,
    SymptomKind.DISK_FULL,
    SymptomKind.INODES_FULL,
    SymptomKind.STORAGE_ERROR,
    SymptomKind.OOM_KILL,
    SymptomKind.WATCHDOG,
    SymptomKind.CRASHED,
    SymptomKind.START_LIMIT_HIT,
    SymptomKind.TIMED_OUT,
    SymptomKind.UNIT_FAILED,
    SymptomKind.FLAPPING,
    SymptomKind.STUCK,
    SymptomKind.DEPENDENCY_FAILED,
    SymptomKind.CERTIFICATE_EXPIRED,
    SymptomKind.PROBE_FAILED,
    SymptomKind.KERNEL_FAULT,
    SymptomKind.MEMORY_SHORT,
    SymptomKind.DISK_FILLING,
    SymptomKind.CERTIFICATE_EXPIRING,
    SymptomKind.BACKUP_OVERDUE,
    SymptomKind.THRESHOLD,
    SymptomKind.ALERT,
    SymptomKind.PORT_TAKEN,
    SymptomKind.LOG_RULE,
    SymptomKind.BURST,
    SymptomKind.SUPPRESSED,
    SymptomKind.SEVERE_LOG,
    SymptomKind.NOVEL_LOG,
    SymptomKind.UNUSUAL,
)
"""Every kind, the one that best names an incident first."""


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


def reopens(incident: Incident, trigger: Trigger, within: timedelta) -> bool:
    """Tell whether a trigger continues an incident that has ended, rather than beginning a new one."""
    return incident.ended and trigger.opens and trigger.at - (incident.resolved_at or incident.changed_at) <= within


def title_of(trigger: Trigger) -> str:
    """Say in one line what is wrong."""
    if words := _TITLES.get(trigger.kind):
        result = trigger.details.get("result", "")
        return words.format(subject=trigger.subject or "the host", result=f" ({result})" if result else "")
    if trigger.why and trigger.kind not in _LINES:
        return trigger.why[:120]
    return f"{trigger.subject or 'the host'}: {trigger.text[:80]}"


_LINES = frozenset({SymptomKind.SEVERE_LOG, SymptomKind.NOVEL_LOG, SymptomKind.SUPPRESSED})
_TITLES = {
    SymptomKind.UNIT_FAILED: "{subject} failed{result}",
    SymptomKind.CRASHED: "{subject} crashed{result}",
    SymptomKind.OOM_KILL: "{subject} was killed for lack of memory",
    SymptomKind.WATCHDOG: "{subject} gave no sign of life and was killed by its watchdog",
    SymptomKind.TIMED_OUT: "{subject} took too long to start or stop",
    SymptomKind.START_LIMIT_HIT: "{subject} failed too often and is not restarted any more",
    SymptomKind.DEPENDENCY_FAILED: "{subject} was not started: a unit that it needs failed",
    SymptomKind.FLAPPING: "{subject} fails and is restarted again and again",
    SymptomKind.BURST: "{subject} logs one error over and over",
}


def advance(incident: Incident, event: Event) -> Incident:
    """Return the incident after an event. What cannot apply in its state leaves it as it is."""
    match event:
        case Returned():
            return _returned(incident, event)
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
