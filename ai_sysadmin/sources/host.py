"""What the host says of itself: file systems, memory, load, pressure, a pending reboot.

Each look-up returns a frozen value, or raises ``HostUnreadable`` with one clear sentence.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import psutil

from ai_sysadmin.core.errors import AiSysadminError
from ai_sysadmin.core.records import Record

PSEUDO = frozenset(
    {"autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs", "efivarfs"}
    | {"erofs", "fusectl", "hugetlbfs", "iso9660", "mqueue", "nsfs", "proc", "pstore", "ramfs", "rpc_pipefs"}
    | {"securityfs", "selinuxfs", "squashfs", "sysfs", "tracefs"}
    | {"fuse.gvfsd-fuse", "fuse.lxcfs", "fuse.portal", "fuse.snapfuse"}
)
"""File systems that are not storage, or that are full by nature."""

REMOTE = frozenset(
    {"9p", "afs", "ceph", "cifs", "glusterfs", "lustre", "nfs", "nfs4", "smb3", "smbfs", "fuse.sshfs", "fuse.rclone"}
)
"""File systems that may hang when asked: their server could be away."""

_OCTAL = re.compile(r"\\([0-7]{3})")


class HostUnreadable(AiSysadminError):
    """This host does not say."""


class FileSystem(Record):
    """One mounted file system; sizes in bytes. ``inodes_total`` 0: it has no fixed number of them."""

    mount_point: str
    device: str
    type: str
    read_only: bool
    total_bytes: int
    free_bytes: int
    inodes_total: int
    inodes_free: int

    @property
    def used_percent(self) -> float:
        return 100 * (1 - self.free_bytes / self.total_bytes) if self.total_bytes else 0.0

    @property
    def inodes_used_percent(self) -> float:
        return 100 * (1 - self.inodes_free / self.inodes_total) if self.inodes_total else 0.0


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


class PendingReboot(Record):
    """Whether the running system is older than the installed one, and what says so."""

    pending: bool
    why: str


@dataclass(frozen=True)
class _Mount:
    device_number: str
    root: str
    mount_point: str
    options: frozenset[str]
    type: str
    source: str
    super_options: frozenset[str]


def file_systems(mountinfo: Path = Path("/proc/1/mountinfo")) -> tuple[FileSystem, ...]:
    """Return the storage that is mounted, each device once, as the host's first process sees it.

    Network file systems are left out: asking one whose server is away would hang. A mount point that this user may
    not enter is left out too.

    Raises:
        HostUnreadable: there is no list of mounts.
    """
    mounts = _mounts(mountinfo)
    root = mountinfo.parent / "root"
    base = root if os.access(root / ".", os.X_OK) else Path("/")
    found = (_measured(mount, base) for mount in _once_per_device(mounts))
    return tuple(sorted((each for each in found if each is not None), key=lambda each: each.mount_point))


def memory() -> Memory:
    """Return how much memory there is. Raises: HostUnreadable."""
    try:
        ram, swap = psutil.virtual_memory(), psutil.swap_memory()
    except (OSError, psutil.Error, RuntimeError) as error:
        raise HostUnreadable(f"memory use cannot be read: {error}") from error
    return Memory(
        total_bytes=ram.total,
        available_bytes=ram.available,
        swap_total_bytes=swap.total,
        swap_used_bytes=swap.used,
    )


def load() -> Load:
    """Return the load averages. Raises: HostUnreadable."""
    try:
        one, five, fifteen = os.getloadavg()
    except OSError as error:
        raise HostUnreadable(f"the load average cannot be read: {error}") from error
    return Load(one=one, five=five, fifteen=fifteen, processors=os.cpu_count() or 1)


def pressure(directory: Path = Path("/proc/pressure")) -> tuple[Pressure, ...]:
    """Return the kernel's pressure figures for cpu, io and memory.

    Raises:
        HostUnreadable: this kernel has none.
    """
    found = tuple(_pressure(directory, name) for name in ("cpu", "io", "memory"))
    return tuple(each for each in found if each is not None)


def pending_reboot(root: Path = Path("/")) -> PendingReboot:
    """Tell whether the host waits to be rebooted: Debian's mark, or NixOS's booted against its current system.

    Raises:
        HostUnreadable: this host leaves no sign of either.
    """
    mark = root / "run/reboot-required"
    if mark.exists():
        packages = _lines(root / "run/reboot-required.pkgs")
        return PendingReboot(pending=True, why="updated: " + ", ".join(packages) if packages else "updates want it")
    booted, current = root / "run/booted-system", root / "run/current-system"
    if booted.exists() and current.exists():
        changed = [name for name in ("kernel", "initrd", "kernel-modules") if _differ(booted / name, current / name)]
        return PendingReboot(pending=bool(changed), why=f"changed since boot: {', '.join(changed)}" if changed else "")
    if (root / "etc/debian_version").exists():
        return PendingReboot(pending=False, why="")
    raise HostUnreadable("whether a reboot is pending is not known on this kind of host")


def _mounts(mountinfo: Path) -> list[_Mount]:
    try:
        text = mountinfo.read_text(errors="surrogateescape")
    except PermissionError:
        return _mounts(Path("/proc/self/mountinfo"))
    except OSError as error:
        raise HostUnreadable(f"the list of mounts cannot be read: {error}") from error
    return [mount for line in text.splitlines() if (mount := parse_mount(line)) is not None]


def parse_mount(line: str) -> _Mount | None:
    """Parse one line of mountinfo; none: it is not one."""
    left, separator, right = line.partition(" - ")
    fields, rest = left.split(" "), right.split(" ")
    if not separator or len(fields) < 6 or len(rest) < 2:
        return None
    options = frozenset(fields[5].split(","))
    super_options = frozenset(rest[2].split(",")) if len(rest) > 2 else frozenset()
    return _Mount(fields[2], _plain(fields[3]), _plain(fields[4]), options, rest[0], _plain(rest[1]), super_options)


def _plain(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)


def _once_per_device(mounts: list[_Mount]) -> list[_Mount]:
    """Return storage mounts, each device once: where its own root is mounted, else at its shortest path."""
    visible = {mount.mount_point: mount for mount in mounts}  # a later mount hides an earlier one
    best: dict[str, _Mount] = {}
    for mount in filter(_is_storage, visible.values()):
        device = mount.source if mount.type == "btrfs" else mount.device_number
        held = best.get(device)
        if held is None or _rank(mount) < _rank(held):
            best[device] = mount
    return list(best.values())


def _is_storage(mount: _Mount) -> bool:
    if mount.type in PSEUDO or mount.type in REMOTE:
        return False
    if mount.type == "overlay" and mount.mount_point != "/":  # a container's; what it writes to is listed itself
        return False
    return mount.mount_point == "/dev/shm" or not mount.mount_point.startswith(("/proc/", "/sys/", "/dev/"))  # noqa: S108


def _rank(mount: _Mount) -> tuple[bool, int]:
    return mount.root != "/", len(mount.mount_point)


def _measured(mount: _Mount, base: Path) -> FileSystem | None:
    try:
        space = os.statvfs(base / mount.mount_point.lstrip("/"))
    except OSError:
        return None
    if not space.f_blocks:
        return None
    reserved = space.f_bfree - space.f_bavail
    return FileSystem(
        mount_point=mount.mount_point,
        device=mount.source,
        type=mount.type,
        read_only="ro" in mount.options or "ro" in mount.super_options,
        total_bytes=(space.f_blocks - reserved) * space.f_frsize,
        free_bytes=space.f_bavail * space.f_frsize,
        inodes_total=space.f_files,
        inodes_free=space.f_favail,
    )


def _pressure(directory: Path, resource: str) -> Pressure | None:
    try:
        lines = (directory / resource).read_text().splitlines()
    except OSError as error:
        if resource == "cpu":
            raise HostUnreadable(f"this kernel does not report pressure: {error.strerror}") from error
        return None
    shares = {line.partition(" ")[0]: dict(part.split("=") for part in line.split()[1:]) for line in lines}
    some, full = shares.get("some", {}), shares.get("full", {})
    return Pressure(
        resource=resource,
        some_10=float(some.get("avg10", 0)),
        some_60=float(some.get("avg60", 0)),
        full_10=float(full.get("avg10", 0)),
        full_60=float(full.get("avg60", 0)),
    )


def _lines(path: Path) -> list[str]:
    try:
        return sorted(set(path.read_text().split()))
    except OSError:
        return []


def _differ(one: Path, other: Path) -> bool:
    return one.resolve() != other.resolve()
