"""The nouns of acting: from a proposal to its outcome, and the executor's numbered story of it."""

import hashlib
import json
import shlex
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
    OPERATOR = "operator"

    @property
    def is_person(self) -> bool:
        """Tell whether a person asked for it: what a person asks for is approved by a person."""
        return self in {Origin.CHAT, Origin.OPERATOR}


class ActionRequest(Record):
    """A proposal: a catalogue name and typed arguments. Its id ends in a piece of its digest.

    ``ask`` is a reason of the proposer's why a person has to decide, whatever the policy says; empty: none. A proposer
    may make the ruling stricter by it, never laxer.
    """

    id: str = Field(pattern=r"^[2-9a-z]{6}-[0-9a-f]{6}$")
    host: str = Field(max_length=255)
    incident_id: str = Field(pattern=r"^[A-Za-z0-9_-]{0,64}$")
    name: str = Field(pattern=r"^[a-z_]{1,64}$")
    arguments: dict[str, str] = Field(max_length=16)
    origin: Origin
    why: str = Field(max_length=1000)
    at: AwareDatetime
    ask: str = Field(default="", max_length=300)

    @staticmethod
    def digest_of(host: str, name: str, arguments: dict[str, str]) -> str:
        """Return the SHA-256 of what would be done, over canonical JSON; what for is no part of it."""
        body = json.dumps([host, name, arguments], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(body.encode()).hexdigest()

    @property
    def digest(self) -> str:
        return self.digest_of(self.host, self.name, self.arguments)

    @classmethod
    def propose(
        cls, host: str, incident_id: str, action: ProposedAction, origin: Origin, why: str, at: datetime, ask: str = ""
    ) -> "ActionRequest":
        digest = cls.digest_of(host, action.name, action.arguments)
        return cls(
            id=f"{short_id()}-{digest[:6]}",
            host=host,
            incident_id=incident_id,
            name=action.name,
            arguments=action.arguments,
            origin=origin,
            why=why[:1000],
            at=at,
            ask=ask[:300],
        )


class Sandbox(Record):
    """What a transient unit may do beyond nothing at all.

    ``user`` is root where it is empty, a user of its own for that run where it is ``dynamic``, else that user.
    ``capabilities`` are named as in capabilities(7), ``devices`` as in ``DeviceAllow=``. ``network`` is the host's own
    network in place of none; ``seconds`` the longest run in place of the setting ``executor.action_timeout_seconds``.
    """

    user: str = ""
    capabilities: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    families: tuple[str, ...] = ("AF_UNIX",)
    network: bool = False
    sees_home: bool = False
    sees_processes: bool = False
    own_mounts: bool = True
    private_tmp: bool = True
    kernel_logs: bool = False
    executes_memory: bool = False
    environment: tuple[str, ...] = ()
    working_directory: str = ""
    seconds: float | None = None


class Stage(Record):
    """Commands that run one after the other as one transient unit. ``name`` tells an action's units apart.

    ``good_statuses`` are the exit statuses of the last command that are no failure. ``input`` is what each command
    reads at its standard input; empty: nothing.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")
    commands: tuple[tuple[str, ...], ...]
    sandbox: Sandbox = Sandbox()
    good_statuses: tuple[int, ...] = (0,)
    input: str = Field(default="", max_length=32_768)


class Plan(Record):
    """What an action comes to on this host as the executor sees it; no model's word is in it.

    ``does`` says it in one sentence, ``precondition`` what was observed, ``post_check`` what must hold afterwards.
    ``checks`` are commands that must exit 0 during the post-check. ``confirm`` is what makes the change last, once the
    post-check has passed. ``revert`` takes it back by itself; none: it cannot, and ``undo`` tells a person how, or why
    there is nothing to take back. ``calls`` says the same as ``run`` in calls of systemd's manager (a method and its
    unit), for an executor without root; empty: such an executor cannot do it. ``hold_seconds`` is how long the
    post-check lasts in place of the setting. ``facts`` are what a person decides by: each a title and a text.
    """

    does: str
    run: Stage
    precondition: str
    post_check: str
    undo: str
    checks: tuple[Stage, ...] = ()
    confirm: Stage | None = None
    revert: Stage | None = None
    calls: tuple[tuple[str, str], ...] = ()
    hold_seconds: float | None = None
    facts: tuple[tuple[str, str], ...] = ()

    @property
    def by_hand(self) -> str:
        """The command line that a person could type instead."""
        fed = f"printf %s {shlex.quote(self.run.input)} | " if self.run.input else ""
        return " && ".join(f"{fed}sudo {shlex.join(argv)}" for argv in self.run.commands)


class ActionState(StrEnum):
    """How far an action has come.

    ``preparing`` is being evaluated or built before anybody rules on it; ``pending`` waits for a person; ``approved``
    is also what may run alone; ``ran`` is being checked; ``confirming`` and ``reverting`` make it last or take it back.
    """

    PROPOSED = "proposed"
    SUBMITTED = "submitted"
    PREPARING = "preparing"
    PENDING = "pending"
    APPROVED = "approved"
    STARTED = "started"
    RAN = "ran"
    CONFIRMING = "confirming"
    REVERTING = "reverting"
    REFUSED = "refused"
    RECORDED = "recorded"
    REJECTED = "rejected"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REVERTED = "reverted"
    UNKNOWN = "unknown"

    @property
    def ended(self) -> bool:
        return list(ActionState).index(self) > list(ActionState).index(ActionState.REVERTING)


class Decision(StrEnum):
    RUN = "run"
    ASK = "ask"
    REFUSE = "refuse"
    RECORD = "record"


class Ruling(Record):
    """What the policy says to a request. ``reason`` is a sentence, ``line`` the line of the policy that decided.

    ``warranted`` tells whether the executor itself saw what the action is to mend, ``protected`` whether it touches a
    protected unit, ``units`` are all that it changes; with ``risk`` they are what the policy looks at, so that it can
    be asked again for any other level.
    """

    decision: Decision
    risk: Risk
    reason: str
    line: str = ""
    warranted: bool = True
    protected: bool = False
    units: tuple[str, ...] = ()


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


def approving(action_id: str, digest: str) -> str:
    """Return the command of an operator's yes. Where an action holds more than its id says, it carries the digest."""
    built = digest and not action_id.endswith(f"-{digest[:6]}")
    return f"ai-sysadmin actions approve {action_id}{f' --digest {digest[:12]}' if built else ''}"


