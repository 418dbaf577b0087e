"""Read journal files with libsystemd and write what they hold to stdout, in frames: a program of its own.

``python -m ai_sysadmin.sources.journal_reader`` is started by ``journal_children``. A damaged journal file may kill it
(SIGBUS), or send libsystemd round in circles: then SIGPROF ends it. Nothing else dies with it. It knows no meaning of
any field, and imports next to nothing of the package, so that it starts fast and stays small.

A frame is its length (four bytes, little-endian) and three marshalled lists: time (µs since 1970), message and the
number of a context for each entry, flat; the contexts, each the values of ``--fields`` in that order (none: absent);
and the cursors of all entries, or of the first and the last alone where all between are numbered one by one. Values are
bytes, cut at ``--value-bytes``. Most entries of a stretch share a handful of contexts.
"""

import argparse
import gc
import marshal
import os
import re
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from fcntl import F_SETPIPE_SZ, fcntl
from typing import Protocol, cast

from ai_sysadmin.sources import libsystemd

DAMAGED = 74
"""Exit status: the files cannot be read any further."""

MISUSED = 64
"""Exit status: the cursor is none."""

UNUSABLE = 69
"""Exit status: libsystemd or its binding cannot be loaded."""

_PIPE_BYTES = 1 << 20
_FRAME_BYTES = 512 << 10
_FIRST_CAREFULLY = 5000
_SPIN_SECONDS = 20.0
_LOOK_SECONDS = 0.06
_LOOKS_TO_TELL = 16
_WARNING = b"4"
_KERNEL = b"kernel"

Value = bytes | None
Everything = dict[str, bytes | list[bytes]]


class Journal(Protocol):
    """What is used of ``systemd._reader``'s Reader; its underscored calls return what is there, unconverted."""

    data_threshold: int

    def seek_cursor(self, cursor: str) -> None: ...
    def seek_realtime(self, usec: int) -> None: ...
    def fileno(self) -> int: ...
    def process(self) -> int: ...
    def _next(self) -> int: ...
    def _get(self, field: str) -> bytes: ...
    def _get_all(self) -> Everything: ...
    def _get_cursor(self) -> str: ...
    def _get_realtime(self) -> int: ...


