"""Configuration files that were touched, by their times alone: their contents are never read."""

import os
import re
import stat
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ai_sysadmin.sources.changes import Change
from ai_sysadmin.sources.changes.rooted import STORE, inside, resolved, target_of
from ai_sysadmin.sources.changes.subject import Subject
from ai_sysadmin.sources.changes.window import TOGETHER, Look, Touch, Window, moment_of, touch_of

WALKED_MOST: Final = 20_000
WALK_SECONDS: Final = 0.5
BULK: Final = 3
"""More files than this, touched together, are one change: a package, a switch, an added user, a restore."""

_NAMED_MOST = 10
_STATIC = "/etc/static"
_RESTLESS = ("/etc",)  # files are replaced in it all the time, by way of others that are gone at once
_NOISE = re.compile(
    r"^/etc/(mtab|adjtime|ld\.so\.cache|machine-id|\.updated|\.clean|NIXOS|\.pwd\.lock|blkid\.tab|hwclock|fake-hwclock"
    r"|ssl/certs/[^/]+|alternatives/.*|ca-certificates/extracted/.*|pki/ca-trust/extracted/.*"
    r"|cups/(subscriptions|printers|classes)\.conf.*|lvm/(archive|backup|cache)(/.*)?|apparmor\.d/cache.*"
    r"|udev/hwdb\.bin|selinux/.*\.bin|subuid-?|subgid-?|(passwd|group|shadow|gshadow)-)$"
)
_UNWALKED = frozenset({".git", ".hg", ".svn", ".bzr", "__pycache__", "node_modules"})
_SCRATCH = re.compile(r"(~|\.sw[a-z]|\.tmp|\.lock|^\.#.*|^#.*#)$")


@dataclass
class Walk:
    """What was met below some directories, at most so many files until a time (monotonic); and whether it was cut."""

    most: int
    ends_at: float
    touched: dict[str, Touch] = field(default_factory=dict)
    emptied: dict[str, Touch] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)
    met: int = 0
    is_cut: bool = False

    def goes_on(self) -> bool:
        """Tell whether there is room for one more."""
        self.is_cut = self.is_cut or self.met >= self.most or time.monotonic() > self.ends_at
        return not self.is_cut


def look_at_configuration(
    root: Path,
    directories: Sequence[str],
    window: Window,
    subject: Subject,
    most: int = WALKED_MOST,
    seconds: float = WALK_SECONDS,
) -> Look:
    """Return which files below directories were touched within a time, and which that the unit's own files name."""
    walk = Walk(most, time.monotonic() + seconds)
    for directory in directories:
        _walk(root, directory, window, subject, walk)
    for path in subject.paths:
        if path not in walk.touched and (touch := _file_touched(root, path, window)):
            walk.touched[path] = touch
    gaps = [f"{path}, which is the unit's, may not be read" for path in walk.unreadable]
    if walk.is_cut:
        where = ", ".join(directories)
        gaps.append(f"below {where} only the first {walk.met} files were looked at: there are too many for the time")
    return Look(tuple(_changes(walk, subject)), tuple(gaps))


def _walk(root: Path, start: str, window: Window, subject: Subject, walk: Walk) -> None:
    """Walk a directory tree, the unit's own directories first; links are not followed."""
    first = resolved(root, start)
    if first.startswith(STORE):
        return
    queue = deque([(start.rstrip("/"), first)])
    while queue and walk.goes_on():
        shown, place = queue.popleft()
        newest = 0.0
        for entry, status in _listed(root, shown, place, subject, walk):
            if not walk.goes_on():
                return
            walk.met += 1
            newest = max(newest, status.st_ctime)
            path = f"{shown}/{entry.name}"
            if stat.S_ISDIR(status.st_mode) and entry.name not in _UNWALKED:
                (queue.appendleft if subject.owns(path) else queue.append)((path, f"{place}/{entry.name}"))
            if touch := _touch(root, path, status, window, subject):
                walk.touched[path] = touch
        if shown not in _RESTLESS:
            _note_removal(root, shown, place, newest, window, walk)


