"""What a unit depends on, and how that is doing: what is not up is named, the rest is counted."""

from collections import Counter
from collections.abc import Mapping
from typing import Final

from ai_sysadmin.context.pieces.drafts import Cleaner, Draft, first_lines
from ai_sysadmin.sources.units import Dependencies, ExaminedUnits, UnitState

_CHARACTERS: Final = 5000
_FACT_UNITS: Final = 20
_DETAILED: Final = 3
_UP: Final = frozenset({"active", "reloading", "activating", "refreshing"})
_GONE: Final = frozenset({"not-found", "masked", "error", "bad-setting"})
_WORDS: Final = ("requires", "wants", "starts after")
_NEEDED, _WANTED, _AFTER = range(3)


async def look(unit: str, units: ExaminedUnits, clean: Cleaner) -> Draft | None:
    """Return how a unit's dependencies are doing; none: it has none. Raises: NotFound, SystemdUnavailable."""
    ties = ties_of(await units.dependencies(unit), unit)
    if not ties:
        return None
    states = {state.name: state for state in await units.states(list(ties))}
    down = sorted(
        (state for name, state in states.items() if _is_telling(state, ties.get(name, _AFTER))),
        key=lambda state: (state.active_state != "failed", ties.get(state.name, _AFTER), state.name),
    )
    failed = [state for state in down if state.active_state == "failed"]
    results = {state.name: await _result(state.name, units) for state in failed[:_DETAILED]}
    told = [clean.line(_told(state, ties.get(state.name, _AFTER), results)) for state in down]
    lines, missing = first_lines(told, _CHARACTERS)
    broken = [state.name for state in down if _is_broken(state, ties.get(state.name, _AFTER))]
    return Draft(
        kind="dependencies",
        title=f"what {unit} depends on",
        lines=(*lines, _counted(states, ties)),
        facts=_facts(failed, ties),
        left_out=f"{missing} more units that are not active" if missing else "",
        identity=tuple(broken),
    )


def ties_of(needs: Dependencies, unit: str) -> dict[str, int]:
    """Return each unit that one depends on, with the strongest of the ties to it."""
    ties = dict.fromkeys(needs.after, _AFTER)
    ties |= dict.fromkeys(needs.wants, _WANTED)
    ties |= dict.fromkeys(needs.needed, _NEEDED)
    ties.pop(unit, None)
    return ties


def _is_broken(state: UnitState, tie: int) -> bool:
    return state.active_state == "failed" or (tie == _NEEDED and state.load_state in _GONE)


def _is_telling(state: UnitState, tie: int) -> bool:
    """Tell whether a unit's state says something: what a unit only starts after is often not there at all."""
    if state.active_state == "failed":
        return True
    return tie != _AFTER and state.active_state not in _UP


async def _result(unit: str, units: ExaminedUnits) -> str:
    status = await units.status(unit)
    return f"{status.result}, exit status {status.exit_status}"


def _told(state: UnitState, tie: int, results: Mapping[str, str]) -> str:
    how = f"{state.active_state} ({state.sub_state})"
    if state.load_state in _GONE:
        how = f"{how}, unit file {state.load_state}"
    if result := results.get(state.name):
        how = f"{how}: {result}"
    named = f", {state.description}" if state.description and state.description != state.name else ""
    return f"{_WORDS[tie]} {state.name}: {how}{named}"


def _counted(states: Mapping[str, UnitState], ties: Mapping[str, int]) -> str:
    counts = Counter(state.active_state for state in states.values())
    told = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    return f"of all {len(ties)} units that it requires, wants or starts after: {told or 'none is known'}"


def _facts(failed: list[UnitState], ties: Mapping[str, int]) -> dict[str, str]:
    needed = [state.name for state in failed if ties.get(state.name) == _NEEDED]
    said = {
        "failed": " ".join(state.name for state in failed[:_FACT_UNITS]),
        "needed_failed": " ".join(needed[:_FACT_UNITS]),
    }
    return {name: value for name, value in said.items() if value}
