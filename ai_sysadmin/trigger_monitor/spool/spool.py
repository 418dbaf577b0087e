"""The spool's files: what waits in them, within a bound, and what was given up to stay within it."""

import asyncio
import errno
import fcntl
import logging
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.errors import StoreUnavailable
from ai_sysadmin.runtime.service import uninterrupted
from ai_sysadmin.trigger_monitor.spool.condense import Level, condensed
from ai_sysadmin.trigger_monitor.spool.pieces import Figures, Piece, figures_of, figures_written, piece_of, written
from ai_sysadmin.trigger_monitor.spool.segments import Line, Segments

log = logging.getLogger(__name__)

T = TypeVar("T")

_FILES: Final = 16
"""In so many files at least a full spool is: the oldest figures are dropped by the file."""
_MOST_FILE_BYTES: Final = 4 << 20
_AT_ONCE: Final = 64
_CHUNK: Final = 2000
_RUN: Final = 1 << 32
"""Numbers of one process; the next one begins above them, whatever of this one's files a power loss brings back."""
_UNREADABLE: Final = "unreadable.jsonl"
_MOST_UNREADABLE_BYTES: Final = 1 << 20


class Spool:
    """Commits and figures that wait for the store, in a directory of their own; one process at a time has it.

    Appending is durable. When ``most_bytes`` are full, the oldest figures go first; then commits are made fewer and
    smaller (``condense``). What opens an incident is never dropped: when even that has no room, appending fails.
    Rewriting takes up to as much again, for as long as it lasts.

    Args:
        most_age: figures that have waited for so long are dropped.
    """

    def __init__(self, directory: Path, most_bytes: int, most_age: timedelta, clock: Clock) -> None:
        self.directory = directory
        self.most_bytes = most_bytes
        self._most_age = most_age
        self._clock = clock
        file_bytes = max(1, min(most_bytes // _FILES, _MOST_FILE_BYTES))
        self._notices = Segments(directory, "notices", file_bytes)
        self._metrics = Segments(directory, "metrics", file_bytes)
        self._files = asyncio.Lock()
        self._lock: int | None = None
        self._tried = 0
        self._condensed_to: dict[Level, int] = {}
        self._unaccounted = 0
        self.trouble = ""
        self.waiting = asyncio.Event()
        self.entries_dropped = self.figures_dropped = 0
        self.stream, self._number = secrets.token_hex(8), 0
        self._figures_number = 0
        try:
            self._open()
        except OSError as error:
            self.trouble = f"the spool {directory} cannot be used: {error.strerror or error}"
            log.warning("%s; see to its directory", self.trouble, extra={"event": "spool_unusable"})
        self.left_until = self._number

    def close(self) -> None:
        """Let another process have it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def has_notices(self) -> bool:
        return bool(self._notices.lines)

    @property
    def has_figures(self) -> bool:
        return bool(self._metrics.lines)

    @property
    def has_left_over(self) -> bool:
        """Whether commits of an earlier process still wait: what is in them is not known here."""
        return self.has_notices and self._notices.lines[0].number <= self.left_until

    @property
    def said(self) -> str:
        """What waits, in words."""
        many, figures = len(self._notices.lines), len(self._metrics.lines)
        return f"{many} commits and {figures} moments' figures wait in {self.directory}"

    def next_number(self) -> int:
        self._number += 1
        return self._number

    def lost(self) -> int:
        """Return, once, how many commits were lost that no other commit accounts for."""
        lost, self._unaccounted = self._unaccounted, 0
        return lost

    def dropped(self) -> tuple[int, int]:
        """Return, once, how many entries and how many moments' figures were given up."""
        dropped = self.entries_dropped, self.figures_dropped
        self.entries_dropped = self.figures_dropped = 0
        return dropped

    # --- in

    async def append(self, number: int, piece: Piece) -> None:
        """Add a commit. Raises: StoreUnavailable: it cannot be written, or there is no room."""
        await self._in_thread(lambda: self._append_piece(number, written(piece)))
        self.waiting.set()

    async def append_figures(self, figures: Figures) -> None:
        """Add figures, or drop them where commits take all the room. Raises: StoreUnavailable: it cannot be written."""
        await self._in_thread(lambda: self._append_figures(figures_written(figures)))
        self.waiting.set()

    def tried(self, number: int) -> None:
        """Note that the store may have a commit, and all before it: it has to stay as it is."""
        self._tried = max(self._tried, number)

    def _append_piece(self, number: int, body: bytes) -> None:
        self._make_room(len(body))
        if not self._has_room(len(body)):
            raise OSError(errno.ENOSPC, f"its {self.most_bytes} bytes are full")
        self._notices.append(number, body)

    def _append_figures(self, body: bytes) -> None:
        self._drop_figures(len(body))
        if not self._has_room(len(body)):
            self.figures_dropped += 1
            return
        self._figures_number += 1
        self._metrics.append(self._figures_number, body)

    # --- the bound

    def _has_room(self, need: int) -> bool:
        return self._notices.size + self._metrics.size + need <= self.most_bytes

    def _drop_figures(self, need: int) -> None:
        oldest = (self._clock.now() - self._most_age).timestamp()
        while self._metrics.lines and (not self._has_room(need) or self._metrics.oldest_change() < oldest):
            self.figures_dropped += self._metrics.let_go_of_a_file()

    def _make_room(self, need: int) -> None:
        self._drop_figures(need)
        for level in Level:
            before = self._condensed_to.get(level, 0)  # doing it again soon would gain next to nothing
            if not self._has_room(need) and self._notices.size - before > self.most_bytes // 8:
                self._condense(level)

    def _condense(self, level: Level) -> None:
        words = "the spool %s is full: what does not open an incident is %s"
        what = "counted together" if level is Level.TOGETHER else "dropped"
        log.warning(words, self.directory, what, extra={"event": "spool_full", "spool_bytes": self._notices.size})
        self._notices.replace(self._condensed(level))
        self._condensed_to[level] = self._notices.size

    def _condensed(self, level: Level) -> Iterator[tuple[int, bytes]]:
        lines, dropped = tuple(self._notices.lines), 0
        untried = [line for line in lines if line.number > self._tried]
        for line in lines[: len(lines) - len(untried)]:
            with suppress(ValueError):
                yield line.number, self._notices.read(line)
        for start in range(0, len(untried), _CHUNK):
            result = condensed(self._read(untried[start : start + _CHUNK]), level)
            dropped += result.dropped
            yield from ((number, written(piece)) for number, piece in result.pieces)
        self.entries_dropped += dropped

    # --- out

    async def first(self) -> Sequence[tuple[int, Piece]]:
        """Return the first commits that wait, in order; they stay. Raises: StoreUnavailable: they cannot be read."""
        return await self._in_thread(self._first)

    def _first(self) -> Sequence[tuple[int, Piece]]:
        pieces: list[tuple[int, Piece]] = []
        for line in tuple(islice(self._notices.lines, _AT_ONCE)):
            try:
                pieces.append((line.number, piece_of(self._notices.read(line))))
            except ValueError:
                if pieces:
                    break
                self._read([line])  # sets it aside
                self._notices.let_go(line.number)
        self.tried(pieces[-1][0] if pieces else 0)
        return pieces

    async def first_figures(self) -> Sequence[tuple[int, Figures]]:
        """Return the first figures that wait, in order; they stay. Raises: StoreUnavailable: they cannot be read."""

        def work() -> Sequence[tuple[int, Figures]]:
            some = tuple(islice(self._metrics.lines, _AT_ONCE))
            found = [(line.number, each) for line in some if (each := self._figures(line)) is not None]
            if some and not found:
                self._metrics.let_go(some[-1].number)
            return found

        return await self._in_thread(work)

    async def let_go(self, number: int) -> None:
        """Forget the commits up to a number: the store has them. Raises: StoreUnavailable: files cannot be removed."""
        await self._in_thread(lambda: self._notices.let_go(number))
        if not self._notices.lines:
            self._condensed_to = {}

    async def let_go_figures(self, number: int) -> None:
        """Forget the figures up to a number. Raises: StoreUnavailable: files cannot be removed."""
        await self._in_thread(lambda: self._metrics.let_go(number))

    def _read(self, lines: Sequence[Line]) -> list[tuple[int, Piece]]:
        return [(line.number, piece) for line in lines if (piece := self._piece(line)) is not None]

    def _piece(self, line: Line) -> Piece | None:
        body = b""
        try:
            body = self._notices.read(line)
            return piece_of(body)
        except ValueError as error:
            self._set_aside(body, error)
            return None

    def _figures(self, line: Line) -> Figures | None:
        try:
            return figures_of(self._metrics.read(line))
        except ValueError:
            self.figures_dropped += 1
            return None

    def _set_aside(self, body: bytes, error: ValueError) -> None:
        """Keep what this version cannot read, for a person."""
        self.entries_dropped += 1
        self._unaccounted += 1
        place = self.directory / _UNREADABLE
        fields = {"event": "spool_unreadable"}
        log.error("a commit in the spool cannot be read (%s) and is set aside in %s", error, place, extra=fields)
        with suppress(OSError), place.open("ab") as file:
            if file.tell() + len(body) < _MOST_UNREADABLE_BYTES:
                file.write(body + b"\n")

    # --- files

    def _open(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(lock)
            raise OSError(errno.EBUSY, "another trigger monitor has it") from error
        self._lock = lock
        self._notices.open()
        self._metrics.open()
        self.entries_dropped = self._unaccounted = self._notices.damaged
        self.figures_dropped += self._metrics.damaged
        if self._metrics.lines:
            self._figures_number = self._metrics.lines[-1].number
            self.waiting.set()
        if self._notices.lines:
            self._go_on()
            self.waiting.set()

    def _go_on(self) -> None:
        """Go on with the numbers of what waits."""
        last = self._notices.lines[-1]
        self._tried = last.number
        self._number = (last.number // _RUN + 1) * _RUN
        for line in reversed(self._notices.lines):
            with suppress(ValueError):
                piece = piece_of(self._notices.read(line))
                self.stream = piece.stream
                log.info("%s from before", self.said, extra={"event": "spool_found"})
                return

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self.trouble:
            raise StoreUnavailable(self.trouble)
        async with self._files:
            try:
                return await uninterrupted(asyncio.to_thread(work))
            except OSError as error:
                why = error.strerror or str(error)
                raise StoreUnavailable(f"the spool {self.directory} cannot be used: {why}") from error
