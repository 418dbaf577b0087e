"""What is remembered, as small protocols of domain verbs; each verb is one transaction.

Implementations: ``stores.sqlite`` (embedded default). One contract suite (``tests/contracts``) runs on every one.
No transaction spans a model call: work is claimed with a lease, done, and finished by compare-and-set.
Every method raises ``StoreUnavailable`` when the database does not answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from pydantic import AwareDatetime

from ai_sysadmin.core.acting import ActionRequest, ActionState, ExecutorEvent
from ai_sysadmin.core.incident import Incident, State
from ai_sysadmin.core.records import EvidencePack, Investigation, Record, Review, Symptom, Trigger


class JournalPosition(Record):
    """How far the journal has been read, and the exact account of it since the first start."""

    cursor: str
    sequence_id: str = ""
    sequence: int = 0
    entries_read: int = 0
    entries_lost: int = 0
    entries_suppressed: int = 0
    updated_at: AwareDatetime


@dataclass(frozen=True)
class Cleared:
    """A unit whose fault was measured gone."""

    host: str
    unit: str
    at: datetime
    why: str


@dataclass(frozen=True)
class Noticed:
    """What one stretch of the journal (and of the units' states) came to; committed as one.

    ``read``, ``lost`` and ``suppressed`` are this stretch's own counts; the store adds them up. ``position`` is
    none where nothing was read from the journal (a look at the units alone).
    """

    position: JournalPosition | None
    read: int = 0
    lost: int = 0
    suppressed: int = 0
    triggers: Sequence[Trigger] = ()
    cleared: Sequence[Cleared] = ()


class TimelineEntry(Record):
    """One line of an incident's story: what happened, who wrote it."""

    at: AwareDatetime
    event: str
    by: str
    text: str
    state: State


class Action(Record):
    """A request with what the executor has said of it so far."""

    request: ActionRequest
    state: ActionState
    risk: str = ""
    text: str = ""
    by: str = ""
    updated_at: AwareDatetime


class IncidentDetail(Record):
    """Everything there is to one incident."""

    incident: Incident
    symptoms: tuple[Symptom, ...]
    timeline: tuple[TimelineEntry, ...]
    reviews: tuple[Review, ...]
    investigations: tuple[Investigation, ...]
    evidence: EvidencePack | None
    actions: tuple[Action, ...]


class ServiceNote(Record):
    """What a service last said of its own condition, for ``status``."""

    service: str
    state: str  # "ok" or "degraded"
    text: str
    at: AwareDatetime


@dataclass(frozen=True)
class Claim:
    """An incident that one worker holds until its lease ends; finishing needs the same token."""

    incident: Incident
    symptoms: tuple[Symptom, ...]
    token: str
    model_calls: int = 0
    reviews: tuple[Review, ...] = field(default=())


class NoticeStore(Protocol):
    """What the trigger monitor writes."""

    async def position(self) -> JournalPosition | None: ...

    async def commit(self, noticed: Noticed, *, join_within: timedelta, reopen_within: timedelta) -> Sequence[Incident]:
        """Record a stretch together with the journal position; return the incidents it opened or reopened.

        An opening trigger joins the live incident of its unit, reopens one that ended within ``reopen_within``, or
        opens a new one. A supporting trigger joins a live incident of its unit, else it is kept ``join_within``
        for one that opens later. A unit-state trigger whose ``details["invocation"]`` an incident of that unit
        already holds is a repetition and changes nothing.
        """
        ...

    async def unattached(self, since: datetime) -> Sequence[Symptom]:
        """Return the symptoms without an incident that were seen since then."""
        ...

    async def live(self) -> Sequence[Incident]:
        """Return all incidents that have not ended."""
        ...


class ReviewStore(Protocol):
    """What the review layer claims and finishes."""

    async def claim_review(
        self, worker: str, *, lease: timedelta, settle: timedelta, settle_at_most: timedelta, now: datetime
    ) -> Claim | None:
        """Claim the oldest open incident whose newest evidence is unjudged and that has settled; none: nothing due.

        A worker holds one claim at a time: claiming again under its name takes over what it held when it died.
        """
        ...

    async def finish_review(
        self, claim: Claim, pack: EvidencePack, review: Review, requests: Sequence[ActionRequest]
    ) -> Incident:
        """Record evidence, judgement, the requests in the outbox and the incident's change, as one.

        A request equal in digest to one that is still under way is not added again. When the lease was lost to
        another worker, nothing is recorded and the incident comes back as it is now.
        """
        ...

    async def release(self, claim: Claim) -> None:
        """Give a claim back undone."""
        ...


class InvestigationStore(Protocol):
    """What the meta model claims and finishes."""

    async def claim_investigation(self, worker: str, *, lease: timedelta, now: datetime) -> Claim | None: ...

    async def finish_investigation(
        self, claim: Claim, pack: EvidencePack, investigation: Investigation, requests: Sequence[ActionRequest]
    ) -> Incident: ...

    async def release(self, claim: Claim) -> None: ...


class OutboxStore(Protocol):
    """What the courier carries: requests to the executor, its events back."""

    async def unsubmitted(self) -> Sequence[ActionRequest]: ...

    async def submitted(self, action_id: str) -> None: ...

    async def unneeded(self) -> Sequence[tuple[ActionRequest, str]]:
        """Return the requests that wait for a person although their incident has ended, each with why it ended."""
        ...

    async def refused(self, request: ActionRequest, why: str, at: datetime) -> None:
        """Record that the executor would not even take a request."""
        ...

    async def executor_position(self) -> tuple[str, int]:
        """Return the epoch and number of the last executor event that was applied; ``("", 0)`` at first."""
        ...

    async def apply(self, events: Sequence[ExecutorEvent]) -> Sequence[Incident]:
        """Apply executor events with their position and the incidents' changes, as one; each number once."""
        ...


class ReadStore(Protocol):
    """What people and the API read. Identifiers may be shortened to a prefix that is unique."""

    async def incidents(self, states: Sequence[State] = (), limit: int = 100) -> Sequence[Incident]: ...

    async def incident(self, id_or_prefix: str) -> IncidentDetail:
        """Raises: NotFound."""
        ...

    async def actions(self, states: Sequence[str] = (), limit: int = 100) -> Sequence[Action]: ...

    async def action(self, id_or_prefix: str) -> Action:
        """Raises: NotFound."""
        ...

    async def position(self) -> JournalPosition | None: ...

    async def notes(self) -> Sequence[ServiceNote]: ...


class NoteStore(Protocol):
    async def note(self, note: ServiceNote) -> None:
        """Replace what a service says of its own condition."""
        ...
