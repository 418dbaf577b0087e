"""What is said on the executor's sockets: one JSON object a line, one answer a line, nothing else.

``propose.sock`` takes ``propose``, ``withdraw``, ``events``, ``list``, ``show``; ``operate.sock`` takes ``approve``,
``reject``, ``list``, ``show``. The executor checks who is speaking by the socket's peer credentials.
"""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from ai_sysadmin.core.acting import ActionRequest, ActionState, ExecutorEvent, Ruling
from ai_sysadmin.core.records import Record

MAX_FRAME_BYTES = 64 * 1024
MAX_EVENTS = 100


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


Frame = Annotated[Propose | Withdraw | Events | Approve | Reject | ListActions | ShowAction, Field(discriminator="do")]
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


class Answer(Record):
    """The executor's answer: ``error`` names the kind of failure, or else what was asked for is filled in."""

    error: Literal["", "refused", "not_found", "invalid", "unavailable"] = ""
    message: str = ""
    actions: tuple[ActionFacts, ...] = ()
    events: tuple[ExecutorEvent, ...] = ()
