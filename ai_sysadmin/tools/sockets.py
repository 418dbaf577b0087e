"""Sockets: which unit or process listens where, and how many connections there are."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from ai_sysadmin.context.defuse import one_line
from ai_sysadmin.sources.connections import Connections, bare, connections
from ai_sysadmin.sources.listening import Listening, Owner
from ai_sysadmin.tools.table import columns
from ai_sysadmin.tools.tool import Part, Told, Tool, beyond, tool_of

_MOST_ROWS: Final = 200
_MOST_PORTS: Final = 20
_NAME: Final = 60


def socket_tools(root: Path = Path("/")) -> tuple[Tool, ...]:
    """Return the tool ``listening``."""

    async def listening(
        matching: Annotated[Part, Field(description="a port, or part of a unit, process, user or address")] = "",
    ) -> Told:
        """List which unit or process listens on which address and port, and count connections by port and state."""
        owners, counted = await asyncio.to_thread(_look, root)
        rows = [row for owner in owners for row in _rows(owner, counted) if _matches(row, matching)]
        rows.sort(key=lambda row: (int(row[1]), row))
        lines = [
            *columns(("protocol", "port", "address", "unit", "process", "user", "connections"), rows[:_MOST_ROWS]),
            *([] if rows else [f"nothing listens that matches {one_line(matching, 100)!r}" if matching else "none"]),
            *_totals(counted),
        ]
        return Told(
            "\n".join(lines),
            narrow="give a port or a unit as `matching`",
            truncated=beyond(len(rows) - _MOST_ROWS, "sockets"),
        )

    return (tool_of(listening, says="listening sockets {matching}", seconds=15.0),)


def _look(root: Path) -> tuple[Sequence[Owner], Connections]:
    listener = Listening(root)
    listener.look()  # what it sees for the first time among the ports of clients it takes for one of theirs
    return listener.look(), connections(root)


def _rows(owner: Owner, counted: Connections) -> list[tuple[str, ...]]:
    who = one_line(owner.unit, _NAME) or "-", one_line(owner.process, _NAME) or "(hidden)", one_line(owner.user, _NAME)
    return [
        (
            each.protocol,
            str(each.port),
            bare(each.address),
            *who,
            str(counted.by_port.get(each.port, 0)) if each.protocol == "tcp" else "-",
        )
        for each in owner.ports
    ]


def _matches(row: Sequence[str], wanted: str) -> bool:
    if wanted.isdecimal():
        return row[1] == wanted
    return any(wanted.casefold() in cell.casefold() for cell in row[:6])


def _totals(counted: Connections) -> list[str]:
    states = sorted(counted.states.items(), key=lambda each: (-each[1], each[0]))
    lines = [f"TCP sockets: {', '.join(f'{count} {state}' for state, count in states) or 'none'}"]
    busiest = sorted(counted.by_port.items(), key=lambda each: (-each[1], each[0]))[:_MOST_PORTS]
    if busiest:
        said = ", ".join(f"{count} on {port}" for port, count in busiest)
        lines.append(f"established connections to ports that are listened on: {said}")
    return [*lines, *([] if counted.complete else ["there are more sockets than were counted"])]
