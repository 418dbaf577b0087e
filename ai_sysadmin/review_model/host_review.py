"""Review the whole host from time to time, and at once when a person asks: the health report."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from ai_sysadmin.context.asking import Asking, cost_of
from ai_sysadmin.context.condition import Condition
from ai_sysadmin.context.defuse import one_line
from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.errors import BackendUnavailable, ModelMisbehaved
from ai_sysadmin.core.health import HealthReport
from ai_sysadmin.core.incident import Incident, State, rests_until
from ai_sysadmin.core.settings import ReviewModel
from ai_sysadmin.llm_backend import ModelServer
from ai_sysadmin.review_model import health
from ai_sysadmin.review_model.budget import Budgets, SpentSince
from ai_sysadmin.review_model.host_look import HostLook
from ai_sysadmin.review_model.host_seen import HostSeen
from ai_sysadmin.review_model.judge import WITHOUT_MODEL, asking
from ai_sysadmin.review_model.rules import RULES
from ai_sysadmin.runtime.service import Heartbeat, Loop, backing_off
from ai_sysadmin.stores import ReadStore
from ai_sysadmin.stores.health_store import Check, HealthStore

log = logging.getLogger(__name__)

POLL_SECONDS: Final = 1.0
MONITOR_ANSWERS_WITHIN: Final = timedelta(seconds=20)
REVIEWS_WITHIN_SECONDS: Final = 180.0
FIRST_AFTER_SECONDS: Final = 300.0
"""After a start there is little to see yet."""
_LOOK_AGAIN_SECONDS: Final = 60.0
_PROMISE_SECONDS: Final = 60.0


@dataclass(frozen=True)
class HostJudge:
    """Makes a report of what was seen: by the model within its budgets, else by rules."""

    asking: Asking
    condition: Condition
    clock: Clock
    budgets: Budgets

    async def report(self, seen: HostSeen, last: HealthReport | None) -> HealthReport:
        """Return a report, always; no model is asked while there is nothing else to say than the last time."""
        same = health.unchanged(seen, last)
        if same is not None and (same.judged_by != RULES or not seen.notable or not await self._is_ready()):
            return same
        if not seen.notable:
            return health.by_rules(seen)
        if over := await self.budgets.over_hour(self.clock.now()):
            return same or health.by_rules(seen, [over])
        try:
            return await self._by_model(seen)
        except BackendUnavailable as error:
            await self.condition.is_degraded(f"{error}; {WITHOUT_MODEL}")
            return health.by_rules(seen, [f"review model away: {error}"])
        except ModelMisbehaved as error:
            report = health.by_rules(seen, [f"model reply unusable: {one_line(str(error), 300)}"])
            return health.spent(report, *cost_of(error))

    async def _is_ready(self) -> bool:
        return (await self.asking.model.health()).state == "ready"

    async def _by_model(self, seen: HostSeen) -> HealthReport:
        answered = await self.asking.ask(health.pack_of(seen), (health.prompt,), health.reply_model(seen))
        return health.judged(
            seen, answered.reply, answered.completion, answered.calls, answered.window, self.clock.now()
        )


@dataclass(frozen=True)
class HostReviews:
    """What the loops around the health report need."""

    store: HealthStore
    reader: ReadStore
    look: HostLook
    judge: HostJudge
    clock: Clock
    heart: Heartbeat
    settings: ReviewModel

    @classmethod
    def build(
        cls,
        *,
        store: HealthStore,
        look: HostLook,
        spent: SpentSince,
        model: ModelServer,
        condition: Condition,
        clock: Clock,
        heart: Heartbeat,
        settings: ReviewModel,
    ) -> "HostReviews":
        """Return reviews of the whole host by this model."""
        judge = HostJudge(asking(model, settings), condition, clock, Budgets(settings, spent))
        return cls(store, look.reader, look, judge, clock, heart, settings)

    def loops(self) -> Mapping[str, Loop]:
        """Return what runs for ever, by name; backed off while the store is away."""
        return {
            "health": partial(backing_off, "health", self.review_forever),
            "checks": partial(backing_off, "checks", self.check_forever, most_seconds=5),
        }

    # --- from time to time

    async def review_forever(self) -> None:
        """Review the host in the time that is set; for ever nothing where that is 0. Raises: StoreUnavailable."""
        if not self.settings.every_seconds:
            await asyncio.Event().wait()
        await asyncio.sleep(min(self.settings.every_seconds, FIRST_AFTER_SECONDS))
        while True:
            rest = await self._rest()
            if rest <= 0:
                await self.review()
            await asyncio.sleep(min(max(rest, 1.0), _LOOK_AGAIN_SECONDS))

    async def _rest(self) -> float:
        """Return after how many seconds the next review is due; a clock that was set back is none to wait for."""
        last = await self._last()
        if last is None:
            return 0.0
        passed = (self.clock.now() - last.at).total_seconds()
        return self.settings.every_seconds - passed if passed >= 0 else 0.0

    async def review(self) -> HealthReport:
        """Review the host now, and keep the report. Raises: StoreUnavailable."""
        with self.heart.within(self.settings.lease_seconds + _PROMISE_SECONDS, "a review of the host"):
            report = await self.judge.report(await self.look.look(), await self._last())
            await self.store.keep_report(report)
        log.info(
            "health report by %s: %s",
            report.judged_by,
            report.summary,
            extra={"event": "health_reviewed", "judged_by": report.judged_by, "model_calls": report.model_calls},
        )
        return report

    async def _last(self) -> HealthReport | None:
        return next(iter(await self.store.reports(1)), None)

    # --- when a person asks

    async def check_forever(self) -> None:
        """Take every check to its end. Raises: StoreUnavailable."""
        while True:
            await self.check_next()
            await asyncio.sleep(POLL_SECONDS)

    async def check_next(self) -> bool:
        """Take the next check to its end, where the monitor has looked or does not answer; tell whether there was one.

        Raises: StoreUnavailable.
        """
        check = await self.store.waiting_check("looked") or await self._unanswered()
        if check is None:
            return False
        notes = [] if check.state == "looked" else [_UNANSWERED]
        if await self._wait_for_reviews():
            notes.append("some incidents are still being judged")
        report = await self.review()
        done = {"state": "done", "done_at": self.clock.now(), "report": report}
        text = "; ".join(filter(None, (check.text, *notes)))
        await self.store.keep_check(check.model_copy(update={**done, "text": text}))
        return True

    async def _unanswered(self) -> Check | None:
        """Return a check that the trigger monitor should have taken up by now."""
        check = await self.store.waiting_check("asked")
        if check is None or self.clock.now() - check.asked_at < MONITOR_ANSWERS_WITHIN:
            return None
        return check

    async def _wait_for_reviews(self) -> bool:
        """Wait until what is due is judged, within limits; tell whether anything is left."""
        for _ in range(int(REVIEWS_WITHIN_SECONDS / POLL_SECONDS)):
            if not await self._is_anything_due():
                return False
            await asyncio.sleep(POLL_SECONDS)
        return True

    async def _is_anything_due(self) -> bool:
        now = self.clock.now()
        return any(self._is_due(incident, now) for incident in await self.reader.incidents([State.OPEN], 500))

    def _is_due(self, incident: Incident, now: datetime) -> bool:
        first = timedelta(seconds=self.settings.back_off_seconds)
        until = rests_until(incident, first, timedelta(seconds=self.settings.back_off_at_most_seconds))
        return incident.evidence_revision > incident.reviewed_revision and (until is None or until <= now)


_UNANSWERED: Final = (
    f"the trigger monitor did not look within {MONITOR_ANSWERS_WITHIN.total_seconds():g} s: is it running?"
    " This rests on what was known before"
)
