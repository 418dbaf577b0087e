"""Consistent copies of what is kept, taken while the services run."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from ai_sysadmin.core.errors import AiSysadminError, Refused
from ai_sysadmin.runtime.restoring import is_interrupted
from ai_sysadmin.stores.backup.databases import copy_database
from ai_sysadmin.stores.backup.files import copy, create_private, open_regular, said
from ai_sysadmin.stores.backup.manifest import DATABASE, FORMAT, KEPT, Form, Kept, Manifest, Member, Part

_TAIL: Final = 1 << 16


@dataclass(frozen=True)
class Taken:
    """A manifest, and where the copy of each of its members is."""

    manifest: Manifest
    files: Mapping[str, Path]


def take(
    directories: Mapping[Part, Path], into: Path, host: str, version: str, at: datetime, *, with_database: bool
) -> Taken:
    """Copy everything that is kept and is there.

    Args:
        directories: of each part; a part that may not be read is left out, and the manifest says so.
        into: an empty directory of one's own.

    Raises:
        StoreUnavailable: a database cannot be copied.
        AiSysadminError: something is damaged, cannot be read, or there is nothing to back up.
        Refused: a restore was broken off.
    """
    members: list[Member] = []
    left_out: list[str] = []
    files: dict[str, Path] = {}
    readable, unreadable = _readable(directories)
    if any(is_interrupted(directories[part]) for part in readable):
        raise Refused(
            "a restore was broken off here, and the state is none: `ai-sysadmin restore --finish` comes first"
        )
    left_out += unreadable
    for kept in KEPT:
        if kept.part not in readable or (kept == DATABASE and not with_database):
            continue
        target = into / kept.path.replace("/", "-")
        member = _copied(kept, directories[kept.part] / kept.name, target)
        if member is not None:
            members.append(member)
            files[member.path] = target
    if not with_database:
        left_out.append("the database, which PostgreSQL has: pg_dump")
    if not members:
        raise AiSysadminError(
            f"there is nothing to back up below {directories[Part.STATE]}: is it the right --state-dir?"
        )
    manifest = Manifest(
        format=FORMAT, suite_version=version, host=host, at=at, members=tuple(members), left_out=tuple(left_out)
    )
    return Taken(manifest, files)


def would_take(directories: Mapping[Part, Path], *, with_database: bool) -> tuple[Mapping[Path, int], tuple[str, ...]]:
    """Return the files that a backup would hold, with their sizes in bytes, and what it would not hold, in words."""
    readable, left_out = _readable(directories)
    paths = (
        directories[kept.part] / kept.name
        for kept in KEPT
        if kept.part in readable and (with_database or kept != DATABASE)
    )
    return {path: path.lstat().st_size for path in paths if os.path.lexists(path)}, tuple(left_out)


def _readable(directories: Mapping[Part, Path]) -> tuple[frozenset[Part], list[str]]:
    """Return the parts that may be read, and sentences about the others. Raises: AiSysadminError."""
    readable, left_out = set[Part](), list[str]()
    for part, path in directories.items():
        try:
            os.scandir(path).close()
        except FileNotFoundError:
            continue
        except PermissionError as error:
            if part is Part.STATE:
                raise AiSysadminError(f"{path} may not be read by uid {os.geteuid()}: run it as root") from error
            left_out.append(f"the executor's journal and audit in {path}, which only root may read")
            continue
        readable.add(part)
    return frozenset(readable), left_out


def _copied(kept: Kept, source: Path, target: Path) -> Member | None:
    """Return a file's member; none: there is no such file."""
    schema = dict[str, int]()
    try:
        status = source.lstat()
        mode = stat.S_IMODE(status.st_mode) & 0o666
        if kept.form is Form.DATABASE:
            open_regular(source).close()
            applied = copy_database(source, target)
            schema = {"schema_version": applied.version, "schema_needs": applied.needs}
            size, digest = _hashed(target)
        else:
            size, digest = _copy_file(source, target, lines=kept.form is Form.LINES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AiSysadminError(f"{source} cannot be copied to {target.parent}: {said(error)}") from error
    return Member(path=kept.path, size=size, sha256=digest, mode=mode, **schema)


def _copy_file(source: Path, target: Path, *, lines: bool) -> tuple[int, str]:
    with open_regular(source) as file, create_private(target) as made:
        size = os.fstat(file.fileno()).st_size
        if lines:
            size = _end_of_last_line(file.fileno(), size)
        return copy(file.read, size, made.write)


def _end_of_last_line(file: int, size: int) -> int:
    """Return where the last whole line ends."""
    end = size
    while end > 0:
        begin = max(0, end - _TAIL)
        found = os.pread(file, end - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0


def _hashed(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        return copy(file.read, path.stat().st_size, lambda _block: None)
