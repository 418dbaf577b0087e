"""OpenAI's chat completions on the wire: a request's body, and a streamed answer put together."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import Any

from ai_sysadmin.llm_backend import Completion, Delta, Message, Schema
from ai_sysadmin.llm_backend.answering import Request
from ai_sysadmin.llm_backend.thoughts import Stops, Thoughts
from ai_sysadmin.llm_backend.tokens import estimate, estimate_calls, estimate_prompt
from ai_sysadmin.llm_backend.tool_calls import CallPieces, calls_on_wire, tools_on_wire

Chunk = Mapping[str, Any]
"""One piece of a streamed answer as it is on the wire. The client library's own class for it takes 0.07 ms to make."""

_MOST_CHARACTERS_PER_TOKEN = 64
"""A server that ends no answer at max_tokens is left once the text is longer than any tokens could make it."""

_REASONING_IN = ("reasoning_content", "reasoning", "thinking")
"""Where servers put what a model thought: llama.cpp and vLLM, Ollama and its like."""
_ALTERNATIVES = "response_format with anyOf"
"""Some servers take a schema of one object, but none of alternatives: that is learnt by itself."""

_NAMED_BY: Mapping[str, str] = {
    "stream_options": r"stream_options|include_usage",
    "chat_template_kwargs": r"chat_template_kwargs|enable_thinking",
    "reasoning_effort": r"reasoning|thinking",
    "response_format": r"response_format|json_schema",
    _ALTERNATIVES: r"response_format|json_schema|anyOf",
    "seed": r"\bseed\b",
    "temperature": r"temperature",
    "max_tokens": r"max_completion_tokens",
}
_SUSPECTS = ("chat_template_kwargs", "stream_options", "reasoning_effort")


def body(model: str, request: Request, thinking: Mapping[str, object], left_out: Iterable[str]) -> dict[str, Any]:
    """Build a request's body. ``thinking`` says whether there may be thoughts, which spend max_tokens too."""
    whole: dict[str, Any] = {
        "model": model,
        "messages": messages_on_wire(request.messages),
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "stream": True,
        "stream_options": {"include_usage": True},
        **thinking,
    }
    if request.seed is not None:
        whole["seed"] = request.seed
    if request.extras.stop and not request.thinks:  # thoughts may well contain them, and are not what is to end
        whole["stop"] = list(request.extras.stop)
    if request.extras.tools:
        whole |= {"tools": tools_on_wire(request.extras.tools), "tool_choice": "auto"}
    if request.schema is not None:
        whole[_format_name(request.schema)] = _format(request.schema)
    if "max_tokens" in left_out:
        whole["max_completion_tokens"] = request.max_tokens
    kept = {name: value for name, value in whole.items() if name not in left_out}
    if _ALTERNATIVES in kept:
        kept["response_format"] = kept.pop(_ALTERNATIVES)
    return kept


def messages_on_wire(messages: Iterable[Message]) -> list[dict[str, object]]:
    """Return messages as OpenAI writes them; what a message does not have is not mentioned."""
    return [_message_on_wire(message) for message in messages]


def _message_on_wire(message: Message) -> dict[str, object]:
    plain: dict[str, object] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        plain["tool_calls"] = calls_on_wire(message.tool_calls)
    if message.tool_call_id:
        plain["tool_call_id"] = message.tool_call_id
    return plain


def _format(schema: Schema) -> dict[str, object]:
    return {"type": "json_schema", "json_schema": {"name": "reply", "strict": True, "schema": dict(schema)}}


def _format_name(schema: Mapping[str, object]) -> str:
    return _ALTERNATIVES if "anyOf" in schema else "response_format"


def to_leave_out(sent: Iterable[str], refusal: str) -> frozenset[str]:
    """Return which of the parameters that were sent a refusal is about: those it names, else the least common ones."""
    there = {name for name in sent if name in _NAMED_BY}
    named = {name for name in there if re.search(_NAMED_BY[name], refusal, re.IGNORECASE)}
    return frozenset(named or there.intersection(_SUSPECTS))


def names_in(sent: Mapping[str, Any]) -> frozenset[str]:
    """Return the parameters of a body by the names under which they are left out."""
    names = frozenset(sent)
    if "response_format" in names and _format_name(sent["response_format"]["json_schema"]["schema"]) == _ALTERNATIVES:
        return (names - {"response_format"}) | {_ALTERNATIVES}
    return names


