"""What the executor looks at before something is done to a unit, and what it finds wrong with doing it."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Final

from ai_sysadmin.actions.action import Host, ProbeBroken
from ai_sysadmin.core.errors import NotFound
from ai_sysadmin.core.records import Record
from ai_sysadmin.sources.units import UnitStatus

MOST_ALONG: Final = 24
_AT_THE_END: Final = ("shutdown.target", "umount.target")
"""What nearly every unit conflicts with."""
_USERS_OWN: Final = ("user@*", "user-runtime-dir@*", "session-*.scope")
_ACTIONS_OWN: Final = tuple(
    f"ai-sysadmin-{each}*" for each in ("action-", "activate", "rollback", "revert", "make-default")
)
"""Units that actions themselves run as, or are undone by: started anew they would act twice, stopped not be undone."""
_USER_UNIT_FILES: Final = ("/etc/systemd/user", "/run/systemd/user", "/usr/lib/systemd/user", "/lib/systemd/user")
_USER_UNITS_RUNNING: Final = "sys/fs/cgroup/user.slice/user-*.slice/user@*.service"


class UnitSeen(Record):
    """A unit, and what the operator's probes of it say. ``failing`` holds one sentence for each that fails.

    ``along`` are the active units that systemd stops or restarts with it, theirs included, ``MOST_ALONG`` + 1 at most:
    those that need it where it is stopped, those that it conflicts with where it is started. ``protected_along`` are
    those of them that are protected. ``of_a_user`` tells that only users' managers know it.
    """

    status: UnitStatus
    failing: tuple[str, ...] = ()
    along: tuple[str, ...] = ()
    protected_along: tuple[str, ...] = ()
    of_a_user: bool = False


async def looked_at(host: Host, unit: str, *, stops: bool, starts: bool) -> UnitSeen:
    """Return a unit as it now is, and what goes along with it where it is stopped or started. Raises: Unavailable."""
    status = await _status(host, unit)
    first = (*(status.takes_along if stops else ()), *(status.conflicts if starts else ()))
    along = await _along(host, status.name, first)
    protected = host.settings.policy.protected_units
    return UnitSeen(
        status=status,
        failing=await failing_probes(host, unit),
        along=along,
        protected_along=tuple(each for each in along if any(fnmatchcase(each, glob) for glob in protected)),
        of_a_user=status.load_state == "not-found" and _is_of_a_user(host, unit),
    )


async def _status(host: Host, unit: str) -> UnitStatus:
    try:
        return await host.units.status(unit)
    except NotFound:  # a name that systemd itself does not take
        return UnitStatus(name=unit, load_state="not-found", active_state="inactive")


async def failing_probes(host: Host, unit: str) -> tuple[str, ...]:
    """Return what fails of the operator's probes of a unit, a sentence each.

    One that cannot be carried out says nothing: nothing is mended for its sake, and no post-check passes by it.
    """
    said = [(name, await answer_of(host, name)) for name in probes_of(host, (unit,))]
    return tuple(f"probe {name} fails: {fault}" for name, fault in said if fault is not None)


async def answer_of(host: Host, probe: str) -> str | None:
    """Return what fails of a probe; none: it passes, or cannot be carried out."""
    try:
        return await host.probe(probe)
    except ProbeBroken:
        return None


def probes_of(host: Host, units: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the operator's probes of some units."""
    asked = tuple(units)
    return tuple(
        probe.name
        for probe in host.settings.trigger_monitor.probes
        if any(fnmatchcase(unit, glob) for unit in asked for glob in probe.units)
    )


async def _along(host: Host, unit: str, first: Iterable[str]) -> tuple[str, ...]:
    """Return the active units that go down with one: the first of them, and step by step what goes down with those."""
    found: list[str] = []
    asked = {unit, *_AT_THE_END}
    waiting = list(first)
    while waiting and len(found) <= MOST_ALONG:
        name = waiting.pop(0)
        if name in asked:
            continue
        asked.add(name)
        status = await _status(host, name)
        if status.active_state in {"active", "activating", "reloading"}:
            found.append(status.name)
            waiting += status.takes_along
    return tuple(found)


def _is_of_a_user(host: Host, unit: str) -> bool:
    """Tell whether a unit that the system's manager does not know is one of a user's manager."""
    if any((host.path(directory) / unit).is_file() for directory in _USER_UNIT_FILES):
        return True
    running = (f"{_USER_UNITS_RUNNING}/{unit}", f"{_USER_UNITS_RUNNING}/*.slice/{unit}")
    return any(True for glob in running for _ in host.root.glob(glob.replace("\\", "[\\]")))


def unfit(unit: str, seen: UnitSeen) -> str | None:
    """Say why nothing at all is done to a unit by this name; none: it may be looked at further."""
    if any(fnmatchcase(unit, glob) for glob in _ACTIONS_OWN):
        return f"{unit} is an action's own unit: it is the executor's alone"
    if seen.of_a_user or any(fnmatchcase(unit, glob) for glob in _USERS_OWN):
        return f"{unit} belongs to a user's session: what users run is observed only"
    if seen.status.name != unit:
        return f"{unit} is another name of {seen.status.name}: name that"
    return None


def kind_of(unit: str) -> str:
    """Return what kind of unit a name stands for: ``service``, ``mount``, and so on."""
    return unit.rpartition(".")[2]


def not_loaded(status: UnitStatus) -> str | None:
    """Say that systemd has no such unit to start; none: it has."""
    if status.load_state != "loaded":
        return f"{status.name} is {status.load_state}: systemd has no such unit to start"
    return None


def stands(status: UnitStatus) -> str:
    """Say how a unit stands."""
    return f"{status.name} is {status.active_state} ({status.sub_state})"


def not_running(seen: UnitSeen) -> str | None:
    """Say what is wrong with a unit that should run, as systemd and its probes see it; none: nothing.

    A unit runs when it is active; a oneshot unit that does not stay has run when its result is success.
    """
    status = seen.status
    if status.active_state in {"active", "reloading"}:
        return "; ".join(seen.failing) or None
    if status.type == "oneshot" and status.active_state == "inactive" and status.result == "success":
        return "; ".join(seen.failing) or None
    return f"{status.name} is {status.active_state} ({status.result or status.sub_state})"


def started_again(first: UnitSeen, now: UnitSeen) -> str | None:
    """Say that a unit died and was restarted between two looks; none: it was not."""
    if first.status.active_state == "active" and now.status.invocation != first.status.invocation:
        return f"{now.status.name} died and was restarted within the check"
    return None
