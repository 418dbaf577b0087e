"""What systemd would have answered at any moment of a simulated week: read from what its manager says in it."""

import asyncio
from bisect import bisect_right
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.records import JournalEntry
from ai_sysadmin.sources.unit_changes import UnitChange, UnitChanges
from ai_sysadmin.sources.units import Dependencies, ManagerState, UnitStatus, Unsettled
from tests.quiet import speak
from tests.quiet.days import Fault, days, voices_for
from tests.quiet.plan import START, Profile
from tests.quiet.voices import Service

FROZEN: Final = "Freezing user space processes"
"""The kernel's line that is written down when the machine has woken up."""


@dataclass(frozen=True)
class State:
    """A unit's state from a moment on."""

    at: datetime
    active_state: str = "inactive"
    sub_state: str = "dead"
    result: str = "success"
    exit_status: int = 0
    n_restarts: int = 0
    invocation: str = ""
    active_enter_at: datetime | None = None
    inactive_exit_at: datetime | None = None
    is_stopped: bool = False
    """It failed as it was being stopped."""


@dataclass
class Timeline:
    """The states of all units over time, and the boots."""

    services: Mapping[str, Service]
    boots: list[tuple[datetime, datetime | None]] = field(default_factory=list)
    """When each boot began and when systemd said that it had finished."""
    shutdowns: list[datetime] = field(default_factory=list)
    sleeps: list[tuple[datetime, datetime]] = field(default_factory=list)
    switches: list[tuple[datetime, datetime]] = field(default_factory=list)
    _states: dict[str, list[State]] = field(default_factory=dict)
    _boot: str = ""
    _last: datetime = START

    @classmethod
    def of(cls, entries: Iterable[JournalEntry], services: Mapping[str, Service], *, was_up: bool) -> "Timeline":
        """Read a week. ``was_up``: the machine was running before its first entry."""
        timeline = cls(services)
        if was_up:
            for service in services.values():
                if service.booted_at is not None:
                    up = State(START, "active", "running", active_enter_at=START, inactive_exit_at=START)
                    timeline._states[service.unit] = [up]
        for entry in entries:
            timeline.take(entry)
        return timeline

    def take(self, entry: JournalEntry) -> None:
        """Follow one entry."""
        if entry.boot_id != self._boot:
            if self._boot or not self._states:
                self._booted(entry.at)
            self._boot = entry.boot_id
        if entry.message_id == speak.STARTUP_FINISHED and self.boots:
            self.boots[-1] = (self.boots[-1][0], entry.at)
        self._passed(entry)
        self._last = entry.at
        if "UNIT" in entry.fields:
            now = self.state(entry.unit, entry.at) or State(entry.at)
            changed = _changed(now, entry)
            if changed is not now:
                self._states.setdefault(entry.unit, []).append(replace(changed, at=entry.at))

    def state(self, unit: str, at: datetime) -> State | None:
        """Return a unit's state at a moment; none before it was first heard of."""
        known = self._states.get(unit, ())
        number = bisect_right(known, at, key=lambda state: state.at)
        return known[number - 1] if number else None

    def changes(self, after: datetime | None = None) -> list[tuple[datetime, str, State]]:
        """Return every change of a unit's state (after a moment), in order."""
        states = ((state.at, unit, state) for unit, known in self._states.items() for state in known)
        found = [each for each in states if after is None or each[0] > after]
        return sorted(found, key=lambda change: change[0])

    def awake(self, begin: datetime, end: datetime) -> float:
        """Return how many seconds of a time the machine was awake."""
        slept = (min(woke, end) - max(fell, begin) for fell, woke in self.sleeps if fell < end and woke > begin)
        return (end - begin - sum(slept, timedelta())).total_seconds()

    def _passed(self, entry: JournalEntry) -> None:
        """Note shutdowns, sleeps and switches."""
        if entry.identifier == "systemd-logind" and entry.message.startswith(("The system will", "System is powering")):
            if "suspend" not in entry.message:
                self.shutdowns.append(entry.at)
        elif entry.identifier == "kernel" and entry.message == FROZEN:
            self.sleeps.append((self._last, entry.at))
        elif entry.identifier == "nixos" and entry.message.startswith("switching"):
            self.switches.append((entry.at, entry.at + timedelta(minutes=5)))
        elif entry.identifier == "nixos" and self.switches:
            self.switches[-1] = (self.switches[-1][0], entry.at)

    def _booted(self, at: datetime) -> None:
        self.boots.append((at, None))
        for known in self._states.values():
            known.append(State(at))


def _changed(now: State, entry: JournalEntry) -> State:
    """Return a unit's state after what the manager says of it; the same object where that changes nothing."""
    said, fields = entry.message_id, entry.fields
    run = fields.get("INVOCATION_ID", "")
    if said == speak.STARTING:
        return State(entry.at, "activating", "start", "success", 0, now.n_restarts, run, None, entry.at)
    if said == speak.STARTED:
        return _started(now, entry, run)
    if said == speak.STOPPING:
        return replace(now, active_state="deactivating", sub_state="stop-sigterm")
    if said == speak.EXITED:
        return replace(now, exit_status=_number(fields.get("EXIT_STATUS", "")))
    if said == speak.FAILED:
        return replace(
            now,
            active_state="failed",
            sub_state="failed",
            result=fields["UNIT_RESULT"],
            invocation=run,
            is_stopped=now.active_state == "deactivating",
        )
    if said == speak.RESTART:
        restarts = int(fields["N_RESTARTS"])
        return replace(now, active_state="activating", sub_state="auto-restart", n_restarts=restarts)
    if said == speak.SUCCESS or (said == speak.STOPPED and now.active_state != "failed"):
        return replace(now, active_state="inactive", sub_state="dead", result="success")
    return now


