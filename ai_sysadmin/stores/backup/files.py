"""Files that others may write to as well: opened without following a link, made for one user, synced."""

import fcntl
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from ai_sysadmin.core.errors import AiSysadminError, Refused

BLOCK: Final = 1 << 20
_FULL: Final = frozenset({28, 122})  # ENOSPC, EDQUOT


@contextmanager
def directory(path: Path) -> Iterator[int]:
    """Open a directory, not a link to one. Raises: OSError."""
    opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield opened
    finally:
        os.close(opened)


def open_regular(path: Path) -> BinaryIO:
    """Open a file to read it.

    Raises:
        OSError: it is not there, or may not be read.
        AiSysadminError: it is a link, or no plain file.
    """
    if not stat.S_ISREG(path.lstat().st_mode):
        raise AiSysadminError(f"{path} is no plain file: put the file itself there")
    opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise AiSysadminError(f"{path} is no plain file: put the file itself there")
    return os.fdopen(opened, "rb")


def create_private(path: Path | str, within: int | None = None) -> BinaryIO:
    """Make a file, in an open directory, that only its owner may read; it must not be there. Raises: OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    made = os.open(path, flags, 0o600, dir_fd=within)
    return os.fdopen(made, "wb")


def sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def sync_path(path: Path) -> None:
    """Sync a file or a directory by its name."""
    opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def copy(read: Callable[[int], bytes], size: int, write: Callable[[bytes], object]) -> tuple[int, str]:
    """Copy at most so many bytes; return how many there were, and their SHA-256."""
    digest, left = hashlib.sha256(), size
    while left > 0 and (block := read(min(BLOCK, left))):
        digest.update(block)
        write(block)
        left -= len(block)
    return size - left, digest.hexdigest()


def said(error: OSError) -> str:
    """Return an error of the system's in words, with the file that it is about."""
    what = "the disk is full" if error.errno in _FULL else (error.strerror or str(error))
    return f"{error.filename}: {what}" if error.filename else what


@contextmanager
def appearing(path: Path, *, replace: bool) -> Iterator[BinaryIO]:
    """Write a file of mode 0600 that appears whole, or not at all.

    Raises:
        Refused: it is there and must not be replaced, or somebody else is writing it.
        OSError: it cannot be written; nothing of it is left.
    """
    _check_free(path, replace=replace)
    partial = path.with_name(f"{path.name}.partial")
    made = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(made, "wb") as file:
        try:
            fcntl.flock(made, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Refused(
                f"{partial} is being written by somebody else: wait for it, or choose another file"
            ) from error
        try:
            os.fchmod(made, 0o600)
            os.ftruncate(made, 0)
            yield file
            sync(file)
            _check_free(path, replace=replace)
            partial.replace(path)
            sync_path(path.parent)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def _check_free(path: Path, *, replace: bool) -> None:
    if path.is_dir():
        raise Refused(f"{path} is a directory: name a file in it")
    if os.path.lexists(path) and not replace:
        raise Refused(f"{path} is there already: choose another file, or --force replaces it")
