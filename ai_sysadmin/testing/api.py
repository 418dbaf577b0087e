"""Stand-ins for what the API speaks to: a front desk that says what it was given, a probe, an executor's socket."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from starlette.datastructures import Headers

from ai_sysadmin.llm_backend import Completion, ServerHealth
from ai_sysadmin.meta_model.talk import Answered, Event, Words
from ai_sysadmin.openai_api_server.callers import Caller
from ai_sysadmin.openai_api_server.wire import ChatRequest, WireMessage
from ai_sysadmin.testing.front_desk import FakeDecider

READY = ServerHealth(state="ready", text="answers", model="tiny", context_tokens=8192, slots=2)


class Heard(NamedTuple):
    """One request as it came in."""

    messages: tuple[WireMessage, ...]
    asked: ChatRequest
    caller: Caller
    headers: Headers


@dataclass
class ScriptedChat:
    """Answer with fixed pieces, texts or events, ``pause_seconds`` apart; then raise ``failure`` if there is one.

    What is no ``Answered`` itself is followed by one. ``heard`` is what it was asked; ``cancelled`` counts answers
    nobody waited for.
    """

    pieces: Sequence[str | Event] = ("All ", "is ", "well.")
    pause_seconds: float = 0.0
    failure: Exception | None = None
    heard: list[Heard] = field(default_factory=list)
    cancelled: int = 0

    async def answer(self, asked: ChatRequest, caller: Caller, headers: Headers) -> AsyncGenerator[Event, None]:
        self.heard.append(Heard(asked.messages, asked, caller, headers))
        try:
            for piece in self.pieces:
                await asyncio.sleep(self.pause_seconds)
                yield Words(text=piece) if isinstance(piece, str) else piece
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.failure is not None:
            raise self.failure
        if not any(isinstance(piece, Answered) for piece in self.pieces):
            yield Answered(completion=self._completion())

    def _completion(self) -> Completion:
        text = "".join(piece for piece in self.pieces if isinstance(piece, str))
        return Completion(text=text, model="scripted", prompt_tokens=40, completion_tokens=len(self.pieces))


@dataclass(frozen=True)
class FixedHealth:
    """A model server that is always in the same condition, after so many seconds."""

    answer: ServerHealth = READY
    after_seconds: float = 0.0

    async def health(self) -> ServerHealth:
        await asyncio.sleep(self.after_seconds)
        return self.answer


class FixedExecutor(FakeDecider):
    """An executor that knows no action until it is told one, or that cannot be asked."""
