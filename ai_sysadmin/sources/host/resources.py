"""Memory, load, pressure and the kernel's own limits, from /proc."""

import os
from pathlib import Path

from ai_sysadmin.core.records import Record, Sample
from ai_sysadmin.sources.host.reading import HostUnreadable, number, text_of

PROC = Path("/proc")
RESOURCES = ("cpu", "io", "memory")


class Memory(Record):
    """Memory and swap, in bytes."""

    total_bytes: int
    available_bytes: int
    swap_total_bytes: int
    swap_used_bytes: int

    @property
    def used_percent(self) -> float:
        return 100 * (1 - self.available_bytes / self.total_bytes) if self.total_bytes else 0.0


class Load(Record):
    """How many tasks ran or waited, on average over 1, 5 and 15 minutes, and on how many processors."""

    one: float
    five: float
    fifteen: float
    processors: int


class Pressure(Record):
    """The share of the last 10 s and 60 s, in percent, in which some or all tasks stood still for want of it."""

    resource: str
    some_10: float
    some_60: float
    full_10: float
    full_60: float


def memory(proc: Path = PROC) -> Memory:
    """Return how much memory there is. Raises: HostUnreadable."""
    rows = (line.partition(":") for line in text_of(proc / "meminfo", "memory use").split("\n"))
    counted = ((key, rest.split()) for key, _, rest in rows)
    sizes = {key: int(words[0]) << 10 for key, words in counted if words and words[0].isascii() and words[0].isdigit()}
    try:
        total, available = sizes["MemTotal"], sizes["MemAvailable"]
    except KeyError as error:
        raise HostUnreadable(f"memory use cannot be read: the kernel does not give {error.args[0]}") from error
    swap = sizes.get("SwapTotal", 0)
    return Memory(
        total_bytes=total,
        available_bytes=min(available, total),
        swap_total_bytes=swap,
        swap_used_bytes=swap - sizes.get("SwapFree", swap),
    )


def load(proc: Path = PROC) -> Load:
    """Return the load averages. Raises: HostUnreadable."""
    one, five, fifteen = (float(part) for part in _load_fields(proc)[:3])
    return Load(one=one, five=five, fifteen=fifteen, processors=os.cpu_count() or 1)


def _load_fields(proc: Path) -> list[str]:
    fields = text_of(proc / "loadavg", "the load average").split()
    if len(fields) < 4:
        raise HostUnreadable("the load average cannot be read: the kernel gives it in another form")
    return fields


def pressure(directory: Path = PROC / "pressure") -> tuple[Pressure, ...]:
    """Return the kernel's pressure figures for cpu, io and memory.

    Raises:
        HostUnreadable: this kernel has none.
    """
    found = _pressures(directory).items()
    return tuple(
        Pressure(
            resource=resource,
            some_10=shares.get("some avg10", 0.0),
            some_60=shares.get("some avg60", 0.0),
            full_10=shares.get("full avg10", 0.0),
            full_60=shares.get("full avg60", 0.0),
        )
        for resource, shares in found
    )


def _pressures(directory: Path) -> dict[str, dict[str, float]]:
    """Return the shares per resource, by names such as ``some avg60``. Raises: HostUnreadable."""
    found: dict[str, dict[str, float]] = {}
    for resource in RESOURCES:
        try:
            text = (directory / resource).read_text()
        except OSError as error:
            if resource == "cpu":
                raise HostUnreadable(f"this kernel does not report pressure: {error.strerror}") from error
            continue
        found[resource] = _shares(text)
    return found


def _shares(text: str) -> dict[str, float]:
    shares: dict[str, float] = {}
    for line in text.splitlines():
        kind, *parts = line.split()
        pairs = (part.partition("=") for part in parts)
        shares.update({f"{kind} {key}": float(value) for key, _, value in pairs if key.startswith("avg")})
    return shares


def memory_samples(proc: Path = PROC) -> list[Sample]:
    """Return what memory is left, and how much of the swap space is used if there is any. Raises: HostUnreadable."""
    seen = memory(proc)
    samples = [
        Sample("memory_available_percent", 100 - seen.used_percent, unit="percent"),
        Sample("memory_available_bytes", float(seen.available_bytes), unit="bytes"),
    ]
    if seen.swap_total_bytes:
        used = 100 * seen.swap_used_bytes / seen.swap_total_bytes
        samples.append(Sample("swap_used_percent", used, unit="percent"))
    return samples


