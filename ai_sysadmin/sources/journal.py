"""The system journal: followed from a durable position, or asked for its past or for one unit's last lines."""

import asyncio
import math
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from ai_sysadmin.core.errors import JournalUnavailable
from ai_sysadmin.core.records import JournalEntry, UnitName
from ai_sysadmin.runtime.commands import CommandMissing, CommandTimedOut, run
from ai_sysadmin.sources.export import ExportParser
from ai_sysadmin.sources.journal_children import JOURNALCTL, NOTHING, Journalctl, Reader, Start, places
from ai_sysadmin.sources.journal_files import SkippedFile, own_directory
from ai_sysadmin.sources.journal_following import Follower, Position, assert_journald, ended, opened, trouble_in
from ai_sysadmin.sources.journal_following import batches as batches_of

__all__ = [
    "Journal",
    "LogSeen",
    "Position",
    "SearchedJournal",
    "SkippedFile",
    "Sought",
    "SystemJournal",
    "follow",
    "lost_between",
    "lost_within",
    "own_directory",
    "past",
    "trouble_in",
    "unit_log",
]

_LOOK_UP_SECONDS = 20.0
_LOOK_UP_BYTES: Final = 64 << 20
_CHUNK_BYTES: Final = 256 << 10
_STDERR_BYTES: Final = 64 << 10
_LOST_MOST = 1 << 32
_SIGNS: Final = re.compile(r"([!-/:-@\[-^`{-~])")
_WITHOUT_SEARCH: Final = "pattern matching"
_ANY_PRIORITY: Final = 7
_NOT_FOUND: Final = 1
"""How a ``journalctl --grep`` ends that has found nothing; it says nothing then."""

KERNEL: Final = "kernel"


class LogSeen(NamedTuple):
    """Entries that were looked up, oldest first. ``more``: there are older ones in the time that was asked about."""

    entries: Sequence[JournalEntry]
    more: bool = False


class Journal(Protocol):
    """How the journal is asked about a time. Every method raises ``JournalUnavailable``."""

    async def unit_log(self, unit: str, lines: int, since: datetime, until: datetime | None = None) -> LogSeen:
        """Return the newest lines by or about a unit in a time."""
        ...

    async def kernel_log(self, lines: int, since: datetime, until: datetime | None = None) -> LogSeen:
        """Return the kernel's newest lines in a time that are a warning or worse."""
        ...


class Sought(NamedTuple):
    """What is sought: the newest ``most`` entries since a time that are at least so urgent and contain a text.

    ``unit`` is a unit's full name, or ``KERNEL``; empty: all of them. Of ``contains`` the case does not matter.
    """

    since: datetime
    most: int
    contains: str = ""
    unit: str = ""
    priority: int = _ANY_PRIORITY
    seconds: float = _LOOK_UP_SECONDS


class SearchedJournal(Journal, Protocol):
    """How the journal is searched."""

    async def search(self, sought: Sought) -> LogSeen:
        """Return what is found, and whether there may be older ones: time, size and number are bounded.

        Raises:
            JournalUnavailable: the journal cannot be read.
        """
        ...


