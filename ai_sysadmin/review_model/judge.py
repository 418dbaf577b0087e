"""Judge one incident: by the model within its budgets, else by rules."""

from dataclasses import dataclass
from functools import partial

from ai_sysadmin.context.asking import Asking, cost_of
from ai_sysadmin.context.condition import Condition
from ai_sysadmin.context.facts import Facts
from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.errors import BackendUnavailable, ModelMisbehaved
from ai_sysadmin.core.records import Review
from ai_sysadmin.core.settings import ReviewModel
from ai_sysadmin.llm_backend import ModelServer, PromptTooLong
from ai_sysadmin.review_model import decide, rules
from ai_sysadmin.review_model.budget import Budgets, SpentSince, nothing_spent
from ai_sysadmin.stores import Claim

WITHOUT_MODEL = "incidents are judged by rules"
_BEFORE_LEASE_ENDS_SECONDS = 10.0


def asking(model: ModelServer, settings: ReviewModel) -> Asking:
    """Return how the review model is asked: done before a lease ends."""
    return Asking(
        model=model,
        evidence_tokens=settings.evidence_tokens,
        reply_tokens=settings.max_reply_tokens,
        within_seconds=max(1.0, settings.lease_seconds - _BEFORE_LEASE_ENDS_SECONDS),
    )


@dataclass(frozen=True)
class Judge:
    """Judges one incident at a time; without the model, or beyond its budgets, by rules."""

    asking: Asking
    condition: Condition
    clock: Clock
    budgets: Budgets

    @classmethod
    def of(
        cls,
        model: ModelServer,
        condition: Condition,
        clock: Clock,
        settings: ReviewModel,
        spent: SpentSince = nothing_spent,
    ) -> "Judge":
        return cls(asking(model, settings), condition, clock, Budgets(settings, spent))

    async def judge(self, facts: Facts, claim: Claim) -> Review:
        """Return a judgement, always. Raises: StoreUnavailable (its own condition cannot be noted)."""
        now = self.clock.now()
        if same := decide.repeated(facts, claim.reviews, now):
            return same
        if over := self.budgets.over_incident(claim) or await self.budgets.over_hour(now):
            return rules.judge(facts, now, [over])
        try:
            review = await self._by_model(facts)
        except BackendUnavailable as error:
            await self.condition.is_degraded(f"{error}; {WITHOUT_MODEL}")
            return rules.judge(facts, self.clock.now(), [f"review model away: {error}"])
        except PromptTooLong as error:
            return rules.judge(facts, self.clock.now(), [f"the review model's context is too small: {error}"])
        except ModelMisbehaved as error:
            return decide.unusable(facts, str(error), *cost_of(error), self.clock.now())
        model = self.asking.model
        await self.condition.is_ok(f"{model.name} model at {model.url} answers")
        return review

    async def _by_model(self, facts: Facts) -> Review:
        answered = await self.asking.ask(
            decide.of_the_incident(facts.pack),
            (partial(decide.prompt, facts), partial(decide.prompt, facts, brief=True)),
            decide.reply_model(facts),
        )
        return decide.judged(
            facts, answered.reply, answered.completion, answered.calls, self.clock.now(), answered.window
        )
