"""What runs on this host, from /proc: each process with its user, unit, share of a processor, memory and state."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from ai_sysadmin.sources.host.reading import HostUnreadable, attribute
from ai_sysadmin.sources.listening import users_of
from ai_sysadmin.sources.strain import uptime_seconds

MOST_PROCESSES: Final = 50_000
STATES: Final[Mapping[str, str]] = {
    "R": "running",
    "S": "sleeping",
    "D": "waiting for a device",
    "Z": "zombie",
    "T": "stopped",
    "t": "traced",
    "I": "idle",
    "X": "dead",
    "x": "dead",
}
_MOST_ARGUMENT_BYTES: Final = 4096
_FIELDS: Final = 22
"""How many fields of stat behind the name are needed: up to the resident pages."""


class Process(NamedTuple):
    """One process. ``cpu_percent`` is of one processor; ``io_per_second`` bytes read and written, none: not visible.

    ``command`` holds its arguments parted by blanks, those with blanks in double quotes; in brackets the name of one
    without arguments: the kernel's own, or a zombie. It may hold anything.
    """

    pid: int
    parent: int
    name: str
    user: str
    unit: str
    state: str
    cpu_percent: float
    resident_bytes: int
    io_per_second: float | None
    age_seconds: float
    command: str


@dataclass(frozen=True)
class Running:
    """The processes that could be seen. ``sees_all`` false: others' are hidden from this user."""

    processes: tuple[Process, ...]
    measured_seconds: float
    sees_all: bool

    @property
    def states(self) -> Mapping[str, int]:
        return Counter(each.state for each in self.processes)


class _Stat(NamedTuple):
    name: str
    state: str
    parent: int
    ticks: int
    started_ticks: int
    resident_pages: int


class _Moment(NamedTuple):
    at: float
    stats: Mapping[int, _Stat]
    io_bytes: Mapping[int, int]


def running(root: Path = Path("/"), over_seconds: float = 0.5, wait: Callable[[float], None] = time.sleep) -> Running:
    """Return what runs; shares of processors are measured over some time, in which this waits.

    Raises:
        HostUnreadable: there is no /proc.
    """
    proc = root / "proc"
    before = _moment(proc)
    wait(over_seconds)
    after = _moment(proc)
    passed = max(after.at - before.at, 1e-3)
    users = users_of(root)
    uptime = uptime_seconds(proc)
    found = (_process(proc, pid, before, after, passed, users, uptime) for pid in after.stats)
    return Running(tuple(found), passed, 1 in after.stats)


def _moment(proc: Path) -> _Moment:
    at = time.monotonic()
    stats: dict[int, _Stat] = {}
    io_bytes: dict[int, int] = {}
    for pid in pids(proc):
        stat = _stat(attribute(proc / str(pid) / "stat"))
        if stat is not None:
            stats[pid] = stat
            moved = _moved(attribute(proc / str(pid) / "io"))
            if moved is not None:
                io_bytes[pid] = moved
    return _Moment(at, stats, io_bytes)


def pids(proc: Path) -> Iterator[int]:
    """Yield the numbers of the processes that are visible. Raises: HostUnreadable."""
    try:
        names = os.listdir(proc)  # noqa: PTH208 — names are all that is needed, many times over
    except OSError as error:
        raise HostUnreadable(f"the processes cannot be listed: {error.strerror}") from error
    numbers = sorted(int(name) for name in names if name.isascii() and name.isdigit())
    yield from numbers[:MOST_PROCESSES]


def _stat(text: str) -> _Stat | None:
    """Parse a process's stat, whose name may hold blanks, brackets and line ends; none: the process is gone."""
    head, bracket, rest = text.rpartition(")")
    fields = rest.split()
    if not bracket or len(fields) < _FIELDS:
        return None
    ticks = int(fields[11]) + int(fields[12])
    return _Stat(head.partition("(")[2], fields[0], int(fields[1]), ticks, int(fields[19]), int(fields[21]))


def _moved(io: str) -> int | None:
    """Return how many bytes a process moved from and to storage; none: this user may not know."""
    counts = dict(line.split(": ", 1) for line in io.splitlines() if ": " in line)
    try:
        return int(counts["read_bytes"]) + int(counts["write_bytes"])
    except (KeyError, ValueError):
        return None


def _process(
    proc: Path, pid: int, before: _Moment, after: _Moment, passed: float, users: Mapping[int, str], uptime: float
) -> Process:
    stat, earlier = after.stats[pid], before.stats.get(pid)
    directory = proc / str(pid)
    ticks = stat.ticks - earlier.ticks if earlier and earlier.started_ticks == stat.started_ticks else 0
    per_second = os.sysconf("SC_CLK_TCK")
    moved = after.io_bytes.get(pid)
    rate = None if moved is None else max(0, moved - before.io_bytes.get(pid, moved)) / passed
    return Process(
        pid=pid,
        parent=stat.parent,
        name=stat.name,
        user=_user(attribute(directory / "status"), users),
        unit=unit_of(attribute(directory / "cgroup")),
        state=stat.state,
        cpu_percent=max(0.0, 100 * ticks / per_second / passed),
        resident_bytes=stat.resident_pages * os.sysconf("SC_PAGE_SIZE"),
        io_per_second=rate,
        age_seconds=max(0.0, uptime - stat.started_ticks / per_second),
        command=_command(directory) or f"[{stat.name}]",
    )


def _user(status: str, users: Mapping[int, str]) -> str:
    """Return whose the process is, by its effective user."""
    # A name may hold what looks like another line of this file, but it comes first and its line ends are escaped.
    _, found, rest = status.partition("\nUid:")
    fields = rest.partition("\n")[0].split()
    if not found or len(fields) < 2 or not fields[1].isdigit():
        return ""
    return users.get(int(fields[1]), f"uid {fields[1]}")


def _command(directory: Path) -> str:
    try:
        with (directory / "cmdline").open("rb") as file:
            data = file.read(_MOST_ARGUMENT_BYTES)
    except OSError:
        return ""
    if not data.strip(b"\0"):
        return ""
    return " ".join(map(_argument, data.rstrip(b"\0").decode(errors="replace").split("\0")))


def _argument(argument: str) -> str:
    """Return one argument so that it is seen where it ends: a secret may hold blanks."""
    if argument and not any(character.isspace() for character in argument):
        return argument
    name, equals, value = argument.partition("=")
    if not equals or any(character.isspace() for character in name):
        name, value = "", argument
    value = value.replace('"', "'")
    return f'{name}="{value}"' if name else f'"{value}"'


def unit_of(cgroup: str) -> str:
    """Return the innermost unit that a process's cgroup file names; empty: none."""
    for line in cgroup.splitlines():
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if number == "0" or controllers == "name=systemd":
            units = [part for part in path.split("/") if part.endswith((".service", ".scope", ".mount", ".socket"))]
            if units:
                return _unescaped(units[-1])
    return ""


def _unescaped(cgroup_name: str) -> str:
    """Return a unit's name; systemd puts an underscore before one that the kernel could take for its own file."""
    return cgroup_name.removeprefix("_")