class Gathered:
    """An answer as it comes together."""

    def __init__(self, request: Request) -> None:
        self.finish_reason = ""
        self._request = request
        self._room = request.max_tokens * _MOST_CHARACTERS_PER_TOKEN
        self._model = ""
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls = CallPieces()
        self._thoughts = Thoughts()
        self._stops = Stops(request.extras.stop)
        self._prompt_tokens = self._completion_tokens = self._cached_tokens = 0

    @property
    def is_over(self) -> bool:
        """Tell whether nothing more is wanted of the server: the answer is overlong, or was ended by a stop."""
        return self._room < 0 or self._stops.reached

    def add(self, chunk: Chunk) -> tuple[Delta, ...]:
        """Take in one chunk; return what it says.

        Raises: AttributeError, TypeError, ValueError: it is not what a server says in a stream.
        """
        self._model = chunk.get("model") or self._model
        if usage := chunk.get("usage"):
            self._count(usage)
        if timings := chunk.get("timings"):
            self._cached_tokens = int(timings.get("cache_n", self._cached_tokens))
        said: list[Delta] = []
        for choice in chunk.get("choices") or ():
            if delta := choice.get("delta"):
                said += self._said(delta)
            if not self.is_over:
                self.finish_reason = choice.get("finish_reason") or self.finish_reason
        return tuple(said)

    def _count(self, usage: Mapping[str, Any]) -> None:
        self._prompt_tokens = int(usage.get("prompt_tokens") or 0)
        self._completion_tokens = int(usage.get("completion_tokens") or 0)
        details = usage.get("prompt_tokens_details") or {}
        self._cached_tokens = int(details.get("cached_tokens") or self._cached_tokens)

    def _said(self, delta: Mapping[str, Any]) -> Iterator[Delta]:
        thought = self._in_room(_reasoning_in(delta))
        more, text = self._thoughts.add(self._in_room(delta.get("content") or ""))
        for piece in delta.get("tool_calls") or ():
            self._in_room(self._calls.add(piece))
        yield from self._kept(thought + more, self._stops.add(text))
        if self._stops.reached:
            self.finish_reason = "stop"

    def _in_room(self, text: str) -> str:
        """Return as much of a text as there is room for."""
        text = text[: max(0, self._room)] if len(text) > self._room else text
        self._room -= len(text)
        if self._room <= 0:
            self._room, self.finish_reason = -1, "length"
        return text

    def _kept(self, reasoning: str, text: str) -> Iterator[Delta]:
        self._reasoning.append(reasoning)
        self._text.append(text)
        if reasoning:
            yield Delta(reasoning=reasoning)
        if text:
            yield Delta(text=text)

    def rest(self) -> tuple[Delta, ...]:
        """Return what was held back, at the end of the answer."""
        reasoning, text = self._thoughts.rest()
        text = self._stops.add(text)
        return tuple(self._kept(reasoning, text + self._stops.rest()))

    def completion(self) -> Completion:
        """Return the whole; tokens that the server does not say are estimated, so that nothing counts as free."""
        text, reasoning, calls = "".join(self._text), "".join(self._reasoning), self._calls.whole()
        written = estimate(reasoning + text) + estimate_calls(calls)
        return Completion(
            text=text,
            model=short(str(self._model)),
            reasoning=reasoning,
            tool_calls=calls,
            prompt_tokens=self._prompt_tokens or self._estimated_prompt(),
            completion_tokens=self._completion_tokens or min(written, self._request.max_tokens),
            cached_tokens=self._cached_tokens,
            finish_reason="length" if self.finish_reason == "length" else "stop",
        )

    def _estimated_prompt(self) -> int:
        return estimate_prompt(self._request.messages, self._request.extras.tools)


def _reasoning_in(delta: Mapping[str, Any]) -> str:
    said = (delta.get(name) for name in _REASONING_IN)
    return next((text for text in said if isinstance(text, str) and text), "")


def short(model: str) -> str:
    """Return a model's name; a server that was given none says its file's path."""
    return PurePath(model).name.removesuffix(".gguf") if model.startswith("/") else model[:200]
