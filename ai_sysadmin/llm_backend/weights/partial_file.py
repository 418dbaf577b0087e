"""A file on its way to this host: what is there of it, its hash so far, and a note of where it comes from.

The bytes stand in ``NAME.part``, the note in ``NAME.part.json``. One process at a time holds it. Bytes whose note does
not fit what is fetched now are forgotten: half of one file is never completed with half of another.
"""

import errno
import fcntl
import hashlib
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import ValidationError

from ai_sysadmin.core.records import Record
from ai_sysadmin.llm_backend.weights.web import ModelFileError

_READ_BYTES = 1 << 20
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
FILE_MODE = 0o644
"""A model is read by whichever user serves it."""


class Source(Record):
    """Where the bytes come from. ``sha256`` is what the publisher says of the whole file."""

    url: str
    sha256: str | None = None
    etag: str | None = None
    size: int | None = None


class DiskFull(ModelFileError):
    """There is not enough room for the model file."""


class PartialFile:
    """The bytes that are there; made with ``held``."""

    def __init__(self, final: Path, handle: int) -> None:
        self.final = final
        self.path = part_of(final)
        self.size = os.fstat(handle).st_size
        self.source = _read_note(self.path)
        self._handle = handle
        self._hash = hashlib.sha256()

    def resume(self, url: str, sha256: str | None, watch: Callable[[int, int | None], None]) -> None:
        """Go on with what is there, hashing it, if it is known to be the beginning of this file; else begin anew."""
        noted = self.source
        same = noted is not None and noted.url == url and (sha256 is None or noted.sha256 in {None, sha256})
        provable = noted is not None and (noted.etag is not None or sha256 is not None)
        if not (same and provable and self.size):
            self.restart()
            return
        os.lseek(self._handle, 0, os.SEEK_SET)
        done = 0
        while chunk := os.read(self._handle, _READ_BYTES):
            self._hash.update(chunk)
            done += len(chunk)
            watch(done, self.size)

    def restart(self) -> None:
        """Forget what is there."""
        os.ftruncate(self._handle, 0)
        os.lseek(self._handle, 0, os.SEEK_SET)
        self.size, self._hash = 0, hashlib.sha256()

    def comes_from(self, source: Source) -> None:
        """Note the source, before the first of its bytes is kept."""
        if source != self.source:
            write_record(_note_of(self.path), source)
            self.source = source

    def write(self, data: bytes) -> None:
        """Append.

        Raises:
            DiskFull: there is no room left; what is there is kept.
        """
        view = memoryview(data)
        while view:
            try:
                written = os.write(self._handle, view)
            except OSError as error:
                if error.errno in _NO_ROOM:
                    raise DiskFull(
                        f"{self.path.parent} is full: make room and go on with the same command; "
                        f"{self.size} bytes are kept in {self.path.name}"
                    ) from error
                raise
            self._hash.update(view[:written])
            self.size += written
            view = view[written:]

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def head(self, count: int) -> bytes:
        return os.pread(self._handle, count, 0)

    def keep(self) -> None:
        """Give the file its name, once it is on the disk; an older record of that name is gone before."""
        os.fchmod(self._handle, FILE_MODE)
        os.fsync(self._handle)
        record_of(self.final).unlink(missing_ok=True)
        self.path.replace(self.final)
        _note_of(self.path).unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove what is there."""
        self.path.unlink(missing_ok=True)
        _note_of(self.path).unlink(missing_ok=True)


@contextmanager
def held(final: Path) -> Iterator[PartialFile]:
    """Hold the part of a file for this process alone.

    Raises:
        ModelFileError: another process fetches it, or what is there is no plain file.
        OSError: it cannot be written.
    """
    path = part_of(final)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise ModelFileError(f"{path} is no plain file of its own: remove it")
        _lock(handle, path)
        part = PartialFile(final, handle)
        try:
            yield part
        finally:
            if part.size == 0:
                part.discard()
    finally:
        os.close(handle)


def part_of(final: Path) -> Path:
    return final.with_name(final.name + ".part")


def record_of(final: Path) -> Path:
    """Return where the record of a model file stands: beside it."""
    return final.with_name(final.name + ".json")


def write_record(path: Path, record: Record) -> None:
    """Write a record so that there is the whole of it or what was there before."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".json")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(record.model_dump_json(indent=2) + "\n")
            file.flush()
            os.fchmod(file.fileno(), FILE_MODE)
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _lock(handle: int, path: Path) -> None:
    busy = f"another process fetches {path.name.removesuffix('.part')} into {path.parent}: wait for it"
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ModelFileError(busy) from error
    here = os.fstat(handle)
    with suppress(FileNotFoundError):
        there = path.lstat()
        if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino):
            return
    raise ModelFileError(busy)  # it was finished between the opening and the lock


def _note_of(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _read_note(part: Path) -> Source | None:
    try:
        return Source.model_validate_json(_note_of(part).read_bytes())
    except (OSError, ValidationError):
        return None