class Gatherer:
    """Collects the entries of a frame."""

    def __init__(self, journal: Journal, fields: Sequence[str], value_bytes: int) -> None:
        self._journal = journal
        self._fields = tuple(fields)
        self._most = value_bytes
        self._clear()

    def _clear(self) -> None:
        self._rows: list[object] = []
        self._cursors: list[str] = []
        self._numbers: dict[tuple[object, ...], int] = {}
        self._contexts: list[tuple[Value, ...]] = []
        self._bytes = 0
        self._read = 0
        self._asked = 0
        self._passed_over = 0
        self._before_first = 0

    def frame(self, entries: int) -> tuple[bytes, int, bool]:
        """Return the next frame of at most so many entries, how many were looked at, and whether the end was met."""
        read, ended = self.gather(entries)
        return self.take(), read, ended

    def gather(self, entries: int) -> tuple[int, bool]:
        """Add at most so many entries to the next frame; return how many were looked at, and whether that was all."""
        read, ended = self._fill(entries, each_cursor=False)
        self._read += read
        return read, ended

    def take(self) -> bytes:
        """Return what was gathered as a frame, and begin the next; nothing was gathered: nothing."""
        if not self._rows:
            self._clear()
            return b""
        if self._read > 1 and not self._is_gapless(self._read):
            self._read_again(self._read - self._before_first)
        body = marshal.dumps((self._rows, self._contexts, self._cursors), 2)  # later versions look for equal objects
        self._clear()
        return len(body).to_bytes(4, "little") + body

    def is_urgent(self, urgent: Callable[[tuple[Value, ...], bytes], bool]) -> bool:
        """Tell whether any of what was gathered since the last question is urgent."""
        rows, self._asked = self._rows[self._asked :], len(self._rows)
        pairs = cast("Iterator[tuple[bytes, int]]", zip(rows[1::3], rows[2::3], strict=True))
        return any(urgent(self._contexts[number], message) for message, number in pairs)

    def _is_gapless(self, entries: int) -> bool:
        """Add the last cursor; tell whether all entries are numbered one by one from the first to it."""
        if self._passed_over:
            return False
        self._cursors.append(self._journal._get_cursor())  # noqa: SLF001
        return are_consecutive(self._cursors[0], self._cursors[1], entries)

    def _read_again(self, entries: int) -> None:
        """Read the same entries once more, each with its cursor."""
        self._journal.seek_cursor(self._cursors[0])
        self._clear()
        self._fill(entries, each_cursor=True)

    def _fill(self, entries: int, *, each_cursor: bool) -> tuple[int, bool]:
        journal, fields, most, rows = self._journal, self._fields, self._most, self._rows
        step, everything = journal._next, journal._get_all  # noqa: SLF001 — the public calls convert: 6 times the cost
        cursor, realtime = journal._get_cursor, journal._get_realtime  # noqa: SLF001
        read = 0
        while read < entries and (self._bytes < _FRAME_BYTES or each_cursor):
            if not step():
                return read, True
            read += 1
            try:
                found = everything()
                message = found["MESSAGE"][:most]
                context = tuple(map(found.get, fields))
                number = self._numbers.get(context)
                if number is None or message.__class__ is list:
                    self._add_with_care(found, each_cursor=each_cursor)
                else:
                    at = realtime()
                    if each_cursor:
                        self._cursors.append(cursor())
                    rows += (at, message, number)
                    self._bytes += len(message)
            except TypeError:  # a field that is there twice comes as a list
                self._add_with_care(found, each_cursor=each_cursor)
            except (KeyError, ValueError, OSError):
                self._add_with_care({}, each_cursor=each_cursor)
        return read, False

    def _add_with_care(self, found: Everything, *, each_cursor: bool) -> None:
        """Add an entry of a context not seen before, or out of the ordinary; pass over one that cannot be read."""
        try:
            found = found or self._readable()
            cursor, realtime = self._journal._get_cursor(), self._journal._get_realtime()  # noqa: SLF001
        except (OSError, ValueError):
            self._passed_over += 1
            return
        if not self._rows:  # the first of a frame is always of a context not seen before
            self._before_first = self._passed_over
        if each_cursor or not self._rows:
            self._cursors.append(cursor)
        message = self._cut(found.get("MESSAGE")) or b""
        context = tuple(self._cut(found.get(field)) for field in self._fields)
        number = self._numbers.setdefault(context, len(self._contexts))
        if number == len(self._contexts):
            self._contexts.append(context)
            self._bytes += sum(len(each) for each in context if each)
        self._rows += (realtime, message, number)
        self._bytes += len(message)

    def _readable(self) -> Everything:
        """Read field by field, for an entry without a message or with one that libsystemd stumbles over."""
        found: Everything = {}
        for field in ("MESSAGE", *self._fields):
            with suppress(KeyError):
                found[field] = self._journal._get(field)  # noqa: SLF001
        return found

    def _cut(self, value: bytes | list[bytes] | None) -> Value:
        if isinstance(value, list):
            value = value[-1]
        return value[: self._most] if value else value


def are_consecutive(first: str, last: str, entries: int) -> bool:
    """Tell whether so many entries, of which two cursors are known, have consecutive numbers of one boot."""
    one, other = (dict(part.split("=", 1) for part in each.split(";")) for each in (first, last))
    try:
        return (
            one["s"] == other["s"] and one["b"] == other["b"] and int(other["i"], 16) - int(one["i"], 16) == entries - 1
        )
    except (KeyError, ValueError):
        return False


def frames(
    journal: Journal,
    gatherer: Gatherer,
    *,
    batch: int,
    careful: bool,
    follow: bool,
    urgent: Callable[[tuple[Value, ...], bytes], bool] = lambda _context, _message: True,
    pause: Callable[[float], None] = time.sleep,
    lives: Callable[[], None] = lambda: None,
) -> Iterator[bytes]:
    """Yield frames to the end of the journal, and then, following, as entries come.

    It looks by itself, sixteen times a second: journald tells of what it wrote only four times a second. What is urgent
    is passed on at once, the rest within a second, since each frame wakes another process.

    Args:
        careful: begin with frames of one entry, so that nothing that was read is lost if the next entry kills.
        urgent: judges an entry by its context and its message.
        lives: is told now and then that reading goes on.
    """
    carefully = _FIRST_CAREFULLY if careful else 0
    looks = 0
    while True:
        is_due = looks % _LOOKS_TO_TELL == 0
        if is_due:
            lives()
            journal.process()  # files that came, or went
        read, ended = gatherer.gather(1 if carefully > 0 else batch)
        carefully -= read
        if not (ended and follow) or is_due or (read and gatherer.is_urgent(urgent)):
            yield from filter(None, (gatherer.take(),))
        if ended and not follow:
            return
        if ended:
            pause(_LOOK_SECONDS)
            looks += 1
        else:
            looks = 0


