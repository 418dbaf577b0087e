"""The unit of attention: an incident and the states that it may be in. ``core.incident`` moves it."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from pydantic import AwareDatetime, Field

from ai_sysadmin.core.records import Record
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
    ``asked_at`` is when a person was last asked to approve; ``expiries`` counts how often nobody decided, and until
    ``waits_until`` it is not judged (and so nothing proposed) again. ``failures`` counts the actions for it that did
    not help, ``failures_investigated`` those that its last investigation knew of.
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
    asked_at: AwareDatetime | None = None
    expiries: int = 0
    waits_until: AwareDatetime | None = None
    failures: int = 0
    failures_investigated: int = 0
    merged_into: str = ""
    revision: int = 0

    @property
    def subject(self) -> str:
        """Name what is wrong: the unit, or what else it is about."""
        return self.about or self.unit

    @property
    def ended(self) -> bool:
        return self.state in ENDED


ANEW: Final[Mapping[str, object]] = MappingProxyType(
    {"asked_at": None, "expiries": 0, "waits_until": None, "failures": 0, "failures_investigated": 0}
)
"""What an incident that begins anew forgets of what was done; what helped is remembered elsewhere."""


def moved(incident: Incident, state: State, **changes: object) -> Incident:
    return incident.model_copy(update={"state": state, **changes})


def ended(incident: Incident, state: State, at: datetime, note: str) -> Incident:
    return moved(incident, state, resolved_at=at, note=note)
