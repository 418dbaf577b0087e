"""What is remembered, as small protocols of domain verbs; each verb is one transaction.

``stores.relational`` implements it, on SQLite (the embedded default) and PostgreSQL; one contract suite
(``tests/contracts``) runs on both.
Others stand in the modules beside this one, by what they keep: ``action_store``, ``outcome_store`` and so on.
No transaction spans a model call: work is claimed with a lease, done, and finished by compare-and-set.
Every method raises ``StoreUnavailable`` when the database does not answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from pydantic import AwareDatetime

from ai_sysadmin.core.acting import ActionRequest
from ai_sysadmin.core.incident import Decided, Incident, State
from ai_sysadmin.core.records import (
    EvidencePack,
    Investigation,
    Judgement,
    Label,
    Record,
    Review,
    Symptom,
    Template,
    Trigger,
)
from ai_sysadmin.stores.action_store import Action as Action
from ai_sysadmin.stores.action_store import OutboxStore as OutboxStore
from ai_sysadmin.stores.action_store import ProposalStore as ProposalStore
from ai_sysadmin.stores.opinion_store import Alert


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
    """A live incident all of whose faults were measured gone."""

    incident_id: str
    at: datetime
    why: str


@dataclass(frozen=True)
class Noticed:
    """What one stretch of the journal (and of the units' states) came to; committed as one.

    ``read``, ``lost`` and ``suppressed`` are this stretch's own counts; the store adds them up. ``position`` is
    none where nothing was read from the journal (a look at the units alone). ``templates`` replace what is kept of
    them but their labels and judgements; ``memory`` replaces the named notes that a part of the monitor keeps for its
    next start; ``alerts`` are the numbers of the waiting alerts that this took in.
    """

    position: JournalPosition | None
    read: int = 0
    lost: int = 0
    suppressed: int = 0
    triggers: Sequence[Trigger] = ()
    cleared: Sequence[Cleared] = ()
    templates: Sequence[Template] = ()
    memory: Mapping[str, str] = field(default_factory=dict)
    alerts: Sequence[int] = ()


@dataclass(frozen=True)
class Placing:
    """How triggers find their incident.

    ``storm_count``: more new incidents than so many ``storm_within`` are one storm incident.
    """

    join_within: timedelta
    reopen_within: timedelta
    storm_count: int
    storm_within: timedelta


@dataclass(frozen=True)
class Live:
    """An incident that has not ended, with the symptoms that opened it or joined it as faults of their own."""

    incident: Incident
    faults: tuple[Symptom, ...]


class TimelineEntry(Record):
    """One line of an incident's story: what happened, who wrote it."""

    at: AwareDatetime
    event: str
    by: str
    text: str
    state: State


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
    model_tokens: int = 0
    reviews: tuple[Review, ...] = field(default=())
    investigations: tuple[Investigation, ...] = field(default=())


@dataclass(frozen=True)
class Spent:
    """What models were asked within a time: calls, and tokens of prompts and replies together."""

    calls: int = 0
    tokens: int = 0


class NoticeStore(Protocol):
    """What the trigger monitor writes."""

    async def position(self) -> JournalPosition | None: ...

    async def commit(self, noticed: Noticed, placing: Placing) -> Sequence[Incident]:
        """Record a stretch together with the journal position; return the incidents it opened or reopened.

        An opening trigger joins the live incident that holds its subject, else the first live one among ``joins``,
        reopens its subject's one that ended within ``reopen_within``, or opens a new one, which takes in the live
        incidents of the subjects that it ``explains``. A supporting trigger joins a live incident of its subject,
        else it is kept ``join_within`` for one that opens later. A muted fingerprint opens nothing. A unit-state
        trigger whose ``details["invocation"]`` an incident already holds is a repetition and changes nothing. So does a
        commit whose ``memory`` holds a mark (``stores.once``) that the store has had.
        """
        ...

    async def unattached(self, since: datetime) -> Sequence[Symptom]:
        """Return the symptoms without an incident that were seen since then."""
        ...

    async def live(self) -> Sequence[Live]:
        """Return all incidents that have not ended, the oldest first."""
        ...

    async def memory(self) -> Mapping[str, str]:
        """Return the notes that were committed, by name."""
        ...

    async def alerts(self) -> Sequence[tuple[int, Alert]]:
        """Return the alerts that wait to be taken in, numbered, the oldest first (at most a thousand)."""
        ...


class TemplateStore(Protocol):
    """What is known of templates: the monitor counts them, the trigger model labels, people and reviews judge."""

    async def templates(self, limit: int = 100_000) -> Sequence[Template]:
        """Return the templates, the latest seen first."""
        ...

    async def template(self, id_or_prefix: str) -> Template:
        """Raises: NotFound."""
        ...

    async def unlabelled(self, limit: int, prompt_version: str) -> Sequence[Template]:
        """Return templates without a label by that version of the prompt, the most urgent and newest first.

        What a review or a person has judged needs none.
        """
        ...

    async def label(self, labels: Mapping[str, Label]) -> None:
        """Keep labels by template id; one that is gone meanwhile, or that a review has judged, is passed over."""
        ...

    async def pass_over(self, template_ids: Sequence[str], prompt_version: str) -> None:
        """Remember that this version of the prompt gets no label for templates; an earlier label stays."""
        ...

    async def judge(self, template_id: str, judgement: Judgement | None, by: str) -> Template:
        """Keep what a person or a review found, or take it back. Raises: NotFound."""
        ...

    async def opinions(self) -> Mapping[str, tuple[Label | None, Judgement | None]]:
        """Return labels and judgements by template id, of those that have any."""
        ...


class ReviewStore(Protocol):
    """What the review layer claims and finishes."""

    async def claim_review(
        self,
        worker: str,
        *,
        lease: timedelta,
        settle: timedelta,
        settle_at_most: timedelta,
        now: datetime,
        back_off: timedelta = timedelta(0),
        back_off_at_most: timedelta = timedelta(0),
    ) -> Claim | None:
        """Claim the oldest open incident whose newest evidence is unjudged and that has settled; none: nothing due.

        One that models have judged waits ``back_off`` after the first judgement, twice that after the second and so
        on, at most ``back_off_at_most``; but not where a stronger fault came, or a person wants it looked at again.
        A worker holds one claim at a time: claiming again under its name takes over what it held when it died.
        """
        ...

    async def finish_review(
        self, claim: Claim, pack: EvidencePack, review: Review, requests: Sequence[ActionRequest]
    ) -> Incident:
        """Record evidence, judgement, the requests in the outbox and the incident's change, as one.

        A request equal in digest to one that is still under way is not added again: that one then belongs to this
        incident as well. An earlier proposal for the incident that was not begun is superseded by another one. When the
        lease was lost to another worker, nothing is recorded and the incident comes back as it is now.
        """
        ...

    async def release(self, claim: Claim) -> None:
        """Give a claim back undone."""
        ...

    async def spent(self, since: datetime) -> Spent:
        """Return what reviews of incidents and of the host's health cost since then."""
        ...


class DecisionStore(Protocol):
    """What a person decides of an incident, beside approving actions."""

    async def decide(self, incident_id: str, event: Decided) -> Incident:
        """Apply a person's decision, and tell it in the incident's story. Raises: NotFound, Refused."""
        ...


class InvestigationStore(Protocol):
    """What the meta model claims and finishes."""

    async def claim_investigation(self, worker: str, *, lease: timedelta, now: datetime) -> Claim | None: ...

    async def finish_investigation(
        self, claim: Claim, pack: EvidencePack, investigation: Investigation, requests: Sequence[ActionRequest]
    ) -> Incident: ...

    async def release(self, claim: Claim) -> None: ...


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

    async def actions_since(self, since: datetime) -> Sequence[Action]:
        """Return the actions about which anything was said since then, the oldest first."""
        ...

    async def healed_since(self, since: datetime) -> Sequence[Incident]:
        """Return the incidents whose fault was measured gone since then, and for which nothing was carried out."""
        ...

    async def position(self) -> JournalPosition | None: ...

    async def notes(self) -> Sequence[ServiceNote]: ...

    async def kept_by(self) -> str:
        """Say which database keeps all this, of which version, and how it keeps history."""
        ...


class NoteStore(Protocol):
    async def note(self, note: ServiceNote) -> None:
        """Replace what a service says of its own condition."""
        ...
