"""Text for a terminal of 80 columns: headings, aligned tables, wrapped paragraphs. Everything shown is defused."""

import textwrap
from collections.abc import Sequence

from ai_sysadmin.context.defuse import cut, defuse, one_line

WIDTH = 80
_GAP = 2


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], width: int = WIDTH, indent: int = 0) -> list[str]:
    """Align columns; the last one is cut where the line would grow too long, the others never are."""
    cells = [[one_line(cell, 200) for cell in row] for row in (heads, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads) - 1)]
    room = max(10, width - indent - sum(widths) - _GAP * len(widths))
    lines = []
    for row in cells:
        start = "".join(cell.ljust(size + _GAP) for cell, size in zip(row[:-1], widths, strict=True))
        lines.append((" " * indent + start + cut(row[-1], room)).rstrip())
    return lines if any(heads) else lines[1:]


def wrapped(text: str, indent: int = 0, first: str | None = None) -> list[str]:
    """Wrap text to the width, paragraph by paragraph; ``first`` stands before its first line."""
    start, rest = first if first is not None else " " * indent, " " * indent
    lines: list[str] = []
    for paragraph in defuse(text).splitlines() or [""]:
        lines += textwrap.wrap(
            paragraph, WIDTH, initial_indent=start, subsequent_indent=rest, break_on_hyphens=False
        ) or [start.rstrip()]
        start = rest
    return lines


def fact(name: str, text: str, column: int = 12) -> list[str]:
    """Return ``name`` and what is to say of it, wrapped in a column of its own."""
    return wrapped(text, column, f"  {name}".ljust(column))


def heading(text: str) -> list[str]:
    return ["", text.upper()]


def verbatim(text: str, indent: int = 4) -> list[str]:
    """Keep lines as they are, defused; a long one is folded, so that a terminal does not have to."""
    pad = " " * indent
    return [
        pad + piece
        for line in defuse(text).splitlines()
        for piece in (textwrap.wrap(line, WIDTH - indent, break_on_hyphens=False, subsequent_indent="  ") or [""])
    ]
