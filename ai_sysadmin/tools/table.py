"""Rows as aligned text, in the fewest characters that a model still reads as columns."""

from collections.abc import Sequence

from ai_sysadmin.context.defuse import one_line

_GAP = "  "
_MOST_CELL = 300
_WIDEST = 40
"""Beyond so many characters a cell pushes the rest of its own row aside, and no others."""


def columns(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a line of heads and one for each row, aligned; each cell on one line. No rows: nothing."""
    if not rows:
        return []
    cells = [[one_line(cell, _MOST_CELL) for cell in row] for row in (heads, *rows)]
    widths = [min(_WIDEST, max(len(row[at]) for row in cells)) for at in range(len(heads))]
    return [_GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
