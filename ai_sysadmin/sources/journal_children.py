"""The two programs that read the journal for us, and how what they write becomes entries.

``Library`` is our own child on libsystemd, by far the cheaper; ``Journalctl`` needs nothing but systemd itself. A
damaged journal file kills its reader, and that must not be us.
"""

import asyncio
import marshal
import os
import sys
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Protocol

from ai_sysadmin.core.records import JournalEntry
from ai_sysadmin.runtime.commands import Child
from ai_sysadmin.sources import libsystemd
from ai_sysadmin.sources.export import (
    READ_FIELDS,
    VALUE_BYTES,
    Context,
    ExportParser,
    context_of,
    moment,
    numbered,
)
from ai_sysadmin.sources.journal_files import trouble_with
from ai_sysadmin.sources.journal_reader import DAMAGED

BATCH_ENTRIES: Final = 1000
BATCH_SECONDS: Final = 0.02
IDLE_SECONDS: Final = 1.0
NOTHING: Final = b"-- No entries --\n"
URGENT_WORDS: Final = (
    "err|fail|fatal|crit|panic|warn|den(y|ied)|refus|reject|time(d |-)?out|unable|cannot|can't|could not|corrupt|kill"
    "|oom|memory|space|abort|crash|segv|exception|traceback|fault|lost|invalid|expire|broken|unreach|overflow|exhaust|degrad"
    "|dead|stuck|hung|bug|in use|too many|missing|violat|emerg|alert"
)
"""What a line may hold that matters: a following reader passes it on at once, and other lines a moment later."""

_CHUNK_BYTES = 256 << 10
_CONTEXTS_MOST = 2048
_CONTEXT_FIELDS = tuple(field for field in READ_FIELDS if field != "MESSAGE")
_BAD_START = "Failed to seek to"

JOURNALCTL: Final = ("journalctl", "--output=export", "--all", "--no-pager")
"""All fields are shown: to pick some with ``--output-fields`` takes journalctl twice the time."""


class Mode(StrEnum):
    """To the end of what there is now, or for ever.

    To follow from a place in the past takes a child for each: a following ``journalctl`` shows one boot only, whatever
    its cursor says, and what has read much keeps much of the files mapped.
    """

    CATCH_UP = "catch up"
    FOLLOW = "follow"


@dataclass(frozen=True)
class Start:
    """Where reading begins: at a cursor, or without one so long ago; in a directory, or in some files only."""

    cursor: str
    history: timedelta
    directory: Path | None
    files: tuple[Path, ...] = ()
    careful: bool = False

    @property
    def since_usec(self) -> int:
        return max(0, int((datetime.now(UTC) - self.history).timestamp())) * 1_000_000


class Reader(Protocol):
    """A program that reads the journal."""

    @property
    def name(self) -> str: ...

    def argv(self, start: Start, mode: Mode) -> list[str]: ...

    def environment(self) -> Mapping[str, str] | None:
        """What its environment is; none: ours."""
        ...

    def trouble(self, directory: Path) -> str:
        """Return in one sentence why it would show nothing; empty: it may be tried."""
        ...

    def is_damage(self, exit_status: int, said: str) -> bool:
        """Tell whether such an end means that a file could not be read."""
        ...

    def batches(self, child: Child) -> AsyncGenerator[list[JournalEntry], None]:
        """Yield what a child writes until it ends; an empty batch every second while it writes nothing."""
        ...


class Journalctl:
    """``journalctl -o export``."""

    name = "journalctl"

    def argv(self, start: Start, mode: Mode) -> list[str]:
        following = ["--follow", "--no-tail"] if mode is Mode.FOLLOW else []
        return [*JOURNALCTL, *places(start.directory, start.files), *self.beginning(start), *following]

    @staticmethod
    def beginning(start: Start) -> list[str]:
        """Return the arguments that say where to begin."""
        if start.cursor:
            return [f"--cursor={start.cursor}"]
        return [f"--since=@{start.since_usec // 1_000_000}"]

    def environment(self) -> Mapping[str, str] | None:
        return None

    def trouble(self, directory: Path) -> str:
        """Return nothing: ``journalctl`` itself says what it may not see."""
        del directory
        return ""

    def is_damage(self, exit_status: int, said: str) -> bool:
        return exit_status < 0 or (exit_status > 0 and _BAD_START not in said)

    async def batches(self, child: Child) -> AsyncGenerator[list[JournalEntry], None]:
        parser = ExportParser()
        ended = False
        while not ended:
            batch, ended = await self._batch(child, parser)
            yield batch

    @staticmethod
    async def _batch(child: Child, parser: ExportParser) -> tuple[list[JournalEntry], bool]:
        """Return the next entries (none after a while without any), and whether that was the end of the stream."""
        found: list[JournalEntry] = []
        until = time.monotonic() + IDLE_SECONDS
        while len(found) < BATCH_ENTRIES:
            try:
                async with asyncio.timeout(max(0.0, until - time.monotonic())):
                    chunk = await child.stdout.read(_CHUNK_BYTES)
            except TimeoutError:
                break
            if not chunk:
                return found, True
            if not found:
                until = time.monotonic() + BATCH_SECONDS
            found += parser.feed(chunk.removeprefix(NOTHING))
        return found, False


