"""What goes into a conversation with the meta layer, and what comes out of it piece by piece."""

from pydantic import Field

from ai_sysadmin.core.records import Record
from ai_sysadmin.llm_backend import Completion, Message, Schema, ToolCall, ToolSpec
from ai_sysadmin.tools.tool import ToolResult


class Question(Record):
    """A whole conversation, its newest question last, and how the answer is wanted.

    ``fast``: the small model answers, with no tools. ``tools``: the client's own, where they are passed on; the answer
    may then be a call of one. ``asker`` names who asks, for the log (``key laptop``, ``root``).
    """

    messages: tuple[Message, ...] = Field(min_length=1)
    fast: bool = False
    max_tokens: int | None = None
    temperature: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    answer_schema: Schema | None = None
    tools: tuple[ToolSpec, ...] = ()
    asker: str = ""


class Words(Record):
    """A piece of the answer. ``own``: these are the suite's own words, not a model's; a command in them is meant."""

    text: str
    own: bool = False


class Thought(Record):
    """A piece of what the model thinks before it answers."""

    text: str


class Progress(Record):
    """What is being done meanwhile, in a line for people; ``done``: it is over."""

    text: str
    done: bool = False


class LookBegan(Record):
    """A tool is being called. ``number`` counts the look-ups of this answer from 1."""

    number: int
    tool: str
    arguments: dict[str, str | int | bool | None]
    title: str


class LookEnded(Record):
    """What the look-up of that number came to."""

    number: int
    result: ToolResult


class Proposed(Record):
    """The model proposed an action; it waits for its ruling, and mostly for a person, under this id."""

    action_id: str
    says: str


class ClientCall(Record):
    """The model calls a tool of the client's own: the answer ends here, the client calls and asks again."""

    call: ToolCall


class Answered(Record):
    """The end of an answer: tokens are those of all model calls together. ``completion.model`` is empty where no model
    answered. ``sources`` are the look-ups that it rests on.
    """

    completion: Completion
    sources: tuple[ToolResult, ...] = ()


Event = Words | Thought | Progress | LookBegan | LookEnded | Proposed | ClientCall | Answered
"""An answer is any number of these, ``Answered`` last."""
