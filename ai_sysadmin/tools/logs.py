"""The tools of logs: one unit's, all of them, and the crashes."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal

from pydantic import Field

from ai_sysadmin.context.pieces.drafts import iso
from ai_sysadmin.core.clock import Clock, since
from ai_sysadmin.core.errors import NotFound
from ai_sysadmin.core.records import JournalEntry
from ai_sysadmin.sources.coredumps import CoreDump, CoreDumps
from ai_sysadmin.sources.journal import KERNEL, LogSeen, SearchedJournal, Sought
from ai_sysadmin.sources.unit_lists import UnitLists
from ai_sysadmin.tools.log_lines import lines_of
from ai_sysadmin.tools.tool import Contains, Told, Tool, Words, tool_of
from ai_sysadmin.tools.unit_names import full_name, missing, same_stem

LoggedUnit = Annotated[str, Field(min_length=1, max_length=255, description='such as nginx.service, or "kernel"')]
Minutes = Annotated[int, Field(ge=1, le=525_600, description="how far back")]
SearchedFor = Annotated[Words, Field(description="a text, no pattern; its case does not matter")]
Days = Annotated[int, Field(ge=1, le=365)]
Priority = Literal["any", "notice", "warning", "err", "crit"]

_PRIORITIES: Final = {"any": 7, "notice": 5, "warning": 4, "err": 3, "crit": 2}
_MOST_OF_UNIT: Final = 5000
_MOST_FOUND: Final = 2000
_MOST_DUMPS: Final = 20
_OWN: Final = "ai-sysadmin"
_SEARCH_SECONDS: Final = 10.0
_TOOL_SECONDS: Final = 20.0


def log_tools(journal: SearchedJournal, lists: UnitLists, clock: Clock, dumps: CoreDumps) -> tuple[Tool, ...]:
    """Return the tools ``unit_log``, ``journal_search`` and ``coredumps``."""

    async def unit_log(
        unit: LoggedUnit, minutes: Minutes = 1440, contains: Contains = "", priority: Priority = "any"
    ) -> Told:
        """Show a unit's log, the newest lines last; `priority` is the least urgent that is shown."""
        name = await _logged(unit, lists)
        begin = clock.now() - timedelta(minutes=minutes)
        sought = Sought(begin, _MOST_OF_UNIT, _plain(contains), name, _PRIORITIES[priority], _SEARCH_SECONDS)
        seen = await journal.search(sought)
        if not seen.entries:
            return Told(await _silence(name, sought, journal, lists, clock.now()))
        narrow = "give fewer `minutes`, `contains`, or a `priority`"
        lines = [*lines_of(seen.entries, with_unit=False), _aged(seen.entries, clock.now())]
        return Told("\n".join(lines), narrow, _older(seen), newest_last=True)

    async def journal_search(contains: SearchedFor, minutes: Minutes = 1440, priority: Priority = "any") -> Told:
        """Search the log lines of all units and of the kernel for a text, the newest last."""
        begin = clock.now() - timedelta(minutes=minutes)
        sought = Sought(begin, _MOST_FOUND, _plain(contains), "", _PRIORITIES[priority], _SEARCH_SECONDS)
        seen = await journal.search(sought)
        entries = [entry for entry in seen.entries if not entry.unit.startswith(_OWN)]
        if not entries:
            return Told(f"no line since {iso(begin)} contains that text{_but_own(seen)}", truncated=_older(seen))
        lines = [*lines_of(entries, with_unit=True), _counted(entries), _aged(entries, clock.now())]
        narrow = "give fewer `minutes`, a longer text, or a `priority`"
        return Told("\n".join(lines), narrow, _older(seen), newest_last=True)

    async def coredumps(days: Days = 7) -> Told:
        """Show which programs crashed (core dumps): when, which unit, by which signal, and where in the program."""
        begin = clock.now() - timedelta(days=days)
        seen = await dumps.since(begin, _MOST_DUMPS)
        said = [line for dump in seen.dumps for line in _crash(dump, clock.now())]
        lines = said or [f"no crash was recorded since {iso(begin)}"]
        lines += [seen.missing] if seen.missing else []
        return Told(
            "\n".join(lines), "give fewer `days`", f"only the newest {_MOST_DUMPS} are told" if seen.more else ""
        )

    return (
        tool_of(unit_log, says="log of {unit} {contains}", seconds=_TOOL_SECONDS),
        tool_of(journal_search, says="search of the journal for {contains}", seconds=_TOOL_SECONDS),
        tool_of(coredumps, says="crashes of the last {days} days", seconds=_TOOL_SECONDS),
    )