class OutcomeKind(StrEnum):
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REVERTED = "reverted"
    UNKNOWN = "unknown"


class Outcome(Record):
    """What an action came to. ``succeeded`` only ever means that the post-check passed for its full duration.

    ``reverted``: the post-check failed and what was done is taken back. ``unknown``: it cannot be proved whether the
    action ran; it is never run again, its post-check is. ``output`` is what the action wrote, cut to what is kept.
    """

    kind: OutcomeKind
    exit_status: int | None = None
    post_check_passed: bool | None = None
    text: str
    output: str = ""


class ExecutorEventKind(StrEnum):
    PREPARING = "preparing"
    ASKED = "asked"
    REFUSED = "refused"
    RECORDED = "recorded"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    STARTED = "started"
    RAN = "ran"
    CONFIRMING = "confirming"
    REVERTING = "reverting"
    FINISHED = "finished"


def state_after(kind: ExecutorEventKind, outcome: Outcome | None) -> ActionState:
    """Return an action's state once the executor has said this of it."""
    if kind is ExecutorEventKind.ASKED:
        return ActionState.PENDING
    if kind is ExecutorEventKind.FINISHED and outcome is not None:
        return ActionState(outcome.kind.value)
    return ActionState(kind.value)


class ExecutorEvent(Record):
    """One numbered line of the executor's story of an action. Numbers are consecutive within one ``epoch``.

    ``plan`` is what it would do as the executor saw it then. ``digest`` is what an approval is bound to: that of the
    request, and of what was built for it.
    """

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
    plan: Plan | None = None
    digest: str = ""
