"""Time as the suite sees it: stored in UTC, shown local with its offset."""

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where code asks for the time, so that a test can say what time it is."""

    def now(self) -> datetime:
        """Return the current time, timezone-aware, in UTC."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


def local(moment: datetime) -> str:
    """Say a moment for people: local time with its offset, to the second."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S %z")


def since(moment: datetime, now: datetime) -> str:
    """Say how long ago a moment was, in the largest sensible unit: ``42 s``, ``7 min``, ``3 h``, ``2 d``."""
    seconds = max(0, int((now - moment).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
