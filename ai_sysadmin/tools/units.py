"""The tools of units: a close look at one, and the lists: what failed, what waits, the timers, all of them."""

import fnmatch
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from signal import Signals
from typing import Annotated, Final, Literal

from pydantic import Field

from ai_sysadmin.context.pieces import dependencies, unit
from ai_sysadmin.context.pieces.drafts import Cleaner, iso, lasting
from ai_sysadmin.context.redact import Redactor
from ai_sysadmin.core.clock import Clock, since
from ai_sysadmin.core.errors import NotFound
from ai_sysadmin.sources.unit_lists import Job, TimerState, UnitDetails, UnitLists
from ai_sysadmin.sources.units import UNSETTLED, Dependencies, ExaminedUnits, UnitState, UnitStatus
from ai_sysadmin.tools.table import columns
from ai_sysadmin.tools.tool import Part, Told, Tool, tool_of
from ai_sysadmin.tools.unit_names import full_name, missing, same_stem

AskedUnit = Annotated[str, Field(min_length=1, max_length=255, description="such as nginx.service")]
Matching = Annotated[Part, Field(description="part of a name, or a glob such as nginx*")]
Which = Literal["failed", "all", "timers"]

_NOT_FOUND: Final = "not-found"
_BY_SIGNAL: Final = ("signal", "core-dump", "watchdog", "oom-kill")
_MOST_FAILED: Final = 100
_MOST_TIMERS_LOOKED_AT: Final = 20
_MOST_TIES: Final = 20
_ORDER: Final = ("failed", "activating", "deactivating", "reloading", "active", "inactive")


def unit_tools(units: ExaminedUnits, lists: UnitLists, clock: Clock) -> tuple[Tool, ...]:
    """Return the tools ``unit_status`` and ``units``."""

    async def unit_status(unit: AskedUnit) -> Told:
        """Tell a unit's state, how its last run ended, restarts, limits, files, command, and what it depends on."""
        return Told(await _status(await _known(unit, units, lists), units, lists, clock.now()))

    async def list_units(which: Which = "failed", matching: Matching = "") -> Told:
        """List units: those that failed or are on their way, all with their state, or timers with their last run."""
        if which == "timers":
            return Told("\n".join(await _timers(matching, units, lists, clock.now())), narrow="give `matching`")
        if which == "failed":
            return Told("\n".join(await _failed(matching, units, lists, clock.now())), narrow="give `matching`")
        return Told("\n".join(_table(await lists.loaded(), matching)), narrow="give `matching`")

    return (
        tool_of(unit_status, says="status of {unit}"),
        tool_of(list_units, says="units: {which} {matching}", name="units"),
    )


async def _known(asked: str, units: ExaminedUnits, lists: UnitLists) -> UnitStatus:
    """Return the state of the unit that is meant. Raises: NotFound, with the units whose names are alike; Refused."""
    name = full_name(asked)
    status = await units.status(name)
    if status.load_state != _NOT_FOUND:
        return status
    names = await lists.names()
    others = same_stem(name, names) if "." not in asked else []
    if not others and status.active_state == "failed":  # its file is gone, its failure is not
        return status
    if not others:
        raise NotFound(missing(name, names))
    return await units.status(others[0])


async def _status(status: UnitStatus, units: ExaminedUnits, lists: UnitLists, now: datetime) -> str:
    """Return a unit's state, setup and dependencies as lines. Raises: NotFound, SystemdUnavailable."""
    clean = Cleaner(Redactor())
    state = await unit.look(status.name, units, clean)
    lines = [*state.lines, *_details(status, await lists.details(status.name))]
    changed = status.state_changed_at
    lines += [f"it is now {iso(now)}; its state last changed {since(changed, now)} ago"] if changed else []
    ties = await units.dependencies(status.name)
    lines += _triggers(ties)
    if depends := await dependencies.look(status.name, units, clean):
        lines += ["", *depends.lines, *([f"({depends.left_out})"] if depends.left_out else [])]
    return "\n".join(lines)


def _details(status: UnitStatus, details: UnitDetails) -> list[str]:
    lines: list[str] = []
    if details.enabled:
        lines.append(f"at boot: {details.enabled}")
    if details.main_pid:
        lines.append(f"main process id: {details.main_pid}")
    if details.ended and details.ended != "exited" and status.active_state != "active":
        lines.append(f"its main process was ended by {_signal(status.exit_status)}")
    if details.start_limit_burst and details.start_limit_seconds:
        lines.append(f"start limit: {details.start_limit_burst} starts in {lasting(details.start_limit_seconds)}")
    if details.restart_seconds and status.restart not in ("", "no"):
        lines.append(f"systemd waits {details.restart_seconds:g} s before it restarts it")
    if details.status_text:
        lines.append(f"it says of itself: {details.status_text}")
    if details.load_error:
        lines.append(f"its unit file could not be loaded: {details.load_error}")
    if details.condition_failed_at:
        lines.append(
            f"it was not started at {iso(details.condition_failed_at)}: a Condition of its unit file is not met"
        )
    if details.is_outdated:
        lines.append("its unit file changed since systemd read it (no daemon-reload since)")
    return lines