class Library:
    """Our own ``journal_reader``, in a process of its own.

    Args:
        by_ctypes: not by systemd-python, which may not be installed.
    """

    name = "journal_reader"

    def __init__(self, *, by_ctypes: bool = False) -> None:
        self._by_ctypes = by_ctypes

    def argv(self, start: Start, mode: Mode) -> list[str]:
        return [
            *(sys.executable, "-S", "-P", "-m", "ai_sysadmin.sources.journal_reader"),
            *(f"--fields={','.join(_CONTEXT_FIELDS)}", f"--value-bytes={VALUE_BYTES}", f"--batch={BATCH_ENTRIES}"),
            *places(start.directory, start.files),
            *([f"--cursor={start.cursor}"] if start.cursor else [f"--since-usec={start.since_usec}"]),
            f"--urgent-words={URGENT_WORDS}",
            *(["--careful"] if start.careful else []),
            *(["--follow"] if mode is Mode.FOLLOW else []),
            *(["--ctypes"] if self._by_ctypes else []),
        ]

    def environment(self) -> Mapping[str, str] | None:
        """Return ours with our import path: an interpreter that a wrapper started would not find it again."""
        path = os.pathsep.join(each for each in sys.path if each)
        return {**os.environ, "PYTHONPATH": path}

    def trouble(self, directory: Path) -> str:
        return trouble_with(directory)

    def is_damage(self, exit_status: int, said: str) -> bool:
        del said
        return exit_status < 0 or exit_status == DAMAGED

    async def batches(self, child: Child) -> AsyncGenerator[list[JournalEntry], None]:
        decoder = FrameDecoder()
        while True:
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    length = await child.stdout.readexactly(4)
            except TimeoutError:
                yield []
                continue
            except asyncio.IncompleteReadError:
                return
            try:
                frame = await child.stdout.readexactly(int.from_bytes(length, "little"))
            except asyncio.IncompleteReadError:
                return
            yield decoder.entries(frame)


class FrameDecoder:
    """Turns ``journal_reader``'s frames into entries."""

    def __init__(self) -> None:
        self._contexts: dict[tuple[bytes | None, ...], Context] = {}

    def entries(self, frame: bytes) -> list[JournalEntry]:
        """Return a frame's entries."""
        rows, contexts, cursors = marshal.loads(frame)  # noqa: S302 — of a child that runs our code as our user
        about = [self._context(each) for each in contexts]
        found: list[JournalEntry] = []
        row, make = iter(rows), tuple.__new__  # a NamedTuple's own constructor takes twice the time
        marks = marks_of(cursors, len(rows) // 3)
        for usec, message, number, mark in zip(row, row, row, marks, strict=True):
            unit, priority, identifier, message_id, hostname, transport, fields = about[number]
            cursor, sequence_id, sequence, boot_id = mark
            entry = (
                cursor,
                moment(usec),
                message.decode(errors="replace"),
                unit,
                priority,
                identifier,
                message_id,
                hostname,
                boot_id,
                sequence_id,
                sequence,
                transport,
                fields,
            )
            found.append(make(JournalEntry, entry))
        return found

    def _context(self, values: tuple[bytes | None, ...]) -> Context:
        known = self._contexts.get(values)
        if known is None:
            if len(self._contexts) >= _CONTEXTS_MOST:
                self._contexts.clear()
            named = zip(_CONTEXT_FIELDS, values, strict=True)
            known = context_of({name: value.decode(errors="replace") for name, value in named if value is not None})
            self._contexts[values] = known
        return known


def marks_of(cursors: Sequence[str], entries: int) -> list[tuple[str, str, int, str]]:
    """Return cursor, sequence id, number and boot of each entry; between the first and the last the cursor is empty."""
    if len(cursors) == entries:
        return [(cursor, *numbered(cursor)) for cursor in cursors]
    first, last = cursors
    sequence_id, number, boot_id = numbered(first)
    between = [("", sequence_id, each, boot_id) for each in range(number + 1, number + entries - 1)]
    return [(first, sequence_id, number, boot_id), *between, (last, *numbered(last))]


def places(directory: Path | None, files: Sequence[Path] = ()) -> list[str]:
    """Return the arguments that name a directory, or some files of it only; both programs know them."""
    if files:
        return [f"--file={file}" for file in files]
    return [f"--directory={directory}"] if directory else []


def reader_for(directory: Path | None, mode: Mode) -> Reader:
    """Return the cheaper reader for what is to be done; only ``journalctl`` finds a journal by itself.

    Where systemd-python is not installed, ours goes by ctypes: slower than ``journalctl`` through many entries, and
    quicker to see a new one, of which journald tells others only four times a second.
    """
    if not (directory and sys.executable):
        return Journalctl()
    if has_binding():
        return Library()
    return Library(by_ctypes=True) if mode is Mode.FOLLOW and libsystemd.is_there() else Journalctl()


def has_binding() -> bool:
    """Tell whether systemd-python is installed."""
    try:
        return find_spec("systemd._reader") is not None
    except (ImportError, ValueError):
        return False
