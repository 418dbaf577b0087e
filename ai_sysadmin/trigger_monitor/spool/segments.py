"""Numbered lines on disk, in order, in a few files: appended durably at the end, let go of at the beginning.

A line is ``CHECKSUM NUMBER BODY``; the checksum (CRC-32) is of the rest. A line counts once its newline is there and
its checksum fits. Files are named by the first number in them, and by the last one too where they stand for all that
other files hold of those numbers.
"""

import logging
import os
import re
import zlib
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Final, NamedTuple

log = logging.getLogger(__name__)

_NAME: Final = re.compile(r"(?P<first>[0-9]{20})(-(?P<last>[0-9]{20}))?\.jsonl")
_PARTIAL: Final = ".partial"


class Line(NamedTuple):
    """Where a line is: its whole length in bytes, newline included."""

    number: int
    path: Path
    offset: int
    size: int


class Segments:
    """The lines of one name in a directory. Every method does file I/O, and raises ``OSError``.

    Attributes:
        lines: what waits, the first first.
        damaged: so many lines could not be read when the files were opened.
    """

    def __init__(self, directory: Path, name: str, segment_bytes: int) -> None:
        self._directory = directory
        self._name = name
        self._segment_bytes = segment_bytes
        self._sizes: dict[Path, int] = {}
        self._active: Path | None = None
        self.lines: deque[Line] = deque()
        self.damaged = 0

    @property
    def size(self) -> int:
        """The bytes that the files take."""
        return sum(self._sizes.values())

    def open(self) -> None:
        """Find what an earlier process left; a torn last line is cut off."""
        for left in self._directory.glob(f"{self._name}-*{_PARTIAL}"):
            left.unlink()
        found: dict[int, Line] = {}
        for path, first, last in self._files():
            if last:  # it stands for what others hold, wherever the process that wrote it was killed
                found = {number: line for number, line in found.items() if not first <= number <= last}
            whole, lines, damaged = _scan(path)
            self.damaged += damaged
            if whole < path.stat().st_size:
                log.warning("%s: its last line is torn and is cut off", path, extra={"event": "spool_torn"})
                os.truncate(path, whole)
            self._sizes[path] = whole
            found |= {line.number: line for line in lines}
        self.lines = deque(found[number] for number in sorted(found))
        self._remove_unused()

    def append(self, number: int, body: bytes) -> None:
        """Add a line; once this returns, it is on disk. After an error it is not there."""
        line = _line(number, body)
        path = self._active or self._begin(number)
        offset = self._sizes[path]
        try:
            _write(path, line)
        except OSError:
            self._active = None  # nothing is added behind what may be torn
            with suppress(OSError):
                os.truncate(path, offset)
            if not offset:
                self._sizes.pop(path, None)
                with suppress(OSError):
                    path.unlink()
            raise
        self._sizes[path] = offset + len(line)
        self.lines.append(Line(number, path, offset, len(line)))
        if self._sizes[path] >= self._segment_bytes:
            self._active = None

    def read(self, line: Line) -> bytes:
        """Return a line's body. Raises: ValueError: it is damaged, or its file was removed."""
        try:
            with line.path.open("rb") as file:
                file.seek(line.offset)
                return _body(file.read(line.size))[1]
        except FileNotFoundError as error:
            raise ValueError(f"{line.path} was removed") from error

    def let_go(self, number: int) -> int:
        """Forget all lines up to a number, and the files that hold no more; return how many lines those were."""
        gone, paths = 0, dict[Path, None]()
        while self.lines and self.lines[0].number <= number:
            paths[self.lines.popleft().path] = None
            gone += 1
        if self.lines:
            paths.pop(self.lines[0].path, None)
        self._remove(paths)
        return gone

    def let_go_of_a_file(self) -> int:
        """Forget the lines of the oldest file; return how many those were."""
        if not self.lines:
            return 0
        oldest = self.lines[0].path
        return self.let_go(max(line.number for line in self.lines if line.path == oldest))

    def oldest_change(self) -> float:
        """Return when the oldest file was last written to, in seconds since 1970; 0: it was removed."""
        try:
            return self.lines[0].path.stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def replace(self, bodies: Iterable[tuple[int, bytes]]) -> None:
        """Put other lines in the place of all: one file, renamed into its place before the others are removed."""
        first, last = self.lines[0].number, self.lines[-1].number
        path = self._directory / f"{self._name}-{first:020}-{last:020}.jsonl"
        partial = path.with_name(path.name + _PARTIAL)
        lines, offset = deque[Line](), 0
        try:
            with partial.open("xb") as file:
                for number, body in bodies:
                    line = _line(number, body)
                    file.write(line)
                    lines.append(Line(number, path, offset, len(line)))
                    offset += len(line)
                file.flush()
                os.fsync(file.fileno())
            partial.rename(path)
            _sync(self._directory)
        except OSError:
            with suppress(OSError):
                partial.unlink()
            raise
        self._active, self.lines = None, lines
        self._sizes[path] = offset
        self._remove_unused()

    def _begin(self, number: int) -> Path:
        path = self._directory / f"{self._name}-{number:020}.jsonl"
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        _sync(self._directory)
        self._active, self._sizes[path] = path, 0
        return path

    def _remove_unused(self) -> None:
        used = {line.path for line in self.lines}
        self._remove(path for path in sorted(self._sizes) if path not in used)

    def _remove(self, unused: Iterable[Path]) -> None:
        """Remove files, the oldest first: what is left is never older than what went."""
        unused = tuple(unused)
        for path in unused:
            path.unlink(missing_ok=True)
            self._sizes.pop(path, None)
            if path == self._active:
                self._active = None
        if unused:
            _sync(self._directory)

    def _files(self) -> Sequence[tuple[Path, int, int]]:
        """Return files with the first number in them and the last that they stand for, or 0; those come last."""
        paths = self._directory.glob(f"{self._name}-*.jsonl")
        named = ((path, _NAME.fullmatch(path.name.removeprefix(f"{self._name}-"))) for path in paths)
        found = ((path, int(name["first"]), int(name["last"] or 0)) for path, name in named if name)
        return sorted(found, key=lambda each: (each[2], each[1]))


def _line(number: int, body: bytes) -> bytes:
    text = b"%d %s" % (number, body)
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _body(line: bytes) -> tuple[int, bytes]:
    """Return a line's number and body. Raises: ValueError: it is damaged."""
    checksum, _, text = line.removesuffix(b"\n").partition(b" ")
    number, _, body = text.partition(b" ")
    if not line.endswith(b"\n") or int(checksum, 16) != zlib.crc32(text):
        raise ValueError("its checksum does not fit")
    return int(number), body


def _scan(path: Path) -> tuple[int, list[Line], int]:
    """Return the length up to the last whole line, the lines, and how many between them are damaged."""
    lines, offset, whole, bad, damaged = list[Line](), 0, 0, 0, 0
    for text in BytesIO(path.read_bytes()):
        try:
            number, _ = _body(text)
        except ValueError:
            bad += 1
        else:
            lines.append(Line(number, path, offset, len(text)))
            whole, damaged = offset + len(text), damaged + bad
            bad = 0
        offset += len(text)
    return whole, lines, damaged


def _write(path: Path, line: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        rest = memoryview(line)
        while rest:
            rest = rest[os.write(file, rest) :]
        os.fdatasync(file)
    finally:
        os.close(file)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
