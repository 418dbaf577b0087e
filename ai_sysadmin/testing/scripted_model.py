"""A model server that says what a test tells it to; it passes the contract suite of the real one."""

import asyncio
import json
import re
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal

from ai_sysadmin.core.errors import BackendUnavailable
from ai_sysadmin.llm_backend import (
    PLAIN,
    BackendAway,
    BackendLoading,
    Completion,
    Delta,
    Extras,
    Message,
    PromptTooLong,
    Schema,
    ServerHealth,
    TokenCount,
    ToolCall,
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
    extras: Extras = PLAIN
    seed: int | None = None

    @property
    def text(self) -> str:
        return "\n".join(message.content for message in self.messages)


@dataclass(frozen=True)
class Scripted:
    """A reply in full: what the model thinks first, what it says, and the tools that it calls."""

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()


Reply = str | Exception | dict[str, Any] | Scripted
"""What a script has: a text, an error to raise, a dict that is said as JSON, or a reply in full."""


class ScriptedModel:
    """Replies from a script, one item for each call, in order.

    With the script at its end it answers with the smallest instance of the schema, or with ``some words``. ``answer``
    is asked before the script, with the request; where it returns none, the script goes on. ``asked`` holds every
    request, ``busy`` how many answers are under way. ``state`` may be set at any time; asleep, it wakes with the next
    request.
    """

    def __init__(
        self,
        *replies: Reply,
        answer: Callable[[Asked], Reply | None] | None = None,
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
        self._answer = answer
        self._script = deque(replies)

    def enqueue(self, *replies: Reply) -> None:
        """Add to the script."""
        self._script.extend(replies)

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
        seed: int | None = None,
        temperature: float = 0.2,
        extras: Extras = PLAIN,
    ) -> AsyncGenerator[Delta, None]:
        asked = Asked(tuple(messages), max_tokens, schema, temperature, extras, seed)
        prompt_tokens = self._begin(asked)
        reply = self._next(asked)
        words = [Delta(reasoning=word) for word in _words(reply.reasoning)]
        words += [Delta(text=word) for word in _words(_until(extras.stop, reply.text))]
        self.busy += 1
        try:
            for word in words[:max_tokens]:
                await asyncio.sleep(self._pause_seconds)
                yield word
        finally:
            self.busy -= 1
        is_whole = len(words) <= max_tokens
        yield Delta(
            completion=Completion(
                text="".join(word.text for word in words[:max_tokens]),
                model=self.model,
                reasoning="".join(word.reasoning for word in words[:max_tokens]),
                tool_calls=reply.tool_calls if is_whole else (),
                prompt_tokens=prompt_tokens,
                completion_tokens=min(len(words), max_tokens) + (len(reply.tool_calls) if is_whole else 0),
                finish_reason="stop" if is_whole else "length",
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

    def _next(self, asked: Asked) -> Scripted:
        reply = self._answer(asked) if self._answer else None
        if reply is None:
            reply = self._script.popleft() if self._script else _usual(asked)
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, dict):
            reply = json.dumps(reply)
        return reply if isinstance(reply, Scripted) else Scripted(reply)


def _usual(asked: Asked) -> str:
    return json.dumps(smallest(asked.schema)) if asked.schema else "some words"


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+|\s+$", text)


def _until(stops: Sequence[str], text: str) -> str:
    """Return a text up to where the first of some texts begins in it."""
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    return text[: min(found, default=len(text))]


def smallest(schema: Schema) -> Any:
    """Return a small instance of a flat schema: the first of alternatives, one item of a list, least numbers."""
    if "anyOf" in schema:
        return smallest(schema["anyOf"][0])
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
