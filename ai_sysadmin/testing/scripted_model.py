"""A model server that says what a test tells it to; it passes the contract suite of the real one."""

import asyncio
import json
import re
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal

from ai_sysadmin.core.errors import BackendUnavailable
from ai_sysadmin.llm_backend import (
    BackendAway,
    BackendLoading,
    Completion,
    Delta,
    Message,
    PromptTooLong,
    Schema,
    ServerHealth,
    TokenCount,
)
from ai_sysadmin.llm_backend.tokens import estimate

_CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True)
class Asked:
    """One request that was made."""

    messages: tuple[Message, ...]
    max_tokens: int
    schema: Schema | None
    temperature: float

    @property
    def text(self) -> str:
        return "\n".join(message.content for message in self.messages)


class ScriptedModel:
    """Replies from a script: a text, or an error to raise, one for each call, in order.

    With the script at its end it answers with the smallest instance of the schema, or with ``some words``. ``asked``
    holds every request, ``busy`` how many answers are under way. ``state`` may be set at any time; asleep, it wakes
    with the next request.
    """

    def __init__(
        self,
        *replies: str | Exception,
        name: str = "review",
        model: str = "scripted",
        context_tokens: int = 8192,
        pause_seconds: float = 0,
        slots: int = 1,
    ) -> None:
        self.name = name
        self.url = "scripted:"
        self.model = model
        self.state: Literal["ready", "loading", "asleep", "away"] = "ready"
        self.asked: list[Asked] = []
        self.busy = 0
        self._context_tokens = context_tokens
        self._pause_seconds = pause_seconds
        self._slots = slots
        self._script = deque(replies)

    def enqueue(self, *replies: str | Exception | dict[str, Any]) -> None:
        """Add to the script; a dict is said as JSON."""
        self._script.extend(json.dumps(reply) if isinstance(reply, dict) else reply for reply in replies)

    async def health(self) -> ServerHealth:
        if self.state in {"loading", "away"}:
            return ServerHealth(state=self.state, text=str(self._not_ready()))
        return ServerHealth(
            state=self.state,
            text=f"{self.name} model at {self.url} is {self.state}",
            model=self.model,
            context_tokens=self._context_tokens,
            slots=self._slots,
        )

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        schema: Schema | None = None,
        seed: int | None = None,
        temperature: float = 0.2,
    ) -> Completion:
        async with aclosing(
            self.stream(messages, max_tokens=max_tokens, schema=schema, seed=seed, temperature=temperature)
        ) as deltas:
            async for delta in deltas:
                if delta.completion:
                    return delta.completion
        raise BackendUnavailable

    async def stream(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        schema: Schema | None = None,
        seed: int | None = None,  # noqa: ARG002 - a script has no chance to draw on
        temperature: float = 0.2,
    ) -> AsyncGenerator[Delta, None]:
        prompt_tokens = self._begin(Asked(tuple(messages), max_tokens, schema, temperature))
        text = self._next(schema)
        said: list[str] = []
        self.busy += 1
        try:
            for word in re.findall(r"\s*\S+|\s+$", text)[:max_tokens]:
                await asyncio.sleep(self._pause_seconds)
                said.append(word)
                yield Delta(text=word)
        finally:
            self.busy -= 1
        whole = "".join(said)
        yield Delta(
            completion=Completion(
                text=whole,
                model=self.model,
                prompt_tokens=prompt_tokens,
                completion_tokens=len(said),
                finish_reason="stop" if whole == text else "length",
            )
        )

    async def count_tokens(self, text: str) -> TokenCount:
        return TokenCount(estimate(text), exact=False)

    async def close(self) -> None:
        return

    def _begin(self, asked: Asked) -> int:
        if self.state in {"loading", "away"}:
            raise self._not_ready()
        self.state = "ready"
        tokens = len(asked.text) // _CHARACTERS_PER_TOKEN + 1
        if tokens > self._context_tokens:
            raise PromptTooLong(tokens, self._context_tokens)
        self.asked.append(asked)
        return tokens

    def _not_ready(self) -> BackendUnavailable:
        it = f"{self.name} model at {self.url}"
        if self.state == "loading":
            return BackendLoading(f"{it} is loading, 40 s so far")
        return BackendAway(f"{it} is away (the script says so)")

    def _next(self, schema: Schema | None) -> str:
        if not self._script:
            return json.dumps(smallest(schema)) if schema else "some words"
        reply = self._script.popleft()
        if isinstance(reply, Exception):
            raise reply
        return reply


def smallest(schema: Schema) -> Any:
    """Return a small instance of a flat schema: the first of an enumeration, one item of a list, least numbers."""
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    match schema["type"]:
        case "object":
            return {name: smallest(field) for name, field in schema["properties"].items()}
        case "array":
            return [smallest(schema["items"])]
        case "integer":
            return schema.get("minimum", 0)
        case "boolean":
            return False
        case _:
            return "some words"[: schema.get("maxLength", 10)]
