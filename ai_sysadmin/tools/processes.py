"""What runs: the processes that use the most, or that match a name."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from ai_sysadmin.context.defuse import one_line
from ai_sysadmin.context.pieces.drafts import lasting, size
from ai_sysadmin.sources.processes import STATES, Process, Running, running
from ai_sysadmin.sources.unit_usage import unit_traffic
from ai_sysadmin.tools.table import columns
from ai_sysadmin.tools.tool import Part, Told, Tool, beyond, tool_of

Sort = Literal["cpu", "memory", "age", "io"]
_COMMAND: Final = 200
_MOST_NAMED: Final = 5
_KEY: Final = "-----BEGIN"
_HEADS: Final = ("pid", "user", "unit", "cpu", "memory", "state", "age", "command")


def process_tools(root: Path = Path("/"), measured_seconds: float = 0.5) -> tuple[Tool, ...]:
    """Return the tool ``processes``.

    Args:
        measured_seconds: how long shares of processors and traffic are measured for.
    """

    async def processes(
        sort: Annotated[Sort, Field(description="what the first ones have most of; age: the youngest first")] = "cpu",
        matching: Annotated[Part, Field(description="part of a name, command, user or unit, or a pid")] = "",
        most: Annotated[int, Field(ge=1, le=50, description="how many are shown")] = 12,
    ) -> Told:
        """List processes with their user, unit, CPU, memory, state, age and command; counts zombies and stuck ones."""
        found, traffic = await asyncio.to_thread(_measured, root, measured_seconds)
        chosen = ranked([each for each in found.processes if _matches(each, matching)], sort)
        lines = [
            *_totals(found),
            *([f"{len(chosen)} match {one_line(matching, 100)!r}"] if matching else []),
            *(_traffic(chosen, traffic, matching) if sort == "io" else []),
            *columns(_heads(sort), [_row(each, sort) for each in chosen[:most]]),
        ]
        return Told(
            "\n".join(filter(None, lines)),
            narrow="give a part of a name, user or unit as `matching`",
            truncated=beyond(len(chosen) - most, "processes"),
        )

    return (tool_of(processes, says="processes by {sort} {matching}", seconds=15.0),)


def _matches(process: Process, wanted: str) -> bool:
    if wanted.isdecimal() and process.pid == int(wanted):
        return True
    told = (process.name, process.command, process.user, process.unit)
    return any(wanted.casefold() in text.casefold() for text in told)


def ranked(processes: Sequence[Process], sort: Sort) -> list[Process]:
    """Return processes, those with most of it first."""

    def amount(each: Process) -> tuple[float, ...]:
        match sort:
            case "cpu":
                return each.cpu_percent, each.resident_bytes
            case "memory":
                return (each.resident_bytes,)
            case "age":
                return (-each.age_seconds,)
            case "io":
                known = each.io_per_second is not None
                return float(known), each.io_per_second or 0.0, float(each.state == "D"), each.cpu_percent

    return sorted(processes, key=lambda each: (*(-part for part in amount(each)), each.pid))


def _totals(found: Running) -> list[str]:
    """Return how many there are by state, who is stuck, and whose children are zombies."""
    said = ", ".join(f"{count} {STATES.get(state, state)}" for state, count in sorted(found.states.items()))
    busy = sum(each.cpu_percent for each in found.processes)
    lines = [f"{len(found.processes)} processes: {said}; together {busy:.0f} % cpu, where 100 % is one processor"]
    if not found.sees_all:
        lines.append("only this service's own processes are visible: others' are hidden from it")
    stuck = [f"{one_line(each.name, 30)} ({each.pid})" for each in found.processes if each.state == "D"]
    if stuck:
        lines.append(f"waiting for a device or a file server: {_some(stuck)}")
    by_pid = {each.pid: each for each in found.processes}
    parents = Counter(each.parent for each in found.processes if each.state == "Z")
    if parents:
        named = [f"{count} of {_named(by_pid.get(pid))} ({pid})" for pid, count in parents.most_common()]
        lines.append(f"zombies, which their parent does not fetch: {_some(named)}")
    return lines


def _named(process: Process | None) -> str:
    return one_line(process.name, 30) if process else "a process that ended"


def _some(named: Sequence[str]) -> str:
    rest = len(named) - _MOST_NAMED
    return ", ".join(named[:_MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _measured(root: Path, over_seconds: float) -> tuple[Running, Mapping[str, float]]:
    """Return what runs, and how many bytes a second each unit reads and writes."""
    before = unit_traffic(root)
    found = running(root, over_seconds)
    after = unit_traffic(root)
    passed = found.measured_seconds
    return found, {unit: max(0, moved - before.get(unit, moved)) / passed for unit, moved in after.items()}


def _traffic(chosen: Sequence[Process], units: Mapping[str, float], matching: str) -> list[str]:
    """Return what units read and write, and how many processes hide what they do."""
    rates = sorted(((rate, unit) for unit, rate in units.items() if rate and matching in unit), reverse=True)
    said = [f"{one_line(unit, 60)} {size(rate)}/s" for rate, unit in rates]
    lines = [f"units by what they read and write: {_some(said)}"] if said else []
    hidden = sum(each.io_per_second is None for each in chosen)
    if hidden:
        lines.append(f"what {hidden} of the processes read and write is hidden from this service (?)")
    return lines


def _heads(sort: Sort) -> Sequence[str]:
    return (*_HEADS[:5], "io", *_HEADS[5:]) if sort == "io" else _HEADS


def _row(each: Process, sort: Sort) -> Sequence[str]:
    traffic = "?" if each.io_per_second is None else f"{size(each.io_per_second)}/s"
    return (
        str(each.pid),
        one_line(each.user, 32),
        one_line(each.unit, 60) or "-",
        f"{each.cpu_percent:.0f} %",
        size(each.resident_bytes),
        *((traffic,) if sort == "io" else ()),
        each.state,
        lasting(each.age_seconds),
        shortened(each.command),
    )


def shortened(command: str, most: int = _COMMAND) -> str:
    """Return a command on one line, cut between words: half a word could be half a secret, which nothing knows."""
    line = one_line(command, len(command) + 1)
    if len(line) <= most:
        return line
    kept = line[: most + 1].rpartition(" ")[0]
    if _KEY in kept:  # without its end it would not be known for a key
        kept = kept.partition(_KEY)[0].rstrip('" ')
    return f"{kept or '(a long word)'} …"
