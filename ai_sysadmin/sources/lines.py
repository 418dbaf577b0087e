"""Log files and streams, line by line, as journal entries. Pure: bytes in, entries out, whatever the bytes are.

Memory stays bounded: of a line longer than ``LINE_BYTES`` the head is kept and the rest passed over as it comes.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final, Literal, NamedTuple

from ai_sysadmin.core.errors import JournalUnavailable
from ai_sysadmin.core.records import JournalEntry
from ai_sysadmin.sources.export import VALUE_BYTES, ExportParser, entry_of
from ai_sysadmin.sources.line_heads import HeadReader

Format = Literal["auto", "plain", "syslog", "journal-json", "journal-export"]

LINE_BYTES: Final = VALUE_BYTES
SAMPLE_LINES: Final = 20
"""So many lines tell how a file is written."""

_KERNEL = "kernel"
_KERNEL_FACILITY = 0
_JSON_BYTES = 1 << 20
_JSON_MARKS = ('"MESSAGE"', '"__CURSOR"', '"__REALTIME_TIMESTAMP"')


class Line(NamedTuple):
    """One line as it was read: its number from 1, its entry, and whether it was blank."""

    number: int
    entry: JournalEntry
    blank: bool = False


class LineCutter:
    """Cuts bytes into lines, keeping the head of one that is too long."""

    def __init__(self, most: int = LINE_BYTES) -> None:
        self._most = most
        self._rest = b""
        self._is_passing = False

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next piece; return the lines that it completes, without their ends."""
        *whole, rest = data.split(b"\n")
        if whole:
            whole[0] = self._rest + whole[0] if not self._is_passing else self._rest
            self._rest, self._is_passing = b"", False
        if not self._is_passing:
            self._rest += rest[: self._most]
            self._is_passing = len(self._rest) >= self._most
        return [line[: self._most] for line in whole]

    def end(self) -> list[bytes]:
        """Return the last line, if it had no end."""
        rest, self._rest, self._is_passing = self._rest, b"", False
        return [rest] if rest else []


class LineReader:
    """Reads one log: pieces of bytes in, numbered entries out.

    Entries are believed to be the kernel's only where ``trusting``: anybody may write a line that looks like it.
    """

    def __init__(self, form: Format, now: datetime, *, trusting: bool = False) -> None:
        self._form = form
        self._now = now
        self._trusting = trusting
        self._heads = HeadReader(now)
        self._at = now
        self._number = 0
        self._cutter = LineCutter(_JSON_BYTES if form in {"auto", "journal-json"} else LINE_BYTES)
        self._export: ExportParser | None = ExportParser() if form == "journal-export" else None
        self._waiting: list[bytes] = []

    @property
    def form(self) -> Format:
        """How the log is written; ``auto`` until enough of it was read."""
        return self._form

    def feed(self, data: bytes) -> list[Line]:
        """Take the next piece of the log; return the lines that are known by it."""
        if self._export is not None:
            return list(self._exported(data))
        return list(self._lines(self._cutter.feed(data)))

    def end(self) -> list[Line]:
        """Return what is left at the end of the log."""
        if self._export is not None:
            return list(self._exported(b"\n\n"))
        lines = self._waiting + self._cutter.end()
        self._waiting = []
        if self._form == "auto":
            self._form = form_of([line.decode(errors="replace") for line in lines], self._now)
            if self._form == "journal-export":
                self._export = ExportParser()
                return list(self._exported(b"\n".join(lines) + b"\n\n"))
        return [self._line(line) for line in lines]

    def _lines(self, lines: list[bytes]) -> Iterator[Line]:
        if self._form == "auto":
            self._waiting += lines
            filled = sum(1 for line in self._waiting if line.strip())
            if filled < SAMPLE_LINES and not any(line.startswith(b"__CURSOR=") for line in self._waiting):
                return
            lines, self._waiting = self._waiting, []
            self._form = form_of([line.decode(errors="replace") for line in lines], self._now)
        if self._form == "journal-export":
            self._export = ExportParser()
            rest = b"".join(self._cutter.end())
            yield from self._exported(b"\n".join((*lines, rest)))
            return
        for line in lines:
            yield self._line(line)

    def _exported(self, data: bytes) -> Iterator[Line]:
        try:
            entries = self._export.feed(data) if self._export else []
        except JournalUnavailable:
            self._export = ExportParser()
            entries = []
        for entry in entries:
            self._number += 1
            yield Line(self._number, entry)

    def _line(self, raw: bytes) -> Line:
        self._number += 1
        text = raw.decode(errors="replace").rstrip("\r\n")
        if not text.strip():
            return Line(self._number, JournalEntry(cursor="", at=self._at, message=""), blank=True)
        if self._form == "journal-json":
            entry = from_json(text)
            if entry is not None:
                self._at = entry.at
                return Line(self._number, entry)
        return Line(self._number, self._entry(text[:LINE_BYTES]))

    def _entry(self, text: str) -> JournalEntry:
        head = self._heads.read(text, is_syslog=self._form == "syslog")
        self._at = head.at or self._at
        message = text[head.rest :].replace("\0", " ")
        is_kernel = self._trusting and (head.program == _KERNEL or head.is_uptime or head.facility == _KERNEL_FACILITY)
        if head.level_word:
            message = f"{head.level_word} {message}"
        return JournalEntry(
            cursor="",
            at=self._at,
            message=message or text,
            priority=6 if head.priority is None else head.priority,
            identifier=head.program,
            hostname=head.host,
            transport=_KERNEL if is_kernel else "",
        )


def form_of(lines: Sequence[str], now: datetime) -> Format:
    """Tell from a log's first lines how it is written."""
    filled = [line for line in lines if line.strip()][:SAMPLE_LINES]
    if not filled:
        return "plain"
    if filled[0].startswith("__CURSOR="):
        return "journal-export"
    if filled[0].lstrip().startswith("{") and any(mark in filled[0] for mark in _JSON_MARKS):
        return "journal-json"
    heads = HeadReader(now)
    found = [heads.read(line, is_syslog=True) for line in filled]
    named = sum(1 for head in found if head.program and (head.host or head.is_uptime) and head.rest > 0)
    return "syslog" if 2 * named >= len(filled) else "plain"


def from_json(line: str) -> JournalEntry | None:
    """Return the entry that a line of ``journalctl -o json`` is; none: it is no such line."""
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    return entry_of({str(name): _text(value) for name, value in document.items()})


def _text(value: object) -> str:
    """Return a field's value as text: bytes come as a list of numbers, several values as a list of texts."""
    if isinstance(value, str):
        return value[:VALUE_BYTES]
    if isinstance(value, list) and value and all(isinstance(each, int) and 0 <= each < 256 for each in value):
        return bytes(value[:VALUE_BYTES]).decode(errors="replace")
    if isinstance(value, list) and value:
        return _text(value[-1]) if isinstance(value[-1], str) else ""
    return str(value) if isinstance(value, int | float) else ""
