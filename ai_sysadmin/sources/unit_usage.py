"""What units use, from their control groups: memory with its limit and its kills, and traffic with storage."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from ai_sysadmin.sources.host.reading import HostUnreadable, attribute, number

_UNITS: Final = (".service", ".scope")
_DEEPEST: Final = 10
_MOST_GROUPS: Final = 10_000
_NO_LIMIT: Final = 1 << 60


class UnitMemory(NamedTuple):
    """Memory in bytes. ``limit_bytes`` none: it has none. ``kills``: by the kernel, for want of memory, of its own."""

    unit: str
    used_bytes: int
    limit_bytes: int | None
    kills: int


def unit_memory(root: Path = Path("/")) -> list[UnitMemory]:
    """Return what each unit uses that is accounted for, the most first.

    Raises:
        HostUnreadable: no unit's memory is accounted for.
    """
    found = [used for unit, group in _groups(root, "memory") if (used := _memory(unit, group)) is not None]
    if not found:
        raise HostUnreadable("memory is not accounted for by unit on this host")
    return sorted(found, key=lambda each: (-each.used_bytes, each.unit))


def _memory(unit: str, group: Path) -> UnitMemory | None:
    used = number(group / "memory.current")
    if used is None:
        used = number(group / "memory.usage_in_bytes")
    if used is None:
        return None
    limits = [number(group / name) for name in ("memory.max", "memory.high", "memory.limit_in_bytes")]
    known = [limit for limit in limits if limit is not None and limit < _NO_LIMIT]
    events = _numbers(attribute(group / "memory.events") or attribute(group / "memory.oom_control"))
    return UnitMemory(unit, used, min(known, default=None), events.get("oom_kill", 0))


def unit_traffic(root: Path = Path("/")) -> Mapping[str, int]:
    """Return how many bytes each unit has read from and written to storage; empty: that is not accounted for."""
    return {
        unit: moved
        for unit, group in _groups(root, "io")
        if (moved := _moved(attribute(group / "io.stat"))) is not None
    }


def _moved(io_stat: str) -> int | None:
    if not io_stat:
        return None
    pairs = (part.partition("=") for line in io_stat.splitlines() for part in line.split()[1:])
    return sum(int(count) for key, _, count in pairs if key in {"rbytes", "wbytes"} and count.isdigit())


def _numbers(text: str) -> Mapping[str, int]:
    rows = (line.split() for line in text.splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}


def _groups(root: Path, controller: str) -> Iterator[tuple[str, Path]]:
    """Yield the outermost unit of each branch with its control group, in the one hierarchy or the controller's own."""
    top = root / "sys/fs/cgroup"
    start = top if (top / "cgroup.controllers").exists() else top / controller
    waiting = [(start, 0)]
    seen = 0
    while waiting and seen < _MOST_GROUPS:
        directory, depth = waiting.pop()
        for name in _directories(directory):
            seen += 1
            if name.endswith(_UNITS):
                yield name.removeprefix("_"), directory / name
            elif depth < _DEEPEST:
                waiting.append((directory / name, depth + 1))


def _directories(directory: Path) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []
