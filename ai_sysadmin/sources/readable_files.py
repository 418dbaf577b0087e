"""The files of this host that may be read: on the list, real, regular, and none that holds secrets.

A path is resolved first, and every rule holds for what it leads to. Then it is opened step by step, and no step may be
a link: what is swapped for one meanwhile is not opened, it is an error. The inode that was judged is the one that is
read.
"""

import errno
import glob
import grp
import os
import pwd
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from ai_sysadmin.core.errors import NotFound, Refused
from ai_sysadmin.sources.changes.rooted import inside, resolved, target_of
from ai_sysadmin.sources.path_globs import PathGlobs
from ai_sysadmin.sources.secret_files import PLACES, why_secret

MOST_ENTRIES: Final = 2000
_LONGEST_PATH: Final = 1024
_MOST_HELD: Final = 5000
_CHANGED: Final = frozenset({errno.ELOOP, errno.ENOTDIR, errno.EXDEV})
_KINDS: Final = (
    (stat.S_ISLNK, "a link that was put there while it was looked at"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


@dataclass(frozen=True)
class Opened:
    """A file that is open to be read, or a directory. ``real`` is its path without links; ``fd`` is closed for it."""

    asked: str
    real: str
    fd: int
    status: os.stat_result

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)


class Entry(NamedTuple):
    """One name in a directory. ``kind`` is file, directory, link or other; ``target`` is what a link names."""

    name: str
    kind: str
    size: int = 0
    changed: float = 0.0
    target: str = ""
    is_secret: bool = False


class ReadableFiles:
    """Opens what may be read.

    Args:
        allowed: globs of what may be read, beginning with a slash.
        never: globs of what may not, beside what holds secrets by its path.
        own: files and directories of this suite that hold its keys and what it remembers.
        root: where the host's root lies.
    """

    def __init__(
        self,
        allowed: Sequence[str],
        never: Sequence[str] = (),
        own: Sequence[Path] = (),
        root: Path = Path("/"),
    ) -> None:
        places = dict.fromkeys(place for path in own for place in (str(path), resolved(root, str(path))))
        owned = [re.sub(r"([*?\[])", r"[\1]", place) for place in places]
        self._allowed = PathGlobs(allowed)
        self._never = PathGlobs((*never, *(each for path in owned for each in (path, f"{path}/**", f"{path}-*"))))
        self._root = root

    @contextmanager
    def opened(self, asked: str) -> Iterator[Opened]:
        """Open what a path leads to, for as long as it is looked at.

        Raises:
            Refused: it may not be read: not on the list, a secret, no regular file, or its permissions say so.
            NotFound: there is no such file.
        """
        real, place = self._judged(asked)
        held = self._held(asked, place)
        try:
            status = os.fstat(held)
            self._check(asked, status)
            fd = _reopened(held, asked, status)
        finally:
            os.close(held)
        try:
            yield Opened(asked, real, fd, status)
        finally:
            os.close(fd)

    def entries(self, opened: Opened) -> Iterator[Entry]:
        """Yield what lies in a directory, by name, at most ``MOST_ENTRIES``; nothing of it is followed or opened."""
        with os.scandir(opened.fd) as found:
            names = sorted(islice((each.name for each in found), MOST_ENTRIES))
        for name in names:
            try:
                status = os.stat(name, dir_fd=opened.fd, follow_symlinks=False)
            except OSError:  # it went, or may not be looked at
                yield Entry(name, "other")
                continue
            path = f"{opened.real.rstrip('/')}/{name}"
            yield _entry(name, status, target_of(self._root, path), is_secret=bool(self.why_never(path)))

    def _judged(self, asked: str) -> tuple[str, str]:
        """Return a path's name without links, by which it is judged, and where that lies. Raises: Refused."""
        if not asked.startswith("/") or len(asked) > _LONGEST_PATH or not asked.isprintable():
            raise Refused(f"{asked[:100]!r} is no whole path: it begins with / and has at most {_LONGEST_PATH} letters")
        real, place = _named(resolved(self._root, asked))
        plain = os.path.normpath(asked)
        if not self._allowed.fits(real):
            leads = f", which leads to {real}," if self._allowed.fits(plain) and plain != real else ""
            listed = ", ".join(self._allowed.globs)
            raise Refused(f"{asked}{leads} is not among the files that may be read (tools.files): {listed}")
        if why := self.why_never(real) or self.why_never(plain):
            raise Refused(f"{asked} is never read: {why}")
        return real, place

    def why_never(self, path: str) -> str:
        """Say why a path without dots and links is never read, whatever list it is on; empty: it may be."""
        return why_secret(path) or ("it is excluded (tools.never_files)" if self._never.fits(path) else "")

    def _held(self, asked: str, place: str) -> int:
        """Return a handle on exactly what lies at a path without links; nothing is opened for reading yet."""
        names = [name for name in place.split("/") if name]
        at, held = "", os.open(self._root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for number, name in enumerate(names, 1):
                at += f"/{name}"
                directory = os.O_DIRECTORY if number < len(names) else 0
                flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC | directory
                inner = os.open(name, flags, dir_fd=held)
                os.close(held)
                held = inner
        except OSError as error:
            os.close(held)
            raise self._translated(error, asked, at) from error
        return held

    def _check(self, asked: str, status: os.stat_result) -> None:
        mode = status.st_mode
        for is_kind, words in _KINDS:
            if is_kind(mode):
                raise Refused(f"{asked} is {words}: only regular files and directories are read")
        if stat.S_ISREG(mode) and status.st_nlink > 1 and (status.st_dev, status.st_ino) in set(self._secret_inodes()):
            raise Refused(f"{asked} is never read: it is another name of a file that holds secrets")

    def _secret_inodes(self) -> Iterator[tuple[int, int]]:
        """Yield what the files are that are never read, as far as their places can be listed."""
        globs = [each for each in (*PLACES, *self._never.globs) if each.startswith("/") and each[1:2] != "*"]
        for each in globs:
            if each.startswith(("/proc/", "/sys/", "/dev/")):
                continue
            # pathlib's ** would find directories only
            found = glob.iglob(each[1:], root_dir=self._root, recursive=True, include_hidden=True)  # noqa: PTH207
            for name in islice(found, _MOST_HELD):
                try:
                    status = (self._root / name).lstat()
                except OSError:
                    continue
                yield status.st_dev, status.st_ino

    def _translated(self, error: OSError, asked: str, at: str) -> Refused | NotFound:
        if error.errno in _CHANGED:
            return Refused(f"{asked} was changed while it was looked at, or leads through what is no directory")
        if error.errno == errno.EACCES:
            return Refused(f"{asked} may not be read: {_who_may(inside(self._root, at.rpartition('/')[0] or '/'))}")
        if error.errno == errno.ENOENT:
            return NotFound(f"there is no {asked}{self._near(at)}")
        return Refused(f"{asked} cannot be opened: {error.strerror}")

    def _near(self, missing: str) -> str:
        """Say what else of a like name there is in the directory, if that may be read."""
        directory, _, name = missing.rpartition("/")
        if not self._allowed.fits(directory):
            return ""
        try:
            names = [each.name for each in islice(inside(self._root, directory).iterdir(), MOST_ENTRIES)]
        except OSError:
            return ""
        near = get_close_matches(name, [each for each in names if each.isprintable()], 3)
        return f": in {directory} there is {', '.join(near)}" if near else f": {directory} has no {name}"


def _named(path: str) -> tuple[str, str]:
    """Return the name by which a path is judged, and where it lies: what is the own process's is read of the first.

    ``/proc/mounts`` and ``/proc/net`` are links to those of who asks; this process may see less than the host.
    """
    own = re.fullmatch(rf"/proc/{os.getpid()}/(mounts|net(?:/.*)?)", path, re.DOTALL)
    return (f"/proc/{own[1]}", f"/proc/1/{own[1]}") if own else (path, path)


def _reopened(held: int, asked: str, status: os.stat_result) -> int:
    """Open for reading what a handle holds, and nothing else. Raises: Refused."""
    kind = os.O_DIRECTORY if stat.S_ISDIR(status.st_mode) else os.O_NONBLOCK | os.O_NOCTTY
    try:
        fd = os.open(f"/proc/self/fd/{held}", os.O_RDONLY | os.O_CLOEXEC | kind)
    except PermissionError as error:
        raise Refused(f"{asked} may not be read: {_owned(asked.rpartition('/')[2], status)}") from error
    except OSError as error:
        raise Refused(f"{asked} cannot be opened: {error.strerror}") from error
    found = os.fstat(fd)
    if (found.st_dev, found.st_ino) != (status.st_dev, status.st_ino):
        os.close(fd)
        raise Refused(f"{asked} was changed while it was looked at")
    return fd


def _who_may(directory: Path) -> str:
    try:
        return _owned(f"the directory {directory}", directory.stat())
    except OSError:
        return "a directory above it is closed"


def _owned(what: str, status: os.stat_result) -> str:
    """Say whose something is, and who may read it."""
    mode = stat.S_IMODE(status.st_mode)
    who = [f"its owner {_user(status.st_uid)}"] * bool(mode & stat.S_IRUSR)
    who += [f"its group {_group(status.st_gid)}"] * bool(mode & stat.S_IRGRP)
    may = f"{' and '.join(who) or 'nobody'} may, this service ({_user(os.geteuid())}) not"
    return f"{what} belongs to {owner_of(status)}, mode {mode:04o}; {may}"


def owner_of(status: os.stat_result) -> str:
    """Return whose a file is: user and group by name, by number where they have none."""
    return f"{_user(status.st_uid)}:{_group(status.st_gid)}"


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _entry(name: str, status: os.stat_result, target: str, *, is_secret: bool) -> Entry:
    mode = status.st_mode
    kind = "directory" if stat.S_ISDIR(mode) else "link" if stat.S_ISLNK(mode) else "file"
    kind = kind if kind != "file" or stat.S_ISREG(mode) else "other"
    return Entry(name, kind, status.st_size, status.st_mtime, target if kind == "link" else "", is_secret)
