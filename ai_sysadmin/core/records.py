"""The nouns, in the order in which one leads to the next.

    JournalEntry → Template → Trigger → Incident → Evidence → Review → Escalation → Investigation
                 → ActionRequest → Ruling → Approval → Outcome

Each has this one name in code, tables, JSON, log events and documents. ``Incident`` lives in ``core.incident``
beside the function that moves it; an Escalation is an incident in its state ``investigating``. From ActionRequest on
they live in ``core.acting``.
"""

import hashlib
import secrets
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Literal, NamedTuple

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


_NO_FIELDS: Mapping[str, str] = MappingProxyType({})


class JournalEntry(NamedTuple):
    """One entry of the system journal, reduced to what the suite looks at.

    ``unit`` is the unit the entry is *about*: the manager's ``UNIT=`` where systemd itself speaks of a unit, else
    the unit that wrote it. ``sequence`` is the cursor's ``i=``, ``sequence_id`` its ``s=``: consecutive numbers
    within one id, so that a jump is an exact count of lost entries. Within a batch the ``cursor`` may be empty, but for
    its first and last entry. ``fields`` may be shared between entries.
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
    fields: Mapping[str, str] = _NO_FIELDS


class Label(Record):
    """What the trigger model said of a template, once. It raises or lowers priority; it never hides a fault."""

    category: str
    severity: int = Field(ge=0, le=100)
    matters: bool
    summary: str
    model: str
    prompt_version: str
    at: AwareDatetime


class Judgement(StrEnum):
    """What a person, or a review, found a template to be; it stands above every label."""

    MATTERS = "matters"
    BENIGN = "benign"


class Template(Record):
    """Log lines of one source that are alike: what varies stands as ``<*>`` or a named mask.

    ``source`` is the unit, container or program that logs it. ``known`` was so before it could count as novel:
    seeded from history, or judged.
    """

    id: str
    source: str
    text: str
    example: str
    priority: int
    count: int
    first_at: AwareDatetime
    last_at: AwareDatetime
    known: bool = False
    rule: str = ""
    label: Label | None = None
    judgement: Judgement | None = None
    judged_by: str = ""


class SymptomKind(StrEnum):
    """What a fingerprint names; ``incident.RANK`` says which of several gives an incident its name."""

    # a unit's own state, measured by systemd
    UNIT_FAILED = "unit_failed"
    CRASHED = "crashed"
    OOM_KILL = "oom_kill"
    WATCHDOG = "watchdog"
    TIMED_OUT = "timed_out"
    START_LIMIT_HIT = "start_limit_hit"
    DEPENDENCY_FAILED = "dependency_failed"
    FLAPPING = "flapping"
    STUCK = "stuck"
    UNITS_FAILED = "units_failed"
    # the host, by thresholds
    DISK_FULL = "disk_full"
    INODES_FULL = "inodes_full"
    DISK_FILLING = "disk_filling"
    READ_ONLY = "read_only"
    MEMORY_SHORT = "memory_short"
    THRESHOLD = "threshold"
    UNUSUAL = "unusual"
    # what the operator has watched
    PROBE_FAILED = "probe_failed"
    CERTIFICATE_EXPIRED = "certificate_expired"
    CERTIFICATE_EXPIRING = "certificate_expiring"
    BACKUP_OVERDUE = "backup_overdue"
    ALERT = "alert"
    # log lines
    HARDWARE_ERROR = "hardware_error"
    STORAGE_ERROR = "storage_error"
    KERNEL_FAULT = "kernel_fault"
    PORT_TAKEN = "port_taken"
    LOG_RULE = "log_rule"
    BURST = "burst"
    SEVERE_LOG = "severe_log"
    NOVEL_LOG = "novel_log"
    SUPPRESSED = "suppressed"
    # many at once
    STORM = "storm"


UNIT_STATE_KINDS = frozenset(
    {
        SymptomKind.UNIT_FAILED,
        SymptomKind.CRASHED,
        SymptomKind.OOM_KILL,
        SymptomKind.WATCHDOG,
        SymptomKind.TIMED_OUT,
        SymptomKind.START_LIMIT_HIT,
        SymptomKind.DEPENDENCY_FAILED,
        SymptomKind.FLAPPING,
        SymptomKind.STUCK,
        SymptomKind.UNITS_FAILED,
    }
)
"""Faults that systemd itself measures, as against what a log only says."""

HOST_STATE_KINDS = frozenset(
    {
        SymptomKind.DISK_FULL,
        SymptomKind.INODES_FULL,
        SymptomKind.DISK_FILLING,
        SymptomKind.READ_ONLY,
        SymptomKind.MEMORY_SHORT,
        SymptomKind.THRESHOLD,
        SymptomKind.PROBE_FAILED,
        SymptomKind.CERTIFICATE_EXPIRED,
        SymptomKind.CERTIFICATE_EXPIRING,
        SymptomKind.BACKUP_OVERDUE,
    }
)
"""Faults that the trigger monitor measures itself."""


class Trigger(Record):
    """Something worth attention: it *opens* an incident, or only *supports* one that is open.

    ``count`` is how many entries it stands for; ``text`` is an example line, ``why`` the reason in words. ``unit`` is
    a systemd unit or empty; ``about`` names what it is about where that is no unit (``/var``, ``probe web``).
    ``joins`` are subjects whose live incident it belongs to, the likeliest root first; ``explains`` are subjects
    whose live incidents it is the root of.
    """

    host: str
    unit: str
    kind: SymptomKind
    template: str
    opens: bool
    at: AwareDatetime
    about: str = ""
    count: int = 1
    priority: int = 6
    text: str = ""
    why: str = ""
    details: dict[str, str] = {}
    joins: tuple[str, ...] = ()
    explains: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        return self.about or self.unit

    @property
    def fingerprint(self) -> str:
        """Name the symptom: host, subject and template (for a log line) or kind (for a state)."""
        key = f"{self.host}\0{self.subject}\0{self.kind.value}\0{self.template}"
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
    about: str = ""
    details: dict[str, str] = {}

    @property
    def subject(self) -> str:
        return self.about or self.unit


# --- measured ------------------------------------------------------------------------------------------------


class Sample(NamedTuple):
    """One figure of the host at one moment.

    ``about`` is what it is measured on (``/var``, ``eth0``, a certificate's path); empty: the host. ``unit`` is
    percent, bytes, celsius, seconds, hours, days, count, per_second or bool (0 or 1).
    """

    name: str
    value: float
    about: str = ""
    unit: str = ""


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
