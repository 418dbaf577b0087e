"""Confirm failures: systemd is asked what became of a unit, and what stands is committed with its roots."""

import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from ai_sysadmin.core.noticing_settings import TriggerMonitor as Settings
from ai_sysadmin.core.records import Trigger
from ai_sysadmin.sources.units import UnitStatus, Unsettled
from ai_sysadmin.trigger_monitor import rules
from ai_sysadmin.trigger_monitor.quiet import in_maintenance, is_silenced
from ai_sysadmin.trigger_monitor.units import failures
from ai_sysadmin.trigger_monitor.units.asking import Asking
from ai_sysadmin.trigger_monitor.units.correlate import Together, ties
from ai_sysadmin.trigger_monitor.units.failures import Candidate, Restarts
from ai_sysadmin.trigger_monitor.units.memory import MOST_UNITS, SAME_FAILURE, Pending, UnitMemory, Waiting
from ai_sysadmin.trigger_monitor.units.turbulence import Turbulence, Unrest, gathered

ROOT_SECONDS: Final = 1.0
"""So long a failure waits at most for that of a unit which it needs."""
STOP_SECONDS: Final = 5.0
"""So long a failure from before our start, which looks like a stop, waits at most for the journal to tell."""

LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)
_AGAIN_SECONDS = 0.1

Commit = Callable[[Sequence[Trigger]], Awaitable[None]]


@dataclass(frozen=True)
class _Found:
    """A failure that systemd has confirmed; ``turbulence``: in which it failed, where that has settled."""

    waiting: Waiting
    status: UnitStatus | None
    trigger: Trigger
    turbulence: Turbulence | None = None


