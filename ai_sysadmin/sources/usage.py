"""What takes the space below a directory: counted on one file system, within a time, as far as this user may look."""

import os
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heappush, heappushpop
from pathlib import Path
from typing import Final, NamedTuple

from ai_sysadmin.core.errors import NotFound
from ai_sysadmin.sources.host.reading import HostUnreadable

SHOWN_DEPTH: Final = 3
"""How many levels of directories below the first are told of by themselves; deeper ones count for those above."""
_DEEPEST: Final = 100
_MOST_WAITING: Final = 200_000
_MOST_TOLD: Final = 100_000
_BLOCK: Final = 512
_LOOK_EVERY: Final = 128
"""So many entries are counted between two looks at the clock."""


class Limits(NamedTuple):
    """How far one count may go."""

    seconds: float = 8.0
    entries: int = 2_000_000
    largest: int = 15


USUAL: Final = Limits()


class Sized(NamedTuple):
    """A path below the directory that was asked for, and the bytes of storage that it takes."""

    path: str
    held_bytes: int


@dataclass(frozen=True)
class Usage:
    """What was counted. ``unfinished`` empty: everything that may be looked at; else it says why not.

    ``unreadable`` are directories that this user may not look into, the first few; ``elsewhere`` those in which other
    file systems are mounted. Sizes are those on storage; a file with several names counts once.
    """

    total: Sized
    entries: int
    directories: Sequence[Sized]
    files: Sequence[Sized]
    unreadable: Sequence[str]
    unreadable_count: int
    elsewhere: Sequence[str]
    unfinished: str


@dataclass
class _Count:
    """A count under way."""

    limits: Limits
    until: float
    stop: threading.Event
    device: int = 0
    entries: int = 0
    held: dict[tuple[str, ...], int] = field(default_factory=dict)
    files: list[tuple[int, str]] = field(default_factory=list)
    linked: set[tuple[int, int]] = field(default_factory=set)
    unreadable: list[str] = field(default_factory=list)
    unreadable_count: int = 0
    elsewhere: list[str] = field(default_factory=list)
    unfinished: str = ""


def usage(
    directory: Path, stop: threading.Event, limits: Limits = USUAL, now: Callable[[], float] = time.monotonic
) -> Usage:
    """Count what takes the space in and below a directory. Links are not followed, other file systems left out.

    Args:
        stop: once it is set, the count ends at what it has.

    Raises:
        NotFound: there is no such directory.
        HostUnreadable: it may not be looked into.
    """
    count = _Count(limits, now() + limits.seconds, stop)
    count.device = _device(directory)
    waiting: deque[tuple[str, ...]] = deque([()])
    while waiting and not _is_over(count, now):
        parts = waiting.popleft()  # level by level: what time allows is known of all alike
        for name in _counted(directory, parts, count, now):
            if len(parts) >= _DEEPEST or len(waiting) >= _MOST_WAITING:
                _note(count, parts)
            else:
                waiting.append((*parts, name))
    return _usage(count, len(waiting))


def _device(directory: Path) -> int:
    try:
        found = directory.lstat()
        if stat.S_ISDIR(found.st_mode):
            os.close(os.open(directory, _HOW))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(f"there is no {directory}") from error
    except OSError as error:
        raise HostUnreadable(f"{directory} may not be looked into by this service: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode):
        raise NotFound(f"{directory} is no directory")
    return found.st_dev


_HOW: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def _counted(top: Path, parts: tuple[str, ...], count: _Count, now: Callable[[], float]) -> Iterable[str]:
    """Count one directory's entries; return the names of the directories in it."""
    try:
        descriptor = os.open(top.joinpath(*parts), _HOW)
    except OSError:
        _note(count, parts)
        return ()
    inner: list[str] = []
    try:
        with os.scandir(descriptor) as entries:
            for entry in entries:
                _add(entry, parts, count, inner)
                if count.entries % _LOOK_EVERY == 0 and _is_over(count, now):
                    break
    except OSError:
        _note(count, parts)
    finally:
        os.close(descriptor)
    return inner


def _add(entry: "os.DirEntry[str]", parts: tuple[str, ...], count: _Count, inner: list[str]) -> None:
    count.entries += 1
    try:
        found = entry.stat(follow_symlinks=False)
    except OSError:  # it was removed meanwhile
        return
    is_directory = stat.S_ISDIR(found.st_mode)
    # only a directory's number tells: an overlay gives its files those of the file systems below it
    if is_directory and found.st_dev != count.device:
        if len(count.elsewhere) < count.limits.largest:
            count.elsewhere.append("/".join((*parts, entry.name)))
        return
    if is_directory:
        inner.append(entry.name)
    elif found.st_nlink > 1:
        file = found.st_dev, found.st_ino
        if file in count.linked:
            return
        count.linked.add(file)
    size = found.st_blocks * _BLOCK
    _hold(count, (*parts, entry.name) if is_directory else parts, size)
    if stat.S_ISREG(found.st_mode) and size:
        _keep(count, size, parts, entry.name)


def _hold(count: _Count, parts: tuple[str, ...], size: int) -> None:
    for depth in range(min(len(parts), SHOWN_DEPTH) + 1):
        key = parts[:depth]
        if key in count.held or len(count.held) < _MOST_TOLD:
            count.held[key] = count.held.get(key, 0) + size


def _keep(count: _Count, size: int, parts: tuple[str, ...], name: str) -> None:
    if len(count.files) < count.limits.largest:
        heappush(count.files, (size, "/".join((*parts, name))))
    elif size > count.files[0][0]:
        heappushpop(count.files, (size, "/".join((*parts, name))))


def _note(count: _Count, parts: tuple[str, ...]) -> None:
    count.unreadable_count += 1
    if len(count.unreadable) < count.limits.largest:
        count.unreadable.append("/".join(parts))


def _is_over(count: _Count, now: Callable[[], float]) -> bool:
    if count.stop.is_set():
        count.unfinished = "it was stopped"
    elif now() >= count.until:
        count.unfinished = f"its time of {count.limits.seconds:g} s was over"
    elif count.entries >= count.limits.entries:
        count.unfinished = f"{count.limits.entries} entries are the most that are counted"
    return bool(count.unfinished)


def _usage(count: _Count, waiting: int) -> Usage:
    unfinished = count.unfinished
    if unfinished and waiting:
        unfinished += f"; {waiting} directories and what is below them were not reached"
    directories = (Sized("/".join(parts), size) for parts, size in count.held.items() if parts)
    return Usage(
        total=Sized("", count.held.get((), 0)),
        entries=count.entries,
        directories=sorted(directories, key=lambda each: (-each.held_bytes, each.path)),
        files=[Sized(path, size) for size, path in sorted(count.files, reverse=True)],
        unreadable=tuple(count.unreadable),
        unreadable_count=count.unreadable_count,
        elsewhere=tuple(count.elsewhere),
        unfinished=unfinished,
    )
