"""Storage: how full each file system is, who holds deleted files, and what takes the space below a directory."""

import os
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from ai_sysadmin.context.defuse import one_line
from ai_sysadmin.context.pieces.drafts import size
from ai_sysadmin.core.errors import Refused
from ai_sysadmin.sources.deleted_files import Seen, deleted_files
from ai_sysadmin.sources.host import PSEUDO, Aside, FileSystem, HostUnreadable, RemoteFileSystems, file_systems
from ai_sysadmin.sources.host.mounts import Mount, base_of, mounts_in, slow_storage
from ai_sysadmin.sources.usage import USUAL, Limits, Sized, Usage, usage
from ai_sysadmin.tools.table import columns
from ai_sysadmin.tools.tool import Told, Tool, beyond, tool_of

_NOT_STORAGE: Final = PSEUDO - {"devtmpfs", "erofs", "iso9660", "ramfs", "squashfs"}
_HOLDS_LEAST: Final = 1 << 20
_MOST_HOLDERS: Final = 8
_MOST_DIRECTORIES: Final = 25
_ANSWERS_WITHIN_SECONDS: Final = 5.0
_ENDS_WITHIN_SECONDS: Final = 3.0
_PATH: Final = 200


def disk_tools(root: Path = Path("/"), limits: Limits = USUAL) -> tuple[Tool, ...]:
    """Return the tool ``disk_usage``.

    Args:
        limits: how far what takes the space below a directory is counted.
    """
    disks = _Disks(root, limits)

    async def disk_usage(
        path: Annotated[
            str, Field(max_length=1000, description="whole path of a directory to look below; empty: all file systems")
        ] = "",
    ) -> Told:
        """Tell how full each file system is; with a path, which directories and files below it take the space."""
        return await disks.below(path) if path else await disks.overview()

    return (tool_of(disk_usage, says="disk usage {path}", seconds=limits.seconds + 12),)


class _Disks:
    """One thread for what may hang: a disk or a file server that does not answer costs no more than it."""

    def __init__(self, root: Path, limits: Limits) -> None:
        self._root = root
        self._limits = limits
        self._mountinfo = root / "proc/1/mountinfo"
        self._aside = Aside()
        self._remote = RemoteFileSystems(Aside(), self._mountinfo)

    async def overview(self) -> Told:
        found = await self._aside.ask("the file systems", self._file_systems, _ANSWERS_WITHIN_SECONDS)
        silent = {each.about for each in await self._remote.sample() if each.value}
        lines = [*_table(found), *_remote(slow_storage(mounts_in(self._mountinfo)), silent), *await self._held()]
        return Told("\n".join(lines), narrow="give a directory as `path` to see what takes its space")

    async def _held(self) -> Sequence[str]:
        look = partial(deleted_files, self._root)
        try:
            return _deleted(await self._aside.ask("open files", look, _ANSWERS_WITHIN_SECONDS))
        except HostUnreadable as error:
            return [f"deleted files that still take space: not known, {error}"]

    def _file_systems(self) -> Sequence[FileSystem]:
        return file_systems(self._mountinfo)

    async def below(self, path: str) -> Told:
        """Raises: Refused, NotFound, HostUnreadable."""
        if not path.startswith("/") or "\0" in path:
            raise Refused(f"{path!r} is no absolute path: give one such as /var/log, or none for all file systems")
        stop = threading.Event()
        within = self._limits.seconds + _ENDS_WITHIN_SECONDS
        try:
            return await self._aside.ask(path, partial(self._counted, path, stop), within)
        finally:
            stop.set()

    def _counted(self, path: str, stop: threading.Event) -> Told:
        is_host = self._root == Path("/")
        real = os.path.realpath(path) if is_host else os.path.normpath(path)
        mount = covering(mounts_in(self._mountinfo), real)
        if mount is not None and mount.type in _NOT_STORAGE:
            raise Refused(f"{path} holds no storage: it is a {mount.type} file system of the kernel's")
        base = base_of(self._mountinfo) if is_host else self._root
        if base == Path("/"):
            own = covering(mounts_in(self._root / "proc/self/mountinfo"), real)
            if mount and own and place(own, real) != place(mount, real):
                raise HostUnreadable(
                    f"the host's {real} is hidden from this service: its sandbox has another one there"
                )
        found = usage(base / real.lstrip("/"), stop, self._limits)
        also = "" if real == os.path.normpath(path) else f" ({path} is a link to it)"
        return _told(found, real, also, mount)


