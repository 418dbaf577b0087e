"""The nouns, in the order in which one leads to the next.

    JournalEntry → Template → Trigger → Incident → Evidence → Review → Escalation → Investigation
                 → ActionRequest → Ruling → Approval → Outcome

Each has this one name in code, tables, JSON, log events and documents. ``Incident`` lives in ``core.incident``
beside the function that moves it.
"""

import hashlib
import json
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

UnitName = Annotated[
    str,
    StringConstraints(
        pattern=r"^[A-Za-z0-9:_\\@][A-Za-z0-9:_.\\@-]*"
        r"\.(service|socket|device|mount|automount|swap|target|path|timer|slice|scope)$",
        max_length=255,
    ),
]
"""A systemd unit's full name. The pattern refuses a leading dash, slashes, blanks and globs."""

_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"


def short_id(length: int = 6) -> str:
    """Return a random identifier that a person can read out and type: no 0/o, 1/l/i."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


class Record(BaseModel):
    """A frozen value that refuses what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# --- noticed -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One entry of the system journal, reduced to what the suite looks at.

    ``unit`` is the unit the entry is *about*: the manager's ``UNIT=`` where systemd itself speaks of a unit, else
    the unit that wrote it. ``sequence`` is the cursor's ``i=``, ``sequence_id`` its ``s=``: consecutive numbers
    within one id, so that a jump is an exact count of lost entries.
    """

    cursor: str
    at: datetime
    message: str
    unit: str = ""
    priority: int = 6
    identifier: str = ""
    message_id: str = ""
    hostname: str = ""
    boot_id: str = ""
    sequence_id: str = ""
    sequence: int = 0
    transport: str = ""
    fields: dict[str, str] = field(default_factory=dict)


class SymptomKind(StrEnum):
    """What a fingerprint names."""

    UNIT_FAILED = "unit_failed"
    START_LIMIT_HIT = "start_limit_hit"
    OOM_KILL = "oom_kill"
    BURST = "burst"
    SEVERE_LOG = "severe_log"
    SUPPRESSED = "suppressed"


class Trigger(Record):
    """Something worth attention: it *opens* an incident, or only *supports* one that is open.

    ``count`` is how many entries it stands for; ``text`` is an example line, ``why`` the reason in words.
    """

    host: str
    unit: str
    kind: SymptomKind
    template: str
    opens: bool
    at: AwareDatetime
    count: int = 1
    priority: int = 6
    text: str = ""
    why: str = ""
    details: dict[str, str] = {}

    @property
    def fingerprint(self) -> str:
        """Name the symptom: host, unit and template (for a log line) or kind (for a state of the unit)."""
        key = f"{self.host}\0{self.unit}\0{self.kind.value}\0{self.template}"
        return hashlib.sha256(key.encode()).hexdigest()[:16]


class Symptom(Record):
    """A fingerprint as an incident holds it: how often, from when to when, and one example."""

    fingerprint: str
    host: str
    unit: str
    kind: SymptomKind
    opens: bool
    count: int
    first_at: AwareDatetime
    last_at: AwareDatetime
    priority: int
    text: str
    why: str
    details: dict[str, str] = {}


# --- remembered ----------------------------------------------------------------------------------------------


class Evidence(Record):
    """One piece of what is known about an incident. A judgement cites it by ``id`` (``e1``, ``e2``, …)."""

    id: str
    kind: Literal["unit_status", "unit_log", "symptoms", "unavailable"]
    title: str
    text: str
    at: AwareDatetime
    facts: dict[str, str] = {}


class EvidencePack(Record):
    """All pieces for one incident. ``hash`` is equal exactly when a judgement could not come out otherwise."""

    incident_id: str
    pieces: tuple[Evidence, ...]
    hash: str

    def ids(self) -> frozenset[str]:
        return frozenset(piece.id for piece in self.pieces)


# --- judged --------------------------------------------------------------------------------------------------


class Verdict(StrEnum):
    BENIGN = "benign"
    WATCH = "watch"
    ACT = "act"
    ESCALATE = "escalate"


class ProposedAction(Record):
    """A catalogue name and its arguments, before anyone checked them."""

    name: str
    arguments: dict[str, str]


class Review(Record):
    """A judgement of one incident. ``judged_by`` is ``rules``, or the model's name as its server gives it."""

    incident_id: str
    evidence_hash: str
    verdict: Verdict
    severity: int = Field(ge=0, le=100)
    confidence: int = Field(ge=0, le=100)
    cause: str
    why: str
    evidence: tuple[str, ...] = ()
    action: ProposedAction | None = None
    judged_by: str
    model_calls: int = 0
    notes: tuple[str, ...] = ()
    at: AwareDatetime