class Confirming:
    """Keeps the failures that wait, and what has been told of them.

    Args:
        commit: records triggers. Raises: StoreUnavailable.
        more_joins: further subjects whose live incident a unit's failure belongs to.
    """

    def __init__(
        self,
        host: str,
        asking: Asking,
        settings: Settings,
        unrest: Unrest,
        commit: Commit,
        more_joins: Callable[[str], Sequence[str]],
    ) -> None:
        self._host = host
        self._asking = asking
        self._settings = settings
        self._unrest = unrest
        self._commit = commit
        self._more_joins = more_joins
        self._within = timedelta(seconds=settings.correlate_seconds)
        self.memory = UnitMemory()
        self.pending = Pending(settings.debounce_seconds)
        self.held: dict[str, tuple[Candidate, Turbulence]] = {}
        self.read_until = LONG_AGO
        self._told: dict[str, tuple[str, datetime]] = {}
        self._failed: dict[str, datetime] = {}

    def add(self, candidate: Candidate, now: datetime) -> bool:
        """Have a candidate confirmed in its time; tell whether it is still to be dealt with."""
        run, at = self._told.get(candidate.unit, ("", LONG_AGO))
        if candidate.at <= at + SAME_FAILURE or (run and run == candidate.invocation):
            return False
        self.pending.add(candidate, now, time.monotonic())
        return True

    def add_listed(self, status: UnitStatus, now: datetime) -> None:
        """Have a unit that systemd lists as failed confirmed, unless it has been told, or is about to be."""
        unit = status.name
        if not rules.is_watched(unit) or not failures.is_failed(status) or unit in self.held:
            return
        candidate = failures.of_failed(status, now)
        if unit not in self.pending.waiting and self._told.get(unit, ("", now))[0] != candidate.invocation:
            self.pending.add(candidate, now, time.monotonic())

    def forget(self) -> None:
        """Forget what was told, so that all that is still failed is told anew."""
        self._told.clear()

    def release(self, failed: Collection[str], now: datetime) -> None:
        """Have what turbulences held confirmed, where they have settled; forget what is failed no more."""
        ends = {each.key: each.settles_at(self._unrest.settle) for each in self._unrest.all}
        for unit, (candidate, turbulence) in list(self.held.items()):
            end = ends.get(turbulence.key, now)
            if end is not None and end <= now:
                del self.held[unit]
                self.pending.add(candidate, now, time.monotonic())
        self._failed = {unit: at for unit, at in self._failed.items() if unit in failed or now - at <= self._within}
        self.memory.prune(now, self._settings.flap_seconds)

    async def confirm(self, due: Sequence[Waiting], now: datetime) -> list[Trigger]:
        """Commit what of the due candidates is so; return what else there is to say of them."""
        self._unrest.look(now)
        statuses = await self._asking.statuses([each.candidate.unit for each in due])
        is_stopping = await self._asking.is_stopping()
        said: list[Trigger] = []
        found: list[_Found] = []
        for waiting, status in zip(due, statuses, strict=True):
            if is_stopping:
                self.pending.forget(waiting)
            elif status is not None and self._was_meant(waiting.candidate, status):
                said += failures.badly_stopped(status, self._host, now)
                self._dealt(waiting, status)
            elif status is None or self._is_so(waiting, status, now):
                found += await self._weighed(waiting, status, now)
        if found:
            await self._tell(found, now)
        return said

    def _was_meant(self, candidate: Candidate, status: UnitStatus) -> bool:
        return not candidate.job and failures.was_meant(status, self.memory.stops.get(status.name))

    def _is_so(self, waiting: Waiting, status: UnitStatus, now: datetime) -> bool:
        """Tell whether a candidate counts; otherwise it is let go of, or waits on."""
        candidate, ticks = waiting.candidate, time.monotonic()
        run, told = candidate.job or failures.run_of(status), self._told.get(status.name)
        is_new = told is None or not run or told[0] != run
        trigger = failures.confirmed(candidate, status, self._host)
        if not (is_new and failures.holds(candidate, status)) or self._is_quiet(trigger, now):
            self.pending.forget(waiting)
            return False
        may_be_stop = candidate.listed and failures.looks_stopped(status) and self.read_until < trigger.at
        if may_be_stop and ticks < waiting.since + STOP_SECONDS:
            self.pending.postpone(waiting, ticks + _AGAIN_SECONDS)
            return False
        return True

    def _is_quiet(self, trigger: Trigger, now: datetime) -> bool:
        unit, settings = trigger.unit, self._settings
        return in_maintenance(settings.maintenance, unit, now) or is_silenced(
            settings.silences, unit, trigger.text, trigger.kind.value
        )

    async def _weighed(self, waiting: Waiting, status: UnitStatus | None, now: datetime) -> Sequence[_Found]:
        """Return a confirmed failure, unless it is to wait: for its turbulence to settle, or for its root."""
        candidate, unit = waiting.candidate, waiting.candidate.unit
        turbulence = self._turbulence(candidate, status)
        settles_at = turbulence.settles_at(self._unrest.settle) if turbulence else now
        if turbulence is not None and (settles_at is None or settles_at > now):
            self.held[unit] = (candidate, turbulence)
            self.pending.forget(waiting)
            return ()
        needs = await self._asking.learn_needs(unit)
        root_due = self._root_due(unit, waiting)
        if root_due is not None:
            self.pending.postpone(waiting, root_due)
            return ()
        trigger = failures.confirmed(candidate, status, self._host, triggered_by=needs.triggered_by)
        return (_Found(waiting, status, trigger, turbulence),)

    def _turbulence(self, candidate: Candidate, status: UnitStatus | None) -> Turbulence | None:
        if status is None:
            return None
        never_ran = status.model_copy(update={"inactive_exit_at": None}) if candidate.job else status
        return self._unrest.of(never_ran, failures.failed_at(candidate, status))

    def _root_due(self, unit: str, waiting: Waiting) -> float | None:
        """Return until when to wait, because a unit that this one depends on is about to be told as failed."""
        ticks = time.monotonic()
        latest = waiting.since + ROOT_SECONDS
        roots = (self.pending.waiting.get(each) for each in ties(unit, self._asking.needs))
        dues = [each.due for each in roots if each is not None and ticks < each.due <= latest]
        return max(dues) if dues and ticks < latest else None

    async def _tell(self, found: Sequence[_Found], now: datetime) -> None:
        """Commit failures, roots first, each with what it joins and what it explains."""
        by_unit = {each.trigger.unit: each for each in found}
        failed = self._failed | {unit: each.trigger.at for unit, each in by_unit.items()}
        together = Together(failed, self._asking.needs, self._within)
        ordered = [by_unit[unit] for unit in together.causes_first(by_unit)]
        triggers: list[Trigger] = [self._placed(each.trigger, together) for each in ordered if not each.turbulence]
        for turbulence in dict.fromkeys(each.turbulence for each in ordered if each.turbulence):
            own = [self._placed(each.trigger, together) for each in ordered if each.turbulence == turbulence]
            firsts = together.firsts([trigger.unit for trigger in own])
            triggers += gathered(turbulence, own, len(firsts), now)
        await self._commit(triggers)
        for each in found:
            self._failed[each.trigger.unit] = each.trigger.at
            self._dealt(each.waiting, each.status)

    def _placed(self, trigger: Trigger, together: Together) -> Trigger:
        unit = trigger.unit
        joins = tuple(dict.fromkeys((*together.roots(unit), *self._more_joins(unit))))
        return trigger.model_copy(update={"joins": joins, "explains": together.explained(unit)})

    def _dealt(self, waiting: Waiting, status: UnitStatus | None) -> None:
        candidate = waiting.candidate
        run = candidate.job or (failures.run_of(status) if status else candidate.invocation)
        self._note(candidate.unit, run, failures.failed_at(candidate, status))
        self.pending.forget(waiting)

    def _note(self, what: str, run: str, at: datetime) -> None:
        self._told.pop(what, None)
        self._told[what] = (run, at)
        while len(self._told) > MOST_UNITS:
            del self._told[next(iter(self._told))]

    async def stuck(self, unsettled: Sequence[Unsettled], now: datetime) -> list[Trigger]:
        """Return which units have come to be stuck; ``told_stuck`` notes that it was committed."""
        limit = self._settings.stuck_seconds
        triggers: list[Trigger] = []
        for each in unsettled:
            trigger = failures.stuck(each, self._host, now)
            is_told = self._told.get(f"{each.name} stuck", ("", now))[0] == trigger.details["invocation"]
            if failures.is_stuck(each, limit) and not is_told and not self._is_quiet(trigger, now):
                triggers.append(await self._alone(trigger))
        return triggers

    def told_stuck(self, triggers: Sequence[Trigger]) -> None:
        for each in triggers:
            self._note(f"{each.unit} stuck", each.details["invocation"], each.at)

    async def flapping(self, unit: str, now: datetime) -> list[Trigger]:
        """Return that a unit flaps, if it does."""
        status = await self._asking.status(unit)
        restarts = self.memory.restarts.get(unit, Restarts())
        if status is None:
            return []
        found = failures.flapping(status, restarts, self._host, self._settings, now)
        return [await self._alone(each) for each in found if not self._is_quiet(each, now)]

    async def _alone(self, trigger: Trigger) -> Trigger:
        """Place a trigger that explains nothing, since its unit has not failed."""
        await self._asking.learn_needs(trigger.unit)
        together = Together(self._failed | {trigger.unit: trigger.at}, self._asking.needs, self._within)
        return self._placed(trigger, together).model_copy(update={"explains": ()})
