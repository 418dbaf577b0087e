"""Tools with fixed answers, one that fails and one that hangs; and what the tools of units and logs look at."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated

from pydantic import Field

from ai_sysadmin.core.errors import AiSysadminError, NotFound
from ai_sysadmin.core.records import JournalEntry
from ai_sysadmin.sources.coredumps import CoreDump, CoreDumpsSeen
from ai_sysadmin.sources.journal import KERNEL, LogSeen, Sought
from ai_sysadmin.sources.unit_lists import Job, TimerState, UnitDetails
from ai_sysadmin.sources.units import UnitState
from ai_sysadmin.tools.tool import Scene, Told, Tool, tool_of

About = Annotated[str, Field(max_length=200, description="what to look at")]
Number = Annotated[int, Field(ge=0, le=1000)]


def fixed_tool(
    name: str,
    text: str | Callable[[str, int], str] = "all is well",
    *,
    seconds: float = 0.0,
    limit_seconds: float = 10.0,
    narrow: str = "",
    truncated: str = "",
    newest_last: bool = False,
) -> Tool:
    """Return a tool that takes ``about`` and ``number``, and answers the same, or what a function of them says.

    Args:
        seconds: how long it takes.
        limit_seconds: how long it may take.
    """

    async def look(about: About = "", number: Number = 0) -> Told:
        """Look at something."""
        if seconds:
            await asyncio.sleep(seconds)
        said = text if isinstance(text, str) else text(about, number)
        return Told(said, narrow=narrow, truncated=truncated, newest_last=newest_last)

    return tool_of(look, says=f"{name} of {{about}}", seconds=limit_seconds, name=name)


def failing_tool(name: str, error: Exception | None = None) -> Tool:
    """Return a tool that raises, by default that there is no such thing."""

    async def look(about: About = "") -> Told:
        """Look at what is not there."""
        raise error or NotFound(f"there is no {about or 'such thing'}")

    return tool_of(look, says=f"{name} of {{about}}", name=name)


def hanging_tool(name: str, *, limit_seconds: float = 10.0, began: asyncio.Event | None = None) -> Tool:
    """Return a tool that never answers; ``began`` is set when it is called, so that a test can stop it then."""

    async def look(about: About = "") -> Told:
        """Wait for ever."""
        del about
        if began is not None:
            began.set()
        await asyncio.Event().wait()
        raise AssertionError("nothing sets it")

    return tool_of(look, says=f"{name} of {{about}}", seconds=limit_seconds, name=name)


def asking_tool(name: str) -> Tool:
    """Return a tool that looks at what its conversation names, and refuses all else."""

    async def look(target: About, *, scene: Scene) -> Told:
        """Reach a host."""
        if not scene.names(target):
            raise AiSysadminError(f"{target} is not named")
        return Told(f"{target} answers")

    return tool_of(look, says=f"{name} of {{target}}", name=name)


@dataclass
class FixedUnitLists:
    """Lists of units (``sources.unit_lists.UnitLists``). ``files`` are of units that are not in memory."""

    units: list[UnitState] = field(default_factory=list)
    files: set[str] = field(default_factory=set)
    waiting: list[Job] = field(default_factory=list)
    planned: list[TimerState] = field(default_factory=list)
    close: dict[str, UnitDetails] = field(default_factory=dict)

    async def loaded(self) -> list[UnitState]:
        return self.units

    async def names(self) -> set[str]:
        return self.files | {unit.name for unit in self.units if unit.load_state != "not-found"}

    async def jobs(self) -> list[Job]:
        return self.waiting

    async def timers(self) -> list[TimerState]:
        return self.planned

    async def details(self, unit: str) -> UnitDetails:
        return self.close.get(unit, UnitDetails())


@dataclass
class FixedJournal:
    """A journal with these entries (``sources.journal.SearchedJournal``), oldest first."""

    entries: Sequence[JournalEntry] = ()
    asked: list[Sought] = field(default_factory=list)

    async def search(self, sought: Sought) -> LogSeen:
        self.asked.append(sought)
        found = [entry for entry in self.entries if _is_sought(entry, sought)]
        return LogSeen(found[-sought.most :], more=len(found) > sought.most)

    async def unit_log(self, unit: str, lines: int, since: datetime, until: datetime | None = None) -> LogSeen:
        del until
        return await self.search(Sought(since, lines, unit=unit))

    async def kernel_log(self, lines: int, since: datetime, until: datetime | None = None) -> LogSeen:
        del until
        return await self.search(Sought(since, lines, unit=KERNEL, priority=4))


def _is_sought(entry: JournalEntry, sought: Sought) -> bool:
    who = entry.transport if sought.unit == KERNEL else entry.unit
    return (
        entry.at >= sought.since
        and entry.priority <= sought.priority
        and sought.unit in ("", who)
        and sought.contains.casefold() in entry.message.casefold()
    )


@dataclass
class FixedCoreDumps:
    """Crashes (``sources.coredumps.CoreDumps``), the newest first."""

    dumps: Sequence[CoreDump] = ()
    missing: str = ""

    async def since(self, since: datetime, most: int) -> CoreDumpsSeen:
        found = [dump for dump in self.dumps if dump.at >= since]
        return CoreDumpsSeen(tuple(found[:most]), len(found) > most, self.missing)
