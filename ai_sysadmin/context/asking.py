"""Put a question with evidence to a model: as much evidence as fits, one reply of one shape."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from pydantic import BaseModel

from ai_sysadmin.context.window import Window, fit
from ai_sysadmin.core.errors import BackendUnavailable, ModelMisbehaved
from ai_sysadmin.core.records import EvidencePack
from ai_sysadmin.llm_backend import Completion, Message, ModelServer, PromptTooLong, ReplyDoesNotFit
from ai_sysadmin.llm_backend.structured import reply_as

log = logging.getLogger(__name__)

LEAST_TOKENS: Final = 200
"""Less evidence than this is none."""
WANTED_TOKENS: Final = 1000
"""Where there is not room for so much evidence, a shorter prompt does more good than a longer one."""
_TEMPLATE_TOKENS: Final = 64
"""What a chat template puts around the messages."""

Reply = TypeVar("Reply", bound=BaseModel)
Prompt = Callable[[Window], tuple[Message, ...]]


@dataclass(frozen=True)
class Answered(Generic[Reply]):
    """A model's reply, what it cost in all, and what the model had before it."""

    reply: Reply
    completion: Completion
    calls: int
    window: Window


def cost_of(error: ModelMisbehaved) -> tuple[Completion | None, int]:
    """Return what was spent on a reply that cannot be used, and in how many calls."""
    if not isinstance(error, ReplyDoesNotFit):
        return None, 0
    tokens = Completion(
        text="",
        model=error.model,
        prompt_tokens=error.prompt_tokens,
        completion_tokens=error.completion_tokens,
        cached_tokens=error.cached_tokens,
    )
    return tokens, error.calls


@dataclass(frozen=True)
class Asking:
    """How a model is asked: at most so many tokens of evidence and of reply, all of it within a time."""

    model: ModelServer
    evidence_tokens: int
    reply_tokens: int
    within_seconds: float
    temperature: float = 0.2

    async def ask(self, pack: EvidencePack, prompts: Sequence[Prompt], shape: type[Reply]) -> Answered[Reply]:
        """Ask with the first of the prompts that leaves room, and with as much of the evidence as fits.

        Where the server finds that too long nevertheless, there is ever less evidence, and then the next prompt.

        Raises:
            BackendUnavailable: the server is away, loading, too slow or broken.
            ReplyDoesNotFit: neither the reply nor its repair has the shape.
            PromptTooLong: not even the least evidence fits the last prompt.
        """
        try:
            async with asyncio.timeout(self.within_seconds):
                return await self._ask(pack, prompts, shape)
        except TimeoutError as error:
            text = f"{self.model.name} model at {self.model.url} took longer than {self.within_seconds:.0f} s"
            raise BackendUnavailable(text) from error

    async def _ask(self, pack: EvidencePack, prompts: Sequence[Prompt], shape: type[Reply]) -> Answered[Reply]:
        *first, last = prompts
        for prompt in first:
            if (room := await self._room(prompt)) >= min(WANTED_TOKENS, self.evidence_tokens):
                try:
                    return await self._ask_with(pack, prompt, shape, room)
                except PromptTooLong as error:
                    log.info("a shorter prompt: %s", error, extra={"event": "prompt_cut"})
        return await self._ask_with(pack, last, shape, max(LEAST_TOKENS, await self._room(last)))

    async def _ask_with(self, pack: EvidencePack, prompt: Prompt, shape: type[Reply], budget: int) -> Answered[Reply]:
        while True:
            window = await fit(pack, budget, self.model.count_tokens)
            try:
                reply, completion, calls = await reply_as(
                    self.model, prompt(window), shape, max_tokens=self.reply_tokens, temperature=self.temperature
                )
            except PromptTooLong as error:
                budget //= 2
                if budget < LEAST_TOKENS:
                    raise
                log.info("less evidence, %s tokens: %s", budget, error, extra={"event": "prompt_cut"})
            else:
                return Answered(reply, completion, calls, window)

    async def _room(self, prompt: Prompt) -> int:
        """Return how many tokens of evidence there is room for beside a prompt; it may be none."""
        context = (await self.model.health()).context_tokens
        if not context:
            return self.evidence_tokens
        empty = Window(text="", tokens=0, exact=True, kept=(), left_out=())
        around = await self.model.count_tokens("\n".join(message.content for message in prompt(empty)))
        return min(self.evidence_tokens, context - self.reply_tokens - around.tokens - _TEMPLATE_TOKENS)
