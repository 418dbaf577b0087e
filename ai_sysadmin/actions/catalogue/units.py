"""Actions on one unit: what systemd is asked to do, and what must hold of the unit afterwards."""

import shlex
from abc import abstractmethod
from typing import ClassVar, Final, Self, TypeVar

from ai_sysadmin.actions.action import Action, Host
from ai_sysadmin.actions.catalogue.unit_looks import (
    MOST_ALONG,
    UnitSeen,
    kind_of,
    looked_at,
    not_loaded,
    not_running,
    stands,
    started_again,
    unfit,
)
from ai_sysadmin.core.acting import Plan, Risk, Stage
from ai_sysadmin.core.records import ProposedAction, Record, UnitName
from ai_sysadmin.sources.units import UnitStatus

Argv = tuple[str, ...]
SYSTEMCTL: Final = "systemctl"
_CALLS: Final = {
    "start": "StartUnit",
    "restart": "RestartUnit",
    "reload": "ReloadUnit",
    "reset-failed": "ResetFailedUnit",
}
_STARTABLE: Final = frozenset({"service", "socket", "timer", "path", "mount", "automount", "swap"})
_IN_USE: Final = frozenset({"mount", "automount", "swap"})
_STOPPABLE: Final = _STARTABLE - _IN_USE


class UnitAction(Action[UnitSeen]):
    """An action on one unit of some ``kinds`` (empty: all). ``stops``, ``starts``: whether it does that to the unit."""

    seen: ClassVar[type[Record]] = UnitSeen
    risks: ClassVar[tuple[Risk, ...]] = (Risk.REVERSIBLE, Risk.DISRUPTIVE)
    kinds: ClassVar[frozenset[str]] = _STARTABLE
    stops: ClassVar[bool] = False
    starts: ClassVar[bool] = False
    unit: UnitName

    @property
    def subject(self) -> str:
        return self.unit

    def touches(self, seen: UnitSeen) -> tuple[str, ...]:
        return seen.along

    async def observe(self, host: Host) -> UnitSeen:
        return await looked_at(host, self.unit, stops=self.stops, starts=self.starts)

    def risk(self, seen: UnitSeen) -> Risk:
        if seen.protected_along or len(seen.along) > MOST_ALONG:
            return Risk.DESTRUCTIVE
        return Risk.REVERSIBLE if seen.status.active_state == "failed" else Risk.DISRUPTIVE

    def obstacle(self, seen: UnitSeen) -> str | None:
        kind = kind_of(self.unit)
        if self.kinds and kind not in self.kinds:
            return f"{self.unit} is a {kind}: {self.name} is for a {', '.join(sorted(self.kinds))} only"
        return unfit(self.unit, seen) or self.hindrance(seen)

    def warrant(self, seen: UnitSeen) -> str | None:
        """A unit that has failed, or one whose probe fails, needs mending."""
        if seen.status.active_state == "failed":
            return f"{seen.status.name} has failed ({seen.status.result or seen.status.sub_state})"
        return "; ".join(seen.failing) or None

    def plan(self, seen: UnitSeen) -> Plan:
        commands = self.commands(seen)
        verbs = [argv[1] for argv in commands]
        plain = all(verb in _CALLS for verb in verbs)
        return Plan(
            does=self.does(seen),
            run=Stage(name="run", commands=commands),
            calls=tuple((_CALLS[verb], self.unit) for verb in verbs) if plain else (),
            precondition="; ".join((stands(seen.status), *seen.failing)),
            post_check=self.holds(),
            undo=self.undo(seen),
            revert=self.reverting(seen),
            facts=_facts(seen),
        )

    @classmethod
    def example(cls) -> tuple[Self, UnitSeen]:
        return _example(cls, "failed")

    @abstractmethod
    def hindrance(self, seen: UnitSeen) -> str | None:
        """Say why it cannot be done to the unit as it now stands; none: it can."""

    @abstractmethod
    def does(self, seen: UnitSeen) -> str:
        """Say in one sentence what it does."""

    @abstractmethod
    def commands(self, seen: UnitSeen) -> tuple[Argv, ...]:
        """Return what systemctl is asked for, in order."""

    @abstractmethod
    def holds(self) -> str:
        """Say what must hold afterwards."""

    @abstractmethod
    def undo(self, seen: UnitSeen) -> str:
        """Return how a person takes it back: a command line, or why there is nothing to take back."""

    def reverting(self, seen: UnitSeen) -> Stage | None:
        """Return what takes it back by itself; none: nothing does."""
        return None


