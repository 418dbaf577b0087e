"""What is said on the executor's sockets: one JSON object a line, one answer a line, nothing else.

``propose.sock`` takes ``propose``, ``withdraw``, ``events``, ``list``, ``show``, ``explain``, ``halt``, and decisions
that come with an API key: ``approve_by_key``, ``reject_by_key``. ``operate.sock`` takes ``approve``, ``reject``,
``list``, ``show``, ``explain``, ``halt``, ``resume``, ``read_audit``, and says which keys may approve:
``register_key``, ``revoke_key``, ``list_keys``. The executor checks who is speaking by the socket's peer credentials.
"""

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, TypeAdapter

from ai_sysadmin.core.acting import ActionRequest, ActionState, ExecutorEvent, Origin, Plan, Ruling
from ai_sysadmin.core.records import Record

MAX_FRAME_BYTES = 64 * 1024
MAX_EVENTS = 100
MAX_NUMBER = 2**63 - 1
"""The greatest number that the journal can be asked for."""
MAX_KEY_CHARACTERS = 512
MAX_IDENTITY_CHARACTERS = 8192
KEY_ID = r"^[2-9a-z]{6,16}$"
KEY_NAME = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$"
"""A key's name stands in the record of what it approved: no blanks, nothing that could be read as more than a name."""


class Propose(Record):
    do: Literal["propose"] = "propose"
    request: ActionRequest


class Withdraw(Record):
    """Take a proposal back that nobody needs any more; what does not wait for a person goes on."""

    do: Literal["withdraw"] = "withdraw"
    id: str = Field(min_length=1, max_length=32)
    why: str = Field(max_length=1000)


class Events(Record):
    """Ask for events after ``since`` of ``epoch``; wait so long for the first. Another epoch starts from its first."""

    do: Literal["events"] = "events"
    epoch: str = Field(max_length=64)
    since: int = Field(ge=0, le=MAX_NUMBER)
    wait_seconds: float = Field(default=0, ge=0, le=30)


class Approve(Record):
    """An operator's yes. ``digest`` is the beginning of that of the action as it was shown.

    It may be left out where the id says as much: where nothing was built for the action, and its commands follow from
    its arguments alone.
    """

    do: Literal["approve"] = "approve"
    id: str = Field(min_length=1, max_length=32)
    digest: str = Field(default="", pattern=r"^([0-9a-f]{12,64})?$")


class Reject(Record):
    do: Literal["reject"] = "reject"
    id: str = Field(min_length=1, max_length=32)
    why: str = Field(max_length=1000)


class ListActions(Record):
    do: Literal["list"] = "list"


class ShowAction(Record):
    do: Literal["show"] = "show"
    id: str = Field(min_length=1, max_length=32)


class DecideByKey(Record):
    """A person's yes or no that came through a front end, with the API key it came with.

    ``digest`` is what the person saw; ``identity`` the front end's signed word on who that is (a JWT), if it gives one.
    """

    do: Literal["approve_by_key", "reject_by_key"]
    id: str = Field(pattern=r"^[2-9a-z]{6}-[0-9a-f]{6}$")
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    key: str = Field(min_length=1, max_length=MAX_KEY_CHARACTERS, repr=False)
    identity: str = Field(default="", max_length=MAX_IDENTITY_CHARACTERS, repr=False)
    why: str = Field(default="", max_length=1000)


class RegisterKey(Record):
    """Let a key approve from now on; the executor sees its hash, never the key."""

    do: Literal["register_key"] = "register_key"
    id: str = Field(pattern=KEY_ID)
    name: str = Field(pattern=KEY_NAME)
    hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    expires_at: AwareDatetime | None = None


class RevokeKey(Record):
    do: Literal["revoke_key"] = "revoke_key"
    id: str = Field(min_length=1, max_length=64)


class ListKeys(Record):
    do: Literal["list_keys"] = "list_keys"


