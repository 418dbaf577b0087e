"""Journal files on disk: which there are, which of them no reader opens, and how much each holds.

Headers are read with ``read``: a damaged file cannot kill us here.
"""

import os
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

NO_FILES: Final = "there is no systemd journal here: no journal files were found (is systemd-journald running?)"
NO_PERMISSION: Final = (
    "the system journal cannot be read without permission: "
    "add this user to the group systemd-journal (or adm), or run as root"
)

_HEADER = struct.Struct("<8s16x16s32x16s2Q48x2Q24xQ")  # signature, ids of file and sequence, sizes; entries, last one
_SIGNATURE = b"LPKSHHRH"
_SMALLEST_ENTRY = 64
_MACHINE_ID = re.compile(r"[0-9a-f]{32}")


class Identity(NamedTuple):
    """What a file keeps when it is renamed by a rotation."""

    device: int
    inode: int
    file_id: bytes


@dataclass(frozen=True)
class SkippedFile:
    """A journal file that is not read. ``entries``: at most so many are missed by that; none: that is not known."""

    path: Path
    why: str
    entries: int | None


@dataclass(frozen=True)
class Header:
    """The beginning of a journal file."""

    signature: bytes
    file_id: bytes
    sequence_id: str
    needs_bytes: int
    entries: int
    last_sequence: int
    last_usec: int


def own_directory(root: Path = Path("/")) -> Path | None:
    """Return the directory of this machine's own journal; none: nothing is written here.

    It is named because ``journalctl --follow`` otherwise shows nothing but the running boot, and inside a container
    a sandbox may see another boot id than journald does.
    """
    try:
        machine_id = (root / "etc/machine-id").read_text().strip()
    except OSError:
        return None
    for place in ("var/log/journal", "run/log/journal"):
        directory = root / place / machine_id
        if machine_id and (directory / "system.journal").exists():
            return directory
    return None


def files_in(directory: Path) -> list[Path]:
    """Return the journal files that a reader of a directory looks at. Raises: PermissionError."""
    try:
        inside = sorted(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [file for place in inside for file in _files_at(place)]


def _files_at(place: Path) -> list[Path]:
    if place.name.endswith((".journal", ".journal~")):
        return [place]
    return files_in(place) if _MACHINE_ID.fullmatch(place.name) else []


def trouble_with(directory: Path, can_read: Callable[[Path], bool] | None = None) -> str:
    """Return in one sentence why a directory would show us nothing, or only a user's own entries; empty: it shows all.

    Args:
        can_read: tells whether this process may read a file.
    """
    can_read = can_read or (lambda file: os.access(file, os.R_OK))
    try:
        files = files_in(directory)
    except PermissionError:
        return NO_PERMISSION
    if not files:
        return NO_FILES
    seen = [file for file in files if can_read(file)]
    return "" if seen and all(file in seen for file in files if file.name == "system.journal") else NO_PERMISSION


def identity_of(file: Path) -> Identity | None:
    """Return what tells a file from all others; none: it is gone, or may not be read."""
    try:
        stat = file.stat()
        return Identity(stat.st_dev, stat.st_ino, _head(file)[24:40])
    except OSError:
        return None


def header_of(file: Path) -> Header | None:
    """Return a file's header; none: it has none, or may not be read."""
    try:
        head = _head(file)
    except OSError:
        return None
    if len(head) < _HEADER.size:
        return None
    signature, file_id, sequence_id, header_bytes, arena_bytes, entries, sequence, usec = _HEADER.unpack(head)
    return Header(signature, file_id, sequence_id.hex(), header_bytes + arena_bytes, entries, sequence, usec)


def defect_of(file: Path) -> str:
    """Return why no reader opens a file; empty: nothing is known against it. A file that is being made is fine."""
    return _defect(file) and _defect(file)  # a look at a file that is just then growing may err


def _defect(file: Path) -> str:
    header = header_of(file)
    try:
        size = file.stat().st_size
    except OSError:
        return ""
    if header is None:
        return ""
    if header.signature != _SIGNATURE:
        return "" if header.signature == bytes(8) else "it does not begin as a journal file does"
    if header.needs_bytes > size:
        return f"it is cut short: {size} of {header.needs_bytes} bytes are there"
    return ""


def held_after(file: Path, sequence_id: str, sequence: int, since_usec: int) -> int | None:
    """Return how many entries a file holds at most after a place in the journal; none: its header does not say.

    Args:
        sequence_id: the place's, with ``sequence`` its number; empty: there is no such place, but a time.
    """
    header = header_of(file)
    if header is None or header.signature != _SIGNATURE:
        return None
    if sequence_id == header.sequence_id:
        return max(0, min(header.entries, header.last_sequence - sequence))
    if header.last_usec < since_usec:
        return 0
    return header.entries if header.entries * _SMALLEST_ENTRY <= header.needs_bytes else None


def _head(file: Path) -> bytes:
    with file.open("rb", buffering=0) as opened:
        return opened.read(_HEADER.size)


def readable(files: Sequence[Path]) -> tuple[Path, ...]:
    """Return the files that a reader would open."""
    return tuple(file for file in files if header_of(file) and not defect_of(file))
