"""The NixOS system of a host before and after another is activated. Only the operator's probes are processes."""

import asyncio
from datetime import datetime, timedelta
from typing import Final

from pydantic import AwareDatetime

from ai_sysadmin.actions.action import Host
from ai_sysadmin.actions.catalogue.unit_looks import answer_of
from ai_sysadmin.actions.ladder import CURRENT, PENDING, PROFILE, PROGRAMS, SYSTEM_PATH
from ai_sysadmin.actions.system_units import database_differs, guarded, protected_of, touched
from ai_sysadmin.core.records import Record
from ai_sysadmin.sources.changes.profile import Profile, read_profile
from ai_sysadmin.sources.changes.rooted import inside, resolved, target_of
from ai_sysadmin.sources.units import UnitStatus

RECENT: Final = timedelta(hours=1)
"""For so long what fails is put down to the system that was activated."""
_AT_BOOT: Final = timedelta(minutes=2)
_BOOTED: Final = "/run/booted-system"
_WATCHED_MOST: Final = 40
_TOUCHED_MOST: Final = 25
_KEPT_MOST: Final = 300
_OWN_UNITS: Final = "ai-sysadmin-action-"
_UP: Final = 0x1


class WatchedUnit(Record):
    """A unit that another system may break. ``restarts`` is how often systemd restarted it by itself."""

    name: str
    active_state: str
    sub_state: str = ""
    result: str = ""
    type: str = ""
    restarts: int = 0

    @property
    def works(self) -> bool:
        if self.type == "oneshot" and self.active_state == "inactive":
            return self.result == "success"
        return self.active_state in {"active", "reloading"}


class Generation(Record):
    """A numbered system of the profile."""

    number: int
    system: str


class SystemSeen(Record):
    """What runs, what would be activated, and how the host does.

    Systems are paths in the store. ``current`` runs, ``default`` is the boot default; ``target`` is to be activated, or
    was, and ``previous`` is what it is compared with: what runs, or what ran before it while it waits to be confirmed.
    ``number`` is the target's generation, none where the profile has none of it. ``activated_at`` is when what runs was
    activated, or made the default where it was booted. ``pending`` is the system whose activation is neither confirmed
    nor taken back.

    ``touched`` are units that differ between the two, ``protected`` those of them that the policy protects. Of
    ``failed`` units, ``failed_since`` did so since ``activated_at``. ``failing`` names the operator's probes that
    fail, and how. ``routes`` are the protocols for which there is a default route. ``fault`` is what keeps the target
    from being activated, ``database`` how its databases differ.
    """

    at: AwareDatetime
    current: str = ""
    default: str = ""
    target: str = ""
    previous: str = ""
    number: int | None = None
    generations: tuple[Generation, ...] = ()
    activated_at: AwareDatetime | None = None
    pending: str = ""
    fault: str = ""
    database: str = ""
    kernel_differs: bool = False
    touched: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    watched: tuple[WatchedUnit, ...] = ()
    failed: tuple[str, ...] = ()
    failed_since: tuple[str, ...] = ()
    failing: tuple[tuple[str, str], ...] = ()
    routes: tuple[str, ...] = ()
    check_seconds: float
    rollback_seconds: float

    @property
    def is_recent(self) -> bool:
        return self.activated_at is not None and self.at - self.activated_at < RECENT

    @property
    def blamed(self) -> tuple[str, ...]:
        """The units that differ and failed since what runs was activated."""
        return tuple(unit for unit in self.failed_since if unit in self.touched)

    def name_of(self, system: str) -> str:
        """Return what people call a system."""
        number = next((each.number for each in reversed(self.generations) if each.system == system), None)
        return f"generation {number}" if number is not None else system.rpartition("/")[2][33:] or "no system"


async def look(host: Host, target: str) -> SystemSeen:
    """Return what of the host matters for activating a system. Raises: Unavailable.

    Args:
        target: the system's path in the store; empty: there is none, and nothing is said of it.
    """
    seen = await asyncio.to_thread(_linked, host, target)
    failed = [unit for unit in await host.units.failed() if not unit.name.startswith(_OWN_UNITS)]
    watched = [await host.units.status(unit) for unit in await asyncio.to_thread(_to_watch, host, seen)]
    return seen.model_copy(
        update={
            "watched": tuple(_watched(status) for status in watched if status.load_state == "loaded"),
            "failed": tuple(sorted(unit.name for unit in failed)),
            "failed_since": tuple(sorted(unit.name for unit in failed if _failed_after(unit, seen.activated_at))),
            "failing": await _failing_probes(host),
        }
    )