def _signal(number: int) -> str:
    try:
        return Signals(number).name
    except ValueError:
        return f"signal {number}"


def _triggers(ties: Dependencies) -> list[str]:
    told = (("triggered by", ties.triggered_by), ("triggers", ties.triggers))
    return [f"{how}: {', '.join(names[:_MOST_TIES])}" for how, names in told if names]


async def _failed(matching: str, units: ExaminedUnits, lists: UnitLists, now: datetime) -> list[str]:
    manager, jobs = await units.manager(), await lists.jobs()
    every = await units.failed()
    failed = [each for each in every if _matches(matching, each.name, each.description)]
    unsettled = [
        each
        for each in await lists.loaded()
        if each.active_state in UNSETTLED and _matches(matching, each.name, each.description)
    ]
    chosen = f", {len(failed)} of them with {matching!r}" if matching else ""
    lines = [f"systemd: {manager.system_state}; {len(every)} failed units{chosen}, {len(jobs)} jobs"]
    newest = sorted(failed, key=lambda each: each.state_changed_at or now, reverse=True)
    lines += columns(
        ("failed unit", "result", "since", "description"), [_row(each, now) for each in newest[:_MOST_FAILED]]
    )
    lines += [f"and {len(failed) - _MOST_FAILED} more"] if len(failed) > _MOST_FAILED else []
    lines += [f"on its way: {each.name}: {each.active_state} ({each.sub_state})" for each in unsettled[:_MOST_FAILED]]
    return lines + _of_jobs(jobs)


def _row(status: UnitStatus, now: datetime) -> tuple[str, str, str, str]:
    how = _signal(status.exit_status) if status.result in _BY_SIGNAL else f"status {status.exit_status}"
    result = f"{status.result}, {how}" if status.exit_status else status.result
    return status.name, result, _when(status.state_changed_at, now), status.description


def _of_jobs(jobs: Sequence[Job]) -> list[str]:
    return [f"job: {job.type} {job.unit}: {job.state}" for job in jobs[:_MOST_TIES]]


async def _timers(matching: str, units: ExaminedUnits, lists: UnitLists, now: datetime) -> list[str]:
    timers = [each for each in await lists.timers() if _matches(matching, each.name, each.starts)]
    states = {state.name: state for state in await units.states([each.starts for each in timers if each.starts])}
    broken = [each.starts for each in timers if _has_failed(states.get(each.starts))]
    results = {name: (await units.status(name)).result for name in broken[:_MOST_TIMERS_LOOKED_AT]}
    timers.sort(key=lambda each: (each.starts not in broken, each.next_at is None, each.next_at or now, each.name))
    rows = [
        (
            each.name if each.active_state == "active" else f"{each.name} ({each.active_state})",
            each.starts,
            _when(each.last_at, now) or "never",
            _ahead(each, now),
            f"FAILED: {results.get(each.starts, '')}" if each.starts in broken else "",
        )
        for each in timers
    ]
    return columns(("timer", "starts", "last", "next", "last run"), rows) or ["there are no such timers"]


def _has_failed(state: UnitState | None) -> bool:
    return state is not None and state.active_state == "failed"


def _ahead(timer: TimerState, now: datetime) -> str:
    if timer.next_at is None:
        return "not planned"
    seconds = (timer.next_at - now).total_seconds()
    return f"{iso(timer.next_at)} ({'in ' + lasting(seconds) if seconds > 0 else 'due'})"


def _when(moment: datetime | None, now: datetime) -> str:
    return f"{iso(moment)} ({since(moment, now)} ago)" if moment else ""


def _table(loaded: Sequence[UnitState], matching: str) -> list[str]:
    found = [each for each in loaded if _matches(matching, each.name, each.description)]
    found = [each for each in found if each.load_state != _NOT_FOUND or each.active_state != "inactive"]
    if not found:
        return ["there are no such units among those that systemd has in memory"]
    found.sort(key=lambda each: (_rank(each.active_state), each.name))
    counts = Counter(each.active_state for each in found)
    told = ", ".join(f"{counts[state]} {state}" for state in sorted(counts, key=_rank))
    rows = [(each.name, f"{each.active_state} ({each.sub_state})", each.description) for each in found]
    return [f"{len(found)} units: {told}", *columns(("unit", "state", "description"), rows)]


def _rank(active_state: str) -> int:
    return _ORDER.index(active_state) if active_state in _ORDER else len(_ORDER)


def _matches(matching: str, *names: str) -> bool:
    wanted = matching.casefold()
    if not wanted:
        return True
    if any(each in wanted for each in "*?["):
        return fnmatch.fnmatchcase(names[0].casefold(), wanted)
    return any(wanted in name.casefold() for name in names)
