"""The life of an action: what is done, from what may run to its outcome.

Every step reads what the journal says, does one thing, and writes what came of it; so a restarted executor takes each
action up where it was. The step that may not be repeated is guarded twice: the intent is on disk before the transient
unit starts, and systemd refuses a second unit of that name. An intent whose unit systemd does not know (power loss, a
reboot, a kill between the two) is ``unknown``: its post-check runs, the action never does again.

    preparing → (ruled) → approved → started → ran → confirming → succeeded
                                                └→ reverting → reverted
"""

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import Final

from ai_sysadmin.actions.catalogue import AnyAction
from ai_sysadmin.core.acting import (
    ActionState,
    Decision,
    ExecutorEventKind,
    Outcome,
    OutcomeKind,
    Plan,
    Risk,
)
from ai_sysadmin.core.errors import AiSysadminError, Refused, Unavailable
from ai_sysadmin.executor.asking import CHANGED, Asking, has_changed, ids
from ai_sysadmin.executor.clearance import Clearance
from ai_sysadmin.executor.decide import Sight
from ai_sysadmin.executor.entry import boottime
from ai_sysadmin.executor.holds import HoldKind
from ai_sysadmin.executor.inhibitor import Inhibitor
from ai_sysadmin.executor.journal import Entry, Journal
from ai_sysadmin.executor.locks import Locks
from ai_sysadmin.executor.looking import Looking, is_due
from ai_sysadmin.executor.post_check import PostCheck
from ai_sysadmin.executor.stages import Stages
from ai_sysadmin.executor.systemd import CannotStart
from ai_sysadmin.runtime.service import Heartbeat

log = logging.getLogger(__name__)
RETRY_SECONDS: Final = 1.0
HELD_SECONDS: Final = 0.25
MOST_HELD_SECONDS: Final = 2.0
MARGIN_SECONDS: Final = 60.0


