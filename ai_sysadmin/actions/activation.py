"""What activating a NixOS system comes to, for every action that does: may it be, what does it risk, what must hold.

``ladder`` has the command lines, ``system_seen`` what is looked at.
"""

from collections.abc import Iterator
from typing import Final

from ai_sysadmin.actions.ladder import LAST_GOOD, PENDING, PROFILES, SUBJECT, SYSTEM_PATH, Activation, stages
from ai_sysadmin.actions.system_seen import SystemSeen, WatchedUnit, look
from ai_sysadmin.core.acting import Risk

__all__ = [
    "LAST_GOOD",
    "PENDING",
    "POST_CHECK",
    "PROFILES",
    "SUBJECT",
    "SYSTEM_PATH",
    "Activation",
    "SystemSeen",
    "disturbed",
    "facts",
    "look",
    "obstacle",
    "risk",
    "shortfall",
    "stages",
    "stages_of",
    "troubles",
    "undo",
]

POST_CHECK: Final = (
    "this system is the running one, no unit has newly failed, the units that worked still do, the default route is"
    " there, and the probes that passed still pass"
)
_SHOWN_MOST: Final = 20


def stages_of(seen: SystemSeen) -> Activation:
    """Return how the target is activated in place of what runs. Raises: ValueError: there is an obstacle."""
    return stages(
        seen.target,
        seen.previous,
        check_seconds=seen.check_seconds,
        rollback_seconds=seen.rollback_seconds,
        generation=seen.number,
    )


def obstacle(seen: SystemSeen) -> str | None:
    """Say why the target cannot be activated as things now stand; none: it can."""
    if not seen.generations or not seen.current:
        return "this host has no generations: it is no NixOS system"
    if seen.fault:
        return seen.fault
    if seen.pending:
        return (
            f"{seen.name_of(seen.pending)} is activated and neither confirmed nor taken back"
            f" ({PENDING}/activated); nothing else is activated before that"
        )
    if seen.current != seen.default:
        return (
            f"{seen.name_of(seen.current)} runs and {seen.name_of(seen.default)} is the boot default:"
            " somebody is trying a configuration out"
        )
    return f"{seen.name_of(seen.target)} runs already" if seen.target == seen.current else None


def risk(seen: SystemSeen) -> Risk:
    """Return what activating the target may cost."""
    return Risk.DESTRUCTIVE if seen.database or seen.protected else Risk.DISRUPTIVE


def troubles(seen: SystemSeen) -> str | None:
    """Say what fails since what runs was activated, if that was not long ago; none: nothing to blame on it."""
    if not seen.is_recent:
        return None
    failed = tuple(f"{unit} has failed" for unit in seen.blamed)
    said = (*failed, *(f"probe {name} fails: {fault}" for name, fault in seen.failing))
    return f"since {seen.name_of(seen.current)} was activated: {_some(said, '; ')}" if said else None


def shortfall(before: SystemSeen, now: SystemSeen, mends: bool = False) -> str | None:
    """Say what is not as it should be after the target was activated; none: all is.

    Args:
        mends: it was activated to mend what failed: that must work too.
    """
    return next(_shortfalls(before, now, mends), None)


def _shortfalls(before: SystemSeen, now: SystemSeen, mends: bool) -> Iterator[str]:
    if now.current != before.target:
        yield f"{now.name_of(now.current)} runs, and not {before.name_of(before.target)}"
    excused = set(before.failed) - (set(before.blamed) if mends else set())
    if newly := [unit for unit in now.failed if unit not in excused]:
        yield f"failed: {_some(newly)}"
    worked = {unit.name for unit in before.watched if unit.works}
    if broken := [f"{unit.name} is {_state(unit)}" for unit in now.watched if unit.name in worked and not unit.works]:
        yield _some(broken)
    if gone := [name for name in before.routes if name not in now.routes]:
        yield f"the default route is gone ({', '.join(gone)})"
    failed_before = set() if mends else {name for name, _ in before.failing}
    if failing := [f"probe {name} fails: {fault}" for name, fault in now.failing if name not in failed_before]:
        yield _some(failing, "; ")


def disturbed(first: SystemSeen, now: SystemSeen) -> str | None:
    """Say what happened between two looks of one post-check that spoils it; none: nothing."""
    restarts = {unit.name: unit.restarts for unit in first.watched}
    again = [unit.name for unit in now.watched if unit.restarts > restarts.get(unit.name, unit.restarts)]
    return f"died and restarted within the check: {_some(again)}" if again else None


def facts(seen: SystemSeen) -> tuple[tuple[str, str], ...]:
    """Return what a person decides by."""
    found = (
        ("runs now", f"{seen.name_of(seen.current)}: {seen.current}"),
        ("would run", f"{seen.name_of(seen.target)}: {seen.target}"),
        ("units that differ", _some(seen.touched) or "none"),
        ("protected units among them", _some(seen.protected)),
        ("databases", f"{seen.database}: what one wrote the other may not read" if seen.database else ""),
        ("kernel", "differs from the booted one: it runs from the next boot on" if seen.kernel_differs else ""),
        ("fails now", _some((*seen.failed, *(f"probe {name}" for name, _ in seen.failing)))),
        ("how it is undone", undo(seen)),
    )
    return tuple((title, text) for title, text in found if text)


def undo(seen: SystemSeen) -> str:
    """Say what takes it back by itself, and what a person types."""
    return (
        f"by itself, unless it holds for {seen.check_seconds:g} s: a timer armed beforehand activates"
        f" {seen.name_of(seen.current)} again after {seen.rollback_seconds:g} s, after a power failure the next"
        f" boot does; by hand: sudo {seen.current}/bin/switch-to-configuration switch"
    )


def _state(unit: WatchedUnit) -> str:
    return f"{unit.active_state} ({unit.result if unit.active_state == 'failed' else unit.sub_state})"


def _some(items: tuple[str, ...] | list[str], separator: str = ", ") -> str:
    more = len(items) - _SHOWN_MOST
    return separator.join((*items[:_SHOWN_MOST], *((f"and {more} more",) if more > 0 else ())))