async def _logged(asked: str, lists: UnitLists) -> str:
    """Return the unit that is meant; one that is gone may still have a log. Raises: Refused."""
    if asked.strip().casefold() == KERNEL:
        return KERNEL
    name = full_name(asked)
    if "." in asked or asked.startswith("/"):
        return name
    others = same_stem(name, await lists.names())
    return others[0] if others else name


async def _silence(unit: str, sought: Sought, journal: SearchedJournal, lists: UnitLists, now: datetime) -> str:
    """Say that there are no such lines, and where there are some. Raises: NotFound, where there is no such unit."""
    chosen = sought.contains or sought.priority < _PRIORITIES["any"]
    what = "no such lines" if chosen else "no lines"
    newest = await journal.search(
        sought._replace(since=datetime.fromtimestamp(0, UTC), most=1, contains="", priority=7)
    )
    if not newest.entries:
        names = await lists.names()
        if unit != KERNEL and unit not in names:
            raise NotFound(missing(unit, names))
        return "this unit has logged nothing at all" if unit != KERNEL else "the kernel's log is empty"
    last = newest.entries[-1].at
    if last >= sought.since:
        return f"{what} since {iso(sought.since)}; the newest line of all is of {iso(last)}: ask for others"
    minutes = int((now - last).total_seconds() // 60) + 60
    newest_of_all = f"its newest line is of {iso(last)} ({since(last, now)} ago)"
    return f"{what} since {iso(sought.since)}; {newest_of_all}: give minutes={minutes}"


def _plain(contains: str) -> str:
    """Return a text as it may stand in a message's line."""
    return " ".join(contains.split())


def _older(seen: LogSeen) -> str:
    if not seen.more:
        return ""
    return f"lines before {iso(seen.entries[0].at)} were not read" if seen.entries else "not all was searched"


def _but_own(seen: LogSeen) -> str:
    return ", but for lines of this assistant's own services (their logs: unit_log)" if seen.entries else ""


def _aged(entries: Sequence[JournalEntry], now: datetime) -> str:
    return f"(it is now {iso(now)}; the newest of these lines came {since(entries[-1].at, now)} ago)"


def _counted(entries: Sequence[JournalEntry]) -> str:
    units: dict[str, int] = {}
    for entry in entries:
        who = KERNEL if entry.transport == "kernel" else entry.unit or entry.identifier or "-"
        units[who] = units.get(who, 0) + 1
    most = sorted(units.items(), key=lambda each: -each[1])
    told = ", ".join(f"{who} {count}" for who, count in most[:8])
    more = f", and {len(most) - 8} more" if len(most) > 8 else ""
    return f"found in: {told}{more}"


def _crash(dump: CoreDump, now: datetime) -> list[str]:
    who = ", ".join(
        each
        for each in (
            f"unit {dump.unit}" if dump.unit else "",
            f"process {dump.pid}" if dump.pid else "",
            f"user {dump.uid}" if dump.uid else "",
        )
        if each
    )
    kept = f"; its memory is kept in {dump.file}" if dump.file else ""
    ended = f"{dump.program or 'a program'} ended by {dump.signal or 'a signal'}"
    return [
        f"{iso(dump.at)} ({since(dump.at, now)} ago): {ended} ({who}){kept}",
        *(f"    {frame}" for frame in dump.frames),
    ]
