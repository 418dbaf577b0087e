"""Deleting old files below a directory that the operator declared temporary.

systemd-tmpfiles does it: it holds directories open and follows no link, so nobody who writes there can lead it
astray; it leaves files alone that are locked, sockets that are in use, other file systems, and what the host's own
tmpfiles.d excepts.
"""

import os
import stat
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, Final

from ai_sysadmin.actions.action import Action, Host
from ai_sysadmin.actions.catalogue.fullness import MOUNTINFO, HostPath, Room, is_within, room_of, size
from ai_sysadmin.core.acting import Plan, Risk, Sandbox, Stage
from ai_sysadmin.core.records import Record
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.sources.host.mounts import mounts_in

LEAST_DAYS: Final = 1.0
"""Nothing younger is deleted, whatever the settings say."""
_NEVER_BELOW = ("/bin", "/boot", "/dev", "/efi", "/etc", "/lib", "/lib32", "/lib64", "/nix", "/proc", "/sbin", "/sys")
_NEVER_BELOW_EITHER = ("/usr", "/run/systemd", "/run/credentials", "/var/lib/systemd", "/var/log/journal")
_NEVER = frozenset({"/", "/home", "/media", "/mnt", "/opt", "/root", "/run", "/srv", "/var", "/var/lib", "/var/log"})
_PEOPLES = ("/home", "/root", "/run/user")
_CONFIGURATION: Final = "/etc/tmpfiles.d/00-ai-sysadmin.conf"
"""Where the line that says what goes stands among the host's own: before them, since the first line on a path holds."""
_GOOD = (0, 65, 73)  # also: other lines of the host's tmpfiles.d are wrong, as systemd-tmpfiles-clean.service has it
_SCANNED_MOST = 4000
_DEPTH_MOST = 30
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Directory(Record):
    """A directory as it is now. ``identity`` tells it from another in its place."""

    identity: str
    mode: int
    uid: int
    gid: int


class TemporarySeen(Record):
    """A declared directory. ``directory`` none: it is not there, or not safe to clean, for the reason ``fault``.

    ``old_bytes`` is the size of the old files that the executor sees with few rights in a short look: at least so much.
    """

    path: str
    days: float
    room: Room
    directory: Directory | None = None
    fault: str = ""
    old_bytes: int = 0


def look_at_temporary(host: Host, path: str) -> TemporarySeen:
    """Look at a directory that may be declared temporary."""
    days = declared_days(host.settings, path) or LEAST_DAYS
    room = room_of(host, path)
    if room.unknown:
        return TemporarySeen(path=path, days=days, room=room, fault=f"{path} cannot be looked at: {room.unknown}")
    try:
        directory = _directory(host, path)
    except (OSError, _UnsafeError) as error:
        return TemporarySeen(path=path, days=days, room=room, fault=str(error))
    before = (host.clock.now() - timedelta(days=days)).timestamp()
    others = {str(host.path(mount.mount_point)) for mount in mounts_in(host.path(MOUNTINFO))}
    search = _Search(before, others)
    search.below(host.path(path))
    return TemporarySeen(path=path, days=days, room=room, directory=directory, old_bytes=search.bytes)


def declared_days(settings: Settings, path: str) -> float | None:
    """Return after how many days files there are old; none: nobody declared this directory temporary."""
    days = [each.older_than_days for each in settings.actions.temporary_paths if str(each.path) == path]
    return max(LEAST_DAYS, *days) if days else None


class _UnsafeError(Exception):
    """Somebody but root could put another directory there while root deletes."""


def _directory(host: Host, path: str) -> Directory:
    """Look at a directory and the way to it. Raises: OSError: it is not there. _UnsafeError."""
    way = [str(each) for each in reversed(Path(path).parents)][1:]
    for each in way:
        status = host.path(each).lstat()
        if not stat.S_ISDIR(status.st_mode):
            raise _UnsafeError(f"{each} is no directory but leads elsewhere: declare the directory itself")
        if status.st_uid != 0 or status.st_mode & 0o022:
            raise _UnsafeError(f"others than root may write to {each}, and so put another directory in place of {path}")
    status = host.path(path).lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise _UnsafeError(f"{path} is no directory")
    identity = f"{status.st_dev}:{status.st_ino}"
    return Directory(identity=identity, mode=stat.S_IMODE(status.st_mode), uid=status.st_uid, gid=status.st_gid)


@dataclass
class _Search:
    """A short look for old files below a directory, by descriptors: nobody who swaps one for a link leads it astray.

    ``others`` is where other file systems are mounted, which could hang when asked.
    """

    before: float
    others: Collection[str]
    looks: int = _SCANNED_MOST
    bytes: int = 0

    def below(self, path: Path, parent: int | None = None, depth: int = 0) -> None:
        """Add up the files that were neither changed nor read since, as far as this may look and has looks left."""
        try:
            directory = os.open(path if parent is None else path.name, _OPEN_DIRECTORY, dir_fd=parent)
        except OSError:  # it went meanwhile, or is closed to us
            return
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    if self.looks <= 0:
                        return
                    self.looks -= 1
                    self._look(path / entry.name, entry, directory, depth)
        except OSError:
            return
        finally:
            os.close(directory)

    def _look(self, path: Path, entry: "os.DirEntry[str]", directory: int, depth: int) -> None:
        if str(path) in self.others:
            return
        if entry.is_dir(follow_symlinks=False):
            if depth < _DEPTH_MOST:
                self.below(path, directory, depth + 1)
            return
        status = entry.stat(follow_symlinks=False)
        if stat.S_ISREG(status.st_mode) and max(status.st_mtime, status.st_ctime, status.st_atime) < self.before:
            self.bytes += status.st_blocks * 512