def _listed(
    root: Path, shown: str, place: str, subject: Subject, walk: Walk
) -> Iterator[tuple["os.DirEntry[str]", os.stat_result]]:
    try:
        with os.scandir(inside(root, place)) as found:
            for entry in found:
                try:
                    yield entry, entry.stat(follow_symlinks=False)
                except OSError:  # it went while we looked
                    continue
    except PermissionError:
        if subject.owns(shown):
            walk.unreadable.append(shown)
    except OSError:
        return


def _touch(root: Path, path: str, status: os.stat_result, window: Window, subject: Subject) -> Touch | None:
    """Return how an entry was touched; none: not in the time, or it is one that changes by itself."""
    touch = touch_of(status, window)
    if stat.S_ISDIR(status.st_mode):
        return touch if touch and touch.is_weak else None  # else something in it changed, and is found itself
    if stat.S_ISLNK(status.st_mode):
        if touch and target_of(root, path).startswith((STORE, _STATIC)):
            return None  # made anew by each switch: the generation tells
        if not touch and subject.owns(path):
            touch = _file_touched(root, path, window)
    if not touch or _NOISE.match(path) or _SCRATCH.search(path.rpartition("/")[2]):
        return None
    return touch


def _file_touched(root: Path, path: str, window: Window) -> Touch | None:
    """Return how the file behind a path was touched; none: not in the time, no file, or one in the store."""
    place = resolved(root, path)
    if place.startswith(STORE):
        return None
    try:
        status = inside(root, place).lstat()
    except OSError:
        return None
    return touch_of(status, window) if stat.S_ISREG(status.st_mode) else None


def _note_removal(root: Path, shown: str, place: str, newest: float, window: Window, walk: Walk) -> None:
    """Note a directory that changed without any of its entries: one was removed, or renamed to another place."""
    try:
        touch = touch_of(inside(root, place).lstat(), window)
    except OSError:
        return
    if touch and not touch.is_weak and touch.at - moment_of(newest) > TOGETHER and not _NOISE.match(shown):
        walk.emptied[shown] = touch


def _changes(walk: Walk, subject: Subject) -> Iterator[Change]:
    own = {path: touch for path, touch in walk.touched.items() if subject.owns(path)}
    for path, touch in own.items():
        yield _one(path, touch, subject)
    others = sorted((item for item in walk.touched.items() if item[0] not in own), key=lambda item: item[1].at)
    for together in _bulks(others):
        if len(together) > BULK:
            yield _many(together)
        else:
            yield from (_one(path, touch, subject) for path, touch in together)
    for path, touch in walk.emptied.items():
        what = f"something was removed from {path}, or renamed in it"
        yield Change(at=touch.at, kind="configuration", what=what, about=path, unit_related=subject.owns(path))


def _one(path: str, touch: Touch, subject: Subject) -> Change:
    what = f"{path} had its metadata changed, or was moved in" if touch.is_weak else f"{path} was changed"
    if path in subject.programs:
        what = f"{subject.unit}'s program {path} was {'replaced' if touch.is_weak else 'changed'}"
    return Change(
        at=touch.at,
        kind="configuration",
        what=what,
        about=path,
        details=touch.details,
        unit_related=subject.owns(path),
    )


def _bulks(touched: Sequence[tuple[str, Touch]]) -> Iterator[list[tuple[str, Touch]]]:
    """Yield what was touched at about the same time together."""
    together: list[tuple[str, Touch]] = []
    for item in touched:
        if together and item[1].at - together[-1][1].at > TOGETHER:
            yield together
            together = []
        together.append(item)
    if together:
        yield together


def _many(together: Sequence[tuple[str, Touch]]) -> Change:
    paths = sorted(path for path, _ in together)
    common = os.path.commonpath(paths)
    left = len(paths) - _NAMED_MOST
    return Change(
        at=together[-1][1].at,
        kind="configuration",
        what=f"{len(paths)} files below {common} were changed or replaced together: {', '.join(paths[:BULK])}, …",
        about=common,
        details=(*paths[:_NAMED_MOST], *((f"and {left} more",) if left > 0 else ())),
    )
