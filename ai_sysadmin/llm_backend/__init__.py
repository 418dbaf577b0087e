"""One door to every model: what a model server can be asked, and what it answers.

``llama_cpp`` implements it on llama.cpp's server, ``testing.ScriptedModel`` is the fake; both pass one contract
suite. ``structured`` turns a reply into a validated value. ``embedded_server`` serves a model file where there is
no llama-server.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Literal, Protocol

from ai_sysadmin.core.errors import ModelMisbehaved, ReplyUnusable
from ai_sysadmin.core.records import Record

Schema = Mapping[str, Any]
"""A JSON schema, as ``structured.schema_of`` makes it: flat, and every string and list bounded."""


class Message(Record):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class Completion(Record):
    """A whole answer. ``cached_tokens`` of the prompt came from the server's cache.

    ``finish_reason`` is ``stop``, or ``length`` when the answer was cut at ``max_tokens`` or the context's end.
    """

    text: str
    model: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    finish_reason: str = "stop"


class Delta(Record):
    """A piece of an answer. The last one has no text and carries the whole in ``completion``."""

    text: str = ""
    completion: Completion | None = None


class ServerHealth(Record):
    """What a server says of itself. ``text`` is a sentence for people that says what to do where it is not ready.

    ``context_tokens`` is the context of one slot: the most that one prompt and its answer may come to.
    """

    state: Literal["ready", "loading", "away"]
    text: str
    model: str = ""
    context_tokens: int = 0
    slots: int = 0


class PromptTooLong(ModelMisbehaved):
    """The prompt does not fit the model's context."""

    def __init__(self, n_prompt_tokens: int, n_ctx: int) -> None:
        super().__init__(f"the prompt has {n_prompt_tokens} tokens, the model's context holds {n_ctx}")
        self.n_prompt_tokens = n_prompt_tokens
        self.n_ctx = n_ctx


class ReplyDoesNotFit(ReplyUnusable):
    """The reply does not fit the schema, and neither did its repair; ``calls`` were spent on it."""

    def __init__(self, message: str, *, model: str, calls: int) -> None:
        super().__init__(message)
        self.model = model
        self.calls = calls


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
    ) -> AsyncGenerator[Delta, None]:
        """Yield an answer as it is made, its last piece with the whole; ``aclose()`` frees the server at once.

        Raises: as ``complete``, also in the middle.
        """
        ...

    async def close(self) -> None:
        """Give up all connections."""
        ...
