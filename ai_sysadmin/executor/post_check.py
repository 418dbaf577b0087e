"""Whether what was done holds: looked at again and again for the whole of the post-check, in awake time."""

import asyncio
import time
from typing import Final

from pydantic import JsonValue

from ai_sysadmin.actions.action import ProbeBroken
from ai_sysadmin.actions.catalogue import AnyAction
from ai_sysadmin.actions.catalogue.unit_looks import probes_of
from ai_sysadmin.actions.ladder import SUBJECT
from ai_sysadmin.core.acting import Plan, Risk
from ai_sysadmin.core.errors import Refused
from ai_sysadmin.core.records import Record
from ai_sysadmin.executor.looking import Looking, faults_refused
from ai_sysadmin.executor.stages import Stages

CHECK_SECONDS: Final = 0.25


class PostCheck:
    """Checks actions on one host; ``hold_seconds`` is how long where a plan does not say so."""

    def __init__(self, looking: Looking, stages: Stages, hold_seconds: float) -> None:
        self._looking = looking
        self._stages = stages
        self._hold_seconds = hold_seconds

    def seconds(self, plan: Plan) -> float:
        """Return how long what was done has to hold."""
        return self._hold_seconds if plan.hold_seconds is None else plan.hold_seconds

    def longest_step(self, plan: Plan) -> float:
        """Return the longest that one step of a plan may take, in seconds."""
        stages = [stage for stage in (plan.run, plan.confirm, plan.revert) if stage is not None]
        longest = max(len(each.commands) * self._stages.seconds(each) for each in stages)
        checks = 2 * sum(self._stages.seconds(check) for check in plan.checks)
        return longest + checks + self.seconds(plan)

    async def fault(
        self, action: AnyAction, before: dict[str, JsonValue] | None, plan: Plan, action_id: str
    ) -> str | None:
        """Watch for the whole post-check; say what is wrong, or none. Raises: Unavailable, Refused: nobody can tell."""
        with faults_refused(action):
            return await self._fault(action, before, plan, action_id)

    async def _fault(
        self, action: AnyAction, before: dict[str, JsonValue] | None, plan: Plan, action_id: str
    ) -> str | None:
        was = await self._before(action, before)
        self._looking.host.forget_probes()
        first = await self._looking.look(action)
        # what was only read has nothing to hold
        seconds = 0.0 if action.risk(first) is Risk.READ_ONLY else self.seconds(plan)
        until, now = time.monotonic() + seconds, first
        problem = action.shortfall(was, now) or await self._unproved(action)
        problem = problem or await self._checked(plan, action_id, "first")
        while problem is None and time.monotonic() < until:
            await asyncio.sleep(min(CHECK_SECONDS, max(0.0, until - time.monotonic())))
            now = await self._looking.look(action)
            problem = action.shortfall(was, now) or action.disturbed(first, now)
        if problem is None and seconds:
            problem = await self._unproved(action) or await self._checked(plan, action_id, "last")
        return problem

    async def _unproved(self, action: AnyAction) -> str | None:
        """Say which probe of what was changed cannot be carried out: what nobody can prove does not hold."""
        host = self._looking.host
        everything = action.subject == SUBJECT
        names = [each.name for each in host.settings.trigger_monitor.probes]
        for name in names if everything else probes_of(host, action.units):
            try:
                await host.probe(name)
            except ProbeBroken as broken:
                return str(broken)
        return None

    async def _before(self, action: AnyAction, kept: dict[str, JsonValue] | None) -> Record:
        """Return what was observed with the intent. Raises: Refused: another version kept it, so nothing is proved."""
        try:
            before: Record = action.read(dict(kept or {}))
        except ValueError as error:
            raise Refused("what was observed before it cannot be read any more") from error
        return before

    async def _checked(self, plan: Plan, action_id: str, when: str) -> str | None:
        for check in plan.checks:
            stage = check.model_copy(update={"name": f"{check.name}-{when}"})
            ended = await self._stages.run(action_id, stage, {"AI_ACTION_ID": action_id}, anew=True)
            if not ended.good:
                said = ended.output.strip().splitlines()[-1:] or [ended.said]
                return f"{check.name}: {said[0][:300]}"
        return None
