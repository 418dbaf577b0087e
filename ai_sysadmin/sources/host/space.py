"""How full the host's file systems are, and which of them no longer take writes or no longer answer."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ai_sysadmin.core.records import Record, Sample
from ai_sysadmin.sources.host.aside import Aside, Hung
from ai_sysadmin.sources.host.mounts import Mount, base_of, local_storage, mounts_in, slow_storage
from ai_sysadmin.sources.host.reading import attribute

MOUNTINFO = Path("/proc/1/mountinfo")
ANSWERS_WITHIN_SECONDS = 2.0
"""A network file system that takes longer than this to say how full it is does not answer."""


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


def file_systems(mountinfo: Path = MOUNTINFO) -> tuple[FileSystem, ...]:
    """Return the storage that is mounted, each device once, as the host's first process sees it.

    Network file systems are left out: asking one whose server is away would hang. A mount point that this user may
    not enter is left out too.

    Raises:
        HostUnreadable: there is no list of mounts.
    """
    base = base_of(mountinfo)
    found = (_measured(mount, base) for mount in local_storage(mounts_in(mountinfo)))
    return tuple(sorted((each for each in found if each is not None), key=lambda each: each.mount_point))


class LocalFileSystems:
    """Samples the storage that answers at once.

    ``file_system_read_only`` is about the file system, not about a read-only view of it such as /nix/store. It is left
    out where nothing went wrong: fstab says so, the device takes no writes, or memory was read-only from the start.
    """

    def __init__(
        self, mountinfo: Path = MOUNTINFO, fstab: Path = Path("/etc/fstab"), sys_: Path = Path("/sys")
    ) -> None:
        self._mountinfo = mountinfo
        self._fstab = fstab
        self._sys = sys_
        self._was_writable: set[str] = set()

    def sample(self) -> list[Sample]:
        """Return space, inodes and writability per mount point. Raises: HostUnreadable."""
        base = base_of(self._mountinfo)
        samples: list[Sample] = []
        for mount in local_storage(mounts_in(self._mountinfo)):
            measured = _measured(mount, base)
            if measured is None or self._is_fixed(mount):
                continue
            samples += _space(measured) + self._writability(mount)
        return samples

    def _is_fixed(self, mount: Mount) -> bool:
        """Whether the device itself takes no writes: an image, a card with its switch on. Full is then no news."""
        return attribute(self._sys / "dev/block" / mount.device_number / "ro") == "1"

    def _writability(self, mount: Mount) -> list[Sample]:
        is_read_only = "ro" in mount.super_options
        if not is_read_only:
            self._was_writable.add(mount.mount_point)
        elif self._is_meant(mount):
            return []
        return [Sample("file_system_read_only", float(is_read_only), mount.mount_point, "bool")]

    def _is_meant(self, mount: Mount) -> bool:
        is_memory = mount.type == "tmpfs"  # the kernel never takes it away from its writers by itself
        if is_memory and mount.mount_point not in self._was_writable:
            return True
        return mount.mount_point in declared_read_only(self._fstab)


def declared_read_only(fstab: Path) -> frozenset[str]:
    """Return the mount points that fstab wants read-only; none where there is no fstab."""
    try:
        lines = fstab.read_text(errors="replace").splitlines()
    except OSError:
        return frozenset()
    rows = [line.split() for line in lines if not line.lstrip().startswith("#")]
    return frozenset(row[1].replace("\\040", " ") for row in rows if len(row) >= 4 and "ro" in row[3].split(","))


def statvfs(path: Path) -> None:
    """Ask a file system how full it is, only to see that it answers."""
    try:
        os.statvfs(path)
    except OSError:  # it says no, and says so at once: a mount of another user, a stale handle
        return


class RemoteFileSystems:
    """Samples which network file systems do not answer, in a thread aside: one that hangs costs that thread alone.

    While one hangs the others cannot be asked and are left out: they are not known to be well.
    """

    def __init__(
        self,
        aside: Aside,
        mountinfo: Path = MOUNTINFO,
        within_seconds: float = ANSWERS_WITHIN_SECONDS,
        ask: Callable[[Path], None] = statvfs,
    ) -> None:
        self._aside = aside
        self._mountinfo = mountinfo
        self._within_seconds = within_seconds
        self._ask = ask

    async def sample(self) -> list[Sample]:
        """Return ``file_system_unresponsive`` per network file system. Raises: HostUnreadable."""
        base = base_of(self._mountinfo)
        samples: list[Sample] = []
        for mount in slow_storage(mounts_in(self._mountinfo)):
            hangs = await self._hangs(mount, base)
            if hangs is not None:
                samples.append(Sample("file_system_unresponsive", float(hangs), mount.mount_point, "bool"))
        return samples

    async def _hangs(self, mount: Mount, base: Path) -> bool | None:
        """Tell whether a mount does not answer; none: another one hangs, so that this one cannot be asked."""
        work = partial(self._ask, base / mount.mount_point.lstrip("/"))
        try:
            await self._aside.ask(mount.mount_point, work, self._within_seconds)
        except Hung as hung:
            return True if hung.what == mount.mount_point else None
        return False


def _space(of: FileSystem) -> list[Sample]:
    about = of.mount_point
    samples = [
        Sample("file_system_used_percent", of.used_percent, about, "percent"),
        Sample("file_system_free_bytes", float(of.free_bytes), about, "bytes"),
        Sample("file_system_total_bytes", float(of.total_bytes), about, "bytes"),
    ]
    if of.inodes_total:
        samples.append(Sample("file_system_inodes_used_percent", of.inodes_used_percent, about, "percent"))
    return samples


def _measured(mount: Mount, base: Path) -> FileSystem | None:
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
