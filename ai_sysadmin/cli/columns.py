"""Text by the columns that it takes on a terminal: wide characters take two, combining ones none. Pure."""

import unicodedata
from collections.abc import Iterable, Iterator
from typing import Final

from ai_sysadmin.context.defuse import defuse

WIDTH: Final = 80
_MARK: Final = " …"


def columns(text: str) -> int:
    """Return how many columns a text takes."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.east_asian_width(character) in "WF":
        return 2
    if character == "\ufe0f":  # asks for the wide picture of what stands before it
        return 1
    return 0 if unicodedata.category(character) in {"Mn", "Me", "Cf"} else 1


def cut(text: str, most: int) -> str:
    """Return text of at most so many columns; what is missing at its end is marked."""
    if columns(text) <= most:
        return text
    return _first(text, most - columns(_MARK)).rstrip() + _MARK


def _first(text: str, most: int) -> str:
    taken = 0
    for place, character in enumerate(text):
        taken += _columns(character)
        if taken > most:
            return text[:place]
    return text


def folded(text: str, width: int) -> Iterator[str]:
    """Yield one-line text in lines of at most so many columns, broken between words where it can be."""
    line = ""
    for word in defuse(text).split():
        if line and columns(line) + 1 + columns(word) <= width:
            line += f" {word}"
            continue
        if line:
            yield line
        *whole, line = _pieces(word, width)
        yield from whole
    if line:
        yield line


def _pieces(word: str, width: int) -> list[str]:
    """Return a word in pieces of at most so many columns."""
    pieces = []
    while columns(word) > width:
        piece = _first(word, width) or word[:1]
        pieces.append(piece)
        word = word[len(piece) :]
    return [*pieces, word]


def said(name: str, text: str, most_lines: int, column: int = 12) -> list[str]:
    """Return a name and what is to say of it, in a column of its own, on so many lines at most."""
    width = WIDTH - column
    lines = list(folded(text, width)) or [""]
    if len(lines) > most_lines:
        lines = [*lines[: most_lines - 1], cut(f"{lines[most_lines - 1]} {lines[most_lines]}", width)]
    names = [f"  {name}".ljust(column), *[" " * column] * (len(lines) - 1)]
    return [(before + line).rstrip() for before, line in zip(names, lines, strict=True)]


def within_width(lines: Iterable[str], width: int = WIDTH) -> list[str]:
    """Return lines of which none is wider than the terminal; one that was goes on in the next."""
    narrow: list[str] = []
    for line in lines:
        while columns(line) > width:
            first = _first(line, width)
            narrow.append(first.rstrip())
            line = "    " + line[len(first) :].lstrip()
        narrow.append(line.rstrip())
    return narrow
