"""A unit's log around the fault: its kinds of line with their numbers, then its newest lines as they are.

An incident of no unit gets the kernel's warnings where its symptoms are of the kind that the kernel speaks of.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final, NamedTuple

from ai_sysadmin.context.pieces.alike import Kind, Line, kinds_of, masked
from ai_sysadmin.context.pieces.drafts import (
    MOST_PIECE_CHARACTERS,
    PRIORITIES,
    Cleaner,
    Draft,
    first_lines,
    iso,
    of_day,
)
from ai_sysadmin.context.pieces.key_blocks import without_key_blocks
from ai_sysadmin.core.records import JournalEntry
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.sources.journal import Journal, LogSeen

KERNEL_KINDS: Final = frozenset(
    {
        SymptomKind.HARDWARE_ERROR,
        SymptomKind.STORAGE_ERROR,
        SymptomKind.KERNEL_FAULT,
        SymptomKind.OOM_KILL,
        SymptomKind.READ_ONLY,
        SymptomKind.MEMORY_SHORT,
    }
)

_FEW_LINES = 40
_MOST_KINDS = 25
_MESSAGE_CHARACTERS = 200
_IDENTIFIER_CHARACTERS = 60
_KINDS_CHARACTERS = 4000
_AROUND_CHARACTERS = 2500
_AROUND_LINES = 300
_KERNEL_LINES = 300
_TOPICS = 3
_TELLING_LEVEL = 4
_DOUBT = timedelta(seconds=5)


@dataclass(frozen=True)
class Stretch:
    """What is asked of the journal: at most so many lines from a time before the fault up to now."""

    opened_at: datetime
    before_seconds: float
    lines: int

    @property
    def since(self) -> datetime:
        return self.opened_at - timedelta(seconds=self.before_seconds)


async def look(unit: str, journal: Journal, stretch: Stretch, clean: Cleaner) -> Draft:
    """Raises: JournalUnavailable."""
    seen = await journal.unit_log(unit, stretch.lines, stretch.since)
    around = LogSeen(())
    if seen.more and seen.entries and seen.entries[0].at > stretch.opened_at:
        # So much was logged since that the fault itself would not be seen.
        lines = min(_AROUND_LINES, stretch.lines)
        around = await journal.unit_log(unit, lines, stretch.since, stretch.opened_at + _DOUBT)
    command = f"journalctl -u {unit}"
    return _draft(f"log of {unit} around the fault", command, seen, around.entries, stretch, clean)


async def look_at_kernel(journal: Journal, stretch: Stretch, clean: Cleaner) -> Draft | None:
    """Return the kernel's warnings; none: there are none. Raises: JournalUnavailable."""
    seen = await journal.kernel_log(min(_KERNEL_LINES, stretch.lines), stretch.since)
    if not seen.entries:
        return None
    return _draft("the kernel's warnings around the fault", "journalctl -k -p warning", seen, (), stretch, clean)


def _draft(
    title: str,
    command: str,
    seen: LogSeen,
    around: Sequence[JournalEntry],
    stretch: Stretch,
    clean: Cleaner,
) -> Draft:
    lines, day = _lines(seen.entries, clean), stretch.opened_at
    kinds = kinds_of(lines)
    text = _summary(lines, kinds, seen.more, day, clean) if len(lines) > _FEW_LINES else []
    if around:
        fault, _ = _newest(_lines(around, clean), day, _AROUND_CHARACTERS, clean)
        text += ["the last lines up to the fault:", *fault, "the newest lines of all:"]
    shown, is_cut = _newest(lines, day, MOST_PIECE_CHARACTERS - sum(len(line) + 1 for line in text), clean)
    whole = f"{command} --since '{iso(stretch.since)[:19].replace('T', ' ')} UTC'"
    telling = [kind for kind in kinds if kind.level <= _TELLING_LEVEL][:_TOPICS]
    return Draft(
        kind="unit_log",
        title=f"{title} at {iso(day)}",
        lines=(*text, *shown) or (f"(no lines since {iso(stretch.since)})",),
        left_out=f"older lines; all: {whole}" if seen.more or is_cut else "",
        topics=tuple(masked(clean.line(kind.first, _MESSAGE_CHARACTERS)) for kind in telling),
    )


def _lines(entries: Sequence[JournalEntry], clean: Cleaner) -> list[Line]:
    """Return entries as lines. Only what is shown of them is cleaned, but for keys, which span several."""
    messages = without_key_blocks([entry.message for entry in entries], clean.counts)
    return [
        Line(entry.at, min(max(entry.priority, 0), 7), entry.identifier, message)
        for entry, message in zip(entries, messages, strict=True)
    ]


def _summary(lines: Sequence[Line], kinds: Sequence[Kind], more: bool, day: datetime, clean: Cleaner) -> list[str]:
    said = [_of_kind(kind, day, clean) for kind in kinds[:_MOST_KINDS]]
    shown, _ = first_lines(said, _KINDS_CHARACTERS)
    missing = kinds[len(shown) :]
    if missing:
        count = sum(kind.count for kind in missing)
        shown = [*shown, f"and {len(missing)} more kinds of line, {count} lines in all"]
    head = f"{len(lines)} lines since {iso(lines[0].at)} in {len(kinds)} kinds, the worst first"
    return [head + (" (there are older ones):" if more else ":"), *shown, "the newest lines:"]


def _of_kind(kind: Kind, day: datetime, clean: Cleaner) -> str:
    when = of_day(kind.first_at, day)
    if kind.count > 1:
        when += f" to {of_day(kind.last_at, day)}"
    return f"{kind.count} × {when} {_said(kind.priority, kind.identifier, kind.last, clean)}"


def _said(priority: int, identifier: str, message: str, clean: Cleaner) -> str:
    who = clean.line(identifier, _IDENTIFIER_CHARACTERS)
    return f"{PRIORITIES[priority]} {who}: {clean.line(message, _MESSAGE_CHARACTERS)}"


class _Run(NamedTuple):
    """Equal lines in a row; ``after``: they came after the fault had been noticed."""

    first: Line
    times: int
    after: bool


def _runs_of(lines: Sequence[Line], opened_at: datetime) -> list[_Run]:
    runs: list[_Run] = []
    for (after, *_), equal in groupby(lines, key=lambda line: (line.at > opened_at, line[1:])):
        first, *more = equal
        runs.append(_Run(first, len(more) + 1, after))
    return runs


def _newest(lines: Sequence[Line], opened_at: datetime, room: int, clean: Cleaner) -> tuple[list[str], bool]:
    """Return as many of the newest lines as fit, and whether there are more; a mark stands where the fault was noticed.

    At least the newest is there.
    """
    told: list[str] = []
    runs = _runs_of(lines, opened_at)
    for index, run in reversed(list(enumerate(runs))):
        times = f" ({run.times} times)" if run.times > 1 else ""
        said = _said(run.first.priority, run.first.identifier, run.first.message, clean)
        lines_of_it = [f"{of_day(run.first.at, opened_at)} {said}{times}"]
        if run.after and not (index and runs[index - 1].after):
            lines_of_it.append(f"--- {iso(opened_at)}: the fault was noticed; what follows came after it ---")
        room -= sum(len(line) + 1 for line in lines_of_it)
        if told and room < 0:
            return told[::-1], True
        told += lines_of_it
    return told[::-1], False
