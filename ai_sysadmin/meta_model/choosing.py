"""How a model says what it wants to do next: by a schema, in words, or by its server's own tool calls.

Each yields the words and thoughts of an answer as they come, or the steps that are wanted instead. ``talk.answered``
tells that the answer was given on the way; where neither comes, the model would answer and has not yet.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Protocol

from ai_sysadmin.llm_backend import Completion, Delta, Extras, Message, ModelServer, Schema, ToolCall
from ai_sysadmin.llm_backend.tokens import estimate, estimate_prompt
from ai_sysadmin.meta_model.offer import Offer
from ai_sysadmin.meta_model.spotting import Spotter
from ai_sysadmin.meta_model.steps import ANSWER, MOST_STEP_TOKENS, Step, native_step, said, step_of
from ai_sysadmin.meta_model.talk import Thought, Words
from ai_sysadmin.meta_model.transcript import Transcript

CHOOSING_TEMPERATURE: Final = 0.2
Piece = Words | Thought | Step


@dataclass(frozen=True)
class Manner:
    """How an answer is to be written."""

    max_tokens: int
    temperature: float
    seed: int | None = None
    stop: tuple[str, ...] = ()
    thinking: bool = False
    schema: Schema | None = None


class Choosing(Protocol):
    """One way of asking for the next step."""

    def next(self, talk: Transcript, offer: Offer) -> AsyncGenerator[Piece, None]:
        """Ask. Raises: as ``ModelServer.stream``."""
        ...


@dataclass(frozen=True)
class BySchema:
    """The model chooses by a schema, every time; its answer is asked for afterwards."""

    model: ModelServer
    seed: int | None = None

    async def next(self, talk: Transcript, offer: Offer) -> AsyncGenerator[Piece, None]:
        step = await self.step(talk, offer)
        if step.do == ANSWER:
            talk.add(said(step))
        else:
            yield step

    async def step(self, talk: Transcript, offer: Offer) -> Step:
        completion = await self.model.complete(
            talk.messages,
            max_tokens=MOST_STEP_TOKENS,
            schema=offer.schema,
            seed=self.seed,
            temperature=CHOOSING_TEMPERATURE,
        )
        talk.count(completion)
        return step_of(completion.text)


@dataclass(frozen=True)
class InWords:
    """The model answers at once, or replies with a step instead; one that cannot be used is asked for by a schema.

    So the first word of an answer that needs no look-up comes as soon as the server can give it.
    """

    model: ModelServer
    manner: Manner

    async def next(self, talk: Transcript, offer: Offer) -> AsyncGenerator[Piece, None]:
        spotter, done = Spotter(), None
        async with aclosing(stream(self.model, talk, self.manner)) as deltas:
            async for delta in deltas:
                if delta.reasoning:
                    yield Thought(text=delta.reasoning)
                if delta.text and spotter.is_whole:
                    break  # the step has ended, what follows it is made up
                if words := spotter.feed(delta.text):
                    yield Words(text=words)
                done = delta.completion or done
        talk.count(done or _estimated(talk, spotter.text))
        if words := spotter.end():
            yield Words(text=words)
        talk.answered = not spotter.is_step
        if spotter.is_step:
            async with aclosing(self._wanted(spotter, talk, offer)) as steps:
                async for step in steps:
                    yield step

    async def _wanted(self, spotter: Spotter, talk: Transcript, offer: Offer) -> AsyncGenerator[Step, None]:
        step = step_of(spotter.step_text).model_copy(update={"text": spotter.text})
        if step.fault or not offer.has(step.do):
            step = await BySchema(self.model, self.manner.seed).step(talk, offer)
        if step.do == ANSWER:
            talk.add(said(step))
        else:
            yield step


@dataclass(frozen=True)
class Natively:
    """The model answers, or makes its server's own tool calls."""

    model: ModelServer
    manner: Manner

    async def next(self, talk: Transcript, offer: Offer) -> AsyncGenerator[Piece, None]:
        calls: tuple[ToolCall, ...] = ()
        async with aclosing(stream(self.model, talk, self.manner, offer)) as deltas:
            async for delta in deltas:
                if delta.reasoning:
                    yield Thought(text=delta.reasoning)
                if delta.text:
                    yield Words(text=delta.text)
                if delta.completion:
                    talk.count(delta.completion)
                    calls = delta.completion.tool_calls
        talk.answered = not calls
        if calls:
            talk.add_round(Message(role="assistant", content=talk.spent.text, tool_calls=calls))
        for call in calls:
            yield native_step(call)


def stream(
    model: ModelServer, talk: Transcript, manner: Manner, offer: Offer | None = None
) -> AsyncGenerator[Delta, None]:
    """Ask for an answer in that manner, with what is offered as the server's own tools."""
    extras = Extras(thinking=manner.thinking, stop=manner.stop, tools=offer.specs if offer else ())
    return model.stream(
        talk.messages,
        max_tokens=manner.max_tokens,
        schema=manner.schema,
        seed=manner.seed,
        temperature=manner.temperature,
        extras=extras,
    )


def _estimated(talk: Transcript, text: str) -> Completion:
    """Return what a reply cost that was left before its server could say it."""
    return Completion(
        text=text,
        model=talk.spent.model,
        prompt_tokens=estimate_prompt(talk.messages),
        completion_tokens=estimate(text),
    )
