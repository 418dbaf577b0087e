"""When the host was booted."""

import os
import re
from datetime import datetime
from pathlib import Path

from ai_sysadmin.sources.changes import Change
from ai_sysadmin.sources.changes.window import Look, Window, moment_of

_BTIME = re.compile(rb"^btime (\d+)$", re.MULTILINE)
_STARTED_FIELD = 19  # of /proc/<pid>/stat, counted after the command's closing parenthesis


def look_at_reboots(proc: Path, window: Window) -> Look:
    """Return the host's boot as a change, where it was within the time. Raises: OSError."""
    at = booted_at(proc)
    if at is None:
        return Look(gaps=("when the host was booted is not known: the kernel does not say",))
    if not window.holds(at):
        return Look()
    return Look((Change(at=at, kind="reboot", what="the host was booted", about=_kernel(proc)),))


def booted_at(proc: Path) -> datetime | None:
    """Return when the first process started: in a container that is its own boot, not the machine's. Raises: OSError.

    The kernel counts from its own boot, and says when that was by the clock as it is now: a clock that was set since
    is allowed for.
    """
    match = _BTIME.search((proc / "stat").read_bytes())
    if match is None:
        return None
    return moment_of(int(match[1]) + _first_process_seconds(proc))


def _first_process_seconds(proc: Path) -> float:
    """Return how long after the kernel's boot the first process started; 0: it may not be seen."""
    try:
        fields = (proc / "1/stat").read_bytes().rpartition(b")")[2].split()
        return int(fields[_STARTED_FIELD]) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return 0.0


def _kernel(proc: Path) -> str:
    try:
        return (proc / "sys/kernel/osrelease").read_text().strip()
    except OSError:
        return ""
