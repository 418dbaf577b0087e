"""The nouns, in the order in which one leads to the next.

    JournalEntry → Template → Trigger → Incident → Evidence → Review → Escalation → Investigation
                 → ActionRequest → Ruling → Approval → Outcome

Each has this one name in code, tables, JSON, log events and documents. ``Incident`` lives in ``core.incident``
beside the function that moves it; an Escalation is an incident in its state ``investigating``. From ActionRequest on
they live in ``core.acting``.
"""

import hashlib
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
