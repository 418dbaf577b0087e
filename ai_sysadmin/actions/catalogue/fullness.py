"""How full the file system of a path is, as the executor may tell it: what warrants every action that makes room."""

import os
import stat
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Annotated, Final

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, StringConstraints

from ai_sysadmin.actions.action import Host
from ai_sysadmin.core.records import Record
from ai_sysadmin.sources.host.mounts import Mount, mounts_in
from ai_sysadmin.sources.host.reading import HostUnreadable

MOUNTINFO: Final = "/proc/1/mountinfo"
"""The mounts as the host's first process has them; the executor's own leave out what its sandbox hides."""
_OWN_MOUNTINFO = "/proc/self/mountinfo"


def _plain(path: str) -> str:
    if os.path.normpath(path) != path or path.startswith("//"):
        raise ValueError("must be a path without .., doubled slashes and a slash at its end")
    return path


HostPath = Annotated[
    str, StringConstraints(pattern=r"^/[A-Za-z0-9._@+,:=~/-]*$", max_length=1000), AfterValidator(_plain)
]
"""An absolute path that is nothing but a path wherever it is written: no blank, quote, glob, specifier or dots."""


def _moment(given: object) -> object:
    try:
        return datetime.fromisoformat(given) if isinstance(given, str) else given
    except ValueError as error:
        raise ValueError(f"must be a time such as 2026-11-22T21:00:00+00:00: {error}") from error


Moment = Annotated[AwareDatetime, BeforeValidator(_moment)]
"""A time with its offset as an argument: arguments are texts."""


class Room(Record):
    """How full the file system of a path is. ``unknown`` says why nobody can tell; empty: the figures hold.

    ``device`` is the file system's number as the kernel lists it, ``inodes_percent`` 0 where it has no fixed number of
    them. It is full at ``at_percent``, and has enough room below ``until_percent``: the operator's word.
    """

    path: str
    at_percent: int
    until_percent: int
    unknown: str = ""
    mount_point: str = ""
    device: str = ""
    total_bytes: int = 0
    free_bytes: int = 0
    inodes_percent: float = 0.0

    @property
    def used_percent(self) -> float:
        return 100 * (1 - self.free_bytes / self.total_bytes) if self.total_bytes else 0.0

    @property
    def is_full(self) -> bool:
        return not self.unknown and self.used_percent >= self.at_percent

    @property
    def lacking_bytes(self) -> int:
        """How much has to go until there is enough room; 0: there is."""
        if self.unknown:
            return 0
        return max(0, self.total_bytes - self.free_bytes - self.total_bytes * self.until_percent // 100)

    @property
    def words(self) -> str:
        if self.unknown:
            return f"how full the file system of {self.path} is cannot be told: {self.unknown}"
        free = size(self.free_bytes)
        return f"the file system {self.mount_point} of {self.path} is {self.used_percent:.1f} % full, {free} are free"

    def fullness(self) -> str | None:
        """Say that the file system is full; none: it is not, or nobody can tell."""
        return f"{self.words}; full is {self.at_percent} %" if self.is_full else None


def room_of(host: Host, path: str) -> Room:
    """Look how full the file system of a path is, without ever asking one that may hang."""
    limits = host.settings.actions.free_disk
    room = Room(path=path, at_percent=limits.at_percent, until_percent=limits.until_percent)
    try:
        mounts, own = mounts_in(host.path(MOUNTINFO)), mounts_in(host.path(_OWN_MOUNTINFO))
    except HostUnreadable as error:
        return room.model_copy(update={"unknown": str(error)})
    if fault := _fault(host, mounts, path):
        return room.model_copy(update={"unknown": fault})
    mount, shown = mount_of(mounts, path), mount_of(own, path)
    if mount is None or shown is None or _place(mount, path) != _place(shown, path):
        return room.model_copy(update={"unknown": "the executor's sandbox does not show it"})
    return _measured(room, mount, host.path(path))


def _fault(host: Host, mounts: Sequence[Mount], path: str) -> str:
    """Say why a path is not looked at; empty: it may be. Each part is looked at only once that cannot hang."""
    for part in (*reversed(PurePosixPath(path).parents), PurePosixPath(path)):
        mount = mount_of(mounts, str(part))
        if mount and (mount.may_hang or mount.type == "autofs"):
            return f"{mount.mount_point} is {mount.type}, which may hang when asked"
        try:
            status = host.path(str(part)).lstat()
        except OSError as error:
            return f"{part}: {error.strerror}"
        if stat.S_ISLNK(status.st_mode):
            return f"{part} is a link: name what it leads to"
    return ""


def _place(mount: Mount, path: str) -> tuple[str, str]:
    """Return which file system a path is on and where on it: another place is seen if a sandbox shows another one."""
    return mount.device_number, mount.root.rstrip("/") + path.removeprefix(mount.mount_point.rstrip("/"))


def _measured(room: Room, mount: Mount, place: Path) -> Room:
    try:
        said = os.statvfs(place)
    except OSError as error:
        return room.model_copy(update={"unknown": str(error)})
    nodes = said.f_files - said.f_ffree + said.f_favail
    return room.model_copy(
        update={
            "mount_point": mount.mount_point,
            "device": mount.device_number,
            "total_bytes": (said.f_blocks - said.f_bfree + said.f_bavail) * said.f_frsize,
            "free_bytes": said.f_bavail * said.f_frsize,
            "inodes_percent": 100 * (1 - said.f_favail / nodes) if nodes else 0.0,
        }
    )


def mount_of(mounts: Sequence[Mount], path: str) -> Mount | None:
    """Return the mount that a path lies on: the nearest above it, and of several there the last; none: no mount."""
    above = [mount for mount in mounts if is_within(path, mount.mount_point)]
    return max(enumerate(above), key=lambda each: (len(each[1].mount_point), each[0]))[1] if above else None


def is_within(path: str, directory: str) -> bool:
    """Tell whether a path is a directory or lies in it."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def size(count: int) -> str:
    """Say a number of bytes for people, in binary units."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"
