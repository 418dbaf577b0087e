"""When nothing is to be heard: maintenance windows, and what the operator silenced. Pure."""

import re
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta, tzinfo
from fnmatch import fnmatchcase
from typing import Final

from ai_sysadmin.core.noticing_settings import Maintenance, Silence

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def in_maintenance(windows: Sequence[Maintenance], subject: str, now: datetime, zone: tzinfo | None = None) -> bool:
    """Tell whether a subject's faults are to open nothing at this moment.

    A window is the stretch between two moments, so it holds across a change of the clocks: where its start does not
    exist that day it begins as much later, where its end comes twice it ends with the second.

    Args:
        now: any aware moment.
        zone: in which the windows' hours are meant; none: this machine's own.
    """
    return any(_is_meant(subject, window.units) and _is_within(window, now, zone) for window in windows)


def is_silenced(silences: Sequence[Silence], subject: str, text: str = "", rule: str = "") -> bool:
    """Tell whether a line or fault is not to be heard.

    Args:
        subject: its unit, program or what else it is about.
        rule: the name of the rule or threshold that speaks of it; empty: none.
    """
    return any(
        fnmatchcase(subject, silence.unit or "*")
        and (not silence.rule or silence.rule == rule)
        and (not silence.pattern or re.search(silence.pattern, text, re.IGNORECASE) is not None)
        for silence in silences
    )


def _is_meant(subject: str, globs: Sequence[str]) -> bool:
    return any(fnmatchcase(subject, each) for each in globs)


def _is_within(window: Maintenance, now: datetime, zone: tzinfo | None) -> bool:
    today = now.astimezone(zone).date()
    return any(
        _begins_on(window, day) and _start(window, day, zone) <= now.timestamp() < _end(window, day, zone)
        for day in (today, today - timedelta(days=1))
    )


def _begins_on(window: Maintenance, day: date) -> bool:
    return not window.days or _DAYS[day.weekday()] in window.days


def _start(window: Maintenance, day: date, zone: tzinfo | None) -> float:
    return _moment(day, window.start, zone).timestamp()


def _end(window: Maintenance, day: date, zone: tzinfo | None) -> float:
    passes_midnight = time.fromisoformat(window.end) <= time.fromisoformat(window.start)
    moment = _moment(day + timedelta(days=passes_midnight), window.end, zone)
    return max(moment.timestamp(), moment.replace(fold=1).timestamp())


def _moment(day: date, text: str, zone: tzinfo | None) -> datetime:
    # Without a zone Python reads a time by the machine's own rules for that very day, which is what is meant.
    return datetime.combine(day, time.fromisoformat(text), tzinfo=zone)