def urgency(fields: Sequence[str], words: str) -> Callable[[tuple[Value, ...], bytes], bool]:
    """Return what judges an entry: a warning or worse, one of the kernel or with a message id, one of the words."""
    priority, message_id, transport = (fields.index(name) for name in ("PRIORITY", "MESSAGE_ID", "_TRANSPORT"))
    search = re.compile(words.encode(), re.IGNORECASE).search

    def urgent(context: tuple[Value, ...], message: bytes) -> bool:
        return (
            (context[priority] or b"6") <= _WARNING
            or context[message_id] is not None
            or context[transport] == _KERNEL
            or search(message) is not None
        )

    return urgent


def open_journal(wanted: argparse.Namespace) -> Journal:
    """Return the files that were asked for, before the first entry that was.

    Raises:
        OSError: they cannot be opened.
    """
    journal: Journal
    if wanted.ctypes:
        journal = libsystemd.Journal(directory=wanted.directory or "", files=tuple(wanted.file or ()))
    else:
        from systemd._reader import _Reader as Reader

        journal = Reader(0, files=wanted.file) if wanted.file else Reader(0, path=wanted.directory)
    journal.data_threshold = wanted.value_bytes + 64
    if wanted.follow:
        journal.fileno()  # from here on no change goes unseen
    if wanted.cursor:
        journal.seek_cursor(wanted.cursor)
    else:
        journal.seek_realtime(wanted.since_usec)
    return journal


def writer(descriptor: int) -> Callable[[bytes], None]:
    """Return a function that writes all of what it is given to a pipe."""
    with suppress(OSError):  # an unprivileged user's share of pipe memory may be used up
        fcntl(descriptor, F_SETPIPE_SZ, _PIPE_BYTES)

    def write(data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]

    return write


def parsed(argv: Sequence[str]) -> argparse.Namespace:
    """Return the command line's wishes."""
    parser = argparse.ArgumentParser(prog="journal_reader", description="Write journal entries to stdout, in frames.")
    parser.add_argument("--directory", help="read the journal files there")
    parser.add_argument("--file", action="append", help="read this file, and others so named, only")
    parser.add_argument("--cursor", default="", help="begin with this entry")
    parser.add_argument("--since-usec", type=int, default=0, help="begin here, where there is no cursor")
    parser.add_argument("--fields", required=True, help="names, separated by commas")
    parser.add_argument("--value-bytes", type=int, required=True, help="how much of a value is kept")
    parser.add_argument("--batch", type=int, default=1000, help="entries in a frame")
    parser.add_argument("--careful", action="store_true", help="begin with frames of one entry")
    parser.add_argument("--urgent-words", default="", help="following, pass on at once what holds one of these")
    parser.add_argument("--ctypes", action="store_true", help="call libsystemd by ctypes")
    parser.add_argument("--follow", action="store_true", help="go on at the end")
    return parser.parse_args(argv)


def end_where_it_spins() -> None:
    """Let the kernel end this process after so much processor time, unless it is called again before."""
    signal.setitimer(signal.ITIMER_PROF, _SPIN_SECONDS)


def main(argv: Sequence[str] | None = None) -> int:
    """Read and write until the end or for ever; return the exit status."""
    wanted = parsed(sys.argv[1:] if argv is None else argv)
    gc.disable()  # nothing here is ever part of a cycle
    with suppress(OSError, ValueError):  # a journal may be of more files than a process opens by default
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    write = writer(sys.stdout.fileno())
    try:
        end_where_it_spins()
        journal = open_journal(wanted)
        fields = wanted.fields.split(",")
        gatherer, urgent = Gatherer(journal, fields, wanted.value_bytes), urgency(fields, wanted.urgent_words)
        how = {"batch": wanted.batch, "careful": wanted.careful, "follow": wanted.follow}
        for frame in frames(journal, gatherer, **how, urgent=urgent, lives=end_where_it_spins):
            write(frame)
    except ImportError as error:
        return _say(error, UNUSABLE)
    except OSError as error:
        return _say(error, DAMAGED)
    except ValueError as error:
        return _say(error, MISUSED)
    return 0


def _say(error: Exception, status: int) -> int:
    sys.stderr.write(f"{error}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
