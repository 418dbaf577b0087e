"""What people read of figures over time: a table of the newest, and charts drawn with characters.

No library of charts does it: those that draw in a terminal join a line across a gap, and know no band around it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby, pairwise
from statistics import median
from typing import Final, NamedTuple

from ai_sysadmin.cli.columns import folded, within_width
from ai_sysadmin.cli.layout import table
from ai_sysadmin.context.defuse import one_line
from ai_sysadmin.context.pieces.drafts import lasting
from ai_sysadmin.core.clock import local, since
from ai_sysadmin.openai_api_server.system.metric_views import MetricHistories, MetricHistory, MetricPoint, Metrics

MOST_CHARTS: Final = 6

_HEIGHT: Final = 10
_HEIGHT_OF_SEVERAL: Final = 5
_NARROWEST_CHART: Final = 10
_GAP: Final = 2.5
"""So many times the usual step between two figures without one is a gap."""

_NAMED: Final = 200
_TICK: Final = len("00:00")
_STEPS: Final = tuple(
    [timedelta(minutes=minutes) for minutes in (5, 10, 15, 30, 60, 120, 180, 240, 360, 720)]
    + [timedelta(days=days) for days in (1, 2, 7, 14, 28, 84, 168, 366)]
)
_BRAILLE: Final = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bits of a braille character's dots, by row from the top and column."""

_SMALLEST_SPAN: Final = {"percent": 1.0, "ratio": 0.01, "count": 1.0, "celsius": 1.0}
_AS_ASCII: Final = str.maketrans({"…": "...", "°": "", "×": "x", "→": "->"})


class Screen(NamedTuple):
    """What a page is drawn on: so many columns wide, with characters beyond ASCII or without."""

    width: int
    is_ascii: bool = False


class Ink(NamedTuple):
    """The characters of a chart, and how many dots one of them has across and down."""

    band: str
    wall: str
    floor: str
    corner: str
    tick: str
    across: int
    down: int


_UNICODE: Final = Ink("░", "│", "─", "└", "┬", 2, 4)
_ASCII: Final = Ink(":", "|", "-", "+", "+", 1, 1)


# --- figures in words


def figure(value: float, unit: str) -> str:
    """Say a figure with its unit, humanised: ``42.1 %``, ``1.42 GiB``, ``yes``, ``12.5 ms``."""
    match unit:
        case "percent":
            return f"{value:.1f} %"
        case "ratio":
            return f"{100 * value:.1f} %"
        case "bytes":
            return _scaled(value, (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)), "B")
        case "seconds":
            return _scaled(value, (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)), "ms", 0.001)
        case "bool":
            return f"{100 * value:.0f} % yes" if 0 < value < 1 else "yes" if value else "no"
        case "hours" | "days" | "celsius" | "per_second":
            return _digits(value) + {"hours": " h", "days": " d", "celsius": " °C", "per_second": "/s"}[unit]
        case "count" | "":
            return _number(value)
        case _:
            return f"{_number(value)} {one_line(unit, 20)}"


def _scaled(value: float, units: Sequence[tuple[str, float]], least: str, of_least: float = 1) -> str:
    for name, size in units:
        if abs(value) >= size:
            return f"{_digits(value / size)} {name}"
    return f"{_digits(value / of_least)} {least}" if value else f"0 {units[-1][0] if of_least != 1 else least}"


def _digits(value: float) -> str:
    """Say a number with three digits, or all those before its point."""
    if value == int(value):
        return f"{value:.0f}"
    return f"{value:.{2 if abs(value) < 10 else 1 if abs(value) < 100 else 0}f}"


def _number(value: float) -> str:
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:.4g}"


# --- the list


def listing_page(found: Metrics, beginning: str, screen: Screen) -> str:
    """Render what is measured, each with its newest figure."""
    if not found.metrics:
        nothing = "No figures are kept yet: is the trigger monitor running?"
        other = (
            f"No metric's name begins with {one_line(beginning, 100)!r}; `ai-sysadmin metrics list` shows every one."
        )
        return _page(folded(other if beginning else nothing, screen.width), screen)
    rows = [(each.name, figure(each.value, each.unit), since(each.at, found.at), each.about) for each in found.metrics]
    lines = within_width(table(("NAME", "NEWEST", "AGE", "ABOUT"), rows, width=screen.width), screen.width)
    if found.left_off:
        more = f"{len(rows)} of {found.found}: the beginning of a name shows fewer, --limit more."
        lines += ["", *folded(more, screen.width)]
    return _page(lines, screen)


# --- the history


