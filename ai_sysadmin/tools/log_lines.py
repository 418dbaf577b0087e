"""Log entries as lines, what repeats itself told once with its number. Pure."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from ai_sysadmin.context.pieces.alike import masked
from ai_sysadmin.context.pieces.drafts import INDENT, PRIORITIES, iso, of_day
from ai_sysadmin.core.records import JournalEntry

_LONGEST_BLOCK: Final = 12
_LEAST_BLOCKS: Final = 3
_MOST_MESSAGE_LINES: Final = 60


class Run(NamedTuple):
    """Entries that came ``times`` times in a row, but for numbers; these are the last ones, the first was ``since``."""

    entries: tuple[JournalEntry, ...]
    times: int
    since: datetime


def lines_of(entries: Sequence[JournalEntry], *, with_unit: bool) -> list[str]:
    """Return entries as lines, oldest first; a moment has its date where the line before has another one."""
    lines: list[str] = []
    day = ""
    for run in runs_of(entries):
        first = run.entries[0].at
        repeated = ""
        if run.times > 1:
            repeated = f"×{run.times} since {of_day(run.since, first)}"
        if repeated and len(run.entries) > 1:
            lines.append(f"(the next {len(run.entries)} lines came {repeated}; these are the last:)")
        for entry in run.entries:
            moment = iso(entry.at)
            shown, day = (moment if moment[:10] != day else moment[11:]), moment[:10]
            mark = f" ({repeated})" if repeated and len(run.entries) == 1 else ""
            lines += _lines(entry, shown, mark, with_unit=with_unit)
    return lines


def _lines(entry: JournalEntry, moment: str, mark: str, *, with_unit: bool) -> list[str]:
    who = entry.identifier
    if with_unit and entry.transport == "kernel":
        who = "kernel"
    elif with_unit and entry.unit:
        who = (
            f"{entry.unit} {entry.identifier}"
            if entry.identifier not in ("", entry.unit.partition(".")[0])
            else entry.unit
        )
    level = PRIORITIES[min(max(entry.priority, 0), 7)]
    first, *more = entry.message.split("\n")
    shown = [f"{INDENT}{line}" for line in more[:_MOST_MESSAGE_LINES]]
    if len(more) > _MOST_MESSAGE_LINES:
        shown.append(f"{INDENT}({len(more) - _MOST_MESSAGE_LINES} more lines of this entry)")
    return [f"{moment} {level} {who or '-'}: {first}{mark}", *shown]


def runs_of(entries: Sequence[JournalEntry]) -> list[Run]:
    """Find what repeats itself: one line from twice on, a block of up to twelve lines from three times on."""
    keys = [(entry.priority, entry.identifier, entry.unit, masked(entry.message)) for entry in entries]
    runs: list[Run] = []
    at = 0
    while at < len(entries):
        length, times = _repetition(keys, at)
        last = at + length * times
        runs.append(Run(tuple(entries[last - length : last]), times, entries[at].at))
        at = last
    return runs


def _repetition(keys: Sequence[object], at: int) -> tuple[int, int]:
    """Return how long the block is that repeats itself from here on, and how often it is there; the most it covers."""
    best = (1, 1)
    for length in range(1, min(_LONGEST_BLOCK, (len(keys) - at) // 2) + 1):
        block = keys[at : at + length]
        times = 1
        while keys[at + times * length : at + (times + 1) * length] == block:
            times += 1
        if times >= (2 if length == 1 else _LEAST_BLOCKS) and times * length > best[0] * best[1]:
            best = (length, times)
    return best
