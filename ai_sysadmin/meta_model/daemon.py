"""The meta model's work in the background: claim an escalated incident, investigate it, hand on what follows."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from ai_sysadmin.context.asking import Asking, cost_of
from ai_sysadmin.context.claims import GATHERING_SECONDS, Gathering, held, work_forever
from ai_sysadmin.context.condition import Condition
from ai_sysadmin.context.facts import Facts
from ai_sysadmin.core.acting import ActionRequest, Origin
from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.errors import BackendUnavailable, ModelMisbehaved
from ai_sysadmin.core.records import EvidencePack, Investigation, Review
from ai_sysadmin.core.settings import MetaModel
from ai_sysadmin.llm_backend import ModelServer
from ai_sysadmin.meta_model import decide, rules
from ai_sysadmin.runtime.service import Heartbeat
from ai_sysadmin.stores import Claim, InvestigationStore

log = logging.getLogger(__name__)

SERVICE = "meta-model"
WITHOUT_MODEL = "escalations are investigated by rules, and chat answers with reports"
_BEFORE_LEASE_ENDS_SECONDS = 10.0


@dataclass(frozen=True)
class Investigator:
    """Investigates one incident at a time; without the model, by rules."""

    asking: Asking
    condition: Condition
    clock: Clock
    max_model_calls: int

    @classmethod
    def of(
        cls, model: ModelServer, condition: Condition, clock: Clock, settings: MetaModel, max_model_calls: int
    ) -> "Investigator":
        asking = Asking(
            model=model,
            evidence_tokens=settings.evidence_tokens,
            reply_tokens=settings.max_reply_tokens,
            within_seconds=max(1.0, settings.lease_seconds - _BEFORE_LEASE_ENDS_SECONDS),
        )
        return cls(asking, condition, clock, max_model_calls)

    async def investigate(self, facts: Facts, claim: Claim) -> Investigation:
        """Return what was found, always. Raises: StoreUnavailable (its own condition cannot be noted)."""
        if claim.model_calls >= self.max_model_calls:
            spent = f"{claim.model_calls} model calls were spent on this incident already"
            return rules.investigate(facts, spent, self.clock.now())
        if any(_saw_the_same(review, facts) for review in claim.reviews):
            nothing_more = "the review model judged this very evidence, and there is no more of it yet"
            return rules.investigate(facts, nothing_more, self.clock.now())
        try:
            found = await self._by_model(facts, claim.reviews)
        except BackendUnavailable as error:
            await self.condition.is_degraded(f"{error}; {WITHOUT_MODEL}")
            return rules.investigate(facts, str(error), self.clock.now())
        except ModelMisbehaved as error:
            unusable = rules.investigate(facts, f"its reply is unusable: {error}", self.clock.now())
            return unusable.model_copy(update={"model_calls": cost_of(error)[1]})
        model = self.asking.model
        await self.condition.is_ok(f"{model.name} model at {model.url} answers")
        return found

    async def _by_model(self, facts: Facts, reviews: Sequence[Review]) -> Investigation:
        answered = await self.asking.ask(
            facts.pack, (partial(decide.prompt, facts, reviews),), decide.reply_model(facts)
        )
        return decide.investigated(
            facts, answered.reply, answered.completion.model, answered.calls, self.clock.now(), answered.window.unread
        )


@dataclass(frozen=True)
class Investigations:
    """The loop over escalations, and what it needs."""

    host: str
    store: InvestigationStore
    gathering: Gathering
    investigator: Investigator
    clock: Clock
    heart: Heartbeat
    settings: MetaModel
    worker: str = SERVICE

    async def investigate_forever(self) -> None:
        """Investigate escalations as they come. Raises: StoreUnavailable."""
        await work_forever(self.investigate_next)

    async def investigate_next(self) -> bool:
        """Investigate the oldest escalation; tell whether there was one. Raises: StoreUnavailable."""
        lease = timedelta(seconds=self.settings.lease_seconds)
        claim = await self.store.claim_investigation(self.worker, lease=lease, now=self.clock.now())
        if claim is None:
            return False
        with self.heart.within(self.settings.lease_seconds + GATHERING_SECONDS, "an investigation"):
            await self._investigate(claim)
        return True

    async def _investigate(self, claim: Claim) -> None:
        """Take one claim to its end; give it back where that fails or is cancelled."""
        incident = claim.incident
        started = _fields(incident.id, "investigation_started", unit=incident.unit)
        log.info("investigation started: %s", incident.title, extra=started)
        async with held(self.store, claim):
            facts = await self.gathering.facts(claim)
            found = await self.investigator.investigate(facts, claim)
            await self._finish(claim, facts.pack, found)

    async def _finish(self, claim: Claim, pack: EvidencePack, found: Investigation) -> None:
        incident = await self.store.finish_investigation(claim, pack, found, requests_of(self.host, found))
        log.info(
            "investigation finished by %s: %s",
            found.investigated_by,
            found.cause,
            extra=_fields(
                incident.id,
                "investigation_finished",
                unit=incident.unit,
                investigated_by=found.investigated_by,
                action=found.action.name if found.action else "",
                model_calls=found.model_calls,
                incident_state=incident.state.value,
            ),
        )


def _saw_the_same(review: Review, facts: Facts) -> bool:
    """Tell whether a model has judged this evidence: while it is unchanged, no model is asked again."""
    return review.model_calls > 0 and review.evidence_hash == facts.pack.hash


def requests_of(host: str, found: Investigation) -> tuple[ActionRequest, ...]:
    """Return what an investigation proposes to do."""
    if found.action is None:
        return ()
    origin = Origin.RULES if found.investigated_by == rules.RULES else Origin.INVESTIGATION
    return (ActionRequest.propose(host, found.incident_id, found.action, origin, found.cause, found.at),)


def _fields(incident_id: str, event: str, **more: object) -> dict[str, object]:
    return {"event": event, "incident_id": incident_id, **more}