def _started(now: State, entry: JournalEntry, run: str) -> State:
    is_over = entry.message.startswith("Finished") and now.sub_state == "dead"
    if is_over:  # a one-shot unit that has said so already
        return now
    sub = "exited" if entry.message.startswith("Finished") else "running"
    began = now.inactive_exit_at if now.active_state == "activating" else entry.at
    return State(entry.at, "active", sub, "success", 0, now.n_restarts, run, entry.at, began)


def _number(text: str) -> int:
    signals = {"HUP": 1, "ABRT": 6, "KILL": 9, "SEGV": 11, "TERM": 15}
    return signals.get(text, 0) if not text.isdecimal() else int(text)


@dataclass
class SimulatedUnits:
    """The units of a simulated week, as they are when the clock says so."""

    timeline: Timeline
    clock: Clock
    asked: int = 0
    _changes: list[tuple[datetime, str, State]] = field(default_factory=list)
    _followed: int = 0
    _troubled: dict[str, State] = field(default_factory=dict)

    async def status(self, unit: str) -> UnitStatus:
        self.asked += 1
        state = self.timeline.state(unit, self.clock.now())
        if state is None:
            return UnitStatus(name=unit, load_state="not-found", active_state="inactive")
        return self._status(unit, state)

    async def failed(self) -> list[UnitStatus]:
        troubled = self._now().items()
        return [self._status(unit, state) for unit, state in troubled if state.active_state == "failed"]

    async def changes(self) -> AsyncGenerator[UnitChanges, None]:
        """Tell each change of a unit when the clock comes to it; what was before is to be asked for."""
        yield UnitChanges(is_incomplete=True)
        for at, unit, state in self.timeline.changes(after=self.clock.now()):
            while (rest := (at - self.clock.now()).total_seconds()) > 0:
                await asyncio.sleep(rest)
            change = UnitChange(
                unit,
                state.active_state,
                state.sub_state,
                changed_at=at,
                restarts=int(state.sub_state == "auto-restart"),
                stopped=state.is_stopped,
            )
            yield UnitChanges((change,))
        await asyncio.Event().wait()

    async def dependencies(self, unit: str) -> Dependencies:
        service = self.timeline.services.get(unit)
        needs = tuple(filter(None, service.options.get("needs", "").split(","))) if service else ()
        return Dependencies(requires=needs, after=needs)

    async def manager(self) -> ManagerState:
        now, timeline = self.clock.now(), self.timeline
        began, finished = next((boot for boot in reversed(timeline.boots) if boot[0] <= now), (None, None))
        if finished is not None and finished > now:
            finished = None
        if any(began is None or at > began for at in timeline.shutdowns if at <= now):
            return ManagerState(system_state="stopping", userspace_at=began, finished_at=finished)
        is_booting = began is not None and finished is None
        state = "starting" if is_booting else "degraded" if await self.failed() else "running"
        return ManagerState(system_state=state, userspace_at=began, finished_at=finished)

    async def unsettled(self) -> list[Unsettled]:
        now = self.clock.now()
        return [
            Unsettled(
                name=unit,
                active_state=state.active_state,
                sub_state=state.sub_state,
                type=self._status(unit, state).type,
                invocation=state.invocation,
                seconds=self.timeline.awake(state.at, now),
            )
            for unit, state in self._now().items()
            if state.active_state != "failed"
        ]

    def _now(self) -> Mapping[str, State]:
        """Return the units that are neither at work nor at rest; read on from where the clock was the last time."""
        now = self.clock.now()
        if not self._changes or (self._followed and self._changes[self._followed - 1][0] > now):
            self._changes, self._followed, self._troubled = self.timeline.changes(), 0, {}
        while self._followed < len(self._changes) and self._changes[self._followed][0] <= now:
            _, unit, state = self._changes[self._followed]
            self._troubled.pop(unit, None)
            if state.active_state in {"failed", "activating", "deactivating"}:
                self._troubled[unit] = state
            self._followed += 1
        return self._troubled

    def _status(self, unit: str, state: State) -> UnitStatus:
        service = self.timeline.services.get(unit)
        given: dict[str, object] = {
            "name": unit,
            "description": service.description if service else unit,
            "load_state": "loaded",
            "active_state": state.active_state,
            "sub_state": state.sub_state,
            "result": state.result,
            "exit_status": state.exit_status,
            "type": {"exited": "oneshot"}.get(service.kind, service.kind) if service else "oneshot",
            "n_restarts": state.n_restarts,
            "invocation": state.invocation,
            "active_enter_at": state.active_enter_at,
            "inactive_exit_at": state.inactive_exit_at,
            "state_changed_at": state.at,
        }
        return UnitStatus.model_validate(given)


def states(
    profile: Profile,
    seed: int,
    clock: Clock,
    days: int = 7,
    scale: float = 1.0,
    faults: Sequence[Fault] = (),
    *,
    simulate: Callable[..., Iterable[JournalEntry]] = days,
) -> SimulatedUnits:
    """Return what systemd answers at the clock's time, of the same week as ``days`` with the same arguments."""
    services = voices_for(profile, seed).services
    entries = simulate(profile, seed, days, scale, faults)
    return SimulatedUnits(Timeline.of(entries, services, was_up=profile == "server"), clock)