def pressure_samples(proc: Path = PROC) -> list[Sample]:
    """Return the share of the last minute in which tasks stood still, per resource. Raises: HostUnreadable."""
    return [
        Sample(f"pressure_{kind}_percent", shares[f"{kind} avg60"], resource, "percent")
        for resource, shares in _pressures(proc / "pressure").items()
        for kind in ("some", "full")
        if f"{kind} avg60" in shares
    ]


def load_samples(proc: Path = PROC, processors: int | None = None) -> list[Sample]:
    """Return the 5-minute load per processor. Raises: HostUnreadable."""
    five = float(_load_fields(proc)[1])
    return [Sample("load_per_processor", five / (processors or os.cpu_count() or 1), unit="ratio")]


def open_file_samples(proc: Path = PROC) -> list[Sample]:
    """Return how much of the kernel's table of open files is used. Raises: HostUnreadable."""
    fields = text_of(proc / "sys/fs/file-nr", "the number of open files").split()
    allocated, unused, most = (int(field) for field in fields[:3])
    return [_share("open_files_used_percent", allocated - unused, most)]


def process_samples(proc: Path = PROC) -> list[Sample]:
    """Return how many tasks there are against the most that this kernel may have. Raises: HostUnreadable."""
    tasks = int(_load_fields(proc)[3].partition("/")[2])
    limits = [number(proc / "sys/kernel" / name) for name in ("pid_max", "threads-max")]
    known = [limit for limit in limits if limit]
    if not known:
        raise HostUnreadable("the kernel does not say how many tasks there may be")
    return [_share("processes_used_percent", tasks, min(known))]


def conntrack_samples(proc: Path = PROC) -> list[Sample]:
    """Return how much of the table of tracked connections is used. Raises: HostUnreadable: none are tracked."""
    directory = proc / "sys/net/netfilter"
    count, most = number(directory / "nf_conntrack_count"), number(directory / "nf_conntrack_max")
    if count is None or not most:
        raise HostUnreadable("this kernel tracks no connections")
    return [_share("conntrack_used_percent", count, most)]


def _share(name: str, used: int, most: int) -> Sample:
    return Sample(name, 100 * used / most if most else 0.0, unit="percent")


class ProcessorUse:
    """How busy the processors were since the previous reading."""

    def __init__(self, proc: Path = PROC) -> None:
        self._proc = proc
        self._before = (0, 0)

    def sample(self) -> list[Sample]:
        """Return ``cpu_used_percent``; nothing at the first reading. Raises: HostUnreadable."""
        fields = text_of(self._proc / "stat", "processor use").partition("\n")[0].split()
        # Time as a guest's processor, the ninth and tenth field, is counted in the first two already.
        ticks = [int(field) for field in fields[1:9]]
        total, idle = sum(ticks), sum(ticks[3:5])
        (total_before, idle_before), self._before = self._before, (total, idle)
        passed = total - total_before
        if not total_before or passed <= 0:
            return []
        waited = min(max(idle - idle_before, 0), passed)  # time waiting for input may run backwards a little
        return [Sample("cpu_used_percent", 100 * (1 - waited / passed), unit="percent")]


class OomKills:
    """How many processes the kernel killed for want of memory since the previous reading."""

    def __init__(self, proc: Path = PROC) -> None:
        self._proc = proc
        self._before: int | None = None

    def sample(self) -> list[Sample]:
        """Return ``oom_kills``; nothing at the first reading. Raises: HostUnreadable."""
        kills = _oom_kills(text_of(self._proc / "vmstat", "the number of kills for want of memory"))
        before, self._before = self._before, kills
        if before is None:
            return []
        return [Sample("oom_kills", float(kills - before if kills >= before else kills), unit="count")]


def _oom_kills(vmstat: str) -> int:
    _, found, rest = f"\n{vmstat}".partition("\noom_kill ")
    if not found:
        raise HostUnreadable("this kernel does not count its kills for want of memory")
    return int(rest.partition("\n")[0])