def cleaning(seen: Sequence[TemporarySeen]) -> Stage:
    """Return the command that deletes what is old in these directories.

    What services hold in private is excepted once more: the host's own tmpfiles.d names it by the boot's id, and in a
    container a sandbox may see another id.
    """
    lines = "".join(
        f"e {each.path} - - - {round(each.days * 86400)}s\nx {each.path.rstrip('/')}/systemd-private-*\n"
        for each in seen
    )
    paths = tuple(each.path for each in seen)
    prefixes = tuple(f"--prefix={path}" for path in paths)
    return Stage(
        name="run",
        commands=(("systemd-tmpfiles", "--clean", *prefixes, f"--replace={_CONFIGURATION}", "-"),),
        input=lines,
        good_statuses=_GOOD,
        sandbox=Sandbox(
            capabilities=("CAP_DAC_OVERRIDE", "CAP_FOWNER"),  # others' directories, sticky or closed
            writable=paths,
            private_tmp=False,
            network=True,  # another network namespace would show no socket as in use
            sees_home=any(is_within(path, home) for path in paths for home in _PEOPLES),
        ),
    )


def changed(before: TemporarySeen, now: TemporarySeen) -> str | None:
    """Say how the directory itself is not what it was; none: it is."""
    if now.directory is None:
        return f"{now.path} is not as it was: {now.fault}"
    return None if now.directory == before.directory else f"{now.path} has another identity, owner or mode than before"


def unfit(settings: Settings, path: str) -> str | None:
    """Say why nothing is ever cleaned there; none: it is declared, and no place that the system lives in."""
    if declared_days(settings, path) is None:
        declared = ", ".join(str(each.path) for each in settings.actions.temporary_paths) or "none"
        return f"{path} is not declared temporary; actions.temporary_paths has {declared}"
    if path in _NEVER or any(is_within(path, each) for each in (*_NEVER_BELOW, *_NEVER_BELOW_EITHER)):
        return f"{path} is never cleaned, whatever is declared: the system lives in it"
    own = (settings.state_dir, settings.executor.state_dir, settings.runtime_dir)
    if any(is_within(str(each), path) or is_within(path, str(each)) for each in own):
        return f"{path} is never cleaned, whatever is declared: what this suite remembers is there"
    return None


class CleanTemporaryPath(Action[TemporarySeen]):
    """Delete old files and empty directories below one directory that the settings declare temporary."""

    name: ClassVar[str] = "clean_temporary_path"
    risks: ClassVar[tuple[Risk, ...]] = (Risk.DESTRUCTIVE,)
    seen: ClassVar[type[Record]] = TemporarySeen
    needs: ClassVar[str] = "the directory is declared, and only root can put another in its place"
    path: HostPath

    @classmethod
    def example(cls) -> "tuple[CleanTemporaryPath, TemporarySeen]":
        path = "/var/tmp"  # noqa: S108
        room = Room(
            path=path, mount_point="/", total_bytes=1 << 34, free_bytes=1 << 30, at_percent=90, until_percent=80
        )
        there = Directory(identity="1:2", mode=0o1777, uid=0, gid=0)
        return cls(path=path), TemporarySeen(path=path, days=30, room=room, directory=there, old_bytes=1 << 28)

    @property
    def subject(self) -> str:
        return self.path

    def refuse(self, settings: Settings) -> str | None:
        return unfit(settings, self.path)

    async def observe(self, host: Host) -> TemporarySeen:
        return look_at_temporary(host, self.path)

    def risk(self, seen: TemporarySeen) -> Risk:
        return Risk.DESTRUCTIVE

    def obstacle(self, seen: TemporarySeen) -> str | None:
        return None if seen.directory else seen.fault

    def warrant(self, seen: TemporarySeen) -> str | None:
        if seen.room.fullness() is None and not seen.room.unknown and seen.room.inodes_percent >= seen.room.at_percent:
            return f"{seen.room.inodes_percent:.1f} % of the inodes of {seen.room.mount_point} are used"
        return seen.room.fullness()

    def plan(self, seen: TemporarySeen) -> Plan:
        return Plan(
            does=f"deletes what is older than {seen.days:g} days in {self.path}",
            run=cleaning((seen,)),
            precondition=seen.room.words,
            post_check=f"{self.path} itself is there as before: the same directory, owner and mode",
            undo="nothing takes it back: what was deleted is lost",
            facts=(
                (
                    "Lost",
                    f"files neither made, changed nor read for {seen.days:g} days: {size(seen.old_bytes)} or more",
                ),
                ("Kept", "what is younger, locked, a socket in use, on another file system, or excepted by tmpfiles.d"),
                (
                    "Also",
                    "lines of the host's own tmpfiles.d about what is below it are carried out, as they are daily",
                ),
            ),
        )

    def shortfall(self, before: TemporarySeen, now: TemporarySeen) -> str | None:
        return changed(before, now)


ENTRIES: Final[tuple[type[Action[Any]], ...]] = (CleanTemporaryPath,)
