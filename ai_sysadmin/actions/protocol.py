"""What is said on the executor's sockets: one JSON object a line, one answer a line, nothing else.

``propose.sock`` takes ``propose``, ``withdraw``, ``events``, ``list``, ``show``, and decisions that come with an API
key: ``approve_by_key``, ``reject_by_key``. ``operate.sock`` takes ``approve``, ``reject``, ``list``, ``show``, and says
which keys may approve: ``register_key``, ``revoke_key``, ``list_keys``. The executor checks who is speaking by the
socket's peer credentials.
"""

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, TypeAdapter

from ai_sysadmin.core.acting import ActionRequest, ActionState, ExecutorEvent, Ruling
from ai_sysadmin.core.records import Record

MAX_FRAME_BYTES = 64 * 1024
MAX_EVENTS = 100
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
    since: int = Field(ge=0)
    wait_seconds: float = Field(default=0, ge=0, le=30)


class Approve(Record):
    do: Literal["approve"] = "approve"
    id: str = Field(min_length=1, max_length=32)


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
    | ListKeys,
    Field(discriminator="do"),
]
FRAME: TypeAdapter[Frame] = TypeAdapter(Frame)


class ActionFacts(Record):
    """What the executor itself knows of an action: the page on which a person decides. No model text in it."""

    id: str
    digest: str
    name: str
    arguments: dict[str, str]
    incident_id: str
    state: ActionState
    text: str
    ruling: Ruling | None
    commands: tuple[tuple[str, ...], ...]
    by_hand: str
    expires_in_seconds: int | None
    undo: str = ""


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
