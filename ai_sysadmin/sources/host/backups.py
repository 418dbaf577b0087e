"""How old configured backups are."""

import glob
from datetime import datetime
from functools import partial
from pathlib import Path

from ai_sysadmin.core.records import Sample
from ai_sysadmin.sources.host.aside import Aside
from ai_sysadmin.sources.host.reading import HostUnreadable

_SECONDS_PER_HOUR = 3600


class Backups:
    """Looks for the newest file of a backup, in a thread aside: backups like to lie on network file systems."""

    def __init__(self, aside: Aside, within_seconds: float = 20.0) -> None:
        self._aside = aside
        self._within_seconds = within_seconds

    async def sample(self, name: str, pattern: str, max_age_hours: float, now: datetime) -> list[Sample]:
        """Return ``backup_age_hours`` and ``backup_overdue``; no file that matches at all: overdue, its age unknown.

        Args:
            pattern: an absolute path, in which ``*``, ``?``, ``[…]`` and ``**`` stand for anything.

        Raises:
            HostUnreadable: the place does not answer, or may not be read.
        """
        try:
            written_at = await self._aside.ask(f"backup {name}", partial(_newest, pattern), self._within_seconds)
        except OSError as error:
            raise HostUnreadable(f"backup {name} cannot be looked for in {error.filename}: {error.strerror}") from error
        if written_at is None:
            return [Sample("backup_overdue", 1.0, name, "bool")]
        age_hours = max(0.0, now.timestamp() - written_at) / _SECONDS_PER_HOUR
        return [
            Sample("backup_age_hours", age_hours, name, "hours"),
            Sample("backup_overdue", float(age_hours > max_age_hours), name, "bool"),
        ]


def _newest(pattern: str) -> float | None:
    """Return when the newest match was written, in seconds since 1970; none: nothing matches.

    Raises:
        OSError: the directory that the pattern starts in may not be read, so that nothing is known.
    """
    paths = glob.iglob(pattern, recursive=True)  # noqa: PTH207 — Path.glob takes no absolute pattern
    times = [at for path in paths if (at := _written_at(path)) is not None]
    if not times:
        _is_readable(pattern)
    return max(times, default=None)


def _written_at(path: str) -> float | None:
    try:
        return Path(path).stat().st_mtime
    except FileNotFoundError:  # it was cleared away between the listing and the look
        return None


def _is_readable(pattern: str) -> None:
    """Raise the error that glob keeps to itself when the deepest directory without wildcards cannot be listed."""
    parts = Path(pattern).parts
    plain = [part for index, part in enumerate(parts[:-1]) if not any(map(glob.has_magic, parts[: index + 1]))]
    directory = Path(*plain)
    if directory.exists():
        next(directory.iterdir(), None)
