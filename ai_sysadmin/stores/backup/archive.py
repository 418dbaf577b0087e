"""The archive: a gzipped tar with its manifest first.

What is read is bounded by the manifest before a byte of it is kept: one header at a time, plain files only, each with
the name and size that the manifest gives. So no link, device, path or extension of tar's has a meaning here.
"""

import gzip
import io
import tarfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Final

from pydantic import ValidationError

from ai_sysadmin.core.errors import AiSysadminError
from ai_sysadmin.stores.backup.files import copy
from ai_sysadmin.stores.backup.manifest import MANIFEST, Manifest, Member, check_shape

_LEVEL: Final = 1
"""Text and indexes shrink to a third at the first level; higher ones take several times as long for a few percent."""

_MOST_MANIFEST_BYTES: Final = 1 << 20
_MOST_PADDING: Final = 1 << 16
_BLOCK: Final = tarfile.BLOCKSIZE

Sink = Callable[[Member], BinaryIO | None]


def write_archive(to: BinaryIO, manifest: Manifest, files: Mapping[str, Path]) -> None:
    """Write the manifest, then each member's file. Raises: OSError."""
    with (
        gzip.GzipFile(fileobj=to, mode="wb", compresslevel=_LEVEL, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        head = manifest.model_dump_json(indent=2).encode()
        tar.addfile(_entry(MANIFEST, len(head), manifest), io.BytesIO(head))
        for member in manifest.members:
            with files[member.path].open("rb") as file:
                tar.addfile(_entry(member.path, member.size, manifest), file)


def _entry(name: str, size: int, manifest: Manifest) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = size, 0o600, int(manifest.at.timestamp())
    return entry


def read_archive(file: BinaryIO, accept: Callable[[Manifest], None], sink: Sink | None = None) -> Manifest:
    """Read an archive to its end and check every byte of it against its manifest.

    Args:
        accept: raises where the manifest will not do; nothing is unpacked then.
        sink: where a member's bytes go; it is closed. None, of either: they are only checked.

    Raises:
        AiSysadminError: the archive is damaged, cut short, or none of this suite's.
    """
    try:
        with gzip.GzipFile(fileobj=file, mode="rb") as packed:
            manifest = _manifest(packed)
            check_shape(manifest)
            accept(manifest)
            for member in manifest.members:
                _read_member(packed, member, sink)
            _read_end(packed)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise AiSysadminError(f"the backup is damaged, or no backup: {error}") from error
    return manifest


def _manifest(packed: gzip.GzipFile) -> Manifest:
    size = _header(packed, MANIFEST)
    if size > _MOST_MANIFEST_BYTES:
        raise AiSysadminError(f"the backup's manifest claims {size} bytes: it is none of this suite's")
    raw = _exactly(packed, size)
    _skip_padding(packed, size)
    try:
        return Manifest.model_validate_json(raw)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise AiSysadminError(f"the backup's manifest cannot be read: {where}: {fault['msg']}") from error


def _read_member(packed: gzip.GzipFile, member: Member, sink: Sink | None) -> None:
    size = _header(packed, member.path)
    if size != member.size:
        raise AiSysadminError(
            f"{member.path} claims {size} bytes, and the manifest {member.size}: the backup is damaged"
        )
    with ExitStack() as opened:
        target = sink(member) if sink is not None else None
        write = opened.enter_context(target).write if target is not None else len
        length, digest = copy(packed.read, size, write)
    if length != size:
        raise AiSysadminError(f"the backup ends within {member.path}: it was cut short")
    if digest != member.sha256:
        raise AiSysadminError(f"{member.path} is not what was backed up (SHA-256 differs): the backup is damaged")
    _skip_padding(packed, size)


def _header(packed: gzip.GzipFile, name: str) -> int:
    """Read a header that has to be a plain file's of this name; return its size."""
    try:
        entry = tarfile.TarInfo.frombuf(_exactly(packed, _BLOCK), "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise AiSysadminError(f"the backup is damaged where {name} should stand: {error}") from error
    if entry.name != name or entry.type != tarfile.REGTYPE or entry.size < 0:
        kind = "a plain file" if entry.isreg() else "no plain file"
        raise AiSysadminError(
            f"{entry.name[:100]!r}, {kind}, stands where {name} should: it is no backup of this suite's"
        )
    return entry.size


def _skip_padding(packed: gzip.GzipFile, size: int) -> None:
    if any(_exactly(packed, -size % _BLOCK)):
        raise AiSysadminError("something is hidden between the files: it is no backup of this suite's")


def _read_end(packed: gzip.GzipFile) -> None:
    """Read what pads the end, with which gzip checks its own sum."""
    rest = packed.read(_MOST_PADDING)
    while len(rest) < _MOST_PADDING and (more := packed.read(_MOST_PADDING - len(rest))):
        rest += more
    if len(rest) < 2 * _BLOCK or len(rest) >= _MOST_PADDING or any(rest):
        raise AiSysadminError("the backup does not end where its manifest says: it was changed or cut short")


def _exactly(packed: gzip.GzipFile, size: int) -> bytes:
    raw = b""
    while len(raw) < size and (more := packed.read(size - len(raw))):
        raw += more
    if len(raw) < size:
        raise AiSysadminError("the backup ends too early: it was cut short")
    return raw
