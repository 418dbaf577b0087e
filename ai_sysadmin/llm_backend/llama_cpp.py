"""llama.cpp's own server. ``/health`` and ``/props`` wake no model that sleeps; ``/tokenize`` and ``/slots`` do."""

import time
from collections.abc import Mapping
from typing import Any

import httpx

from ai_sysadmin.core.errors import AiSysadminError, BackendUnavailable
from ai_sysadmin.llm_backend import PromptTooLong, ServerHealth, TokenCount
from ai_sysadmin.llm_backend.answering import Request
from ai_sysadmin.llm_backend.openai_chat import OpenAIChat, Rejected
from ai_sysadmin.llm_backend.openai_wire import messages_on_wire, short
from ai_sysadmin.llm_backend.tokens import estimate, estimate_prompt, most_of_prompt
from ai_sysadmin.llm_backend.tool_calls import tools_on_wire

MOST_COUNTED_CHARACTERS = 200_000
ESTIMATES_FOR_SECONDS = 15.0
"""A server whose tokenizer could not be asked is not asked again for so long."""


class LlamaCpp(OpenAIChat):
    """One llama-server, as one layer sees it. Raises: SettingsError (the API key's file cannot be read)."""

    speaks = "a llama-server"
    start = "start a llama-server there"
    let_think: Mapping[str, object] = {"chat_template_kwargs": {"enable_thinking": True}}
    learns = False
    _estimates_until = 0.0

    async def _look(self) -> ServerHealth:
        await self._status("GET", "/health")
        props = await self._status("GET", "/props")
        self.words.answered()
        try:
            asleep = bool(props.get("is_sleeping"))
            return ServerHealth(
                state="asleep" if asleep else "ready",
                text=f"{self.words.it} is " + ("asleep; the next request wakes it" if asleep else "ready"),
                model=short(str(props.get("model_alias") or props.get("model_path", ""))),
                context_tokens=self._capped(int(props["default_generation_settings"]["n_ctx"])),
                slots=int(props["total_slots"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise self.words.odd() from error

    def _capped(self, context_tokens: int) -> int:
        return min(context_tokens, self.backend.context_tokens or context_tokens)

    async def count_tokens(self, text: str) -> TokenCount:
        if len(text) <= MOST_COUNTED_CHARACTERS and time.monotonic() >= self._estimates_until:
            try:
                if not (await self._status("GET", "/props")).get("is_sleeping"):
                    said = await self._status("POST", "/tokenize", {"content": text})
                    return TokenCount(len(said["tokens"]), exact=True)
            except (BackendUnavailable, KeyError, TypeError):
                pass  # an estimate will do
            self._estimates_until = time.monotonic() + ESTIMATES_FOR_SECONDS
        return TokenCount(estimate(text), exact=False)

    async def _prepare(self, request: Request) -> str:
        """Check the length against the settings' own limit only; the server checks its own, exactly."""
        limit = self.backend.context_tokens
        if limit and most_of_prompt(request.messages, request.extras.tools) + request.max_tokens > limit:
            await self._check_exactly(request, limit)
        return self.backend.model or "default"

    async def _check_exactly(self, request: Request, limit: int) -> None:
        asked = {"messages": messages_on_wire(request.messages), **self.about_thinking(request)}
        if request.extras.tools:
            asked["tools"] = tools_on_wire(request.extras.tools)
        try:
            said = await self._status("POST", "/v1/chat/completions/input_tokens", asked)
            prompt = int(said["input_tokens"])
        except (BackendUnavailable, KeyError, TypeError, ValueError):
            prompt = estimate_prompt(request.messages, request.extras.tools)
        if prompt + request.max_tokens > limit:
            raise PromptTooLong(prompt, limit, request.max_tokens)

    def _status_error(self, status: int, fault: Mapping[str, Any], message: str) -> AiSysadminError:
        if fault.get("type") == "exceed_context_size_error":
            return PromptTooLong(int(fault.get("n_prompt_tokens", 0)), int(fault.get("n_ctx", 0)))
        if status == httpx.codes.SERVICE_UNAVAILABLE:
            return self.words.loading()
        if "--jinja" in message:  # it was started without what tools need
            return Rejected(self.words.refused(status, message), message)
        return super()._status_error(status, fault, message)