class SystemJournal:
    """The journal of this machine, or that of a directory. However long its messages are, a look-up stays bounded."""

    def __init__(self, directory: Path | None = None, most_bytes: int = _LOOK_UP_BYTES) -> None:
        self._directory = directory
        self._most_bytes = most_bytes

    async def unit_log(self, unit: str, lines: int, since: datetime, until: datetime | None = None) -> LogSeen:
        return await self._newest([f"--unit={unit}"], lines, since, until)

    async def kernel_log(self, lines: int, since: datetime, until: datetime | None = None) -> LogSeen:
        return await self._newest(["_TRANSPORT=kernel", "--priority=warning"], lines, since, until)

    async def search(self, sought: Sought) -> LogSeen:
        what = [f"--since=@{math.floor(sought.since.timestamp())}"]
        what += [f"--priority={sought.priority}"] if sought.priority < _ANY_PRIORITY else []  # some entries have none
        what += {"": [], KERNEL: ["_TRANSPORT=kernel"]}.get(sought.unit, [f"--unit={sought.unit}"])
        argv = [*JOURNALCTL, *places(self._directory or own_directory()), "--reverse", *what]
        newest = f"--lines={sought.most + 1}"
        if not sought.contains:
            return await self._found([*argv, newest], sought)
        literally = _SIGNS.sub(r"\\\1", sought.contains)
        try:
            return await self._found([*argv, newest, f"--grep={literally}", "--case-sensitive=no"], sought)
        except JournalUnavailable as error:
            if _WITHOUT_SEARCH not in str(error):
                raise
            return await self._found(argv, sought, sought.contains.casefold())

    async def _found(self, argv: Sequence[str], sought: Sought, wanted: str = "") -> LogSeen:
        """Read until there is enough, or for so long; what was found until then counts."""
        found: list[JournalEntry] = []
        is_cut = True
        try:
            async with asyncio.timeout(sought.seconds):
                is_cut = await _read_into(found, argv, sought.most + 1, self._most_bytes, wanted)
        except TimeoutError as error:
            if not found:
                said = f"the journal was searched for {sought.seconds:g} s, and nothing was found in that time"
                raise JournalUnavailable(f"{said}: ask for less time") from error
        return LogSeen(found[: sought.most][::-1], is_cut or len(found) > sought.most)

    async def _newest(self, what: list[str], lines: int, since: datetime, until: datetime | None) -> LogSeen:
        """Read backwards from the end of a time, so that what is cut off is the oldest."""
        times = [f"--since=@{math.floor(since.timestamp())}"]
        times += [f"--until=@{math.ceil(until.timestamp())}"] if until else []
        place = places(self._directory or own_directory())
        argv = [*JOURNALCTL, *place, "--reverse", f"--lines={lines + 1}", *times, *what]
        try:
            async with asyncio.timeout(_LOOK_UP_SECONDS):
                found, is_cut = await _read_most(argv, lines + 1, self._most_bytes)
        except TimeoutError as error:
            raise JournalUnavailable(f"journalctl took longer than {_LOOK_UP_SECONDS:g} s") from error
        return LogSeen(found[:lines][::-1], is_cut or len(found) > lines)


async def _read_most(argv: Sequence[str], entries: int, most_bytes: int) -> tuple[list[JournalEntry], bool]:
    """Return what ``journalctl`` shows, and whether it was stopped before its end. Raises: JournalUnavailable."""
    found: list[JournalEntry] = []
    return found, await _read_into(found, argv, entries, most_bytes)


async def _read_into(
    found: list[JournalEntry], argv: Sequence[str], entries: int, most_bytes: int, wanted: str = ""
) -> bool:
    """Append what ``journalctl`` shows, of that what contains a text; tell whether it was stopped before its end."""
    child = await opened(argv)
    parser, read = ExportParser(), 0
    async with child:
        complaints = asyncio.create_task(child.stderr.read(_STDERR_BYTES))
        try:
            while len(found) < entries and read < most_bytes:
                chunk = await child.stdout.read(_CHUNK_BYTES)
                if not chunk:
                    break
                more = parser.feed(chunk if read else chunk.removeprefix(NOTHING))
                found += [each for each in more if wanted in each.message.casefold()] if wanted else more
                read += len(chunk)
            else:
                return True
            said = (await complaints).decode(errors="replace")
            status = await child.wait()
        finally:
            complaints.cancel()
    if trouble := trouble_in(said):
        raise JournalUnavailable(trouble)
    if status != 0 and (status != _NOT_FOUND or said.strip()):
        raise ended(Journalctl.name, status, said.strip().splitlines())
    return False


def lost_between(position: Position | None, entry: JournalEntry) -> int:
    """Return how many entries the journal dropped between a position and the next entry that it showed.

    The numbers are consecutive within one sequence id; nothing can be said across two of them.
    """
    if position is None or not entry.sequence_id or position.sequence_id != entry.sequence_id:
        return 0
    return _missing(position.sequence, entry.sequence)


