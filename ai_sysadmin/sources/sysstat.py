"""What sysstat recorded of this host before the suite did: its files, read by ``sadf -j``.

Optional in every way: without ``sadf``, or without files, there is nothing.
"""

import asyncio
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from ai_sysadmin.core.records import Sample
from ai_sysadmin.runtime.commands import CommandMissing, CommandTimedOut, run

DIRECTORIES: Final = (Path("/var/log/sysstat"), Path("/var/log/sa"))
ACTIVITIES: Final = ("-u", "-r", "-S", "-q", "-F", "MOUNT")

_FILE = re.compile(r"sa\d{2}(?:\d{6})?")
_MOST_FILES = 3
_MOST_BYTES = 16 << 20
_SECONDS = 8.0

Json = Mapping[str, object]


class Recorded(NamedTuple):
    """What was recorded at one moment, under the names by which the suite's own figures go."""

    at: datetime
    samples: Sequence[Sample]


class SysstatSeen(NamedTuple):
    """What was recorded in a time, the oldest first; ``gaps`` say what could not be read."""

    recorded: Sequence[Recorded] = ()
    gaps: Sequence[str] = ()


class Sysstat:
    """sysstat's files on this host."""

    def __init__(self, directories: Sequence[Path] = DIRECTORIES) -> None:
        self._directories = directories

    async def between(self, since: datetime, until: datetime) -> SysstatSeen:
        """Return what was recorded in a time. Never raises."""
        files = await asyncio.to_thread(_files, self._directories, since)
        found: list[Recorded] = []
        gaps: list[str] = []
        for file in files:
            try:
                found += [each for each in await _read(file) if since <= each.at <= until]
            except CommandMissing:
                return SysstatSeen()
            except (CommandTimedOut, ValueError) as error:
                gaps.append(f"what sysstat recorded in {file}: {error}")
        return SysstatSeen(sorted(found, key=lambda each: each.at), gaps)


def _files(directories: Sequence[Path], since: datetime) -> list[Path]:
    """Return the newest files that were written after a moment: a file of the same day last month is not."""
    found: list[tuple[float, Path]] = []
    for directory in directories:
        try:
            dated = [(path.stat().st_mtime, path) for path in directory.iterdir() if _FILE.fullmatch(path.name)]
        except OSError:  # it is not there, may not be read, or a file of it went
            continue
        found += [(changed, path) for changed, path in dated if changed >= since.timestamp()]
    return [path for _, path in sorted(found)[-_MOST_FILES:]]


async def _read(file: Path) -> list[Recorded]:
    """Raises: CommandMissing, CommandTimedOut, ValueError: sadf does not answer as it should."""
    argv = ("sadf", "-j", str(file), "--", *ACTIVITIES)
    done = await run(argv, timeout_seconds=_SECONDS, max_bytes=_MOST_BYTES)
    if done.truncated:
        raise ValueError(f"it is more than {_MOST_BYTES >> 20} MB of text")
    if done.exit_status != 0:
        raise ValueError(done.stderr.strip().partition("\n")[0] or f"sadf ended with status {done.exit_status}")
    return parsed(done.stdout)


def parsed(output: bytes) -> list[Recorded]:
    """Return what ``sadf -j`` wrote. Raises: ValueError: it is not that."""
    try:
        hosts = json.loads(output)["sysstat"]["hosts"]
        return [each for host in hosts for each in _of_host(host)]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"sadf did not answer with its records ({error!r})") from error


def _of_host(host: Json) -> Iterator[Recorded]:
    processors = _number(host, "number-of-cpus") or 1.0
    statistics = host["statistics"]
    if not isinstance(statistics, list):
        raise TypeError("statistics")
    for each in statistics:
        if (at := _moment(each["timestamp"])) is not None and (samples := list(_samples(each, processors))):
            yield Recorded(at, samples)


def _moment(stamp: Json) -> datetime | None:
    """Return when it was; none: in a local time whose offset the file does not say."""
    if stamp.get("utc") != 1:
        return None
    return datetime.fromisoformat(f"{stamp['date']}T{stamp['time']}").replace(tzinfo=UTC)


def _samples(each: Json, processors: float) -> Iterator[Sample]:
    for cpu in _rows(each, "cpu-load"):
        idle = _number(cpu, "idle")
        if cpu.get("cpu") == "all" and idle is not None:
            yield Sample("cpu_used_percent", 100 - idle - (_number(cpu, "iowait") or 0.0), unit="percent")
    memory, queue = _row(each, "memory"), _row(each, "queue")
    if (available := _number(memory, "avail")) is not None:
        yield Sample("memory_available_bytes", available * 1024, unit="bytes")
    if (swap := _number(memory, "swpused-percent")) is not None:
        yield Sample("swap_used_percent", swap, unit="percent")
    if (load := _number(queue, "ldavg-5")) is not None:
        yield Sample("load_per_processor", load / processors, unit="ratio")
    for system in _rows(each, "filesystems"):
        if (used := _used_percent(system)) is not None:
            yield Sample("file_system_used_percent", used, str(system.get("mountpoint", "")), "percent")


def _used_percent(system: Json) -> float | None:
    """Return how full a file system is for ordinary users, as ``df`` counts it; none: that is not recorded."""
    used, free = _number(system, "MBfsused"), _number(system, "MBfsfree")
    share = _number(system, "%ufsused")
    if used is None or free is None or share is None or not system.get("mountpoint"):
        return None
    available = (used + free) * (1 - share / 100)
    return 100 * used / (used + available) if used + available else 0.0


def _rows(each: Json, name: str) -> list[Json]:
    rows = each.get(name)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _row(each: Json, name: str) -> Json:
    row = each.get(name)
    return row if isinstance(row, dict) else {}


def _number(row: Json, name: str) -> float | None:
    value = row.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
