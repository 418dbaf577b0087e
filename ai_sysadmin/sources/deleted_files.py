"""Files that were deleted and still take space, since a process holds them open."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from ai_sysadmin.sources.host.reading import attribute
from ai_sysadmin.sources.processes import pids, unit_of

_MARK: Final = " (deleted)"
_IN_MEMORY: Final = ("/memfd:", "/dev/shm/", "/SYSV", "/dev/zero", "/[aio]", "/i915", "/drm")  # noqa: S108
_BLOCK: Final = 512


class Deleted(NamedTuple):
    """What one process holds open that has no name any more. ``example`` is the largest one's last name."""

    pid: int
    name: str
    unit: str
    held_bytes: int
    files: int
    example: str


class Seen(NamedTuple):
    """``hidden``: so many processes did not let this user see what they hold open."""

    deleted: tuple[Deleted, ...]
    hidden: int


def deleted_files(root: Path = Path("/")) -> Seen:
    """Return who holds deleted files on storage, the most first. Raises: HostUnreadable: there is no /proc."""
    proc = root / "proc"
    found: list[Deleted] = []
    hidden = 0
    for pid in pids(proc):
        held = _held(proc / str(pid))
        if held is None:
            hidden += 1
        elif held:
            total = sum(size for size, _ in held)
            found.append(Deleted(pid, *_who(proc / str(pid)), total, len(held), max(held)[1]))
    return Seen(tuple(sorted(found, key=lambda each: (-each.held_bytes, each.pid))), hidden)


def _who(process: Path) -> tuple[str, str]:
    return attribute(process / "comm"), unit_of(attribute(process / "cgroup"))


def _held(process: Path) -> list[tuple[int, str]] | None:
    """Return size and last name of each deleted file that a process holds; none: this user may not know."""
    try:
        descriptors = list(os.scandir(process / "fd"))
    except FileNotFoundError:  # the process ended
        return []
    except OSError:
        return None
    by_file = {found[0]: found[1:] for each in descriptors for found in _deleted(each.path)}
    return [(size, name) for size, name in by_file.values()]


def _deleted(descriptor: str) -> Iterator[tuple[tuple[int, int], int, str]]:
    """Yield the file that a descriptor leads to, its size and last name, if it is deleted and takes space."""
    try:
        name = os.readlink(descriptor)  # noqa: PTH115 — many, as plain text
        if not name.endswith(_MARK) or name.startswith(_IN_MEMORY):
            return
        found = os.stat(descriptor)  # noqa: PTH116
    except OSError:
        return
    if stat.S_ISREG(found.st_mode) and found.st_blocks:
        yield (found.st_dev, found.st_ino), found.st_blocks * _BLOCK, name.removesuffix(_MARK)