class RestartUnit(UnitAction):
    """Restart one unit. A unit that hit its start limit is reset first, or systemd would refuse."""

    name: ClassVar[str] = "restart_unit"
    risks: ClassVar[tuple[Risk, ...]] = (Risk.REVERSIBLE, Risk.DISRUPTIVE, Risk.DESTRUCTIVE)
    needs: ClassVar[str] = "The unit has failed or is active; a mount or swap has failed: an active one is in use."
    stops: ClassVar[bool] = True
    starts: ClassVar[bool] = True

    def hindrance(self, seen: UnitSeen) -> str | None:
        status = seen.status
        if status.active_state not in {"failed", "active"}:
            return not_loaded(status) or f"{stands(status)}, neither failed nor active"
        if status.active_state == "active" and kind_of(self.unit) in _IN_USE:
            return f"{stands(status)}: a restart would take it from those who use it"
        return not_loaded(status)

    def does(self, seen: UnitSeen) -> str:
        return f"restarts {self.unit}" + _with(seen)

    def commands(self, seen: UnitSeen) -> tuple[Argv, ...]:
        return (systemctl("reset-failed", self.unit), systemctl("restart", self.unit))

    def holds(self) -> str:
        return f"{self.unit} was started anew, is active and stays so, and its probes pass"

    def undo(self, seen: UnitSeen) -> str:
        return stopped_by_hand(self.unit)

    def shortfall(self, before: UnitSeen, now: UnitSeen) -> str | None:
        if now.status.invocation == before.status.invocation:
            return f"{now.status.name} was not started anew"
        return not_running(now)

    def disturbed(self, first: UnitSeen, now: UnitSeen) -> str | None:
        return started_again(first, now)


class ReloadUnit(UnitAction):
    """Let one running unit read its configuration anew, without a restart."""

    name: ClassVar[str] = "reload_unit"
    risks: ClassVar[tuple[Risk, ...]] = (Risk.DISRUPTIVE,)
    needs: ClassVar[str] = "The unit is active and can be reloaded (it has ExecReload=, or systemd knows how)."
    kinds: ClassVar[frozenset[str]] = frozenset({"service"})

    def risk(self, seen: UnitSeen) -> Risk:
        return Risk.DISRUPTIVE

    def hindrance(self, seen: UnitSeen) -> str | None:
        status = seen.status
        if status.active_state != "active":
            return not_loaded(status) or f"{stands(status)}: only what is active can be reloaded"
        return None if status.can_reload else f"{status.name} cannot be reloaded: its unit file does not say how"

    def does(self, seen: UnitSeen) -> str:
        return f"lets {self.unit} read its configuration anew"

    def commands(self, seen: UnitSeen) -> tuple[Argv, ...]:
        return (systemctl("reload", self.unit),)

    def holds(self) -> str:
        return f"{self.unit} is active in the same run as before and stays so, and its probes pass"

    def undo(self, seen: UnitSeen) -> str:
        return "nothing takes a reload back: it reads the configuration as it is"

    def shortfall(self, before: UnitSeen, now: UnitSeen) -> str | None:
        if now.status.active_state in {"active", "reloading"} and now.status.invocation != before.status.invocation:
            return f"{now.status.name} died of it and was restarted"
        return not_running(now)

    def disturbed(self, first: UnitSeen, now: UnitSeen) -> str | None:
        return started_again(first, now)

    @classmethod
    def example(cls) -> tuple[Self, UnitSeen]:
        return _example(cls, "active")


class StartUnit(UnitAction):
    """Start one unit that is not running."""

    name: ClassVar[str] = "start_unit"
    risks: ClassVar[tuple[Risk, ...]] = (Risk.REVERSIBLE, Risk.DISRUPTIVE, Risk.DESTRUCTIVE)
    needs: ClassVar[str] = "The unit has failed or is inactive, and systemd has it loaded; a mount or swap has failed."
    starts: ClassVar[bool] = True

    def hindrance(self, seen: UnitSeen) -> str | None:
        status = seen.status
        if status.active_state not in {"failed", "inactive"}:
            return not_loaded(status) or f"{stands(status)} already"
        if status.active_state == "inactive" and kind_of(self.unit) in _IN_USE:
            return f"{stands(status)}: only what failed to mount is started; mount_file_system is for the rest"
        return not_loaded(status)

    def does(self, seen: UnitSeen) -> str:
        return f"starts {self.unit}" + (f", which stops {', '.join(seen.along)}" if seen.along else "")

    def commands(self, seen: UnitSeen) -> tuple[Argv, ...]:
        return (systemctl("start", self.unit),)

    def holds(self) -> str:
        return f"{self.unit} is active and stays so, and its probes pass"

    def undo(self, seen: UnitSeen) -> str:
        return stopped_by_hand(self.unit)

    def shortfall(self, before: UnitSeen, now: UnitSeen) -> str | None:
        return not_running(now)

    def disturbed(self, first: UnitSeen, now: UnitSeen) -> str | None:
        return started_again(first, now)


