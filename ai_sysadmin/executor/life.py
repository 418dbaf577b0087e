"""The life of an action, from proposal to outcome.

Every step reads what the journal says, does one thing, and writes what came of it; so a restarted executor takes
each action up where it was. The one step that may not be repeated is guarded twice: the intent is on disk before the
transient unit starts, and systemd refuses a second unit of that name. An intent whose unit systemd does not know
(power loss, a reboot, a kill between the two) is ``unknown``: its post-check runs, the action never does again.
"""

import asyncio
import logging
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

from ai_sysadmin.actions.catalogue import UnitAction, validate
from ai_sysadmin.actions.protocol import DecideByKey
from ai_sysadmin.core.acting import (
    ActionRequest,
    ActionState,
    Approval,
    Decision,
    ExecutorEventKind,
    Outcome,
    OutcomeKind,
    state_after,
)
from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.errors import NotFound, Refused, Unavailable
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.executor.approvers import Approvers, why_dead
from ai_sysadmin.executor.decide import check_by_key, decide, decide_again, forbidden_here
from ai_sysadmin.executor.journal import Entry, Journal
from ai_sysadmin.executor.systemd import CannotStart, Effects
from ai_sysadmin.runtime.service import Heartbeat
from ai_sysadmin.sources.units import Units, UnitStatus

log = logging.getLogger(__name__)
LOOK_SECONDS = 0.1
CHECK_SECONDS = 0.25
RETRY_SECONDS = 1.0
MARGIN_SECONDS = 60.0


@dataclass(frozen=True)
class Me:
    """Who the executor runs as, and in which boot."""

    uid: int
    user: str
    boot_id: str