def histories_page(found: MetricHistories, screen: Screen) -> str:
    """Render how a metric went: one chart for each thing, at most ``MOST_CHARTS``."""
    head = f"{one_line(found.name, _NAMED)}, {local(found.since)} to {local(found.at)}"
    lines = list(folded(head, screen.width))
    shown = found.series[:MOST_CHARTS]
    for each in shown:
        lines += ["", *_history(each, found, screen, _HEIGHT if len(shown) == 1 else _HEIGHT_OF_SEVERAL)]
    if any(each.points for each in shown):
        step = lasting(found.bucket_seconds)
        legend = f"A point stands for {step}: the line is its mean, the shade goes from its least to its most."
        lines += ["", *folded(legend, screen.width)]
    if more := found.left_off + len(found.series) - len(shown):
        said = f"It is measured on {more} more: `ai-sysadmin metrics show NAME ABOUT` draws one, --json has more."
        lines += ["", *folded(said, screen.width)]
    return _page(lines, screen)


def _history(history: MetricHistory, found: MetricHistories, screen: Screen, height: int) -> list[str]:
    title = list(folded(one_line(history.about, _NAMED), screen.width))
    newest = f"newest {figure(history.value, history.unit)} ({since(history.newest_at, found.at)} ago)"
    if not history.points:
        return [*title, *folded(f"no figures in this time; {newest}", screen.width)]
    spacing = usual_step(history.points, found.bucket_seconds)
    told = ", ".join(filter(None, (newest, _in_words(history), _missing(history.points, found, spacing))))
    return [*title, *chart(history, found, screen, height), *folded(told, screen.width)]


def _in_words(history: MetricHistory) -> str:
    least, mean, most = history.least or 0.0, history.mean or 0.0, history.most or 0.0
    if history.unit == "bool":
        return f"{100 * mean:.3g} % of the time yes"
    return ", ".join(f"{name} {figure(value, history.unit)}" for name, value in _named(least, mean, most))


def _named(least: float, mean: float, most: float) -> Sequence[tuple[str, float]]:
    return ("least", least), ("mean", mean), ("most", most)


def usual_step(points: Sequence[MetricPoint], bucket_seconds: int) -> timedelta:
    """Return how far apart figures usually are: some are read every hour, whatever the bucket is."""
    steps = [(after.at - before.at).total_seconds() for before, after in pairwise(points)]
    return timedelta(seconds=max([bucket_seconds, median(steps)] if len(steps) > 1 else [bucket_seconds]))


def _missing(points: Sequence[MetricPoint], found: MetricHistories, step: timedelta) -> str:
    ends = [found.since, *(each.at + step for each in points)]
    begins = [*(each.at for each in points), found.at]
    gaps = [begin - end for end, begin in zip(ends, begins, strict=True) if begin - end > (_GAP - 1) * step]
    if not gaps:
        return ""
    several = f" in {len(gaps)} gaps" if len(gaps) > 1 else ""
    return f"no figures for {lasting(sum(gaps, timedelta()).total_seconds())}{several}"


# --- the chart


class Slot(NamedTuple):
    """What stands in one column of dots."""

    value: float
    least: float
    most: float


@dataclass(frozen=True)
class Scale:
    """From figures to dots, counted from the bottom."""

    least: float
    most: float
    dots: int

    def __call__(self, value: float) -> int:
        share = (value - self.least) / (self.most - self.least)
        return max(0, min(self.dots - 1, round(share * (self.dots - 1))))


