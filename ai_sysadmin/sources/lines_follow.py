"""A log file followed like the journal: from a durable position, across rotation and truncation."""

import asyncio
import os
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path
from typing import Final, NamedTuple

from ai_sysadmin.core.errors import JournalUnavailable
from ai_sysadmin.core.records import JournalEntry
from ai_sysadmin.sources.lines import Format, LineReader, form_of

IDLE_SECONDS: Final = 0.5
HISTORY_BYTES: Final = 1 << 20
"""Of a file that was never read before, so much of its end is."""

_CHUNK = 256 << 10
_SAMPLE = 64 << 10


class FilePosition(NamedTuple):
    """How far a file has been read: which file it is, and the bytes that are done with."""

    device: int
    inode: int
    offset: int


@dataclass(frozen=True)
class FileBatch:
    """What a file said, and the position after it."""

    entries: list[JournalEntry]
    position: FilePosition | None


async def follow_file(path: Path, form: Format, position: FilePosition | None) -> AsyncGenerator[FileBatch, None]:
    """Yield what is written to a file as it comes, at most a chunk at a time; an empty batch while nothing does.

    A file that was rotated away is read to its end first, if it still lies beside; one that was cut short, and one
    that replaced it, from its beginning. A file that is not there is waited for.

    Args:
        position: where to go on; none: near the end of what is there.

    Raises:
        JournalUnavailable: the file may not be read.
    """
    done: FilePosition | None = None
    while True:
        file = _opened(path, position, done)
        if file is None:
            yield FileBatch([], position)
            await asyncio.sleep(IDLE_SECONDS)
            continue
        with file:
            reading = _Reading(file, form, position)
            async with aclosing(_read(path, reading)) as batches:
                async for batch in batches:
                    yield batch
        position = done = reading.position


async def _read(path: Path, reading: "_Reading") -> AsyncGenerator[FileBatch, None]:
    """Yield what one file says until it is no longer the one of its name, and what it then still says."""
    while True:
        is_replaced = not _is_at(path, reading.position) and path.exists()
        read = False
        for entries in reading.more():
            read = True
            yield FileBatch(entries, reading.position)
            await asyncio.sleep(0)
        if is_replaced:
            return
        if not read:
            yield FileBatch([], reading.position)
            await asyncio.sleep(IDLE_SECONDS)


class _Reading:
    """One open file."""

    def __init__(self, file: BufferedReader, form: Format, position: FilePosition | None) -> None:
        status = os.fstat(file.fileno())
        self._file = file
        self._form = form
        now = datetime.now(UTC)
        if form == "auto":
            sample = os.pread(file.fileno(), _SAMPLE, 0).decode(errors="replace")
            self._form = form_of(sample.splitlines(), now) if sample.strip() else "auto"
        self._lines = LineReader(self._form, now)
        offset = self._near_end(status.st_size) if position is None else position.offset
        if position is not None and (status.st_dev, status.st_ino) != position[:2]:
            offset = 0
        self.position = FilePosition(status.st_dev, status.st_ino, offset)

    def _near_end(self, size: int) -> int:
        """Return where the first whole line of the last stretch begins."""
        begin = max(0, size - HISTORY_BYTES)
        if begin == 0:
            return 0
        newline = os.pread(self._file.fileno(), _CHUNK, begin).find(b"\n")
        return begin + newline + 1 if newline >= 0 else size

    def more(self) -> Iterator[list[JournalEntry]]:
        """Yield the entries of the whole lines that are there, moving the position with each batch."""
        if os.fstat(self._file.fileno()).st_size < self.position.offset:
            self.position = self.position._replace(offset=0)
            self._lines = LineReader(self._form, datetime.now(UTC))
        while chunk := os.pread(self._file.fileno(), _CHUNK, self.position.offset):
            if self._form == "auto":
                self._form = form_of(chunk.decode(errors="replace").splitlines(), datetime.now(UTC))
                self._lines = LineReader(self._form, datetime.now(UTC))
            end = b"\n\n" if self._form == "journal-export" else b"\n"
            cut = chunk.rfind(end) + len(end)
            if cut < len(end):
                if len(chunk) < _CHUNK:
                    return
                cut = len(chunk)
            found = [line.entry for line in self._lines.feed(chunk[:cut]) if not line.blank]
            self.position = self.position._replace(offset=self.position.offset + cut)
            yield found


def _opened(path: Path, position: FilePosition | None, done: FilePosition | None) -> BufferedReader | None:
    """Open the file that the position is in, wherever it was rotated to, else the one of that name; none: no file.

    Args:
        done: where the last file was left, read to its end.
    """
    rotated = _rotated(path, position) if position != done else []
    for each in [*rotated, path]:
        try:
            return each.open("rb")
        except FileNotFoundError:
            continue
        except OSError as error:
            raise JournalUnavailable(f"the log file {path} cannot be read: {error.strerror}") from error
    return None


def _rotated(path: Path, position: FilePosition | None) -> list[Path]:
    """Return the file that the position is in, if it lies beside its old name under another one."""
    if position is None or _is_at(path, position):
        return []
    try:
        return [each for each in path.parent.glob(f"{path.name}?*") if _is_at(each, position)][:1]
    except OSError:
        return []


def _is_at(path: Path, position: FilePosition) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    return (status.st_dev, status.st_ino) == position[:2]