def boottime() -> float:
    """Seconds since boot, time asleep included: what an approval's expiry counts."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Life:
    """All actions of this host. ``run`` has to be running for anything to be done."""

    def __init__(
        self,
        journal: Journal,
        effects: Effects,
        units: Units,
        settings: Settings,
        me: Me,
        clock: Clock,
        heart: Heartbeat,
    ) -> None:
        self._journal = journal
        self._effects = effects
        self._units = units
        self._settings = settings
        self._me = me
        self._clock = clock
        self._heart = heart
        self._approvers = Approvers(settings.policy)
        self._due: asyncio.Queue[str] = asyncio.Queue()
        self._one_per_unit: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._deciding = asyncio.Lock()  # a yes and a no at the same moment: the first counts, the second is refused

    # --- what is asked of it

    async def propose(self, request: ActionRequest) -> Entry:
        """Rule on a request; the same request again changes nothing. Raises: Refused, SystemdUnavailable."""
        async with self._deciding:
            return await self._propose(request)

    async def approve(self, id_or_prefix: str, uid: int, user: str) -> Entry:
        """Take an operator's yes. Raises: NotFound, Refused, SystemdUnavailable."""
        async with self._deciding:
            return await self._approve(await self._waiting(id_or_prefix), uid, user)

    async def reject(self, id_or_prefix: str, user: str, why: str) -> Entry:
        """Take an operator's no. Raises: NotFound, Refused."""
        async with self._deciding:
            entry = await self._waiting(id_or_prefix)
            return await self._write(entry, ExecutorEventKind.REJECTED, f"rejected by {user}: {why}")

    async def decide_by_key(self, asked: DecideByKey, uid: int) -> Entry:
        """Take a yes or no that came with an API key. Raises: NotFound, Refused, SystemdUnavailable."""
        async with self._deciding:
            keys, now = await self._journal.keys(), self._clock.now()
            by, key_id = self._approvers.identify(keys, asked.key, asked.identity, now)
            entry = await self._journal.get(asked.id)
            if entry is None:
                raise NotFound(f"there is no action {asked.id!r}; `ai-sysadmin actions` lists them")
            self._check_waits(entry)
            check_by_key(entry.request, entry.ruling, asked.digest, approves=asked.do == "approve_by_key")
            if asked.do == "reject_by_key":
                why = f": {asked.why}" if asked.why else ""
                return await self._write(entry, ExecutorEventKind.REJECTED, f"rejected by {by}{why}")
            return await self._approve(entry, uid, by, key_id)

    async def withdraw(self, action_id: str, why: str) -> Entry:
        """Take a proposal back that still waits; anything else stays as it is. Raises: NotFound."""
        async with self._deciding:
            entry = await self._journal.get(action_id)
            if entry is None:
                raise NotFound(f"there is no action {action_id!r}")
            if entry.state is not ActionState.PENDING:
                return entry
            return await self._write(entry, ExecutorEventKind.WITHDRAWN, f"not needed any more: {why}")

    # --- what becomes of that

    async def _propose(self, request: ActionRequest) -> Entry:
        known = await self._journal.get(request.id)
        if known is not None:
            if known.request.digest != request.digest:
                raise Refused(f"action {request.id} is known with other arguments")
            return known
        self._check(request)
        action = validate(request.name, request.arguments)
        ruling = decide(action, await self._units.status(action.unit), self._settings, request.origin)
        entry = Entry(
            request=request,
            state=ActionState.PENDING,
            text="",
            ruling=ruling,
            boot_id=self._me.boot_id,
            expires_boottime=boottime() + self._settings.executor.approval_expires_seconds,
        )
        match ruling.decision:
            case Decision.REFUSE:
                return await self._write(entry, ExecutorEventKind.REFUSED, f"refused: {ruling.reason}")
            case Decision.RECORD:
                return await self._write(entry, ExecutorEventKind.RECORDED, f"only recorded: {ruling.reason}")
            case Decision.ASK:
                return await self._write(entry, ExecutorEventKind.ASKED, f"waits for a person: {ruling.reason}")
            case Decision.RUN:
                entry = await self._write(entry, ExecutorEventKind.APPROVED, f"runs alone: {ruling.reason}")
                self._due.put_nowait(request.id)
                return entry

    async def _approve(self, entry: Entry, uid: int, by: str, key_id: str = "") -> Entry:
        action = validate(entry.request.name, entry.request.arguments)
        if (line := forbidden_here(self._me.uid, self._me.user, action, entry.ruling.risk)) is not None:
            raise Refused(line)
        obstacle = action.obstacle(await self._units.status(action.unit))
        if obstacle is not None:
            await self._write(entry, ExecutorEventKind.REFUSED, f"refused: {obstacle}")
            raise Refused(obstacle)
        approval = Approval(
            action_id=entry.request.id,
            digest=entry.request.digest,
            by=by,
            uid=uid,
            at=self._clock.now(),
            key_id=key_id,
        )
        entry = entry.model_copy(update={"approval": approval})
        entry = await self._write(entry, ExecutorEventKind.APPROVED, f"approved by {by}")
        self._due.put_nowait(entry.request.id)
        return entry

    # --- what it does

    async def run(self) -> None:
        """Take up what was under way, then live every action that falls due."""
        for action_id in await self._effects_held():
            entry = await self._journal.get(action_id)
            if entry is not None and entry.state.ended:
                await self._effects.release(action_id)
        for entry in reversed(await self._journal.entries(under_way=True)):
            if entry.state is not ActionState.PENDING:
                self._due.put_nowait(entry.request.id)
        async with asyncio.TaskGroup() as living:
            while True:
                living.create_task(self._live(await self._due.get()))

    async def expire(self) -> None:
        """Once a second, end the proposals that have waited too long."""
        while True:
            async with self._deciding:
                for entry in await self._journal.entries(under_way=True):
                    if entry.state is ActionState.PENDING and self._has_expired(entry):
                        await self._write(entry, ExecutorEventKind.EXPIRED, "nobody decided in time")
            await asyncio.sleep(1)

    async def _effects_held(self) -> list[str]:
        try:
            return list(await self._effects.held())
        except Unavailable as error:
            log.warning("systemd is away: %s", error, extra={"event": "systemd_away"})
            return []

    async def _live(self, action_id: str) -> None:
        """Live one action to its end. Asked for twice, the second finds it ended."""
        entry = await self._journal.find(action_id)
        action = validate(entry.request.name, entry.request.arguments)
        async with self._one_per_unit[action.unit]:
            entry = await self._journal.find(action_id)  # as it is now: it may have been lived while we waited
            while not entry.state.ended:
                try:
                    with self._heart.within(self._longest_step(action), f"action {action_id}"):
                        entry = await self._step(entry, action)
                except Unavailable as error:
                    log.warning("waiting: %s", error, extra={"event": "action_waits", **_ids(entry)})
                    await asyncio.sleep(RETRY_SECONDS)
            await self._release(action_id)

    def _longest_step(self, action: UnitAction) -> float:
        """Return the seconds after which an action that has not come one step further is stuck, and so are we."""
        limits = self._settings.executor
        return len(action.commands()) * limits.action_timeout_seconds + limits.post_check_seconds + MARGIN_SECONDS

    async def _step(self, entry: Entry, action: UnitAction) -> Entry:
        """Do what comes next for an action, and write what came of it."""
        match entry.state:
            case ActionState.APPROVED:
                return await self._start(entry, action)
            case ActionState.STARTED:
                return await self._wait(entry, action)
            case ActionState.RAN:
                return await self._verify(entry, action)
        raise AssertionError(f"action {entry.request.id} is {entry.state}: nothing comes next")

    async def _start(self, entry: Entry, action: UnitAction) -> Entry:
        seen = await self._units.status(action.unit)
        now = decide(action, seen, self._settings, entry.request.origin)
        ruling = decide_again(entry.ruling, entry.approval, now, await self._lapsed(entry.approval))
        if ruling.decision is not Decision.RUN:
            return await self._write(entry, ExecutorEventKind.REFUSED, f"refused: {ruling.reason}")
        intent = entry.model_copy(update={"before": seen, "boot_id": self._me.boot_id})
        said = "; ".join(" ".join(argv) for argv in action.commands())
        intent = await self._write(intent, ExecutorEventKind.STARTED, said)
        about = {"AI_INCIDENT_ID": entry.request.incident_id, "AI_ACTION_ID": entry.request.id}
        try:
            await self._effects.start(entry.request.id, action.commands(), about)
        except CannotStart as error:
            return await self._finish(intent, OutcomeKind.FAILED, f"it could not be started: {error}")
        return intent

    async def _wait(self, entry: Entry, action: UnitAction) -> Entry:
        while (unit := await self._effects.look(entry.request.id)) is not None:
            if not unit.running:
                entry = entry.model_copy(update={"exit_status": unit.exit_status})
                return await self._write(entry, ExecutorEventKind.RAN, f"exit status {unit.exit_status}")
            await asyncio.sleep(LOOK_SECONDS)
        problem = await self._shortfall(entry, action)
        said = "it cannot be proved whether it ran, and it is not run again; " + (
            f"afterwards {problem}" if problem else f"{action.unit} holds"
        )
        return await self._finish(entry, OutcomeKind.UNKNOWN, said, passed=problem is None)

    async def _verify(self, entry: Entry, action: UnitAction) -> Entry:
        if entry.exit_status != 0:
            return await self._finish(entry, OutcomeKind.FAILED, f"{entry.request.name} exited {entry.exit_status}")
        problem = await self._shortfall(entry, action)
        if problem is not None:
            return await self._finish(entry, OutcomeKind.FAILED, f"post-check: {problem}", passed=False)
        held = self._settings.executor.post_check_seconds
        return await self._finish(entry, OutcomeKind.SUCCEEDED, f"{action.unit} held for {held:g} s", passed=True)

    async def _shortfall(self, entry: Entry, action: UnitAction) -> str | None:
        """Watch the unit for the whole post-check, in awake time; say what is wrong, or none."""
        until = time.monotonic() + self._settings.executor.post_check_seconds
        first: UnitStatus | None = None
        while True:
            seen = await self._units.status(action.unit)
            first = first or seen
            problem = action.shortfall(entry.before or first, seen)
            if problem is None and first.active_state == "active" and seen.invocation != first.invocation:
                problem = f"{action.unit} died and was restarted within the check"
            if problem is not None or time.monotonic() >= until:
                return problem
            await asyncio.sleep(min(CHECK_SECONDS, max(0.0, until - time.monotonic())))

    async def _finish(self, entry: Entry, kind: OutcomeKind, text: str, *, passed: bool | None = None) -> Entry:
        outcome = Outcome(kind=kind, exit_status=entry.exit_status, post_check_passed=passed, text=text)
        entry = entry.model_copy(update={"outcome": outcome})
        return await self._write(entry, ExecutorEventKind.FINISHED, text)

    async def _release(self, action_id: str) -> None:
        try:
            await self._effects.release(action_id)
        except Unavailable as error:  # released at the next start
            log.warning("the action's unit stays: %s", error, extra={"event": "release_failed"})

    async def _lapsed(self, approval: Approval | None) -> str | None:
        """Say why an approval by a key does not stand any more: the key was revoked before the action began."""
        if approval is None or not approval.key_id:
            return None
        key = next((key for key in await self._journal.keys() if key.id == approval.key_id), None)
        return why_dead(key, approval.at) if key else "the key that approved it is not known any more"

    async def _waiting(self, id_or_prefix: str) -> Entry:
        entry = await self._journal.find(id_or_prefix)
        self._check_waits(entry)
        return entry

    def _check_waits(self, entry: Entry) -> None:
        if entry.state is not ActionState.PENDING:
            raise Refused(f"action {entry.request.id} does not wait for anybody: it is {entry.state} ({entry.text})")
        if self._has_expired(entry):
            raise Refused(f"action {entry.request.id} has expired")

    def _check(self, request: ActionRequest) -> None:
        if not request.id.endswith(f"-{request.digest[:6]}"):
            raise Refused(f"action {request.id} does not carry the digest of its own arguments")
        if request.host != self._settings.host_name:
            raise Refused(f"action {request.id} is for {request.host}; this is {self._settings.host_name}")

    def _has_expired(self, entry: Entry) -> bool:
        return entry.boot_id != self._me.boot_id or boottime() >= entry.expires_boottime

    async def _write(self, entry: Entry, kind: ExecutorEventKind, text: str) -> Entry:
        at: datetime = self._clock.now()
        said_now = {"text": text, "state": state_after(kind, entry.outcome)}
        entry = await self._journal.record(entry.model_copy(update=said_now), kind, at)
        said = {"event": f"action_{kind.value}", "action": entry.request.name, **_ids(entry)}
        log.info(
            "%s %s %s: %s", entry.request.name, entry.request.arguments.get("unit", ""), kind.value, text, extra=said
        )
        return entry


def _ids(entry: Entry) -> dict[str, str]:
    return {"incident_id": entry.request.incident_id, "action_id": entry.request.id}
