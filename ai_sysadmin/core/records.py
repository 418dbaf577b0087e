"""The nouns, in the order in which one leads to the next.

    JournalEntry → Template → Trigger → Incident → Evidence → Review → Escalation → Investigation
                 → ActionRequest → Ruling → Approval → Outcome

Each has this one name in code, tables, JSON, log events and documents. ``Incident`` lives in ``core.incident``
beside the function that moves it; an Escalation is an incident in its state ``investigating``. From ActionRequest on
they live in ``core.acting``.
"""

import hashlib
import secrets
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Literal, NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from ai_sysadmin.core.symptom_kinds import SymptomKind

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


EvidenceKind = Literal[
    "unit_status",
    "unit_log",
    "symptoms",
    "dependencies",
    "changes",
    "metrics",
    "outcomes",
    "past_incidents",
    "runbooks",
    "host",
    "looked_up",
    "unavailable",
]


class Evidence(Record):
    """One piece of what is known about an incident. A judgement cites it by ``id`` (``e1``, ``e2``, …).

    ``left_out`` says what there is beyond this piece, and how to get at it. ``redacted`` counts what was taken out of
    its text, by kind of secret.
    """

    id: str
    kind: EvidenceKind
    title: str
    text: str
    at: AwareDatetime
    facts: dict[str, str] = {}
    left_out: str = ""
    redacted: dict[str, int] = {}


class EvidencePack(Record):
    """All pieces for one incident. ``hash`` is equal exactly when a judgement could not come out otherwise."""

    incident_id: str
    pieces: tuple[Evidence, ...]
    hash: str

    def ids(self) -> frozenset[str]:
        return frozenset(piece.id for piece in self.pieces)

    @property
    def redacted(self) -> dict[str, int]:
        """Count what was taken out of all pieces, by kind of secret."""
        counts: Counter[str] = Counter()
        for piece in self.pieces:
            counts.update(piece.redacted)
        return dict(counts)


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
    """A judgement of one incident. ``judged_by`` is ``rules``, or the model's name as its server gives it.

    ``cached_tokens`` of the ``prompt_tokens`` came from the server's prompt cache.
    """

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
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    notes: tuple[str, ...] = ()
    at: AwareDatetime

    @property
    def tokens(self) -> int:
        """Return what the judgement cost, prompt and reply together."""
        return self.prompt_tokens + self.completion_tokens


class Investigation(Record):
    """What the meta model found out about an escalated incident.

    ``ruled_out`` are the other causes that were thought of, and why not. What it looked up itself is evidence like
    any other, and cited like it. ``evidence_hash`` is that of the evidence it began with.
    """

    incident_id: str
    evidence_hash: str = ""
    diagnosis: str
    cause: str
    confidence: int = Field(ge=0, le=100)
    evidence: tuple[str, ...] = ()
    ruled_out: tuple[str, ...] = ()
    action: ProposedAction | None = None
    investigated_by: str
    model_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    notes: tuple[str, ...] = ()
    at: AwareDatetime
