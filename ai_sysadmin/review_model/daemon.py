"""The review service's work: claim an incident, gather evidence, have it judged, hand on what follows."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from ai_sysadmin.context.claims import GATHERING_SECONDS, Gathering, held, work_forever
from ai_sysadmin.context.condition import Condition
from ai_sysadmin.context.facts import Facts
from ai_sysadmin.core.acting import ActionRequest, Origin
from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.errors import BackendUnavailable, ModelMisbehaved
from ai_sysadmin.core.records import EvidencePack, Review, Verdict
from ai_sysadmin.core.settings import ReviewModel
from ai_sysadmin.llm_backend import ModelServer, ReplyDoesNotFit
from ai_sysadmin.llm_backend.structured import reply_to_longest
from ai_sysadmin.review_model import decide, rules
from ai_sysadmin.runtime.service import Heartbeat
from ai_sysadmin.stores import Claim, ReviewStore

log = logging.getLogger(__name__)

SERVICE = "review-model"
WITHOUT_MODEL = "incidents are judged by rules"
_BEFORE_LEASE_ENDS_SECONDS = 10.0


@dataclass(frozen=True)
class Judge:
    """Judges one incident at a time; without the model, by rules.

    ``temperature`` is the model's; ``within_seconds`` bounds one judgement with all its calls.
    """

    model: ModelServer
    condition: Condition
    clock: Clock
    max_reply_tokens: int
    max_model_calls: int
    within_seconds: float
    temperature: float = 0.2

    @classmethod
    def of(cls, model: ModelServer, condition: Condition, clock: Clock, settings: ReviewModel) -> "Judge":
        return cls(
            model=model,
            condition=condition,
            clock=clock,
            max_reply_tokens=settings.max_reply_tokens,
            max_model_calls=settings.max_model_calls_per_incident,
            within_seconds=max(1.0, settings.lease_seconds - _BEFORE_LEASE_ENDS_SECONDS),
        )

    async def judge(self, facts: Facts, claim: Claim) -> Review:
        """Return a judgement, always. Raises: StoreUnavailable (its own condition cannot be noted)."""
        now = self.clock.now()
        if same := decide.repeated(facts, claim.reviews, now):
            return same
        if claim.model_calls >= self.max_model_calls:
            return rules.judge(facts, now, [f"{claim.model_calls} model calls were spent on this incident already"])
        try:
            review = await self._by_model(facts)
        except BackendUnavailable as error:
            await self.condition.is_degraded(f"{error}; {WITHOUT_MODEL}")
            return rules.judge(facts, self.clock.now(), [f"review model away: {error}"])
        except ModelMisbehaved as error:
            calls = error.calls if isinstance(error, ReplyDoesNotFit) else 0
            return decide.unusable(facts, str(error), calls, self.clock.now())
        await self.condition.is_ok(f"{self.model.name} model at {self.model.url} answers")
        return review

    async def _by_model(self, facts: Facts) -> Review:
        reply, completion, calls = await reply_to_longest(
            self.model,
            decide.prompts(facts),
            decide.reply_model(facts),
            within_seconds=self.within_seconds,
            max_tokens=self.max_reply_tokens,
            temperature=self.temperature,
        )
        return decide.judged(facts, reply, completion.model, calls, self.clock.now())


@dataclass(frozen=True)
class Reviewer:
    """What the review loop needs."""

    host: str
    store: ReviewStore
    gathering: Gathering
    judge: Judge
    clock: Clock
    heart: Heartbeat
    settings: ReviewModel
    worker: str = SERVICE

    @classmethod
    def build(
        cls,
        *,
        host: str,
        store: ReviewStore,
        gathering: Gathering,
        model: ModelServer,
        condition: Condition,
        clock: Clock,
        heart: Heartbeat,
        settings: ReviewModel,
    ) -> "Reviewer":
        """Return a reviewer whose judge asks this model."""
        judge = Judge.of(model, condition, clock, settings)
        return cls(host, store, gathering, judge, clock, heart, settings)

    async def review_forever(self) -> None:
        """Judge incidents as they fall due. Raises: StoreUnavailable."""
        await work_forever(self.review_next)

    async def review_next(self) -> bool:
        """Judge the next incident that is due; tell whether there was one. Raises: StoreUnavailable."""
        claim = await self.store.claim_review(
            self.worker,
            lease=timedelta(seconds=self.settings.lease_seconds),
            settle=timedelta(seconds=self.settings.settle_seconds),
            settle_at_most=timedelta(seconds=self.settings.settle_at_most_seconds),
            now=self.clock.now(),
        )
        if claim is None:
            return False
        with self.heart.within(self.settings.lease_seconds + GATHERING_SECONDS, "a review"):
            await self._review(claim)
        return True

    async def _review(self, claim: Claim) -> None:
        """Take one claim to its end; give it back where that fails or is cancelled."""
        incident = claim.incident
        log.info("review started: %s", incident.title, extra=_fields(incident.id, "review_started", unit=incident.unit))
        async with held(self.store, claim):
            facts = await self.gathering.facts(claim)
            review = await self.judge.judge(facts, claim)
            await self._finish(claim, facts.pack, review)

    async def _finish(self, claim: Claim, pack: EvidencePack, review: Review) -> None:
        requests = requests_of(self.host, review, review.at)
        incident = await self.store.finish_review(claim, pack, review, requests)
        log.info(
            "review finished: %s, by %s: %s",
            review.verdict.value,
            review.judged_by,
            review.cause,
            extra=_fields(
                incident.id,
                "review_finished",
                unit=incident.unit,
                verdict=review.verdict.value,
                judged_by=review.judged_by,
                model_calls=review.model_calls,
                incident_state=incident.state.value,
            ),
        )


def requests_of(host: str, review: Review, at: datetime) -> tuple[ActionRequest, ...]:
    """Return what a judgement proposes to do."""
    if review.verdict is not Verdict.ACT or review.action is None:
        return ()
    origin = Origin.RULES if review.judged_by == rules.RULES else Origin.REVIEW
    return (ActionRequest.propose(host, review.incident_id, review.action, origin, review.cause, at),)


def _fields(incident_id: str, event: str, **more: object) -> dict[str, object]:
    return {"event": event, "incident_id": incident_id, **more}
