"""Actions on whether a unit starts at boot, where that is not the configuration's to say."""

import shlex
from typing import ClassVar, Final, Self

from ai_sysadmin.actions.action import Host
from ai_sysadmin.actions.catalogue.unit_looks import UnitSeen, looked_at, not_loaded, not_running, stands, started_again
from ai_sysadmin.actions.catalogue.units import Argv, UnitAction, systemctl
from ai_sysadmin.core.acting import Risk, Stage
from ai_sysadmin.core.records import Record
from ai_sysadmin.sources.changes.rooted import STORE, resolved
from ai_sysadmin.sources.units import UnitStatus

_SYSTEM_UNITS: Final = "/etc/systemd/system"
_KINDS: Final = frozenset({"service", "socket", "timer", "path"})


class UnitFileSeen(UnitSeen):
    """A unit, and whether the NixOS configuration ``declares`` what starts at boot."""

    declares: bool = False


class UnitFileAction(UnitAction):
    """Change whether one unit starts at boot."""

    seen: ClassVar[type[Record]] = UnitFileSeen
    kinds: ClassVar[frozenset[str]] = _KINDS
    risks: ClassVar[tuple[Risk, ...]] = (Risk.DISRUPTIVE, Risk.DESTRUCTIVE)

    async def observe(self, host: Host) -> UnitFileSeen:
        seen = await looked_at(host, self.unit, stops=self.stops, starts=self.starts)
        declares = host.path("/etc/NIXOS").exists() or resolved(host.root, _SYSTEM_UNITS).startswith(STORE)
        return UnitFileSeen(**dict(seen), declares=declares)

    def risk(self, seen: UnitSeen) -> Risk:
        """What lasts over a reboot is more than a restart, even of a unit that failed."""
        return max(Risk.DISRUPTIVE, super().risk(seen), key=lambda risk: risk.level)

    def warrant(self, seen: UnitSeen) -> str | None:
        """No fault shows whether a unit should start at boot."""
        return None

    def obstacle(self, seen: UnitSeen) -> str | None:
        if isinstance(seen, UnitFileSeen) and seen.declares:
            return (
                f"this host runs NixOS, where the configuration says what starts at boot: set wantedBy or enable"
                f" of {self.unit} there"
            )
        return super().obstacle(seen)


class EnableUnitNow(UnitFileAction):
    """Let one unit start at every boot, and start it now."""

    name: ClassVar[str] = "enable_unit_now"
    starts: ClassVar[bool] = True
    needs: ClassVar[str] = "The unit's file is disabled: neither static, masked, generated nor declared by NixOS."

    def hindrance(self, seen: UnitSeen) -> str | None:
        return not_loaded(seen.status) or _is_not(seen.status, "disabled")

    def does(self, seen: UnitSeen) -> str:
        return f"lets {self.unit} start at every boot, and starts it now" + (
            f", which stops {', '.join(seen.along)}" if seen.along else ""
        )

    def commands(self, seen: UnitSeen) -> tuple[Argv, ...]:
        return (_systemctl_now("enable", self.unit),)

    def holds(self) -> str:
        return f"{self.unit} is enabled and active and stays so, and its probes pass"

    def undo(self, seen: UnitSeen) -> str:
        return "sudo " + shlex.join(self._back(seen))

    def reverting(self, seen: UnitSeen) -> Stage | None:
        return Stage(name="revert", commands=(self._back(seen),))

    def _back(self, seen: UnitSeen) -> Argv:
        was_running = seen.status.active_state in {"active", "activating", "reloading"}
        return systemctl("disable", self.unit) if was_running else _systemctl_now("disable", self.unit)

    def shortfall(self, before: UnitSeen, now: UnitSeen) -> str | None:
        return _is_not(now.status, "enabled") or not_running(now)

    def disturbed(self, first: UnitSeen, now: UnitSeen) -> str | None:
        return started_again(first, now)

    @classmethod
    def example(cls) -> tuple[Self, UnitFileSeen]:
        return cls(unit="web.service"), _example("disabled", "inactive", "dead")


class DisableUnitNow(UnitFileAction):
    """Let one unit start at boot no more, and stop it now."""

    name: ClassVar[str] = "disable_unit_now"
    needs: ClassVar[str] = "The unit's file is enabled: neither static, masked, generated nor declared by NixOS."
    stops: ClassVar[bool] = True

    def hindrance(self, seen: UnitSeen) -> str | None:
        return not_loaded(seen.status) or _is_not(seen.status, "enabled")

    def does(self, seen: UnitSeen) -> str:
        also = f", and with it {', '.join(seen.along)}" if seen.along else ""
        return f"lets {self.unit} start at boot no more, and stops it now{also}"

    def commands(self, seen: UnitSeen) -> tuple[Argv, ...]:
        return (_systemctl_now("disable", self.unit),)

    def holds(self) -> str:
        return f"{self.unit} is disabled and does not run, and nothing starts it again"

    def undo(self, seen: UnitSeen) -> str:
        return " && ".join("sudo " + shlex.join(argv) for argv in self._back(seen))

    def reverting(self, seen: UnitSeen) -> Stage | None:
        return Stage(name="revert", commands=self._back(seen))

    def _back(self, seen: UnitSeen) -> tuple[Argv, ...]:
        was_running = seen.status.active_state in {"active", "activating", "reloading"}
        start = (systemctl("start", self.unit, *seen.along),) if was_running else ()
        return (systemctl("enable", self.unit), *start)

    def shortfall(self, before: UnitSeen, now: UnitSeen) -> str | None:
        status = now.status
        if status.active_state not in {"inactive", "failed"}:
            return f"{stands(status)}: it runs, or is started"
        return _is_not(status, "disabled")

    @classmethod
    def example(cls) -> tuple[Self, UnitFileSeen]:
        return cls(unit="web.service"), _example("enabled", "active", "running")


ENTRIES: Final = (EnableUnitNow, DisableUnitNow)


def _systemctl_now(verb: str, unit: str) -> Argv:
    return ("systemctl", verb, "--now", "--", unit)


def _is_not(status: UnitStatus, state: str) -> str | None:
    if status.unit_file_state == state:
        return None
    return (
        f"the unit file of {status.name} is {status.unit_file_state or 'of no kind that can be enabled'}, not {state}"
    )


def _example(unit_file: str, active: str, sub_state: str) -> UnitFileSeen:
    status = UnitStatus(
        name="web.service",
        load_state="loaded",
        active_state=active,
        sub_state=sub_state,
        unit_file_state=unit_file,
    )
    return UnitFileSeen(status=status)