def _linked(host: Host, target: str) -> SystemSeen:
    """Return what the links and files say."""
    root, nixos = host.root, host.settings.actions.nixos
    profile = read_profile(root)
    current = resolved(root, CURRENT) if target_of(root, CURRENT) else ""
    pending = target_of(root, f"{PENDING}/activated")
    previous = target_of(root, f"{PENDING}/previous") if pending and pending == target else current
    units = touched(root, previous, target)
    return SystemSeen(
        at=host.clock.now(),
        current=current,
        default=resolved(root, PROFILE) if profile and profile.default else "",
        target=target,
        previous=previous,
        number=_number(profile, target),
        generations=_generations(profile),
        activated_at=_activated_at(profile),
        pending=pending,
        fault=_fault(host, previous, target),
        database=database_differs(root, previous, target),
        kernel_differs=target_of(root, f"{_BOOTED}/kernel") != target_of(root, f"{target}/kernel"),
        touched=units[:_KEPT_MOST],
        protected=protected_of(units, host.settings.policy.protected_units),
        routes=_routes(host),
        check_seconds=nixos.check_seconds,
        rollback_seconds=nixos.rollback_seconds,
    )


def _generations(profile: Profile | None) -> tuple[Generation, ...]:
    found = profile.generations if profile else ()
    return tuple(Generation(number=each.number, system=each.system) for each in found)


def _number(profile: Profile | None, system: str) -> int | None:
    found = profile.numbered(system) if profile else None
    return found.number if found else None


def _activated_at(profile: Profile | None) -> datetime | None:
    """Return since when what runs is wanted: a boot only starts what was made the default before."""
    if profile is None or profile.current_since is None:
        return None
    booted, since = profile.booted_since, profile.current_since
    is_boot = booted is not None and abs(since - booted) < _AT_BOOT
    return profile.default_since if is_boot else since


def _fault(host: Host, previous: str, target: str) -> str:
    """Say what keeps a system from being activated; empty: nothing."""
    if SYSTEM_PATH.fullmatch(target) is None:
        return f"{target or 'there is none: it'} is no path of a NixOS system in the store"
    if SYSTEM_PATH.fullmatch(previous) is None:
        return f"what runs here ({previous or CURRENT}) is no NixOS system, so there would be no way back"
    for system, program in ((target, "bin/switch-to-configuration"), (previous, "bin/switch-to-configuration")):
        if not inside(host.root, resolved(host.root, f"{system}/{program}")).is_file():
            return f"{system} has no {program}"
    lacks = [
        each for each in PROGRAMS if not inside(host.root, resolved(host.root, f"{previous}/sw/bin/{each}")).is_file()
    ]
    if lacks:
        return f"the running system has no {', '.join(lacks)} in its sw/bin, which undoing needs"
    if any(target_of(host.root, f"{system}/etc-metadata-image") for system in (target, previous)):
        return "its /etc is an overlay: activating mounts it, which cannot be done from a unit with mounts of its own"
    if _text(host, f"{previous}/init-interface-version") != _text(host, f"{target}/init-interface-version"):
        return "its init is incompatible with the running one: it takes a reboot"
    return ""


def _text(host: Host, path: str) -> str:
    try:
        with inside(host.root, resolved(host.root, path)).open("rb") as opened:
            return opened.read(4096).decode(errors="replace")
    except OSError:
        return ""


def _to_watch(host: Host, seen: SystemSeen) -> tuple[str, ...]:
    """Return the units that must go on working: the protected ones that are installed, and those that differ."""
    always = guarded(host.root, seen.previous, host.settings.policy.protected_units)
    return tuple(dict.fromkeys((*seen.protected, *seen.touched[:_TOUCHED_MOST], *always)))[:_WATCHED_MOST]


def _watched(status: UnitStatus) -> WatchedUnit:
    return WatchedUnit(
        name=status.name,
        active_state=status.active_state,
        sub_state=status.sub_state,
        result=status.result,
        type=status.type,
        restarts=status.n_restarts,
    )


def _failed_after(unit: UnitStatus, moment: datetime | None) -> bool:
    return moment is not None and unit.state_changed_at is not None and unit.state_changed_at >= moment


async def _failing_probes(host: Host) -> tuple[tuple[str, str], ...]:
    names = [probe.name for probe in host.settings.trigger_monitor.probes]
    said = await asyncio.gather(*(answer_of(host, name) for name in names))
    return tuple((name, fault) for name, fault in zip(names, said, strict=True) if fault is not None)


def _routes(host: Host) -> tuple[str, ...]:
    """Return for which protocols the host, not this process, has a default route."""
    four = (line.split() for line in _text_lines(host, "/proc/1/net/route")[1:])
    six = (line.split() for line in _text_lines(host, "/proc/1/net/ipv6_route"))
    has_four = any(row[1] == row[7] == "00000000" and int(row[3], 16) & _UP for row in four if len(row) > 7)
    has_six = any(row[0] == "0" * 32 and row[1] == "00" and row[9] != "lo" for row in six if len(row) > 9)
    return tuple(name for name, there in (("IPv4", has_four), ("IPv6", has_six)) if there)


def _text_lines(host: Host, path: str) -> list[str]:
    try:
        return host.path(path).read_text(errors="replace").splitlines()
    except OSError:
        return []
