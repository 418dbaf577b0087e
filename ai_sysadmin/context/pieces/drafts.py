"""A piece of evidence in the making, and the words that all pieces share."""

import string
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from ai_sysadmin.context.defuse import defuse, one_line
from ai_sysadmin.context.redact import Redactor
from ai_sysadmin.core.records import EvidenceKind

MOST_LINE_CHARACTERS: Final = 300
MOST_PIECE_CHARACTERS: Final = 12_000
INDENT: Final = "    "
PRIORITIES: Final = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")

_REDACTED_CHARACTERS: Final = 2000
_OF_WORDS: Final = string.ascii_letters + string.digits + "+/=_.~%$:@-"


@dataclass(frozen=True)
class Draft:
    """A piece before it has its place in the pack.

    ``identity`` is what of it a judgement may rest on: the pack's hash is made of that. ``topics`` are what a search
    for documents should look for.
    """

    kind: EvidenceKind
    title: str
    lines: tuple[str, ...]
    facts: Mapping[str, str] = field(default_factory=dict)
    left_out: str = ""
    identity: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()


class Cleaner:
    """Makes text of the host fit to be kept and shown: secrets taken out and counted, harmless, bounded."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self.counts: Counter[str] = Counter()

    def whole(self, text: str) -> str:
        """Return a text of several lines, harmless and without secrets."""
        found = self._redactor.redact(text)
        self.counts.update(found.counts)
        return defuse(found.text)

    def line(self, text: str, most: int = MOST_LINE_CHARACTERS) -> str:
        """Return a text on one line, of at most so many characters."""
        if len(text) > _REDACTED_CHARACTERS:
            # The word at the cut may be a piece of a secret, which nothing knows for one any more.
            text = self.whole(text[:_REDACTED_CHARACTERS]).rstrip(_OF_WORDS)
            text = f"{text or '(a long word)'} …"
        else:
            text = self.whole(text)
        return one_line(text, most)


def iso(moment: datetime) -> str:
    """Return a moment in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def of_day(moment: datetime, day: datetime) -> str:
    """Return a moment without its date where that is the date of another one."""
    said = iso(moment)
    return said[11:] if said[:10] == iso(day)[:10] else said


def lasting(seconds: float) -> str:
    """Say in words how long something took: ``40 s``, ``12 min``, ``3.5 h``, ``2 days``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h".replace(".0 ", " ")
    return f"{seconds / 86400:.0f} days"


def size(value: float) -> str:
    """Say bytes for people: ``512 MB``."""
    for name, unit in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(value) >= unit:
            return f"{value / unit:.3g} {name}"
    return f"{value:.0f} bytes"


def shown(value: float, unit: str) -> str:
    """Say a figure with its unit: ``91.2 %``, ``1.4 GB``, ``yes``."""
    match unit:
        case "percent":
            return f"{value:.1f} %"
        case "bytes":
            return size(value)
        case "bool":
            return "yes" if value else "no"
        case "celsius":
            return f"{value:.0f} °C"
        case "per_second":
            return f"{value:.3g} a second"
        case "seconds" | "hours" | "days":
            return f"{value:.3g} {unit}"
        case _:
            return f"{value:.4g}"


def first_lines(lines: list[str], most: int) -> tuple[list[str], int]:
    """Return as many of the first lines as fit into so many characters, and how many did not."""
    room = most
    for number, line in enumerate(lines):
        room -= len(line) + 1
        if room < 0:
            return lines[:number], len(lines) - number
    return lines, 0
