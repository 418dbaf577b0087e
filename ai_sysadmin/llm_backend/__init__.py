"""One door to every model: what a model server can be asked, and what it answers.

``door.open_model`` opens one. ``llama_cpp``, ``ollama`` and ``openai_compatible`` speak to each kind of server,
``testing.ScriptedModel`` is the fake; all pass one contract suite. ``structured`` turns a reply into a validated
value. ``weights`` has model files; ``local_servers`` serves them, by ``embedded_server`` where no llama-server is.

    BackendUnavailable
    ├── BackendAway      nobody answers there          → back off
    ├── BackendLoading   the model is being loaded     → a little later
    ├── BackendBusy      others come first             → later
    ├── BackendFailed    it answers with faults        → back off
    └── ModelMissing     it has no such model          → a person's to mend
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from ai_sysadmin.core.errors import BackendUnavailable, ModelMisbehaved, ReplyUnusable
from ai_sysadmin.core.records import Record

Schema = Mapping[str, Any]
"""A JSON schema, as ``structured.schema_of`` makes it: flat, and every string and list bounded."""


class ToolSpec(Record):
    """A tool that is offered to a model by the server's own means."""

    name: str
    description: str
    parameters: Mapping[str, Any]


class ToolCall(Record):
    """A call of a tool that a model made: ``arguments`` is JSON as the model wrote it, which may be broken."""

    id: str
    name: str
    arguments: str


class Message(Record):
    """One turn of a conversation. ``tool`` answers the call ``tool_call_id`` of an earlier turn's ``tool_calls``."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""


class Completion(Record):
    """A whole answer. ``cached_tokens`` of the prompt came from the server's cache. Tokens are the server's own count,
    or an estimate where it gives none.

    ``finish_reason`` is ``stop``, or ``length`` when the answer was cut at ``max_tokens`` or the context's end.
    ``reasoning`` is what a model that was let think wrote before its answer.
    """

    text: str
    model: str
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    finish_reason: str = "stop"


class Delta(Record):
    """A piece of an answer, or of the reasoning before it. The last one has neither and carries the whole in
    ``completion``.
    """

    text: str = ""
    reasoning: str = ""
    completion: Completion | None = None


class Extras(Record):
    """What else may be asked of an answer.

    ``thinking`` lets a model that can reason do so first, but not before a schema; otherwise it is told not to.
    ``stop`` are texts before which the answer ends, at most four, none empty. ``tools`` are offered by the server's own
    means; a schema and tools exclude each other.
    """

    thinking: bool = False
    stop: tuple[str, ...] = ()
    tools: tuple[ToolSpec, ...] = ()


PLAIN = Extras()


class ServerHealth(Record):
    """What a server says of itself. ``text`` is a sentence for people that says what to do where it is not ready.

    ``asleep`` is no fault: the model is unloaded, and the next request wakes it. ``context_tokens`` is the context of
    one slot: the most that one prompt and its answer may come to; 0: not known. ``schemas`` says whether the server
    was seen to keep to a schema; ``unknown`` until it was first asked for one.
    """

    state: Literal["ready", "loading", "asleep", "away"]
    text: str
    model: str = ""
    context_tokens: int = 0
    slots: int = 0
    schemas: Literal["honoured", "ignored", "unknown"] = "unknown"

    @property
    def may_be_asked(self) -> bool:
        """Tell whether a request will be answered: at once, or when the model has woken."""
        return self.state in {"ready", "asleep"}


class TokenCount(NamedTuple):
    """How many tokens a text is; not ``exact`` where it was estimated, because the server could not be asked."""

    tokens: int
    exact: bool


class Figures(Record):
    """What one layer has asked of its model server in this process. ``refused`` were never sent."""

    calls: int = 0
    failures: int = 0
    refused: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    seconds: float = 0.0
    last_failure: str = ""


class BackendAway(BackendUnavailable):
    """No model server answers there."""


class BackendLoading(BackendUnavailable):
    """The model server is loading its model."""


class BackendBusy(BackendUnavailable):
    """Others come first at the model server; what was asked was given up."""


class BackendFailed(BackendUnavailable):
    """The model server answers, but with a fault."""


class ModelMissing(BackendUnavailable):
    """The model server does not have the model, or it is not said which of its models to use."""


class PromptTooLong(ModelMisbehaved):
    """The prompt does not fit the model's context, or leaves no room for ``reply_tokens`` of answer."""

    def __init__(self, n_prompt_tokens: int, n_ctx: int, reply_tokens: int = 0) -> None:
        answer = f" and its answer may take {reply_tokens}" if reply_tokens else ""
        super().__init__(f"the prompt has {n_prompt_tokens} tokens{answer}, the model's context holds {n_ctx}")
        self.n_prompt_tokens = n_prompt_tokens
        self.n_ctx = n_ctx
        self.reply_tokens = reply_tokens


class ReplyDoesNotFit(ReplyUnusable):
    """The reply does not fit the schema, and neither did its repair; ``calls`` and the tokens were spent on it."""

    def __init__(
        self,
        message: str,
        *,
        model: str,
        calls: int,
        prompt_tokens: int = 0,
        completion_tokens: int = 0,
        cached_tokens: int = 0,
    ) -> None:
        super().__init__(message)
        self.model = model
        self.calls = calls
        self.prompt_tokens = prompt_tokens
        self.completion_tokens = completion_tokens
        self.cached_tokens = cached_tokens


class ModelServer(Protocol):
    """A server with one model. ``name`` is the layer it serves (``review``), ``url`` where it answers."""

    @property
    def name(self) -> str: ...

    @property
    def url(self) -> str: ...

    async def health(self) -> ServerHealth:
        """Say what state the server is in. Never raises, and does not wake a model that sleeps."""
        ...

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        schema: Schema | None = None,
        seed: int | None = None,
        temperature: float = 0.2,
    ) -> Completion:
        """Return a whole answer; cancelling it frees the server at once.

        Raises:
            BackendUnavailable: the server is away, loading, too slow or broken; the text says which and where.
            PromptTooLong: the prompt does not fit.
        """
        ...

    def stream(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        schema: Schema | None = None,
        seed: int | None = None,
        temperature: float = 0.2,
        extras: Extras = PLAIN,
    ) -> AsyncGenerator[Delta, None]:
        """Yield an answer as it is made, its last piece with the whole; ``aclose()`` frees the server at once.

        Raises: as ``complete``, also in the middle; ValueError for a schema together with tools.
        """
        ...

    async def count_tokens(self, text: str) -> TokenCount:
        """Count the tokens of a text with the model's own tokenizer, or estimate. Never raises, wakes no model."""
        ...

    async def close(self) -> None:
        """Give up all connections."""
        ...
