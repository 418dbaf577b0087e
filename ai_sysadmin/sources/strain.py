"""How the host bears its load: pressure over three spans of time, kills for want of memory, compressed swap."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from ai_sysadmin.sources.host.reading import HostUnreadable, attribute, children, text_of

SPANS: Final = ("avg10", "avg60", "avg300")
_RESOURCES: Final = ("cpu", "memory", "io")
_MEMORY_USED_FIELD: Final = 2


class Stalls(NamedTuple):
    """The share of the last 10, 60 and 300 s, in percent, in which ``some`` or all (``full``) tasks stood still."""

    resource: str
    kind: str
    shares: tuple[float, ...]


class Compressed(NamedTuple):
    """A device of compressed memory: bytes put into it, bytes of memory that they take."""

    name: str
    stored_bytes: int
    taken_bytes: int


def stalls(proc: Path = Path("/proc")) -> list[Stalls]:
    """Return the pressure on processors, memory and storage. Raises: HostUnreadable: this kernel does not count it."""
    found = [
        Stalls(resource, kind, tuple(shares.get(span, 0.0) for span in SPANS))
        for resource in _RESOURCES
        for kind, shares in _kinds(attribute(proc / "pressure" / resource))
    ]
    if not found:
        raise HostUnreadable("this kernel does not report pressure")
    return found


def _kinds(text: str) -> list[tuple[str, Mapping[str, float]]]:
    rows = (line.split() for line in text.splitlines())
    return [(row[0], _shares(row[1:])) for row in rows if row]


def _shares(parts: list[str]) -> Mapping[str, float]:
    pairs = (part.partition("=") for part in parts)
    return {key: float(value) for key, _, value in pairs if key in SPANS}


def sizes(proc: Path = Path("/proc")) -> Mapping[str, int]:
    """Return what meminfo counts, in bytes, by the kernel's names. Raises: HostUnreadable."""
    rows = (line.partition(":") for line in text_of(proc / "meminfo", "memory use").splitlines())
    parted = ((name, rest.split()) for name, colon, rest in rows if colon)
    return {name: int(rest[0]) << 10 for name, rest in parted if len(rest) == 2 and rest[1] == "kB"}


def oom_kills(proc: Path = Path("/proc")) -> int | None:
    """Return how many processes the kernel killed for want of memory since it started; none: it does not count."""
    rows = (line.split() for line in attribute(proc / "vmstat").splitlines())
    return next((int(row[1]) for row in rows if len(row) == 2 and row[0] == "oom_kill"), None)


def compressed(sys_: Path = Path("/sys")) -> list[Compressed]:
    """Return the zram devices that hold anything."""
    found = ((device.name, attribute(device / "mm_stat").split()) for device in children(sys_ / "block", "zram*"))
    return [
        Compressed(name, int(fields[0]), int(fields[_MEMORY_USED_FIELD]))
        for name, fields in found
        if len(fields) > _MEMORY_USED_FIELD and all(each.isdigit() for each in fields[:3]) and int(fields[0])
    ]


def swaps(proc: Path = Path("/proc")) -> list[tuple[str, int, int]]:
    """Return each swap's file or device, its size and what is used of it, in bytes."""
    rows = (line.split() for line in attribute(proc / "swaps").splitlines()[1:])
    return [(row[0], int(row[2]) << 10, int(row[3]) << 10) for row in rows if len(row) >= 4 and row[2].isdigit()]


def zswap(sys_: Path = Path("/sys")) -> bool:
    """Tell whether pages on their way to swap are kept compressed in memory."""
    return attribute(sys_ / "module/zswap/parameters/enabled") == "Y"


def uptime_seconds(proc: Path = Path("/proc")) -> float:
    """Return how long the kernel has been running. Raises: HostUnreadable."""
    try:
        return float(text_of(proc / "uptime", "how long the host runs").split()[0])
    except (ValueError, IndexError) as error:
        raise HostUnreadable("how long the host runs cannot be told: /proc/uptime holds no number") from error


def processors(sys_: Path = Path("/sys")) -> int | None:
    """Return how many processors are in use; none: the kernel does not say."""
    online = attribute(sys_ / "devices/system/cpu/online")
    spans = [part.partition("-") for part in online.split(",") if part]
    if not all(low.isdigit() and (high or low).isdigit() for low, _, high in spans):
        return None
    return sum(int(high or low) - int(low) + 1 for low, _, high in spans) or None
