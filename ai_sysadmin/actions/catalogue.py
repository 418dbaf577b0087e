"""The catalogue: every action there is, each a typed value that says what it would do.

An action knows its arguments, its risk as the unit now stands, the precondition that the executor observes itself,
the commands of its transient unit, and what must hold afterwards. No model text reaches any of it but a name and
arguments that validate.
"""

import shlex
from abc import ABC, abstractmethod
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ai_sysadmin.core.acting import Risk
from ai_sysadmin.core.errors import Refused
from ai_sysadmin.core.records import ProposedAction, UnitName
from ai_sysadmin.sources.units import UnitStatus

Argv = tuple[str, ...]
SYSTEMCTL = "systemctl"


class UnitAction(BaseModel, ABC):
    """An action on one unit."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    name: ClassVar[str]
    unit: UnitName

    @abstractmethod
    def risk(self, seen: UnitStatus) -> Risk:
        """Return what this may cost, as the unit now stands."""

    @abstractmethod
    def obstacle(self, seen: UnitStatus) -> str | None:
        """Say why the precondition does not hold; none: it does."""

    @abstractmethod
    def commands(self) -> tuple[Argv, ...]:
        """Return what the transient unit runs, one after the other."""

    @abstractmethod
    def shortfall(self, before: UnitStatus, seen: UnitStatus) -> str | None:
        """Say what is not as it should be after the action; none: the post-check holds."""

    @abstractmethod
    def undo(self) -> str:
        """Return how a person takes it back: a command line, or why there is nothing to take back."""

    def by_hand(self) -> str:
        """Return the command line that a person could type instead."""
        return " && ".join("sudo " + shlex.join(argv) for argv in self.commands())


class RestartUnit(UnitAction):
    """Restart one unit. A unit that hit its start limit is reset first, or systemd would refuse."""

    name: ClassVar[str] = "restart_unit"

    def risk(self, seen: UnitStatus) -> Risk:
        return Risk.REVERSIBLE if seen.active_state == "failed" else Risk.DISRUPTIVE

    def obstacle(self, seen: UnitStatus) -> str | None:
        if seen.active_state not in {"failed", "active"}:
            return _loaded(seen) or f"{seen.name} is {seen.active_state} ({seen.sub_state}), neither failed nor active"
        return _loaded(seen)

    def commands(self) -> tuple[Argv, ...]:
        return ((SYSTEMCTL, "reset-failed", "--", self.unit), (SYSTEMCTL, "restart", "--", self.unit))

    def undo(self) -> str:
        return _stopped(self.unit)

    def shortfall(self, before: UnitStatus, seen: UnitStatus) -> str | None:
        if seen.invocation == before.invocation:
            return f"{seen.name} was not started anew"
        return _not_running(seen)


class StartUnit(UnitAction):
    """Start one unit that is not running."""

    name: ClassVar[str] = "start_unit"

    def risk(self, seen: UnitStatus) -> Risk:
        return Risk.REVERSIBLE if seen.active_state == "failed" else Risk.DISRUPTIVE

    def obstacle(self, seen: UnitStatus) -> str | None:
        if seen.active_state not in {"failed", "inactive"}:
            return _loaded(seen) or f"{seen.name} is {seen.active_state} ({seen.sub_state}) already"
        return _loaded(seen)

    def commands(self) -> tuple[Argv, ...]:
        return ((SYSTEMCTL, "start", "--", self.unit),)

    def undo(self) -> str:
        return _stopped(self.unit)

    def shortfall(self, before: UnitStatus, seen: UnitStatus) -> str | None:
        return _not_running(seen)


class ResetFailedUnit(UnitAction):
    """Forget that one unit failed; nothing is started."""

    name: ClassVar[str] = "reset_failed_unit"

    def risk(self, seen: UnitStatus) -> Risk:
        return Risk.REVERSIBLE

    def obstacle(self, seen: UnitStatus) -> str | None:
        return None if seen.active_state == "failed" else f"{seen.name} is {seen.active_state}, not failed"

    def commands(self) -> tuple[Argv, ...]:
        return ((SYSTEMCTL, "reset-failed", "--", self.unit),)

    def undo(self) -> str:
        return "nothing to take back: only the mark is gone, the journal keeps the failure"

    def shortfall(self, before: UnitStatus, seen: UnitStatus) -> str | None:
        return f"{seen.name} has failed ({seen.result})" if seen.active_state == "failed" else None


CATALOGUE: dict[str, type[UnitAction]] = {entry.name: entry for entry in (RestartUnit, StartUnit, ResetFailedUnit)}


def validate(name: str, arguments: dict[str, str]) -> UnitAction:
    """Return the action that a name and arguments mean.

    Raises:
        Refused: the catalogue has no such entry, or the arguments are not what it takes.
    """
    entry = CATALOGUE.get(name)
    if entry is None:
        raise Refused(f"the catalogue has no action {name!r}; it has {', '.join(sorted(CATALOGUE))}")
    try:
        return entry.model_validate(arguments)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise Refused(f"{name} does not take {where} = {fault['input']!r}: {fault['msg']}") from error


def candidates(seen: UnitStatus) -> tuple[ProposedAction, ...]:
    """Return what could mend a unit as it now stands, most likely first; nothing where nothing would help."""
    if seen.active_state != "failed":
        return ()
    gone = seen.load_state != "loaded"
    name = ResetFailedUnit.name if gone else RestartUnit.name
    return (ProposedAction(name=name, arguments={"unit": seen.name}),)


def _stopped(unit: str) -> str:
    return "sudo " + shlex.join((SYSTEMCTL, "stop", "--", unit))


def _loaded(seen: UnitStatus) -> str | None:
    if seen.load_state != "loaded":
        return f"{seen.name} is {seen.load_state}: systemd has no such unit to start"
    return None


def _not_running(seen: UnitStatus) -> str | None:
    """A unit runs when it is active; a oneshot unit that does not stay has run when its result is success."""
    if seen.active_state in {"active", "reloading"}:
        return None
    if seen.type == "oneshot" and seen.active_state == "inactive" and seen.result == "success":
        return None
    return f"{seen.name} is {seen.active_state} ({seen.result or seen.sub_state})"
