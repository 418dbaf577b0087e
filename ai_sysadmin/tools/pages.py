"""What a tool found, kept whole and shown in pages: harmless, without secrets, cut on whole lines. Pure.

Private keys, which span lines, are taken out of the whole at once; all other secrets of a line when it is shown.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ai_sysadmin.context.defuse import cut, defuse
from ai_sysadmin.context.private_keys import without_private_keys
from ai_sysadmin.context.redact import Redactor, mark, shortened
from ai_sysadmin.core.errors import Refused

MOST_KEPT: Final = 32
LONGEST_LINE: Final = 1000
"""Longer lines are folded, so that they can be read on in."""

_BLOCK: Final = 64 << 10
_MOST_CHARACTERS: Final = 4096
_MOST_WORD: Final = 2048
_KEY: Final = "private key"


class _Harmless(dict[int, str]):
    """What stands for each character; an escape sequence is more than one, and not known here."""

    def __missing__(self, code: int) -> str:
        if len(self) >= _MOST_CHARACTERS:
            self.clear()
        self[code] = "\t" if code == 9 else defuse(chr(code))
        return self[code]


_HARMLESS: Final = _Harmless()


class Page(NamedTuple):
    """Some lines of a kept text: from ``first`` to ``last``, counted from 1. ``is_cut``: its one line is longer."""

    text: str
    first: int
    last: int
    counts: Mapping[str, int]
    is_cut: bool = False


@dataclass(frozen=True)
class Kept:
    """A whole text, by its lines. ``dropped``: it was too long to be kept whole. ``keys``: how many were taken out."""

    text: str
    redactor: Redactor = field(repr=False)
    dropped: bool = False
    keys: int = 0

    @property
    def lines(self) -> int:
        return self.text.count("\n") + 1

    def page(self, from_line: int, most: int) -> Page:
        """Return the lines from one on that fit into so many characters; at least that one, cut."""
        shown, counts = list[str](), Counter[str]()
        is_cut = self._fill(shown, self._after(from_line), most, counts)
        return Page("\n".join(shown), from_line, from_line + len(shown) - 1, dict(counts), is_cut)

    def last_page(self, most: int) -> Page:
        """Return the last lines that fit into so many characters; at least the last, cut."""
        shown, counts = list[str](), Counter[str]()
        is_cut = self._fill(shown, _backwards(self.text), most, counts)
        last = self.lines
        return Page("\n".join(reversed(shown)), last - len(shown) + 1, last, dict(counts), is_cut)

    def matching(self, contains: str, from_line: int, most_bytes: int) -> tuple[str, int]:
        """Return the lines that contain a text whatever its case, with their numbers, and how many those are."""
        wanted, found, room = contains.casefold(), list[str](), most_bytes
        for number, line in enumerate(self._after(from_line), from_line):
            if wanted in line.casefold() and room > 0:
                # a secret must not be guessed by asking for it
                line = self.redactor.redact(line).text
                if wanted in line.casefold():
                    found.append(f"{number}: {line}")
                    room -= len(found[-1])
        return "\n".join(found), len(found)

    def _fill(self, shown: list[str], lines: Iterator[str], most: int, counts: Counter[str]) -> bool:
        room = most
        for line in lines:
            text, found = self.redactor.redact(line)
            if shown and len(text) + 1 > room:
                return False
            counts.update(found)
            if not shown and len(text) > most:
                shown.append(cut(f"{shortened(text, max(0, most - 2))} …", most))
                return True
            shown.append(text)
            room -= len(text) + 1
        return False

    def _after(self, from_line: int) -> Iterator[str]:
        start = 0
        for _ in range(from_line - 1):
            start = self.text.index("\n", start) + 1
        while (end := self.text.find("\n", start)) >= 0:
            yield self.text[start:end]
            start = end + 1
        yield self.text[start:]


class Shelf:
    """The kept texts of one conversation, by handle: at most ``MOST_KEPT``, the oldest go first."""

    def __init__(self, most_characters: int) -> None:
        self._most = most_characters
        self._kept: dict[str, Kept] = {}
        self._gone: set[str] = set()

    def put(self, handle: str, kept: Kept) -> None:
        """Keep a text, which may be another handle's too."""
        self._kept[handle] = kept
        while len(self._kept) > MOST_KEPT or (len(self._kept) > 1 and self._characters() > self._most):
            oldest = next(iter(self._kept))
            del self._kept[oldest]
            self._gone.add(oldest)

    def get(self, handle: str) -> Kept:
        """Raises: Refused, where nothing is kept by that handle (any more)."""
        if kept := self._kept.get(handle):
            return kept
        if handle in self._gone:
            raise Refused(f"{handle} is not kept any more, only the newest results are: look it up again")
        known = ", ".join(list(self._kept)[-8:])
        raise Refused(f"there is no result {handle!r} to read on in" + (f"; there are {known}" if known else ""))

    def _characters(self) -> int:
        return sum(len(kept.text) for kept in {id(kept): kept for kept in self._kept.values()}.values())