def chart(history: MetricHistory, found: MetricHistories, screen: Screen, height: int) -> list[str]:
    """Draw a series over the whole time: labels at the left, local times below, nothing where nothing was read."""
    ink = _ASCII if screen.is_ascii else _UNICODE
    least, most = bounds(history)
    labelled = {0: most, height - 1: least}
    if height > _HEIGHT_OF_SEVERAL:
        labelled[height // 2] = most - (most - least) * (height // 2 + 0.5) / height
    labels = {row: figure(value, history.unit) for row, value in labelled.items()}
    margin = max(map(len, labels.values()))
    width = max(_NARROWEST_CHART, screen.width - margin - 2)
    slots = slots_of(history.points, found, width * ink.across)
    rows = _drawn(slots, Scale(least, most, height * ink.down), ink)
    lines = [f"{labels.get(number, ''):>{margin}} {ink.wall}{row}".rstrip() for number, row in enumerate(rows)]
    return [*lines, *_axis(found, width, margin, ink)]


def bounds(history: MetricHistory) -> tuple[float, float]:
    """Return the least and the most that a chart shows; never so near each other that noise fills it."""
    if history.unit == "bool":
        return 0.0, 1.0
    low, high = history.least or 0.0, history.most or 0.0
    span = max(_SMALLEST_SPAN.get(history.unit, 0.0), 0.02 * max(abs(low), abs(high))) or 1.0
    if high - low >= span:
        return low, high
    least = (low + high - span) / 2
    least = max(0.0, least) if low >= 0 else least
    if history.unit == "percent" and high <= 100:
        least = min(least, 100 - span)
    return least, least + span


def slots_of(points: Sequence[MetricPoint], found: MetricHistories, count: int) -> list[Slot | None]:
    """Return points by column: joined where they share one, drawn through between two that are no gap apart."""
    seconds = (found.at - found.since).total_seconds()
    middle = timedelta(seconds=found.bucket_seconds / 2)
    places = [
        max(0, min(count - 1, int(count * (each.at + middle - found.since).total_seconds() / seconds)))
        for each in points
    ]
    slots: list[Slot | None] = [None] * count
    for place, group in groupby(zip(places, points, strict=True), key=lambda each: each[0]):
        slots[place] = _joined([point for _, point in group])
    longest = _GAP * usual_step(points, found.bucket_seconds)
    for (start, before), (end, after) in pairwise(zip(places, points, strict=True)):
        first, last = slots[start], slots[end]
        if first is None or last is None or after.at - before.at > longest:
            continue
        for place in range(start + 1, end):
            slots[place] = _between(first, last, (place - start) / (end - start))
    return slots


def _joined(points: Sequence[MetricPoint]) -> Slot:
    mean = sum(each.value for each in points) / len(points)
    return Slot(mean, min(each.least for each in points), max(each.most for each in points))


def _between(first: Slot, last: Slot, share: float) -> Slot:
    return Slot(*(before + (after - before) * share for before, after in zip(first, last, strict=True)))


def _drawn(slots: Sequence[Slot | None], scale: Scale, ink: Ink) -> list[str]:
    """Return the rows of a chart, the uppermost first."""
    dots = _line(slots, scale)
    rows = []
    for bottom in range(scale.dots - ink.down, -1, -ink.down):
        cells = []
        for left in range(0, len(slots), ink.across):
            mark = _mark(dots, left, bottom, ink)
            is_band = any(_covers(slot, bottom, scale, ink) for slot in slots[left : left + ink.across])
            cells.append(mark or (ink.band if is_band else " "))
        rows.append("".join(cells))
    return rows


def _line(slots: Sequence[Slot | None], scale: Scale) -> set[tuple[int, int]]:
    """Return the dots of the means, joined from one column to the next."""
    dots = set()
    for place, slot in enumerate(slots):
        if slot is None:
            continue
        before = slots[place - 1] if place else None
        end = scale(slot.value)
        start = scale(before.value) if before else end
        toward = start if start == end else start + (1 if start < end else -1)
        dots |= {(place, dot) for dot in range(min(toward, end), max(toward, end) + 1)}
    return dots


def _mark(dots: set[tuple[int, int]], left: int, bottom: int, ink: Ink) -> str:
    """Return the character of one cell's dots; empty: it has none."""
    if ink.across == 1:
        return "*" if (left, bottom) in dots else ""
    bits = sum(
        bit
        for row, across in enumerate(_BRAILLE)
        for column, bit in enumerate(across)
        if (left + column, bottom + ink.down - 1 - row) in dots
    )
    return chr(0x2800 + bits) if bits else ""


def _covers(slot: Slot | None, bottom: int, scale: Scale, ink: Ink) -> bool:
    return slot is not None and scale(slot.least) < bottom + ink.down and scale(slot.most) >= bottom


def _axis(found: MetricHistories, width: int, margin: int, ink: Ink) -> list[str]:
    """Return the line below a chart and its times; midnight is told as its date."""
    floor, labels = [ink.floor] * width, [" "] * (width + _TICK)
    for moment in ticks(found.since, found.at, width):
        place = min(width - 1, int(width * ((moment - found.since) / (found.at - found.since))))
        floor[place] = ink.tick
        start = max(0, min(place - _TICK // 2, width - _TICK))
        is_midnight = (moment.hour, moment.minute) == (0, 0)
        labels[start : start + _TICK] = moment.strftime("%m-%d" if is_midnight else "%H:%M")
    pad = " " * (margin + 1)
    return [f"{pad}{ink.corner}{''.join(floor)}", f"{pad} {''.join(labels)}".rstrip()]


def ticks(begin: datetime, end: datetime, width: int) -> list[datetime]:
    """Return round local times from one moment to another, so many as can be told in so many columns."""
    room = max(1, width // (_TICK + 3))
    step = next((each for each in _STEPS if (end - begin) / each <= room), _STEPS[-1])
    wall = begin.astimezone().replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    found = []
    while (moment := wall.astimezone()) <= end:
        if moment >= begin:
            found.append(moment)
        wall += step
    return found


def _page(lines: Iterable[str], screen: Screen) -> str:
    page = "\n".join(lines)
    return page.translate(_AS_ASCII).encode("ascii", "replace").decode() if screen.is_ascii else page
