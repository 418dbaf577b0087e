"""What the command line is told, as records: the same shapes on the wire, with ``--json``, and in the pages."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from ai_sysadmin.actions.protocol import Halted
from ai_sysadmin.core.acting import ActionState, Plan, Ruling
from ai_sysadmin.core.incident import Incident
from ai_sysadmin.core.records import EvidencePack, Investigation, Record, Review, Symptom, Template
from ai_sysadmin.stores import Action, IncidentDetail, JournalPosition, ServiceNote, TimelineEntry
from ai_sysadmin.stores.opinion_store import Mute

Decision = Literal["resolve", "dismiss", "reopen"]


class Why(Record):
    """A person's reason; it may be empty."""

    why: Annotated[str, Field(max_length=500)] = ""


class ActionView(Record):
    """An action, flat: what would be done, to what, why, and how far it has come.

    ``plan`` and ``ruling`` are the executor's, ``why`` is the word of whoever proposed it; ``digest`` is what an
    approval is bound to, ``output`` what the action wrote. ``superseded_by`` took its place.
    """

    id: str
    incident_id: str
    host: str
    name: str
    arguments: dict[str, str]
    risk: str
    origin: str
    why: str
    state: ActionState
    pending: bool
    text: str
    by: str
    at: AwareDatetime
    updated_at: AwareDatetime
    plan: Plan | None = None
    ruling: Ruling | None = None
    digest: str = ""
    output: str = ""
    superseded_by: str = ""

    @classmethod
    def of(cls, action: Action) -> "ActionView":
        request = action.request
        return cls(
            id=request.id,
            incident_id=request.incident_id,
            host=request.host,
            name=request.name,
            arguments=request.arguments,
            risk=action.risk,
            origin=request.origin.value,
            why=request.why,
            state=action.state,
            pending=action.state is ActionState.PENDING,
            text=action.text,
            by=action.by,
            at=request.at,
            updated_at=action.updated_at,
            plan=action.plan,
            ruling=action.ruling,
            digest=action.digest,
            output=action.output,
            superseded_by=action.superseded_by,
        )


class IncidentView(Record):
    """Everything there is to one incident, with its actions flat."""

    incident: Incident
    symptoms: tuple[Symptom, ...]
    timeline: tuple[TimelineEntry, ...]
    reviews: tuple[Review, ...]
    investigations: tuple[Investigation, ...]
    evidence: EvidencePack | None
    actions: tuple[ActionView, ...]

    @classmethod
    def of(cls, detail: IncidentDetail) -> "IncidentView":
        return cls(
            incident=detail.incident,
            symptoms=detail.symptoms,
            timeline=detail.timeline,
            reviews=detail.reviews,
            investigations=detail.investigations,
            evidence=detail.evidence,
            actions=tuple(map(ActionView.of, detail.actions)),
        )


class DecisionView(Record):
    """An incident after a person's decision; not ``changed``: it was so already."""

    incident: Incident
    changed: bool


class Incidents(Record):
    incidents: tuple[Incident, ...]


class Actions(Record):
    actions: tuple[ActionView, ...]


class Templates(Record):
    """Templates, the latest seen first; ``found`` is how many there are, of which so many are shown."""

    templates: tuple[Template, ...]
    found: int


class MuteView(Record):
    """A mute, with what is muted where an incident still holds it."""

    fingerprint: str
    until: AwareDatetime
    by: str
    reason: str
    at: AwareDatetime
    subject: str
    kind: str

    @classmethod
    def of(cls, mute: Mute, symptom: Symptom | None) -> "MuteView":
        return cls(
            fingerprint=mute.fingerprint,
            until=mute.until,
            by=mute.by,
            reason=mute.reason,
            at=mute.at,
            subject=symptom.subject if symptom else "",
            kind=symptom.kind.value if symptom else "",
        )


class Mutes(Record):
    mutes: tuple[MuteView, ...]


class BackendStatus(Record):
    """One layer's model server as it answered just now. ``remote``: log text leaves this host."""

    layer: str
    url: str
    remote: bool
    state: str  # "ready", "loading", "asleep" or "away"
    model: str
    context_tokens: int
    slots: int
    text: str


class Reached(Record):
    """Something the suite needs, as it answered just now."""

    reachable: bool
    text: str


class SystemStatus(Record):
    """The suite's condition at one moment. ``reasons`` is empty exactly when ``state`` is ``ok``.

    ``halted`` is what holds all actions; none: nothing does, or the executor does not say.
    """

    state: Literal["ok", "degraded"]
    reasons: tuple[str, ...]
    host: str
    ai_name: str
    version: str
    autonomy_level: str
    at: AwareDatetime
    services: tuple[ServiceNote, ...]
    journal: JournalPosition | None
    backends: tuple[BackendStatus, ...]
    executor: Reached
    store: Reached
    incidents: dict[str, int]
    actions: dict[str, int]
    halted: Halted | None = None
