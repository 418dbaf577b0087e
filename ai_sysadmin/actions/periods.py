"""How people write the time that a report is about."""

import re
from datetime import timedelta
from typing import Final

DEFAULT_PERIOD: Final = "7d"
LONGEST_DAYS: Final = 366
_PERIOD: Final = re.compile(r"([0-9]{1,5})([hdw])")
_UNITS: Final = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def period_of(text: str) -> timedelta:
    """Return how long ``24h``, ``7d`` or ``4w`` is. Raises: ValueError: it is none of these, or longer than a year."""
    found = _PERIOD.fullmatch(text.strip().lower())
    period = int(found[1]) * _UNITS[found[2]] if found else timedelta(0)
    if not timedelta(0) < period <= timedelta(days=LONGEST_DAYS):
        raise ValueError(f"{text[:20]!r} will not do: a time from 1h to {LONGEST_DAYS}d is needed, as in 24h, 7d or 4w")
    return period
