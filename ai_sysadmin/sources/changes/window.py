"""The time that is asked about, when a file was touched in it, and what one look at the host gives."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from ai_sysadmin.core.clock import local
from ai_sysadmin.sources.changes import Change

DOUBT: Final = timedelta(seconds=5)
"""What changed so shortly after a moment may still have come before the fault: a failure is noticed with a delay."""

TOGETHER: Final = timedelta(seconds=2)
"""What is no further apart happened together: one write touches a file and its directory."""


@dataclass(frozen=True)
class Window:
    """The time in which a change counts; both ends belong to it."""

    first: datetime
    last: datetime

    @classmethod
    def before(cls, moment: datetime, within: timedelta, now: datetime) -> Self:
        """Return the time up to a moment; what lies in the future of the clock is never in it."""
        return cls(moment - within, min(moment + DOUBT, now + TOGETHER))

    def holds(self, at: datetime) -> bool:
        return self.first <= at <= self.last


@dataclass(frozen=True)
class Look:
    """What one look found, and what it could not see."""

    changes: tuple[Change, ...] = ()
    gaps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Touch:
    """When a file was last touched. ``is_weak``: its contents are older, so it was moved in or its metadata changed."""

    at: datetime
    is_weak: bool = False
    details: tuple[str, ...] = ()


def touch_of(status: os.stat_result, window: Window) -> Touch | None:
    """Return how a file was touched within the time, by what its inode says; none: it was not.

    The time of the contents can be set at will (``touch -d``, ``cp -p``, an unpacked archive), that of the inode
    cannot: a file that was moved in or replaced shows by the latter alone.
    """
    first = window.first.timestamp()
    if status.st_mtime < first and status.st_ctime < first:  # as nearly all files are, and sooner told so
        return None
    modified, changed = moment_of(status.st_mtime), moment_of(status.st_ctime)
    if window.holds(modified) and (not window.holds(changed) or changed - modified <= TOGETHER):
        return Touch(modified)
    if not window.holds(changed):
        return None
    details = (f"its contents were last modified {local(modified)}",) if modified < changed else ()
    return Touch(changed, is_weak=not window.holds(modified), details=details)


def moment_of(seconds: float) -> datetime:
    """Return the time so many seconds after 1970; one that no clock shows is 1970."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.fromtimestamp(0, UTC)
