"""What there is on this host, read from its own files without any privilege: services, ports, timers, hardware.

Nothing here changes by itself from one look to the next: no load, no free space, no clock.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from ai_sysadmin.sources.hardware import hardware
from ai_sysadmin.sources.host import FileSystem, HostUnreadable, file_systems, generations, memory
from ai_sysadmin.sources.host.reading import attribute
from ai_sysadmin.sources.host.space import MOUNTINFO
from ai_sysadmin.sources.listening import Listening, Owner
from ai_sysadmin.sources.unit_files import UnitFile, enabled

_GIB: Final = 1 << 30
_ANY: Final = frozenset({"0.0.0.0", "[::]"})  # noqa: S104  # recognised, not listened on


class Discovery(NamedTuple):
    """One thing that there is. ``name`` stays as long as the thing does."""

    name: str
    title: str
    lines: tuple[str, ...]


class Discovered(NamedTuple):
    """What the host is, and what was found on it; ``faults`` say what could not be looked at."""

    system: tuple[Discovery, ...]
    found: tuple[Discovery, ...]
    faults: tuple[str, ...]


def discover(root: Path = Path("/"), ports: Listening | None = None) -> Discovered:
    """Look at everything once; what cannot be looked at is a fault, and the rest goes on.

    Args:
        ports: remembers the sockets of the look before; without it only ports that no client gets are told.
    """
    faults: list[str] = []

    def looked(look: Callable[[Path], Sequence[Discovery]]) -> tuple[Discovery, ...]:
        try:
            return tuple(look(root))
        except HostUnreadable as error:
            faults.append(str(error))
            return ()

    system = (*looked(_system), *looked(_storage))
    listening = ports or Listening(root)
    found = (*looked(_services), *looked(lambda _: _ports(listening.look())), *looked(_hardware))
    return Discovered(system, found, tuple(faults))


def _system(root: Path) -> Sequence[Discovery]:
    lines = [f"{name}: {value}" for name, value in _facts(root) if value]
    return [Discovery("host", "What this host is", tuple(lines))] if lines else []


def _facts(root: Path) -> Iterator[tuple[str, str]]:
    release = _os_release(root)
    yield "operating system", release.get("PRETTY_NAME") or release.get("NAME", "")
    yield "kernel", attribute(root / "proc/sys/kernel/osrelease")
    try:
        found = generations(root, root / "proc")
        yield "NixOS generation", f"{found.number}, {found.current}" if found.number is not None else found.current
    except HostUnreadable:
        pass
    yield from _machine(root)
    yield "time zone", _time_zone(root)


def _machine(root: Path) -> Iterator[tuple[str, str]]:
    dmi = root / "sys/class/dmi/id"
    yield "machine", " ".join(filter(None, (attribute(dmi / "sys_vendor"), attribute(dmi / "product_name"))))
    rows = [line.partition(":") for line in attribute(root / "proc/cpuinfo").splitlines()]
    count = sum(1 for key, _, _ in rows if key.strip() == "processor")
    model = next((value.strip() for key, _, value in rows if key.strip() in {"model name", "Model", "cpu"}), "")
    yield "processors", f"{count} × {model or 'unnamed'}" if count else ""
    try:
        seen = memory(root / "proc")
    except HostUnreadable:
        return
    yield "memory", f"{seen.total_bytes / _GIB:.1f} GiB"
    yield "swap", f"{seen.swap_total_bytes / _GIB:.1f} GiB" if seen.swap_total_bytes else "none"


def _os_release(root: Path) -> dict[str, str]:
    for name in ("etc/os-release", "usr/lib/os-release"):
        rows = [line.partition("=") for line in attribute(root / name).splitlines()]
        if said := {key: value.strip("\"'") for key, equals, value in rows if equals}:
            return said
    return {}


def _time_zone(root: Path) -> str:
    try:
        target = str((root / "etc/localtime").readlink())
    except OSError:
        return attribute(root / "etc/timezone") or "UTC"
    return target.partition("zoneinfo/")[2] or target


def _storage(root: Path) -> Sequence[Discovery]:
    mountinfo = MOUNTINFO if root == Path("/") else root / MOUNTINFO.relative_to("/")
    lines = [
        f"{each.mount_point}: {each.type} on {each.device}{_fixed_size(each)}"
        for each in file_systems(mountinfo)
        if each.type != "tmpfs"
    ]
    return [Discovery("file systems", "File systems of this host", tuple(lines))] if lines else []


def _fixed_size(of: FileSystem) -> str:
    """Return what is fixed of a file system's size: a data set of ZFS has none, and only ext has so many inodes."""
    if of.type == "zfs":
        return ""
    inodes = f", {of.inodes_total} inodes" if of.type.startswith("ext") and of.inodes_total else ""
    gibibytes = of.total_bytes / _GIB
    return f", {gibibytes:.0f} GiB{inodes}" if gibibytes >= 10 else f", {gibibytes:.1f} GiB{inodes}"


def _services(root: Path) -> Sequence[Discovery]:
    return [
        Discovery(unit.name, f"{unit.name}: {unit.description or unit.name}", _said(unit)) for unit in enabled(root)
    ]


def _said(unit: UnitFile) -> tuple[str, ...]:
    lines = [f"{unit.name} is enabled, wanted by {', '.join(unit.wanted_by)}"]
    lines += [f"runs {command}" for command in unit.commands]
    lines += [f"as user {unit.user}"] if unit.user else []
    lines += [f"starts by {' and '.join(unit.schedule)}"] if unit.schedule else []
    lines += [f"listens on {' and '.join(unit.sockets)}"] if unit.sockets else []
    return (*lines, f"defined in {unit.path}")


def _ports(owners: Sequence[Owner]) -> list[Discovery]:
    """Return one discovery for each unit, or process or user where no unit is seen."""
    by_name: dict[str, list[Owner]] = {}
    for owner in owners:
        who = owner.unit or owner.process or f"a process of user {owner.user}"
        by_name.setdefault(who, []).append(owner)
    return [_of_owners(who, owned) for who, owned in by_name.items()]


def _of_owners(who: str, owners: Sequence[Owner]) -> Discovery:
    ports = sorted({port for owner in owners for port in owner.ports})
    lines = [f"{who} listens on {port.protocol} port {port.port}, {_where(port.address)}" for port in ports]
    processes = sorted({owner.process for owner in owners if owner.unit and owner.process})
    lines += [f"its process is {process}" for process in processes]
    numbers = ", ".join(dict.fromkeys(str(port.port) for port in ports))
    return Discovery(f"listening {who}", f"{who} listens on port {numbers}"[:200], tuple(lines))


def _where(address: str) -> str:
    if address in _ANY:
        return "on every address of the host"
    return "on this host only" if address.startswith("127.") or address == "[::1]" else f"on {address}"


def _hardware(root: Path) -> Sequence[Discovery]:
    return [Discovery(part.name, part.title, part.lines) for part in hardware(root)]
