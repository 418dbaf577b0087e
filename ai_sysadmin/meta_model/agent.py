"""The agent: the model looks things up, one after the other, until it would rather answer or has to. One loop.

Nothing that it is offered changes the host: tools read, and a proposal waits for its ruling. Where the answer was not
given on the way, whoever asks for it does so afterwards, with the same transcript.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from ai_sysadmin.core.errors import AiSysadminError, Refused
from ai_sysadmin.llm_backend import Message, PromptTooLong
from ai_sysadmin.meta_model.choosing import Choosing
from ai_sysadmin.meta_model.offer import Offer
from ai_sysadmin.meta_model.steps import MOST_STEP_TOKENS, Step, said, shown
from ai_sysadmin.meta_model.talk import ClientCall, Event, LookBegan, LookEnded, Thought, Words
from ai_sysadmin.meta_model.transcript import Transcript

log = logging.getLogger(__name__)

_LEAST_ROOM_TOKENS: Final = 300
_MOST_CHARACTERS_PER_TOKEN: Final = 4.0


@dataclass(frozen=True)
class Limits:
    """How long the agent may go on looking. ``seconds`` are of looking alone; the answer's own come after."""

    steps: int
    tokens: int
    seconds: float
    output_tokens: int
    reply_tokens: int


@dataclass(frozen=True)
class Agent:
    """A model that may look things up, asked in one way what it wants to do next."""

    choosing: Choosing
    limits: Limits

    async def look(self, talk: Transcript, offer: Offer, context_tokens: int) -> AsyncGenerator[Event, None]:
        """Let the model look things up; yield what is being done. The transcript grows by every step and its result.

        Words of an answer may be among what is yielded: ``talk.answered`` tells that it was given. After a
        ``ClientCall`` the answer is over.

        Raises: as ``ModelServer.stream``; PromptTooLong only while nothing is looked up yet.
        """
        until = asyncio.get_running_loop().time() + self.limits.seconds
        for number in range(1, self.limits.steps + 1):
            if why := self._enough(talk, context_tokens, until):
                talk.say(f"You may look up nothing more: {why}.")
                return
            steps: list[Step] = []
            try:
                async with aclosing(self.choosing.next(talk, offer)) as pieces:
                    async for piece in pieces:
                        if isinstance(piece, Words | Thought):
                            yield piece
                        else:
                            steps.append(piece)
            except PromptTooLong as error:
                if not talk.forget_oldest_round():
                    raise
                log.info("the looking ends: %s", error, extra={"event": "prompt_cut"})
                talk.say("You may look up nothing more: there is no room for more.")
                return
            if not steps:
                return
            async with aclosing(self._done(steps, number, talk, offer, context_tokens)) as events:
                async for event in events:
                    yield event
                    if isinstance(event, ClientCall):
                        return
        if self.limits.steps:
            talk.say("You may look up nothing more: you have looked often enough.")

    def _enough(self, talk: Transcript, context_tokens: int, until: float) -> str:
        """Say why there may be no further step; empty: there may."""
        spent = talk.spent.prompt_tokens + talk.spent.completion_tokens
        if spent >= self.limits.tokens:
            return f"{spent} tokens were spent already"
        if asyncio.get_running_loop().time() >= until:
            return "it has taken long enough"
        if context_tokens and self._room(talk, context_tokens) < _LEAST_ROOM_TOKENS:
            return "there is no room for more"
        return ""

    def _room(self, talk: Transcript, context_tokens: int) -> int:
        """Return how many tokens one more result may come to."""
        if not context_tokens:
            return self.limits.output_tokens
        left = context_tokens - talk.tokens - MOST_STEP_TOKENS - self.limits.reply_tokens
        return min(self.limits.output_tokens, left)

    async def _done(
        self, steps: list[Step], number: int, talk: Transcript, offer: Offer, context_tokens: int
    ) -> AsyncGenerator[Event, None]:
        """Do what the model asked for, and tell it what came of it."""
        for step in steps:
            if step.fault:
                _tell(talk, step, f"That step cannot be used: {step.fault}. Reply with one step again.")
                continue
            if client_call := offer.client_call(step):
                yield ClientCall(call=client_call)
                return
            if proposal := offer.proposal(step):
                try:
                    proposed = await proposal
                except AiSysadminError as error:
                    _tell(talk, step, f"Nothing was proposed: {error}")
                else:
                    yield proposed
                    _tell(talk, step, f"Proposed, and waits for a person: {proposed.says} ({proposed.action_id})")
                continue
            async with aclosing(self._looked(step, number, talk, offer, context_tokens)) as events:
                async for event in events:
                    yield event

    async def _looked(
        self, step: Step, number: int, talk: Transcript, offer: Offer, context_tokens: int
    ) -> AsyncGenerator[Event, None]:
        looks = offer.looks
        try:
            call = looks.call(step.do, step.arguments)
        except Refused as error:
            result = looks.refused(step.do, step.arguments, str(error))
        else:
            arguments = call.arguments.model_dump()
            yield LookBegan(number=len(looks.results) + 1, tool=call.tool.name, arguments=arguments, title=call.title)
            room = self._room(talk, context_tokens)
            per_token = min(_MOST_CHARACTERS_PER_TOKEN, talk.characters_per_token)
            result = await looks.look(call, max(_LEAST_ROOM_TOKENS, int(room * per_token)))
            yield LookEnded(number=len(looks.results), result=result)
        # no word of the model's own in the message: what our log says would count as named by it
        about = {"event": "looked_up", "tool": result.tool, "title": result.title, "failed": result.failed}
        log.info("looked up with %s", result.tool, extra=about | {"step": number})
        _tell(talk, step, shown(result))


def _tell(talk: Transcript, step: Step, text: str) -> None:
    """Add a step and what it came to, in the shape in which the model asked."""
    if step.call_id:
        talk.extend_round(Message(role="tool", content=text, tool_call_id=step.call_id))
    else:
        talk.add_round(said(step), Message(role="user", content=text))