class Escalation(Record):
    """What review hands to the meta model: the incident, and why a review was not enough."""

    incident_id: str
    reason: str
    at: AwareDatetime


class Investigation(Record):
    """What the meta model found out about an escalated incident."""

    incident_id: str
    diagnosis: str
    cause: str
    confidence: int = Field(ge=0, le=100)
    evidence: tuple[str, ...] = ()
    action: ProposedAction | None = None
    investigated_by: str
    model_calls: int = 0
    notes: tuple[str, ...] = ()
    at: AwareDatetime


# --- acted ---------------------------------------------------------------------------------------------------


class Risk(StrEnum):
    """What an action may cost, from harmless to irreversible. It comes from the catalogue, never from a model."""

    READ_ONLY = "read_only"
    REVERSIBLE = "reversible"
    DISRUPTIVE = "disruptive"
    DESTRUCTIVE = "destructive"

    @property
    def level(self) -> int:
        return list(Risk).index(self)


class Origin(StrEnum):
    """Who proposed an action."""

    RULES = "rules"
    REVIEW = "review"
    INVESTIGATION = "investigation"


class ActionRequest(Record):
    """A proposal: a catalogue name and typed arguments. Its id ends in a piece of its digest."""

    id: str = Field(pattern=r"^[2-9a-z]{6}-[0-9a-f]{6}$")
    host: str
    incident_id: str
    name: str = Field(pattern=r"^[a-z_]{1,64}$")
    arguments: dict[str, str] = Field(max_length=16)
    origin: Origin
    why: str = Field(max_length=1000)
    at: AwareDatetime

    @staticmethod
    def digest_of(host: str, incident_id: str, name: str, arguments: dict[str, str]) -> str:
        """Return the SHA-256 of what would be done, over canonical JSON."""
        body = json.dumps([host, incident_id, name, arguments], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(body.encode()).hexdigest()

    @property
    def digest(self) -> str:
        return self.digest_of(self.host, self.incident_id, self.name, self.arguments)

    @classmethod
    def propose(
        cls, host: str, incident_id: str, action: ProposedAction, origin: Origin, why: str, at: datetime
    ) -> "ActionRequest":
        digest = cls.digest_of(host, incident_id, action.name, action.arguments)
        return cls(
            id=f"{short_id()}-{digest[:6]}",
            host=host,
            incident_id=incident_id,
            name=action.name,
            arguments=action.arguments,
            origin=origin,
            why=why[:1000],
            at=at,
        )


class ActionState(StrEnum):
    """How far an action has come; ``pending`` waits for a person, ``approved`` is also what may run alone."""

    PROPOSED = "proposed"
    SUBMITTED = "submitted"
    PENDING = "pending"
    APPROVED = "approved"
    STARTED = "started"
    RAN = "ran"
    REFUSED = "refused"
    RECORDED = "recorded"
    REJECTED = "rejected"
    EXPIRED = "expired"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"

    @property
    def ended(self) -> bool:
        return list(ActionState).index(self) > list(ActionState).index(ActionState.RAN)


class Decision(StrEnum):
    RUN = "run"
    ASK = "ask"
    REFUSE = "refuse"
    RECORD = "record"


class Ruling(Record):
    """What the policy says to a request, and which line of it said so."""

    decision: Decision
    risk: Risk
    reason: str


class Approval(Record):
    """A person's yes to one digest, once."""

    action_id: str
    digest: str
    by: str
    uid: int
    at: AwareDatetime


class OutcomeKind(StrEnum):
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Outcome(Record):
    """What an action came to. ``succeeded`` only ever means that the post-check passed for its full duration.

    ``unknown``: it cannot be proved whether the action ran; it is never run again, its post-check is.
    """

    kind: OutcomeKind
    exit_status: int | None = None
    post_check_passed: bool | None = None
    text: str


class ExecutorEventKind(StrEnum):
    ASKED = "asked"
    REFUSED = "refused"
    RECORDED = "recorded"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    STARTED = "started"
    RAN = "ran"
    FINISHED = "finished"


def state_after(kind: ExecutorEventKind, outcome: Outcome | None) -> ActionState:
    """Return an action's state once the executor has said this of it."""
    if kind is ExecutorEventKind.ASKED:
        return ActionState.PENDING
    if kind is ExecutorEventKind.FINISHED and outcome is not None:
        return ActionState(outcome.kind.value)
    return ActionState(kind.value)


class ExecutorEvent(Record):
    """One numbered line of the executor's story of an action. Numbers are consecutive within one ``epoch``."""

    epoch: str
    sequence: int
    action_id: str
    incident_id: str
    kind: ExecutorEventKind
    text: str
    at: AwareDatetime
    ruling: Ruling | None = None
    approval: Approval | None = None
    outcome: Outcome | None = None