def covering(mounts: Sequence[Mount], path: str) -> Mount | None:
    """Return the mount that a path lies on; none: there is no list of mounts."""
    last = {each.mount_point: each for each in mounts}  # a later mount hides an earlier one
    holding = [each for point, each in last.items() if path == point or path.startswith(point.rstrip("/") + "/")]
    return max(holding, key=lambda each: len(each.mount_point), default=None)


def place(mount: Mount, path: str) -> tuple[str, str]:
    """Return where on which device a path lies, however its mount came about."""
    inner = path.removeprefix(mount.mount_point.rstrip("/")).lstrip("/")
    return mount.device_number, os.path.normpath(f"{mount.root.rstrip('/')}/{inner}")


def _table(found: Sequence[FileSystem]) -> list[str]:
    rows = [
        (
            one_line(each.mount_point, _PATH),
            one_line(each.type, 30),
            f"{each.used_percent:.0f} %",
            size(each.free_bytes),
            size(each.total_bytes),
            f"{each.inodes_used_percent:.0f} %" if each.inodes_total else "-",
            "ro" if each.read_only else "rw",
            one_line(each.device, _PATH),
        )
        for each in found
    ]
    return columns(("mounted at", "type", "used", "free", "size", "inodes used", "mode", "device"), rows)


def _remote(mounts: Sequence[Mount], silent: set[str]) -> list[str]:
    def said(each: Mount) -> str:
        state = "DOES NOT ANSWER" if each.mount_point in silent else "not asked how full it is"
        return f"{one_line(each.mount_point, _PATH)}: {each.type} from {one_line(each.source, _PATH)}, {state}"

    return [said(each) for each in mounts]


def _deleted(seen: Seen) -> list[str]:
    """Return who holds space that no file name shows."""
    told = [each for each in seen.deleted if each.held_bytes >= _HOLDS_LEAST]
    lines = [
        f"{one_line(each.name, 30)} ({each.pid}{f', {one_line(each.unit, 60)}' if each.unit else ''}) holds"
        f" {size(each.held_bytes)} in {each.files} deleted files, such as {one_line(each.example, _PATH)}"
        for each in told[:_MOST_HOLDERS]
    ]
    total = sum(each.held_bytes for each in told)
    head = f"deleted files that still take space: {size(total) if told else 'none seen'}"
    hidden = f"; what {seen.hidden} processes hold is hidden from this service" if seen.hidden else ""
    return [head + hidden, *lines]


def _told(found: Usage, path: str, also: str, mount: Mount | None) -> Told:
    least = "at least " if found.unfinished or found.unreadable_count else ""
    where = f" on {one_line(mount.mount_point, _PATH)} ({mount.type})" if mount else ""
    shown = found.directories[:_MOST_DIRECTORIES]
    lines = [
        f"{one_line(path, _PATH)}{also}{where}: {least}{size(found.total.held_bytes)} in {found.entries} entries",
        *([f"not complete: {found.unfinished}"] if found.unfinished else []),
        *_unseen(found),
        *(["largest directories, each with all below it:"] if shown else []),
        *_sized(path, shown, "/"),
        *(["largest files:"] if found.files else []),
        *_sized(path, found.files, ""),
    ]
    return Told(
        "\n".join(lines),
        narrow="give one of the directories as `path`",
        truncated=beyond(len(found.directories) - len(shown), "directories, which are smaller"),
    )


def _unseen(found: Usage) -> list[str]:
    lines = []
    if found.unreadable_count:
        named = ", ".join(one_line(each or ".", 80) for each in found.unreadable[:_MOST_HOLDERS])
        lines.append(f"{found.unreadable_count} directories could not be looked into, among them: {named}")
    if found.elsewhere:
        named = ", ".join(one_line(each, 80) for each in found.elsewhere)
        lines.append(f"left out, other file systems or subvolumes: {named}")
    return lines


def _sized(path: str, found: Sequence[Sized], end: str) -> list[str]:
    start = path.rstrip("/") + "/"
    return [f"{size(each.held_bytes):>9}  {one_line(start + each.path + end, _PATH)}" for each in found]
