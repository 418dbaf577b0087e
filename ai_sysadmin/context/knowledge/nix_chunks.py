"""Cut Nix code and Markdown into pieces that can be read by themselves, each with its lines and what it is about. Pure.

Nix is not parsed: a scan that knows strings and comments follows the brackets, and the attribute that opened each.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

FEWEST_LINES: Final = 20
MOST_LINES: Final = 60
OVERLAP_LINES: Final = 10
MOST_LINE_CHARACTERS: Final = 400

_ATTRIBUTE: Final = re.compile(
    r"""\s*((?:inherit\b(?!\s*=))|(?:[A-Za-z_][\w'-]*|"[^"\n]*"|\$\{[^}\n]*\})(?:\.(?:[A-Za-z_][\w'-]*|"[^"\n]*"|\$\{[^}\n]*\}))*)"""
    r"""\s*(=(?!=)|(?<=inherit)\s|$)"""
)
_TOKEN: Final = re.compile(r"#[^\n]*|/\*|''|\"|[\[{(]|[\])}]|\n")
_STRING_END: Final = {'"': re.compile(r'\\.|"', re.DOTALL), "''": re.compile(r"'''|''\$|''\\|''")}
_KEPT_APART: Final = frozenset({"let", "in", "with", "inherit", "if", "then", "else", "rec", "assert"})


class Chunk(NamedTuple):
    """Lines ``first`` to ``last`` of a text, from 1 on. ``about`` is the attribute path or heading they begin at."""

    first: int
    last: int
    about: str
    text: str


class _Line(NamedTuple):
    """What is known at a line's beginning: brackets open, whether it is inside a string, attributes around it."""

    depth: int
    in_string: bool
    around: tuple[str, ...]
    attribute: str


def nix_chunks(text: str) -> list[Chunk]:
    """Cut Nix code at blank lines and at attributes of its upper levels."""
    text = text.replace("\r\n", "\n")
    lines = lines_of(text)
    known = _scanned(text, lines)
    return [
        Chunk(first + 1, last, _path(known, lines, first, last), _joined(lines[first:last]))
        for first, last in _ranges(_nix_starts(lines, known), len(lines))
        if any(line.strip() for line in lines[first:last])
    ]


def markdown_chunks(text: str) -> list[Chunk]:
    """Cut Markdown at its headings."""
    lines = lines_of(text)
    headings = [n for n, line in enumerate(lines) if re.match(r"#{1,4}\s+\S", line)]
    starts = sorted({0, *headings, *(n + 1 for n, line in enumerate(lines) if not line.strip() and n + 1 < len(lines))})
    made: list[Chunk] = []
    for first, last in _ranges(starts, len(lines)):
        above = bisect_right(headings, first) - 1
        about = lines[headings[above]].lstrip("# ").strip() if above >= 0 else ""
        if any(line.strip() for line in lines[first:last]):
            made.append(Chunk(first + 1, last, about, _joined(lines[first:last])))
    return made


def lines_of(text: str) -> list[str]:
    """Return a text's lines as an editor counts them: a form feed or another of Unicode's separators ends none."""
    lines = text.replace("\r\n", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]


def _joined(lines: Sequence[str]) -> str:
    return "\n".join(line[:MOST_LINE_CHARACTERS] for line in lines)


def _ranges(starts: Sequence[int], end: int) -> Iterator[tuple[int, int]]:
    """Join blocks to ranges of FEWEST to MOST lines; cut a longer block into overlapping windows."""
    at = 0
    bounds = [start for start in starts if 0 < start < end] + [end]
    while at < end:
        fitting = [each for each in bounds if at < each <= at + MOST_LINES]
        enough = [each for each in fitting if each >= at + FEWEST_LINES]
        if enough or (fitting and fitting[-1] == end):
            stop = enough[0] if enough else end
            if 0 < end - stop < FEWEST_LINES and end - at <= MOST_LINES:  # no short rest
                stop = end
            yield at, stop
            at = stop
        else:
            stop = min(at + MOST_LINES, end)
            yield at, stop
            at = stop if stop == end else stop - OVERLAP_LINES


def _nix_starts(lines: Sequence[str], known: Sequence[_Line]) -> list[int]:
    """Return where a piece may begin: after a blank line, or at an attribute of the two upper levels."""
    base = min((each.depth for each in known if each.attribute), default=0)
    starts = [0]
    for number in range(1, len(lines)):
        line = known[number]
        if line.in_string or not lines[number].strip():
            continue
        after_blank = not lines[number - 1].strip() and line.depth <= base + 2
        is_upper = bool(line.attribute) and line.depth <= base
        if after_blank or (is_upper and not _is_comment(lines[number - 1])):
            starts.append(number)
    return starts


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")


def _path(known: Sequence[_Line], lines: Sequence[str], first: int, last: int) -> str:
    """Return the attribute path at which a range of lines begins."""
    for number in range(first, last):
        line = known[number]
        if lines[number].strip() and not _is_comment(lines[number]) and (line.attribute or line.around):
            path = ".".join(filter(None, (*line.around, line.attribute)))
            return path.removeprefix("config.")
    return ""


def _scanned(text: str, lines: Sequence[str]) -> list[_Line]:
    """Follow brackets and attributes from line to line."""
    depths = _depths(text)
    stack: list[tuple[int, str]] = []
    known: list[_Line] = []
    for number, line in enumerate(lines):
        depth, in_string = depths[number]
        while stack and stack[-1][0] >= depth:
            stack.pop()
        around = tuple(name for _, name in stack)
        attribute = "" if in_string else _attribute(line)
        known.append(_Line(depth, in_string, around, attribute))
        after = depths[number + 1][0] if number + 1 < len(depths) else depth
        if attribute and after > depth:
            stack.append((depth, attribute))
    return known


def _attribute(line: str) -> str:
    match = _ATTRIBUTE.match(line)
    if match is None or match[2] != "=" or match[1] in _KEPT_APART:
        return ""
    return match[1]


def _depths(text: str) -> list[tuple[int, bool]]:
    """Return for each line how many brackets are open at its beginning, and whether a string is."""
    found, depth, position = [(0, False)], 0, 0
    while match := _TOKEN.search(text, position):
        sign, position = match[0], match.end()
        if sign == "\n":
            found.append((depth, False))
        elif sign == "/*":
            end = text.find("*/", position)
            stop = len(text) if end < 0 else end + 2
            found += [(depth, True)] * text.count("\n", position, stop)
            position = stop
        elif sign in _STRING_END:
            stop = _string_end(text, position, sign)
            found += [(depth, True)] * text.count("\n", position, stop)
            position = stop
        elif sign in "[{(":
            depth += 1
        elif sign in "])}":
            depth = max(0, depth - 1)
    return found


def _string_end(text: str, position: int, quote: str) -> int:
    for match in _STRING_END[quote].finditer(text, position):
        if match[0] == quote:
            return match.end()
    return len(text)