class Life:
    """All actions of this host. ``run`` has to be running for anything to be done; ``due`` hands it what may go on."""

    def __init__(
        self, journal: Journal, looking: Looking, stages: Stages, inhibitor: Inhibitor, boot_id: str, heart: Heartbeat
    ) -> None:
        self._journal = journal
        self._looking = looking
        self._stages = stages
        self._inhibitor = inhibitor
        self._boot_id = boot_id
        self._heart = heart
        self._limits = looking.host.settings.executor
        self._post_check = PostCheck(looking, stages, self._limits.post_check_seconds)
        self._due: asyncio.Queue[str] = asyncio.Queue()
        self._locks = Locks()
        self._beginning = asyncio.Lock()
        self._clearance = Clearance(journal, looking)
        self._asking: Asking | None = None

    def due(self, action_id: str) -> None:
        """Let an action go on."""
        self._due.put_nowait(action_id)

    async def run(self, asking: Asking) -> None:
        """Take up what was under way, then live every action that falls due."""
        self._asking = asking
        under_way = await self._journal.under_way()
        await self._stages.forget_all_but({entry.request.id for entry in under_way})
        for entry in reversed(under_way):
            if is_due(entry):
                if entry.state not in {ActionState.PREPARING, ActionState.APPROVED}:
                    self._clearance.took(entry, entry.ruling)
                self.due(entry.request.id)
        async with asyncio.TaskGroup() as living:
            while True:
                living.create_task(self._live(await self._due.get()))

    @property
    def _desk(self) -> Asking:
        if self._asking is None:
            raise AssertionError("nothing is lived before `run`")
        return self._asking

    async def _live(self, action_id: str) -> None:
        """Live one action to its end, or until it waits for a person. Asked for twice, the second finds it so."""
        async with self._locks.of(action_id):
            entry = await self._found(action_id)
            waited = 0
            while is_due(entry):
                if entry.state is ActionState.PREPARING:  # it changes nothing yet, and may take long: no lane for it
                    entry = await self._next(entry)
                else:
                    async with self._locks.of(f"lane {entry.subject}"):
                        entry = await self._in_lane(entry)
                if is_due(entry) and entry.fault:  # what is held lets others pass: a yes does not wait behind it
                    waited += 1
                    await asyncio.sleep(min(HELD_SECONDS * waited, MOST_HELD_SECONDS))
            self._clearance.left(action_id)
            if entry.state.ended:
                await self._stages.forget(action_id)

    async def _in_lane(self, entry: Entry) -> Entry:
        """Live an action until it ends or waits for a person; only look at it once where it may not begin yet."""
        async with AsyncExitStack() as awake:
            if entry.state is ActionState.APPROVED:
                entry = await self._next(entry, awake)
            else:  # begun before this executor was
                await awake.enter_async_context(self._inhibitor.held(f"{entry.request.name} {entry.subject}"))
            while is_due(entry) and entry.state is not ActionState.APPROVED:
                entry = await self._next(entry)
        return entry

    async def _next(self, entry: Entry, awake: AsyncExitStack | None = None) -> Entry:
        """Bring an action one step further; where something is away, wait a little. ``awake`` is left by who began."""
        try:
            with self._heart.within(self._longest_step(entry), f"action {entry.request.id}"):
                return await self._step_or_stop(entry, awake or AsyncExitStack())
        except AiSysadminError as error:  # also what systemd refused: while it goes down it does
            log.warning("waiting: %s", error, extra={"event": "action_waits", **ids(entry)})
            await asyncio.sleep(RETRY_SECONDS)
            return await self._found(entry.request.id, settled=True)  # what was away may have been only the audit

    async def _step_or_stop(self, entry: Entry, awake: AsyncExitStack) -> Entry:
        try:
            if entry.state is ActionState.REVERTING:  # by what was written down: it needs no catalogue
                return await self._revert(entry)
            return await self._step(entry, self._looking.action(entry), awake)
        except Refused as error:  # the catalogue of this version does not take it any more
            return await self._stop(entry, str(error))

    async def _stop(self, entry: Entry, why: str) -> Entry:
        """End what cannot go on: what was not begun is refused, what cannot be checked taken back."""
        if entry.state in {ActionState.PREPARING, ActionState.APPROVED}:
            return await self._desk.write(entry, ExecutorEventKind.REFUSED, f"refused: {why}")
        if entry.state is ActionState.RAN and entry.plan is not None and entry.plan.revert is not None:
            return await self._failed(entry, f"it cannot be checked: {why}", passed=None)
        return await self._finish(entry, OutcomeKind.UNKNOWN, f"it cannot go on: {why}")

    async def _found(self, action_id: str, *, settled: bool = False) -> Entry:
        """Return an action as the journal has it, once it answers; ``settled``: once all of it is on the audit."""
        while True:
            try:
                return await (self._journal.settled if settled else self._journal.find)(action_id)
            except Unavailable as error:
                log.warning("waiting: %s", error, extra={"event": "action_waits", "action_id": action_id})
            await asyncio.sleep(RETRY_SECONDS)

    def _longest_step(self, entry: Entry) -> float:
        """Return the seconds after which an action that has not come one step further is stuck, and so are we."""
        if entry.state is ActionState.PREPARING or entry.plan is None:
            return self._looking.host.settings.actions.nixos.build_seconds * 2 + MARGIN_SECONDS
        return self._post_check.longest_step(entry.plan) + MARGIN_SECONDS

    async def _step(self, entry: Entry, action: AnyAction, awake: AsyncExitStack) -> Entry:
        """Do what comes next for an action, and write what came of it."""
        match entry.state:
            case ActionState.PREPARING:
                return await self._prepare(entry, action)
            case ActionState.APPROVED:
                async with self._desk.only(entry.request.id):
                    kept = await self._journal.find(entry.request.id)  # while it waited its yes may have become a no
                    return await self._start(entry, action, awake) if kept.state is entry.state else kept
            case ActionState.STARTED:
                return await self._wait(entry, action)
            case ActionState.RAN:
                return await self._verify(entry, action)
            case ActionState.CONFIRMING:
                return await self._confirm(entry, action)
        raise AssertionError(f"action {entry.request.id} is {entry.state}: nothing comes next")

    # --- before it may run

    async def _prepare(self, entry: Entry, action: AnyAction) -> Entry:
        stage = action.preparation(entry.told)
        if stage is None:
            return await self._desk.rule(entry)
        if (now := self._desk.forecast(action)).decision in {Decision.REFUSE, Decision.RECORD}:
            return await self._desk.write(entry, ExecutorEventKind.REFUSED, f"refused: {now.reason}")
        hold = await self._looking.hold(action)
        if hold is not None and hold.kind is HoldKind.PASSES:
            return await self._held(entry, hold.why)
        ended = await self._stages.run(entry.request.id, stage, _about(entry))
        if not ended.good:
            text = f"refused: it cannot be prepared ({stage.name}: {ended.said}): {ended.output[-1000:].strip()}"
            return await self._desk.write(entry, ExecutorEventKind.REFUSED, text.removesuffix(": "))
        told = (*entry.told, ended.output)
        try:
            action.bind(told)
        except Refused as error:
            return await self._desk.write(entry, ExecutorEventKind.REFUSED, f"refused: {error}")
        return await self._journal.keep(entry.model_copy(update={"told": told, "fault": ""}))

    async def _held(self, entry: Entry, why: str) -> Entry:
        """Leave an action as it is while something is in the way; what waited as long as a proposal may has expired."""
        if self._desk.has_expired(entry):
            return await self._desk.write(entry, ExecutorEventKind.EXPIRED, f"it waited too long: {why}")
        if entry.fault != why:
            log.info("held: %s", why, extra={"event": "action_held", **ids(entry)})
        return entry.model_copy(update={"fault": why})

    async def _start(self, entry: Entry, action: AnyAction, awake: AsyncExitStack) -> Entry:
        if entry.approval is not None and self._desk.has_expired(entry):  # the executor was away, or the host
            return await self._desk.write(entry, ExecutorEventKind.EXPIRED, "its approval has expired: ask again")
        if (halted := self._looking.halted()) is not None:
            return await self._held(entry, halted.why)
        sight = await self._looking.sight(action)
        if sight.hold is not None and sight.hold.kind is HoldKind.PASSES and sight.obstacle is None:
            return await self._held(entry, sight.hold.why)
        ruling = await self._clearance.ruling(entry, sight)
        if ruling.decision is Decision.RUN and entry.approval is None and sight.rest is not None:
            return await self._held(entry, sight.rest)
        if ruling.decision is Decision.ASK:  # what was to run alone may not any more
            return await self._desk.ask(entry, ruling, sight)
        if has_changed(entry, sight):
            return await self._desk.ask(entry, entry.ruling.model_copy(update={"reason": CHANGED}), sight)
        if ruling.decision is not Decision.RUN or sight.plan is None:
            return await self._desk.write(entry, ExecutorEventKind.REFUSED, f"refused: {ruling.reason}")
        await awake.enter_async_context(self._inhibitor.held(f"{entry.request.name} {entry.subject}"))
        # one at a time: what others began while this one was looked at counts too
        async with self._beginning:
            if sight.risk is not Risk.READ_ONLY and (why := self._clearance.in_the_way(entry, ruling)):
                return await self._held(entry, why)
            if (asks := await self._clearance.asks_after_all(entry, action, ruling)) is not None:
                return await self._desk.ask(entry, asks, sight)
            if (halted := self._looking.halted()) is not None:
                return await self._held(entry, halted.why)
            intent = await self._intend(entry, action, sight, sight.plan)
            self._clearance.took(entry, ruling)
        return await self._begin(intent, sight.plan)

    async def _intend(self, entry: Entry, action: AnyAction, sight: Sight, plan: Plan) -> Entry:
        intent = {
            "subject": action.lane,
            "before": sight.seen.model_dump(mode="json"),
            "plan": plan,
            "boot_id": self._boot_id,
            "started_at": sight.at,
            "started_boottime": boottime(),
            "fault": "",
        }
        said = "; ".join(" ".join(argv) for argv in plan.run.commands)
        return await self._desk.write(entry.model_copy(update=intent), ExecutorEventKind.STARTED, said)

    async def _begin(self, intent: Entry, plan: Plan) -> Entry:
        if (halted := self._looking.halted()) is not None:  # while the intent was written: nobody tried anything
            untried = intent.model_copy(update={"started_at": None})
            return await self._desk.write(untried, ExecutorEventKind.REFUSED, f"refused: {halted.why}")
        try:
            await self._stages.start(intent.request.id, plan.run, _about(intent), plan.calls)
        except CannotStart as error:
            return await self._finish(intent, OutcomeKind.FAILED, f"it could not be started: {error}")
        except Unavailable as error:  # whether it started or not shows when it is looked for
            log.warning("systemd did not answer: %s", error, extra={"event": "action_waits", **ids(intent)})
        return intent

    # --- once its intent is written

    async def _wait(self, entry: Entry, action: AnyAction) -> Entry:
        plan = _plan(entry)
        ended = await self._stages.ended(entry.request.id, plan.run)
        if ended is None:
            said = "it cannot be proved whether it ran, and it is not run again"
            return await self._as_it_is(entry, action, OutcomeKind.UNKNOWN, said)
        fault = "" if ended.good else f"{entry.request.name} {ended.said}"
        kept = {"exit_status": ended.exit_status, "output": ended.output, "fault": fault}
        return await self._desk.write(entry.model_copy(update=kept), ExecutorEventKind.RAN, ended.said)

    async def _verify(self, entry: Entry, action: AnyAction) -> Entry:
        plan = _plan(entry)
        if entry.fault:
            return await self._failed(entry, entry.fault, passed=None)
        problem = await self._post_check.fault(action, entry.before, plan, entry.request.id)
        if problem is not None:
            return await self._failed(entry, f"post-check: {problem}", passed=False)
        if plan.confirm is None:
            return await self._succeeded(entry, action)
        return await self._desk.write(entry, ExecutorEventKind.CONFIRMING, f"{action.subject} held; it is made to last")

    async def _confirm(self, entry: Entry, action: AnyAction) -> Entry:
        plan = _plan(entry)
        if plan.confirm is None or entry.boot_id != self._boot_id:
            said = "the host restarted before it was said to last"
            return await self._as_it_is(entry, action, OutcomeKind.UNKNOWN, said)
        ended = await self._stages.run(entry.request.id, plan.confirm, _about(entry))
        if not ended.good:
            return await self._failed(entry, f"it could not be made to last: {ended.said}", passed=True)
        return await self._succeeded(entry, action)

    async def _revert(self, entry: Entry) -> Entry:
        plan = _plan(entry)
        if plan.revert is None or entry.boot_id != self._boot_id:
            said = f"{entry.fault}; the host restarted before it was said to be taken back"
            return await self._as_it_is(entry, self._looking.action(entry), OutcomeKind.FAILED, said)
        ended = await self._stages.run(entry.request.id, plan.revert, _about(entry))
        if ended.good:
            return await self._finish(entry, OutcomeKind.REVERTED, f"{entry.fault}; it was taken back", passed=False)
        said = f"{entry.fault}; taking it back failed: {ended.said}"
        return await self._finish(entry, OutcomeKind.FAILED, said, passed=False)

    async def _as_it_is(self, entry: Entry, action: AnyAction, kind: OutcomeKind, said: str) -> Entry:
        """End an action of which nobody can say more than how things are now."""
        problem = await self._post_check.fault(action, entry.before, _plan(entry), entry.request.id)
        passed = problem is None and kind is not OutcomeKind.FAILED
        now = f"afterwards {problem}" if problem else f"{action.subject} holds"
        return await self._finish(entry, kind, f"{said}; {now}", passed=passed)

    async def _failed(self, entry: Entry, fault: str, *, passed: bool | None) -> Entry:
        if _plan(entry).revert is None:
            return await self._finish(entry, OutcomeKind.FAILED, fault, passed=passed)
        entry = entry.model_copy(update={"fault": fault})
        return await self._desk.write(entry, ExecutorEventKind.REVERTING, f"{fault}; it is taken back")

    async def _succeeded(self, entry: Entry, action: AnyAction) -> Entry:
        if entry.ruling.risk is Risk.READ_ONLY:
            return await self._finish(entry, OutcomeKind.SUCCEEDED, f"{entry.request.name} was read", passed=True)
        seconds = self._post_check.seconds(_plan(entry))
        said = f"{action.subject} held for {seconds:g} s" if seconds else f"{entry.request.name} ended well"
        return await self._finish(entry, OutcomeKind.SUCCEEDED, said, passed=True)

    async def _finish(self, entry: Entry, kind: OutcomeKind, text: str, *, passed: bool | None = None) -> Entry:
        outcome = Outcome(
            kind=kind, exit_status=entry.exit_status, post_check_passed=passed, text=text, output=entry.output
        )
        return await self._desk.write(entry, ExecutorEventKind.FINISHED, text, outcome)


def _plan(entry: Entry) -> Plan:
    if entry.plan is None:
        raise Refused("its plan is not known")
    return entry.plan


def _about(entry: Entry) -> dict[str, str]:
    """Return what stands with every line that an action's units write to the journal."""
    return {"AI_INCIDENT_ID": entry.request.incident_id, "AI_ACTION_ID": entry.request.id}
