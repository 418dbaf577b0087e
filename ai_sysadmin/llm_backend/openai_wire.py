"""OpenAI's chat completions on the wire: a request's body, and a streamed answer put together."""

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from ai_sysadmin.llm_backend import Completion
from ai_sysadmin.llm_backend.answering import Request
from ai_sysadmin.llm_backend.tokens import estimate, estimate_prompt

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionChunk

_MOST_CHARACTERS_PER_TOKEN = 64
"""A server that ends no answer at max_tokens is left once the text is longer than any tokens could make it."""

_NAMED_BY: Mapping[str, str] = {
    "stream_options": r"stream_options|include_usage",
    "chat_template_kwargs": r"chat_template_kwargs|enable_thinking",
    "reasoning_effort": r"reasoning|thinking",
    "response_format": r"response_format|json_schema",
    "seed": r"\bseed\b",
    "temperature": r"temperature",
    "max_tokens": r"max_completion_tokens",
}
_SUSPECTS = ("chat_template_kwargs", "stream_options", "reasoning_effort")
_IN_BODY = ("chat_template_kwargs",)


def body(model: str, request: Request, thinking: Mapping[str, object], left_out: Iterable[str]) -> dict[str, Any]:
    """Build a request's body. ``thinking`` turns thoughts off: they would spend max_tokens before the answer begins."""
    whole: dict[str, Any] = {
        "model": model,
        "messages": [message.model_dump() for message in request.messages],
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "stream": True,
        "stream_options": {"include_usage": True},
        **thinking,
    }
    if request.seed is not None:
        whole["seed"] = request.seed
    if request.schema is not None:
        named = {"name": "reply", "strict": True, "schema": dict(request.schema)}
        whole["response_format"] = {"type": "json_schema", "json_schema": named}
    if "max_tokens" in left_out:
        whole["max_completion_tokens"] = request.max_tokens
    kept = {name: value for name, value in whole.items() if name not in left_out}
    extra = {name: kept.pop(name) for name in _IN_BODY if name in kept}
    return kept | ({"extra_body": extra} if extra else {})


def to_leave_out(sent: Iterable[str], refusal: str) -> frozenset[str]:
    """Return which of the parameters that were sent a refusal is about: those it names, else the least common ones."""
    there = {name for name in sent if name in _NAMED_BY}
    named = {name for name in there if re.search(_NAMED_BY[name], refusal, re.IGNORECASE)}
    return frozenset(named or there.intersection(_SUSPECTS))


def names_in(sent: Mapping[str, Any]) -> frozenset[str]:
    """Return the parameters of a body, those in its extra part too."""
    return frozenset(sent) | frozenset(sent.get("extra_body", {}))


class Gathered:
    """An answer as it comes together."""

    def __init__(self, request: Request) -> None:
        self.finish_reason = ""
        self._request = request
        self._room = request.max_tokens * _MOST_CHARACTERS_PER_TOKEN
        self._model = ""
        self._pieces: list[str] = []
        self._prompt_tokens = self._completion_tokens = self._cached_tokens = 0

    @property
    def is_overlong(self) -> bool:
        return self._room < 0

    def add(self, chunk: "ChatCompletionChunk") -> str:
        """Take in one chunk; return its text."""
        self._model = chunk.model or self._model
        if chunk.usage:
            self._prompt_tokens = chunk.usage.prompt_tokens
            self._completion_tokens = chunk.usage.completion_tokens
            details = chunk.usage.prompt_tokens_details
            self._cached_tokens = (details and details.cached_tokens) or self._cached_tokens
        timings = (chunk.model_extra or {}).get("timings") or {}
        self._cached_tokens = int(timings.get("cache_n", self._cached_tokens))
        text = ""
        for choice in chunk.choices or ():
            text += (choice.delta and choice.delta.content) or ""
            self.finish_reason = choice.finish_reason or self.finish_reason
        return self._keep(text)

    def _keep(self, text: str) -> str:
        text = text[: max(0, self._room)] if len(text) > self._room else text
        self._room -= len(text)
        if self._room <= 0:
            self._room, self.finish_reason = -1, "length"
        self._pieces.append(text)
        return text

    def completion(self) -> Completion:
        """Return the whole; tokens that the server does not say are estimated, so that nothing counts as free."""
        text = "".join(self._pieces)
        return Completion(
            text=text,
            model=short(self._model),
            prompt_tokens=self._prompt_tokens or estimate_prompt(self._request.messages),
            completion_tokens=self._completion_tokens or min(estimate(text), self._request.max_tokens),
            cached_tokens=self._cached_tokens,
            finish_reason="length" if self.finish_reason == "length" else "stop",
        )


def short(model: str) -> str:
    """Return a model's name; a server that was given none says its file's path."""
    return PurePath(model).name.removesuffix(".gguf") if model.startswith("/") else model[:200]
