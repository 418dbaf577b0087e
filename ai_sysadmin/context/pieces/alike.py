"""Log lines that are alike, told as one with their number. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from ai_sysadmin.sources.levels import level_of

_MASKED_CHARACTERS: Final = 200
_VARIES = re.compile(
    r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"
    r"|\b0x[0-9a-fA-F]+\b"
    r"|\b(?=[0-9a-fA-F]*[0-9])[0-9a-fA-F]{6,}\b"
    r"|\d+(?:[.,:]\d+)*"
)


class Line(NamedTuple):
    """One log line, as it came."""

    at: datetime
    priority: int
    identifier: str
    message: str


@dataclass
class Kind:
    """Lines of one program and priority that differ in numbers and ids only. ``level``: the worst of what they say."""

    priority: int
    identifier: str
    level: int
    count: int
    first_at: datetime
    last_at: datetime
    first: str
    last: str


def masked(message: str) -> str:
    """Return a message with each number and id as ``#``."""
    return _VARIES.sub("#", message[:_MASKED_CHARACTERS])


def kinds_of(lines: Iterable[Line]) -> list[Kind]:
    """Return the kinds of line there are, the worst first, of equally bad ones the most frequent first."""
    found: dict[tuple[int, str, str], Kind] = {}
    for line in lines:
        key = (line.priority, line.identifier, masked(line.message))
        kind = found.get(key)
        if kind is None:
            level = min(line.priority, level_of(line.message))
            found[key] = Kind(line.priority, line.identifier, level, 1, line.at, line.at, line.message, line.message)
        else:
            kind.count += 1
            kind.last_at, kind.last = line.at, line.message
    return sorted(found.values(), key=lambda kind: (kind.level, -kind.count, kind.first_at, kind.first))