def lost_within(entries: Sequence[JournalEntry]) -> int:
    """Return how many entries are missing between the first and the last of a batch.

    A number that the next entry falls back from belongs to a damaged entry, and counts for nothing.
    """
    return sum(
        _missing(before.sequence, after.sequence)
        for before, after, beyond in zip(entries, entries[1:], [*entries[2:], None], strict=False)
        if after.sequence != before.sequence + 1 and _are_of_one(before, after) and not _falls_back(after, beyond)
    )


def _missing(before: int, after: int) -> int:
    missing = max(0, after - before - 1)
    return missing if missing < _LOST_MOST else 0


def _are_of_one(before: JournalEntry, after: JournalEntry) -> bool:
    return bool(before.sequence_id) and before.sequence_id == after.sequence_id


def _falls_back(entry: JournalEntry, beyond: JournalEntry | None) -> bool:
    return beyond is not None and _are_of_one(entry, beyond) and beyond.sequence < entry.sequence


async def follow(
    position: Position | None,
    *,
    history: timedelta,
    directory: Path | None = None,
    on_skip: Callable[[SkippedFile], None] | None = None,
    reader: Reader | None = None,
) -> AsyncGenerator[list[JournalEntry], None]:
    """Yield every entry after ``position`` as it comes, in batches of about a thousand or 20 ms.

    While nothing comes, an empty batch is yielded every second, so that the reader can see that time passes.
    A reading child that dies is started again after the last entry that was yielded; a file on which it dies three
    times is read no more, and the others are.

    Args:
        position: where to go on; none: begin ``history`` ago.
        directory: read the journal files there rather than the system's.
        on_skip: is told of each journal file that is not read; what it held shows as lost numbers.
        reader: the program to read with; none: the cheapest that works here.

    Raises:
        JournalUnavailable: there is no journal here, or this user may not read it; the text says what to do.
    """
    follower = Follower(position, history=history, directory=directory, on_skip=on_skip, reader=reader)
    async with aclosing(follower.batches()) as batches:
        async for batch in batches:
            yield batch


async def past(
    history: timedelta, *, priority: int = 7, directory: Path | None = None
) -> AsyncGenerator[list[JournalEntry], None]:
    """Yield the entries of the last ``history``, the newest first, in batches, and end. Raises as ``follow`` does.

    Args:
        priority: leave out what is less urgent than this syslog priority.
    """
    came = False
    said: list[str] = []
    reader, start = Journalctl(), Start("", history, directory or own_directory())
    argv = [*JOURNALCTL, *places(start.directory), *reader.beginning(start), f"--priority={priority}", "--reverse"]
    child = await opened(argv)
    async with child, aclosing(batches_of(reader, child, "", said)) as batches:
        async for batch in batches:
            came = came or bool(batch)
            if batch:
                yield batch
    if child.exit_status != 0:
        raise ended(reader.name, child.exit_status, said)
    if not came:
        assert_journald(directory)


async def unit_log(
    unit: UnitName, lines: int, *, since: timedelta | None = None, directory: Path | None = None
) -> list[JournalEntry]:
    """Return the last lines by or about a unit, oldest first. Raises: JournalUnavailable."""
    argv = [*JOURNALCTL, *places(directory or own_directory()), f"--unit={unit}", f"--lines={lines}"]
    if since is not None:
        argv += Journalctl.beginning(Start("", since, directory))
    try:
        done = await run(argv, timeout_seconds=_LOOK_UP_SECONDS, max_bytes=16 << 20)
    except (CommandMissing, CommandTimedOut) as error:
        raise JournalUnavailable(f"the journal cannot be read: {error}") from error
    if trouble := trouble_in(done.stderr):
        raise JournalUnavailable(trouble)
    if done.exit_status != 0:
        raise ended(Journalctl.name, done.exit_status, done.stderr.strip().splitlines())
    return ExportParser().feed(done.stdout.removeprefix(NOTHING))[-lines:]