def keep(text: str, redactor: Redactor, most_bytes: int, *, newest_last: bool = False) -> Kept:
    """Return a text made fit to be shown in pages, at most about ``most_bytes`` of it: its beginning, or its end."""
    text, dropped = _bounded(text, most_bytes, newest_last)
    text = "".join([_harmless(block) for block in _blocks(text.replace("\r\n", "\n"))]).strip("\n")
    keys = 0
    if "PRIVATE KEY" in text:
        text, keys = without_private_keys(text, mark(_KEY))
    text = "".join([_folded(block, redactor) for block in _blocks(text)])
    return Kept(text, redactor, dropped, keys)


def _bounded(text: str, most_bytes: int, newest_last: bool) -> tuple[str, bool]:
    """Cut a text at a line's end, or where it has but one, at a word's, so that no half of a secret is left."""
    if 4 * len(text) <= most_bytes:
        return text, False
    data = text.encode(errors="replace")
    if len(data) <= most_bytes:
        return text, False
    if newest_last:
        text = data[-most_bytes:].decode(errors="ignore")
        at = text.find("\n")
        at = at if at >= 0 else text.find(" ", 0, _MOST_WORD)
        return text[at + 1 :] if at >= 0 else text[_MOST_WORD:], True
    text = data[:most_bytes].decode(errors="ignore")
    at = text.rfind("\n")
    at = at if at >= 0 else text.rfind(" ", len(text) - _MOST_WORD)
    return text[:at] if at >= 0 else text[:-_MOST_WORD], True


def _blocks(text: str) -> Iterator[str]:
    """Yield a text in pieces of whole lines: lines that are many and short would take many times their size."""
    start = 0
    while start < len(text):
        end = text.find("\n", start + _BLOCK)
        end = end + 1 if end >= 0 else len(text)
        yield text[start:end]
        start = end


def _harmless(block: str) -> str:
    if block.replace("\n", "").isprintable():
        return block
    # line by line: an escape sequence that does not end would swallow all that follows
    return "\n".join([line if line.isprintable() else _line(line) for line in block.split("\n")])


def _line(line: str) -> str:
    if len(line) > _BLOCK:  # in pieces: it takes many times its size
        return "".join([_line(line[start : start + _BLOCK]) for start in range(0, len(line), _BLOCK)])
    if "\x1b" in line or "\x9b" in line:
        line = "\t".join([defuse(part) for part in line.split("\t")])
    return line.translate(_HARMLESS).replace("\t", "  ")


def _folded(block: str, redactor: Redactor) -> str:
    if len(block) <= LONGEST_LINE or max(map(len, block.split("\n"))) <= LONGEST_LINE:
        return block
    return "\n".join([_fold(line, redactor) if len(line) > LONGEST_LINE else line for line in block.split("\n")])


def _fold(line: str, redactor: Redactor) -> str:
    """Fold a line whose secrets are taken out first: half of one is not known any more."""
    text, parts = redactor.redact(line).text, list[str]()
    while len(text) > LONGEST_LINE:
        head = shortened(text, LONGEST_LINE) or text[:LONGEST_LINE]
        parts.append(head)
        text = text[len(head) :]
    return "\n".join([*parts, text])


def _backwards(text: str) -> Iterator[str]:
    end = len(text)
    while (start := text.rfind("\n", 0, end)) >= 0:
        yield text[start + 1 : end]
        end = start
    yield text[:end]