class StopUnit(UnitAction):
    """Stop one running unit. Nothing that this host shows asks for that: a person has to want it."""

    name: ClassVar[str] = "stop_unit"
    risks: ClassVar[tuple[Risk, ...]] = (Risk.DISRUPTIVE, Risk.DESTRUCTIVE)
    needs: ClassVar[str] = "The unit is active."
    kinds: ClassVar[frozenset[str]] = _STOPPABLE
    stops: ClassVar[bool] = True

    def hindrance(self, seen: UnitSeen) -> str | None:
        status = seen.status
        return None if status.active_state == "active" else f"{stands(status)}: there is nothing to stop"

    def warrant(self, seen: UnitSeen) -> str | None:
        """Stopping mends no unit."""
        return None

    def does(self, seen: UnitSeen) -> str:
        return f"stops {self.unit}" + _with(seen)

    def commands(self, seen: UnitSeen) -> tuple[Argv, ...]:
        return (systemctl("stop", self.unit),)

    def holds(self) -> str:
        return f"{self.unit} does not run, and nothing starts it again"

    def undo(self, seen: UnitSeen) -> str:
        return "sudo " + shlex.join(("systemctl", "start", "--", self.unit, *seen.along))

    def reverting(self, seen: UnitSeen) -> Stage | None:
        return Stage(name="revert", commands=(systemctl("start", self.unit, *seen.along),))

    def shortfall(self, before: UnitSeen, now: UnitSeen) -> str | None:
        status = now.status
        return None if status.active_state in {"inactive", "failed"} else f"{stands(status)}: it runs, or is started"

    @classmethod
    def example(cls) -> tuple[Self, UnitSeen]:
        return _example(cls, "active")


class ResetFailedUnit(UnitAction):
    """Forget that one unit failed; nothing is started."""

    name: ClassVar[str] = "reset_failed_unit"
    risks: ClassVar[tuple[Risk, ...]] = (Risk.REVERSIBLE,)
    needs: ClassVar[str] = "The unit has failed."
    kinds: ClassVar[frozenset[str]] = frozenset()

    def risk(self, seen: UnitSeen) -> Risk:
        return Risk.REVERSIBLE

    def hindrance(self, seen: UnitSeen) -> str | None:
        status = seen.status
        return None if status.active_state == "failed" else f"{status.name} is {status.active_state}, not failed"

    def does(self, seen: UnitSeen) -> str:
        return f"forgets that {self.unit} failed"

    def commands(self, seen: UnitSeen) -> tuple[Argv, ...]:
        return (systemctl("reset-failed", self.unit),)

    def holds(self) -> str:
        return f"{self.unit} is not failed, and stays so"

    def undo(self, seen: UnitSeen) -> str:
        return "nothing to take back: only the mark is gone, the journal keeps the failure"

    def shortfall(self, before: UnitSeen, now: UnitSeen) -> str | None:
        status = now.status
        return f"{status.name} has failed ({status.result})" if status.active_state == "failed" else None


Entry = TypeVar("Entry", bound=UnitAction)
ENTRIES: Final = (RestartUnit, ReloadUnit, StartUnit, StopUnit, ResetFailedUnit)


def candidates(seen: UnitStatus) -> tuple[ProposedAction, ...]:
    """Return what could mend a unit as it now stands, most likely first; nothing where nothing would help."""
    if seen.active_state != "failed":
        return ()
    gone = seen.load_state != "loaded"
    name = ResetFailedUnit.name if gone else RestartUnit.name
    return (ProposedAction(name=name, arguments={"unit": seen.name}),)


def systemctl(verb: str, *units: str) -> Argv:
    """Return the command for one of systemctl's verbs; what it is done to cannot be read as an option."""
    return (SYSTEMCTL, verb, "--", *units)


def stopped_by_hand(unit: str) -> str:
    return "sudo " + shlex.join(systemctl("stop", unit))


def _with(seen: UnitSeen) -> str:
    return f", and with it {', '.join(seen.along)}" if seen.along else ""


def _facts(seen: UnitSeen) -> tuple[tuple[str, str], ...]:
    if not seen.along:
        return ()
    protected = f"; protected: {', '.join(seen.protected_along)}" if seen.protected_along else ""
    return (("goes with it", ", ".join(seen.along) + protected),)


def _example(entry: type[Entry], active: str) -> tuple[Entry, UnitSeen]:
    state = {"failed": ("failed", "exit-code"), "active": ("running", "success")}[active]
    status = UnitStatus(
        name="web.service",
        load_state="loaded",
        active_state=active,
        sub_state=state[0],
        result=state[1],
        can_reload=True,
    )
    return entry(unit="web.service"), UnitSeen(status=status)
