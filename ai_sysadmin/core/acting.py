"""The nouns of acting: from a proposal to its outcome, and the executor's numbered story of it."""

import hashlib
import json
from datetime import datetime
from enum import StrEnum

from pydantic import AwareDatetime, Field

from ai_sysadmin.core.records import ProposedAction, Record, short_id


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
    CHAT = "chat"


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
    WITHDRAWN = "withdrawn"
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
    """A person's yes to one digest, once.

    ``uid`` is that of the peer who brought it; ``key_id`` the API key it came with, empty for an operator's own word.
    """

    action_id: str
    digest: str
    by: str
    uid: int
    at: AwareDatetime
    key_id: str = ""


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
    WITHDRAWN = "withdrawn"
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
