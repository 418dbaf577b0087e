"""Stand-ins for what the API speaks to: a chat that says what it was given, a probe, an executor's socket."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ai_sysadmin.core.errors import AiSysadminError
from ai_sysadmin.llm_backend import Completion, Delta, Message, ServerHealth
from ai_sysadmin.meta_model.chat import LiveState

READY = ServerHealth(state="ready", text="answers", model="tiny", context_tokens=8192, slots=2)


@dataclass
class ScriptedChat:
    """Answer with fixed pieces, ``pause_seconds`` apart; then raise ``failure`` if there is one.

    ``heard`` is what it was asked, with what it was told of the host; ``cancelled`` counts answers nobody waited for.
    """

    pieces: Sequence[str] = ("All ", "is ", "well.")
    pause_seconds: float = 0.0
    failure: Exception | None = None
    heard: list[tuple[tuple[Message, ...], LiveState]] = field(default_factory=list)
    cancelled: int = 0

    async def answer(self, messages: Sequence[Message], live: LiveState) -> AsyncGenerator[Delta, None]:
        self.heard.append((tuple(messages), live))
        try:
            for piece in self.pieces:
                await asyncio.sleep(self.pause_seconds)
                yield Delta(text=piece)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.failure is not None:
            raise self.failure
        whole = "".join(self.pieces)
        yield Delta(
            completion=Completion(text=whole, model="scripted", prompt_tokens=40, completion_tokens=len(self.pieces))
        )


@dataclass(frozen=True)
class FixedHealth:
    """A model server that is always in the same condition, after so many seconds."""

    answer: ServerHealth = READY
    after_seconds: float = 0.0

    async def health(self) -> ServerHealth:
        await asyncio.sleep(self.after_seconds)
        return self.answer


@dataclass(frozen=True)
class FixedExecutor:
    """An executor with nothing to do, or one that cannot be asked."""

    failure: AiSysadminError | None = None

    async def list(self) -> Sequence[Any]:
        if self.failure is not None:
            raise self.failure
        return ()
