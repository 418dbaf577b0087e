"""Which mounts are storage, as the kernel lists them: each device once, and apart those that may hang when asked."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ai_sysadmin.sources.host.reading import HostUnreadable

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

_OF_OTHERS = (
    *("/run/credentials/", "/run/containers/", "/run/k3s/", "/run/docker/"),
    *("/var/lib/docker/", "/var/lib/containers/", "/var/lib/kubelet/"),
)
"""Where services and containers keep small file systems in memory, which come and go with them."""

_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class Mount:
    """One line of mountinfo. ``options`` are this mount's own, ``super_options`` those of the file system itself."""

    device_number: str
    root: str
    mount_point: str
    options: frozenset[str]
    type: str
    source: str
    super_options: frozenset[str]

    @property
    def may_hang(self) -> bool:
        """Whether another process or machine has to answer before the kernel can."""
        return self.type in REMOTE or self.type == "fuse" or self.type.startswith("fuse.")


def mounts_in(mountinfo: Path) -> list[Mount]:
    """Return all mounts, in the order in which they were made. Raises: HostUnreadable."""
    try:
        text = mountinfo.read_text(errors="surrogateescape")
    except PermissionError:
        return mounts_in(Path("/proc/self/mountinfo"))
    except OSError as error:
        raise HostUnreadable(f"the list of mounts cannot be read: {error}") from error
    return [mount for line in text.splitlines() if (mount := parse_mount(line)) is not None]


def base_of(mountinfo: Path) -> Path:
    """Return the directory under which the mounts that a process sees can be reached from here."""
    root = mountinfo.parent / "root"
    return root if os.access(root / ".", os.X_OK) else Path("/")


def parse_mount(line: str) -> Mount | None:
    """Parse one line of mountinfo; none: it is not one."""
    left, separator, right = line.partition(" - ")
    fields, rest = left.split(" "), right.split(" ")
    if not separator or len(fields) < 6 or len(rest) < 2:
        return None
    options = frozenset(fields[5].split(","))
    super_options = frozenset(rest[2].split(",")) if len(rest) > 2 else frozenset()
    return Mount(fields[2], _plain(fields[3]), _plain(fields[4]), options, rest[0], _plain(rest[1]), super_options)


def _plain(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)


def local_storage(mounts: list[Mount]) -> list[Mount]:
    """Return the storage that answers at once, each device once: where its root is mounted, or at its shortest path."""
    best: dict[str, Mount] = {}
    seen = _visible(mounts)
    slow = [mount.mount_point for mount in seen if mount.may_hang]
    for mount in filter(_is_storage, seen):
        # The way to a disk that is mounted below a network share leads over that share.
        if mount.may_hang or any(_is_below(mount.mount_point, point) for point in slow):
            continue
        device = mount.source if mount.type == "btrfs" else mount.device_number
        held = best.get(device)
        if held is None or _rank(mount) < _rank(held):
            best[device] = mount
    return list(best.values())


def slow_storage(mounts: list[Mount]) -> list[Mount]:
    """Return the mounts that may hang when asked. Those that an idle automounter unmounts are left in peace."""
    fleeting = [mount.mount_point for mount in mounts if mount.type == "autofs" and _expires(mount)]
    return [
        mount
        for mount in _visible(mounts)
        if mount.may_hang
        and mount.type not in PSEUDO
        and not any(_is_below(mount.mount_point, point) for point in fleeting)
    ]


def _visible(mounts: list[Mount]) -> list[Mount]:
    return list({mount.mount_point: mount for mount in mounts}.values())  # a later mount hides an earlier one


def _is_storage(mount: Mount) -> bool:
    if mount.type in PSEUDO or (mount.type == "tmpfs" and mount.mount_point.startswith(_OF_OTHERS)):
        return False
    if mount.type == "overlay" and mount.mount_point != "/":  # a container's; what it writes to is listed itself
        return False
    return mount.mount_point == "/dev/shm" or not mount.mount_point.startswith(("/proc/", "/sys/", "/dev/"))  # noqa: S108


def _expires(autofs: Mount) -> bool:
    timeouts = (option.removeprefix("timeout=") for option in autofs.super_options if option.startswith("timeout="))
    return any(seconds != "0" for seconds in timeouts)


def _is_below(path: str, other: str) -> bool:
    return path == other or path.startswith(other.rstrip("/") + "/")


def _rank(mount: Mount) -> tuple[bool, int]:
    return mount.root != "/", len(mount.mount_point)
