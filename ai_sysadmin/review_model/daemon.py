"""The review service's work: claim an incident, gather evidence, have it judged, hand on what follows."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from ai_sysadmin.context.claims import GATHERING_SECONDS, Gathering, held, work_forever
from ai_sysadmin.context.condition import Condition
from ai_sysadmin.context.facts import Facts
from ai_sysadmin.core.acting import ActionRequest, Origin
from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.records import Review, Verdict
from ai_sysadmin.core.settings import ReviewModel
from ai_sysadmin.llm_backend import ModelServer
from ai_sysadmin.review_model import rules
from ai_sysadmin.review_model.judge import WITHOUT_MODEL, Judge
from ai_sysadmin.runtime.service import Heartbeat
from ai_sysadmin.stores import Claim, ReviewStore

__all__ = ["SERVICE", "WITHOUT_MODEL", "Judge", "Reviewer", "requests_of"]

log = logging.getLogger(__name__)

SERVICE = "review-model"


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
        judge = Judge.of(model, condition, clock, settings, store.spent)
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
            back_off=timedelta(seconds=self.settings.back_off_seconds),
            back_off_at_most=timedelta(seconds=self.settings.back_off_at_most_seconds),
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
            await self._finish(claim, facts, review)

    async def _finish(self, claim: Claim, facts: Facts, review: Review) -> None:
        requests = requests_of(self.host, review, review.at, facts)
        incident = await self.store.finish_review(claim, facts.pack, review, requests)
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
                prompt_tokens=review.prompt_tokens,
                cached_tokens=review.cached_tokens,
                completion_tokens=review.completion_tokens,
                incident_state=incident.state.value,
            ),
        )


def requests_of(host: str, review: Review, at: datetime, facts: Facts) -> tuple[ActionRequest, ...]:
    """Return what a judgement proposes to do; what failed too often before, with that as a reason to ask a person."""
    if review.verdict is not Verdict.ACT or review.action is None:
        return ()
    origin = Origin.RULES if review.judged_by == rules.RULES else Origin.REVIEW
    ask = facts.reason_to_ask(review.action)
    return (ActionRequest.propose(host, review.incident_id, review.action, origin, review.cause, at, ask),)


def _fields(incident_id: str, event: str, **more: object) -> dict[str, object]:
    return {"event": event, "incident_id": incident_id, **more}