class Explain(Record):
    """Ask what would happen to an action, and why; nothing is proposed and nothing is kept."""

    do: Literal["explain"] = "explain"
    name: str = Field(pattern=r"^[a-z_0-9]{1,64}$")
    arguments: dict[str, str] = Field(max_length=16)
    origin: Origin = Origin.INVESTIGATION


class Halt(Record):
    """Stop: nothing is begun any more until an operator says ``resume``. Everybody who may speak here may say it."""

    do: Literal["halt"] = "halt"
    why: str = Field(max_length=300)


class Resume(Record):
    do: Literal["resume"] = "resume"
    why: str = Field(default="", max_length=300)


class ReadAudit(Record):
    """Ask for lines of the audit, as they are in its file, after a line number."""

    do: Literal["read_audit"] = "read_audit"
    since: int = Field(ge=0, le=MAX_NUMBER)
    most: int = Field(default=100, ge=1, le=500)


Frame = Annotated[
    Propose
    | Withdraw
    | Events
    | Approve
    | Reject
    | ListActions
    | ShowAction
    | DecideByKey
    | RegisterKey
    | RevokeKey
    | ListKeys
    | Explain
    | Halt
    | Resume
    | ReadAudit,
    Field(discriminator="do"),
]
FRAME: TypeAdapter[Frame] = TypeAdapter(Frame)


class ActionFacts(Record):
    """What the executor itself knows of an action: the page on which a person decides. No model text in it.

    ``digest`` is what an approval is bound to. ``plan`` is none while the action is prepared. ``reminder`` is the
    proposer's own reason to ask a person.
    """

    id: str
    digest: str
    name: str
    arguments: dict[str, str]
    incident_id: str
    state: ActionState
    text: str
    ruling: Ruling | None
    plan: Plan | None = None
    expires_in_seconds: int | None = None
    reminder: str = ""
    output: str = ""

    @property
    def commands(self) -> tuple[tuple[str, ...], ...]:
        return self.plan.run.commands if self.plan else ()

    @property
    def by_hand(self) -> str:
        return self.plan.by_hand if self.plan else ""

    @property
    def undo(self) -> str:
        return self.plan.undo if self.plan else ""


class Explained(Record):
    """What would happen to an action, as the executor sees the host now.

    ``obstacle`` says why it cannot be done, ``warrant`` what the executor itself sees that it would mend, ``hold`` what
    else is at work that it would get in the way of, ``breaker`` which breaker is open: each empty where there is none.
    ``levels`` is the ruling by level of autonomy, ``autonomy`` the level that counts here; ``plan`` is none where it
    would have to be built first.
    """

    name: str
    arguments: dict[str, str]
    subject: str
    ruling: Ruling
    levels: dict[str, Ruling]
    autonomy: str = ""
    obstacle: str = ""
    warrant: str = ""
    hold: str = ""
    breaker: str = ""
    plan: Plan | None = None
    built_first: bool = False


class Halted(Record):
    """That nothing is begun any more: since when, by whom, why."""

    by: str
    why: str
    at: AwareDatetime


class ApprovalKey(Record):
    """A key that the executor takes a yes from, as it keeps it. ``hash`` is empty where keys are listed."""

    id: str
    name: str
    hash: str
    by: str
    at: AwareDatetime
    expires_at: AwareDatetime | None = None
    revoked_at: AwareDatetime | None = None
    revoked_by: str = ""


class Answer(Record):
    """The executor's answer: ``error`` names the kind of failure, or else what was asked for is filled in."""

    error: Literal["", "refused", "not_found", "invalid", "unavailable"] = ""
    message: str = ""
    actions: tuple[ActionFacts, ...] = ()
    events: tuple[ExecutorEvent, ...] = ()
    keys: tuple[ApprovalKey, ...] = ()
    explained: Explained | None = None
    halted: Halted | None = None
    audit: tuple[str, ...] = ()
