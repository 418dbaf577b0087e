"""Investigate one incident: with the meta model and what it looks up; by rules where there is no model."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

from ai_sysadmin.context.asking import LEAST_TOKENS, cost_of
from ai_sysadmin.context.condition import Condition
from ai_sysadmin.context.facts import Facts
from ai_sysadmin.context.window import Window, fit
from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.errors import AiSysadminError, BackendUnavailable, ModelMisbehaved
from ai_sysadmin.core.records import Investigation, Review
from ai_sysadmin.core.settings import MetaModel
from ai_sysadmin.llm_backend import ModelServer, PromptTooLong
from ai_sysadmin.llm_backend.structured import reply_as
from ai_sysadmin.meta_model import decide, rules
from ai_sysadmin.meta_model.agent import Agent, Limits
from ai_sysadmin.meta_model.choosing import CHOOSING_TEMPERATURE, BySchema, Choosing, Manner, Natively
from ai_sysadmin.meta_model.offer import Offer, Way
from ai_sysadmin.meta_model.transcript import Transcript
from ai_sysadmin.sources.units import Units, UnitStatus
from ai_sysadmin.stores import Claim
from ai_sysadmin.tools.toolbox import Looks, Toolbox

log = logging.getLogger(__name__)

WITHOUT_MODEL: Final = "escalations are investigated by rules, and chat answers with reports"
_BEFORE_LEASE_ENDS_SECONDS: Final = 10.0
_LOOKING_SHARE: Final = 0.6
_SHARE_OF_EVIDENCE: Final = 0.5
_LEAST_REPLY: Final = 400
_REPLIES_IN_CONTEXT: Final = 3
_MOST_UNITS: Final = 5


@dataclass(frozen=True)
class Found:
    """What an investigation came to, and the facts it rests on: those it began with, and what it looked up."""

    facts: Facts
    investigation: Investigation


@dataclass(frozen=True)
class Investigator:
    """Investigates one incident at a time; without the model, by rules."""

    model: ModelServer
    toolbox: Toolbox
    units: Units
    condition: Condition
    clock: Clock
    settings: MetaModel
    output_tokens: int
    temperature: float = 0.2

    async def investigate(self, facts: Facts, claim: Claim) -> Found:
        """Return what was found, always. Raises: StoreUnavailable (its own condition cannot be noted)."""
        if same := decide.repeated(facts, claim.investigations, self.clock.now()):
            return Found(facts, same)
        if why := self._why_rules(facts, claim):
            return Found(facts, rules.investigate(facts, why, self.clock.now()))
        try:
            async with asyncio.timeout(self._seconds):
                found = await self._by_model(facts, claim.reviews)
        except TimeoutError:
            await self.condition.is_degraded(f"{self._it} took longer than {self._seconds:.0f} s; {WITHOUT_MODEL}")
            why = f"{self._it} took longer than {self._seconds:.0f} s"
            return Found(facts, rules.investigate(facts, why, self.clock.now()))
        except BackendUnavailable as error:
            await self.condition.is_degraded(f"{error}; {WITHOUT_MODEL}")
            return Found(facts, rules.investigate(facts, str(error), self.clock.now()))
        except PromptTooLong as error:
            return Found(facts, rules.investigate(facts, str(error), self.clock.now()))
        await self.condition.is_ok(f"{self._it} answers")
        return found

    @property
    def _it(self) -> str:
        return f"{self.model.name} model at {self.model.url}"

    @property
    def _seconds(self) -> float:
        return max(1.0, self.settings.lease_seconds - _BEFORE_LEASE_ENDS_SECONDS)

    def _why_rules(self, facts: Facts, claim: Claim) -> str:
        """Say why no model is asked; empty: one is."""
        if claim.model_calls >= self.settings.max_model_calls_per_incident:
            return f"{claim.model_calls} model calls were spent on this incident already"
        may_look = bool(self.toolbox.tools) and self.settings.max_steps > 0
        if not may_look and any(_saw_the_same(review, facts) for review in claim.reviews):
            return "the review model judged this very evidence, and there is no more of it yet"
        return ""

    async def _by_model(self, facts: Facts, reviews: Sequence[Review]) -> Found:
        """Raises: PromptTooLong, where there is no room even for a little evidence and a reply without looking."""
        context = (await self.model.health()).context_tokens
        try:
            return await self._in_room(facts, reviews, context, may_look=True)
        except PromptTooLong as error:
            why = f"nothing was looked up: {error}"
            log.info("%s", why, extra={"event": "prompt_cut"})
        found = await self._in_room(facts, reviews, context, may_look=False)
        noted = found.investigation.model_copy(update={"notes": (*found.investigation.notes, why)})
        return replace(found, investigation=noted)

    async def _in_room(self, facts: Facts, reviews: Sequence[Review], context: int, *, may_look: bool) -> Found:
        budget = await self._evidence_tokens(facts, reviews, context, may_look=may_look)
        while True:
            try:
                return await self._attempt(facts, reviews, budget, context, may_look=may_look)
            except PromptTooLong as error:
                budget //= 2
                if budget < LEAST_TOKENS:
                    raise
                log.info("less evidence, %s tokens: %s", budget, error, extra={"event": "prompt_cut"})

    async def _evidence_tokens(self, facts: Facts, reviews: Sequence[Review], context: int, *, may_look: bool) -> int:
        """Return how much evidence there is room for, beside the reply and what will be looked up.

        Raises: PromptTooLong, where what is said of the tools leaves too little.
        """
        if not context:
            return self.settings.evidence_tokens
        empty = Window(text="", tokens=0, exact=True, kept=(), left_out=())
        around = decide.prompt(facts, reviews, empty, self._offer("").instructions(self._way) if may_look else "")
        counted = await self.model.count_tokens("\n".join(message.content for message in around))
        reply = self._reply_tokens(context)
        left = int((context - reply - counted.tokens) * _SHARE_OF_EVIDENCE)
        if may_look and left < LEAST_TOKENS:
            raise PromptTooLong(counted.tokens, context, reply)
        return max(LEAST_TOKENS, min(self.settings.evidence_tokens, left))

    async def _attempt(
        self, facts: Facts, reviews: Sequence[Review], budget: int, context: int, *, may_look: bool
    ) -> Found:
        window = await fit(facts.pack, budget, self.model.count_tokens)
        offer = self._offer("\n".join(piece.text for piece in facts.pack.pieces))
        talk = Transcript(decide.prompt(facts, reviews, window, offer.instructions(self._way) if may_look else ""))
        if may_look and not offer.is_empty:
            agent = Agent(self._choosing(context), self._limits(context))
            async with aclosing(agent.look(talk, offer, context)) as events:
                async for _ in events:
                    continue
        facts = await self._with_looked_up(facts, offer.looks)
        return Found(facts, await self._concluded(facts, talk, window, self._reply_tokens(context)))

    def _offer(self, evidence: str) -> Offer:
        return Offer(self.toolbox, self.toolbox.open([evidence]))

    def _reply_tokens(self, context: int) -> int:
        """Return how long the reply may be: no more than is set, nor than a share of what the model holds."""
        most = self.settings.max_reply_tokens
        return min(most, max(_LEAST_REPLY, context // _REPLIES_IN_CONTEXT)) if context else most

    @property
    def _way(self) -> Way:
        return "calls" if self.settings.native_tools else "steps"

    def _choosing(self, context: int) -> Choosing:
        if self._way == "steps":
            return BySchema(self.model)
        return Natively(self.model, Manner(self._reply_tokens(context), CHOOSING_TEMPERATURE))

    def _limits(self, context: int) -> Limits:
        settings = self.settings
        return Limits(
            steps=settings.max_steps,
            tokens=settings.max_tokens,
            seconds=self._seconds * _LOOKING_SHARE,
            output_tokens=self.output_tokens,
            reply_tokens=self._reply_tokens(context),
        )

    async def _with_looked_up(self, facts: Facts, looks: Looks) -> Facts:
        """Add what was looked up to the evidence, and how the units stand that were looked at."""
        seen: list[UnitStatus] = []
        for unit in decide.units_in(looks.results)[:_MOST_UNITS]:
            try:
                seen.append(await self.units.status(unit))
            except AiSysadminError as error:
                log.info("%s was not looked at again: %s", unit, error, extra={"event": "unit_not_seen"})
        return decide.with_looked_up(facts, looks.results, seen, self.clock.now())

    async def _concluded(self, facts: Facts, talk: Transcript, window: Window, reply_tokens: int) -> Investigation:
        """Ask for the end of it; where there is no room, the oldest look-ups go first. Raises: PromptTooLong."""
        talk.say(decide.conclusion(facts))
        while True:
            try:
                reply, completion, calls = await reply_as(
                    self.model,
                    talk.messages,
                    decide.reply_model(facts),
                    max_tokens=reply_tokens,
                    temperature=self.temperature,
                )
            except PromptTooLong:
                if not talk.forget_oldest_round():
                    raise
            except ModelMisbehaved as error:
                unusable = rules.investigate(facts, f"its reply is unusable: {error}", self.clock.now())
                return unusable.model_copy(update={"model_calls": talk.calls + cost_of(error)[1]})
            else:
                break
        calls += talk.calls
        talk.count(completion)
        found = decide.investigated(facts, reply, completion.model, calls, self.clock.now(), window.unread)
        spent = talk.spent
        return found.model_copy(
            update={
                "prompt_tokens": spent.prompt_tokens,
                "completion_tokens": spent.completion_tokens,
                "cached_tokens": spent.cached_tokens,
            }
        )


def _saw_the_same(review: Review, facts: Facts) -> bool:
    """Tell whether a model has judged this evidence: while it is unchanged, no model is asked again."""
    return review.model_calls > 0 and review.evidence_hash == facts.pack.hash
