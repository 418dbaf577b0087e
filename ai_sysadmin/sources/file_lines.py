"""Lines of a file that may be large, binary, growing, or one line without end: bounded in bytes, memory and time.

A private key is masked line by line, wherever reading begins: of a part of one nothing would tell later what it is.
"""

import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from ai_sysadmin.core.errors import Refused

WINDOW_BYTES: Final = 256 << 10
PASSED_BYTES: Final = 64 << 20
SECONDS: Final = 4.0
LONGEST_LINE: Final = 64 << 10

_CHUNK: Final = 256 << 10
_SLACK: Final = 2048
_LONGEST_KEY: Final = 32 << 10
_EDGE: Final = re.compile(rb"-{4,5} ?(BEGIN|END) [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)? ?-{4,5}")
_MASK: Final = b"[redacted: private key]"


class Line(NamedTuple):
    """A line with its number, from 1 on; 0: not known, since reading did not begin at the file's beginning."""

    number: int
    text: str


class Lines(NamedTuple):
    """Some lines of a file. ``left_out`` says in words what there is beyond them; empty: nothing."""

    lines: tuple[Line, ...]
    left_out: str = ""


class KeyMask:
    """Masks the lines of private keys; it has to see all lines in order."""

    def __init__(self) -> None:
        self._room = 0

    def __call__(self, line: bytes) -> bytes:
        """Return a line with a mark in the place of what of it belongs to a private key."""
        if self._room <= 0 and b"PRIVATE KEY" not in line:
            return line
        kept, at = b"", 0
        for edge in _EDGE.finditer(line):
            if edge[1] == b"BEGIN":
                kept += b"" if self._room > 0 else line[at : edge.start()]
                self._room = _LONGEST_KEY
            else:
                kept += _MASK
                self._room = 0
            at = edge.end()
        if self._room <= 0:
            return kept + line[at:]
        self._room -= len(line)
        return kept + _MASK


def masked_lines(text: str) -> list[str]:
    """Return a text's lines, those of private keys masked."""
    mask = KeyMask()
    data = text.encode(errors="replace")
    return [mask(line).decode(errors="replace") for line in data.replace(b"\r\n", b"\n").split(b"\n")]


def from_line(fd: int, first: int) -> Lines:
    """Return the lines of an open file from one on, as many as fit the window.

    Raises:
        Refused: it is not text, or the line lies too far down to be reached.
    """
    kept: list[Line] = []
    room, number = WINDOW_BYTES, 0
    for number, line in enumerate(_lines(fd, PASSED_BYTES + WINDOW_BYTES), 1):
        if number < first:
            continue
        room -= len(line) + 1
        if room < 0 and kept:
            left = f"only {WINDOW_BYTES >> 10} KiB are read at a time: go on with from_line = {number}"
            return Lines(tuple(kept), left)
        kept.append(Line(number, _text(line)))
    if not kept and first > 1:
        raise Refused(f"it has {number} lines within reach: from_line = {first} is beyond them")
    is_cut = bool(_read(fd, 1))
    return Lines(tuple(kept), "what follows is beyond reach: read its end with from_line = -200" if is_cut else "")


def last_lines(fd: int, size: int, count: int) -> Lines:
    """Return the last lines of an open file of so many bytes, at most ``count``, as many as fit the window.

    Raises:
        Refused: it is not text.
    """
    start = max(0, size - WINDOW_BYTES - _LONGEST_KEY)
    if start:
        os.lseek(fd, start, os.SEEK_SET)
    newest: deque[Line] = deque()
    room, is_cut = WINDOW_BYTES, start > 0
    for number, line in enumerate(_lines(fd, WINDOW_BYTES + 2 * _LONGEST_KEY), 0 if start else 1):
        if number == 0:  # the piece of a line at which reading began
            continue
        newest.append(Line(0 if start else number, _text(line)))
        room -= len(line) + 1
        while len(newest) > count or (room < 0 and len(newest) > 1):
            room += len(newest.popleft().text) + 1
            is_cut = True
    left = f"only the last {len(newest)} lines are shown: look for a text with contains" if is_cut else ""
    return Lines(tuple(newest), left)


def with_text(fd: int, size: int, wanted: Callable[[str], bool]) -> Lines:
    """Return those lines of an open file that are wanted; of too many the last, of a very large file of its end.

    Raises:
        Refused: it is not text.
    """
    start = max(0, size - PASSED_BYTES)
    if start:
        os.lseek(fd, start, os.SEEK_SET)
    newest: deque[Line] = deque()
    room, dropped, ends_at = WINDOW_BYTES, 0, time.monotonic() + SECONDS
    left = [f"only its last {PASSED_BYTES >> 20} MiB were searched"] if start else []
    for number, line in enumerate(_lines(fd, PASSED_BYTES + _CHUNK), 1):
        if number % 1000 == 0 and time.monotonic() > ends_at:
            left.append(f"the search ended after {SECONDS:g} s, at line {number}")
            break
        text = _text(line)
        if wanted(text):
            newest.append(Line(0 if start else number, text))
            room -= len(line) + 1
        while room < 0 and len(newest) > 1:
            room += len(newest.popleft().text) + 1
            dropped += 1
    if dropped:
        left.append(f"{dropped} earlier lines with it are not shown: look for more of the line")
    return Lines(tuple(newest), "; ".join(left))


def _lines(fd: int, most: int) -> Iterator[bytes]:
    """Yield lines without their ends, private keys masked; the middle of a very long one is left out."""
    mask, line, dropped = KeyMask(), bytearray(), 0
    while most > 0 and (chunk := _read(fd, min(_CHUNK, most))):
        most -= len(chunk)
        if b"\0" in chunk:
            raise Refused("it is not text: it holds NUL bytes")
        *whole, rest = chunk.split(b"\n")
        for part in whole:
            line += part
            yield mask(_closed(line, dropped))
            line, dropped = bytearray(), 0
        line += rest
        if len(line) > 2 * LONGEST_LINE:
            dropped += len(line) - LONGEST_LINE
            del line[LONGEST_LINE // 2 : -(LONGEST_LINE // 2)]
    if line:
        yield mask(_closed(line, dropped))


def _read(fd: int, most: int) -> bytes:
    try:
        return os.read(fd, most)
    except BlockingIOError as error:
        raise Refused("it has nothing to be read now, and would have to be waited for") from error
    except OSError as error:
        raise Refused(f"it cannot be read: {error.strerror}") from error


def _closed(line: bytearray, dropped: int) -> bytes:
    """Return a line whose middle may have been left out; the words at the cut may be halves of a secret, and go."""
    line = line[:-1] if line.endswith(b"\r") else line
    if not dropped:
        return bytes(line)
    half = LONGEST_LINE // 2
    head, tail = bytes(line[:half]), bytes(line[half:])
    head = head[: max(head.rfind(b" "), half - _SLACK)]
    blank = tail.find(b" ", 0, _SLACK)
    tail = tail[blank if blank >= 0 else _SLACK :]
    return head + b" [%d bytes left out] " % (dropped + len(line) - len(head) - len(tail)) + tail


def _text(line: bytes) -> str:
    return line.decode(errors="replace")
