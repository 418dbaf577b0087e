"""Put a backup in the place of the present state: all of it or nothing, and the earlier state stays beside it."""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

from ai_sysadmin.core.errors import AiSysadminError, Refused, StoreUnavailable
from ai_sysadmin.runtime import privileges
from ai_sysadmin.runtime.restoring import PLAN, is_interrupted, refuse_interrupted
from ai_sysadmin.stores.backup.archive import read_archive
from ai_sysadmin.stores.backup.databases import check_database, closed_up
from ai_sysadmin.stores.backup.files import create_private, said, sync_path
from ai_sysadmin.stores.backup.manifest import (
    DATABASE,
    EXECUTOR_DATABASE,
    Form,
    Manifest,
    Member,
    Part,
    set_aside,
)
from ai_sysadmin.stores.backup.plan import (
    STAGED,
    At,
    Directories,
    PartPlan,
    Plan,
    back,
    clear,
    forward,
    own_directory,
    read_plan,
    remove_staged,
    write_plan,
)

_HEADROOM: Final = 16 << 20
_DATABASES: Final = frozenset({DATABASE.name, EXECUTOR_DATABASE.name})
Choose = Callable[[Manifest], Manifest]
"""Returns what of a backup is to be restored; raises where it may not be."""


@dataclass(frozen=True)
class Replaced:
    """What a restore did. ``aside`` is where the earlier state of each part is, where there was any."""

    manifest: Manifest
    replaced: Sequence[Path]
    aside: tuple[Path, ...]


def would_replace(manifest: Manifest, directories: Directories) -> Sequence[Path]:
    """Return the files that restoring would put aside."""
    names = ((directories[part], name) for part in directories for name in set_aside(part, manifest))
    return tuple(at / name for at, name in names if os.path.lexists(at / name))


def restore(
    archive: BinaryIO,
    directories: Directories,
    choose: Choose,
    prepare: Callable[[Path], None] = lambda _staged: None,
    at: At = lambda _step: None,
) -> Replaced:
    """Restore an archive. Nobody may have the state open.

    Args:
        directories: of each part.
        choose: says what of it is wanted.
        prepare: is given the directory with the executor's staged files, to make them fit to be gone on with.
        at: is told of each step before it is done.

    Raises:
        Refused: it may not be restored here, or the state is in use.
        AiSysadminError: the archive is damaged, or something cannot be written; the state is as it was.
    """
    try:
        for directory in directories.values():
            refuse_interrupted(directory)
            remove_staged(directory)
        with _staging(directories):
            manifest = _stage(archive, directories, choose)
            present = {part: directories[part] for part in directories if manifest.of(part)}
            if Part.EXECUTOR in present:
                prepare(present[Part.EXECUTOR] / STAGED)
            _hand_over(manifest, present)
            return _swap(manifest, {Part.STATE: directories[Part.STATE], **present}, at)
    except OSError as error:
        raise AiSysadminError(f"it cannot be restored: {said(error)}; the state is as it was") from error


def finish_restore(directories: Directories, at: At = lambda _step: None) -> bool:
    """Finish a restore that was broken off; tell whether one had been decided on. Otherwise nothing was changed by it.

    Raises:
        Refused: the state is in use.
        StoreUnavailable: this user may not finish it.
        AiSysadminError: another user's plan stands there.
    """
    try:
        try:
            plan = read_plan(directories[Part.STATE] / PLAN)
        except FileNotFoundError:
            _clear_undecided(directories, at)
            return False
        concerned = {part.part: directories[part.part] for part in plan.parts}
        with _closed_up(plan, concerned):
            forward(plan, concerned, at)
        _end(plan, concerned, at)
    except OSError as error:
        if not is_interrupted(directories[Part.STATE]):
            raise StoreUnavailable(f"what a restore left cannot be taken away: {said(error)}") from error
        raise StoreUnavailable(
            f"a restore was broken off, and cannot be finished: {said(error)}; `ai-sysadmin restore --finish` as who "
            "began it does that"
        ) from error
    return True


def _clear_undecided(directories: Directories, at: At) -> None:
    """Take away what a restore left that was not decided on; what another user staged does no harm. Raises: OSError."""
    marks = (PLAN, STAGED)
    left = {part: path for part, path in directories.items() if any(os.path.lexists(path / mark) for mark in marks)}
    with suppress(AiSysadminError):
        clear(left, at)


# --- staging


@contextmanager
def _staging(directories: Directories) -> Iterator[None]:
    """Take away what was staged, unless the restore is decided on."""
    try:
        yield
    finally:
        if not is_interrupted(directories[Part.STATE]):
            with suppress(OSError):
                clear(directories, lambda _step: None)


def _stage(archive: BinaryIO, directories: Directories, choose: Choose) -> Manifest:
    """Unpack what is wanted beside the state, and check it. Raises: OSError, AiSysadminError."""
    chosen: list[Manifest] = []

    def accept(manifest: Manifest) -> None:
        wanted = choose(manifest)
        if not wanted.members:
            raise Refused("there is nothing in the backup that can be restored here")
        for part in Part:
            if part is Part.STATE or wanted.of(part):  # the plan stands in the state's directory
                directories[part].mkdir(mode=0o700, parents=True, exist_ok=True)
                _check_room(directories[part], sum(member.size for member in wanted.of(part)))
                (directories[part] / STAGED).mkdir(mode=0o700)
        chosen.append(wanted)

    def sink(member: Member) -> BinaryIO | None:
        if member not in chosen[0].members:
            return None
        with own_directory(directories[member.kept.part] / STAGED) as staged:
            return create_private(member.kept.name, staged)

    read_archive(archive, accept, sink)
    for member in chosen[0].members:
        if member.kept.form is Form.DATABASE:
            staged = directories[member.kept.part] / STAGED / member.kept.name
            found = check_database(staged, f"{member.path} in the backup")
            if (found.version, found.needs) != (member.schema_version, member.schema_needs):
                raise AiSysadminError(
                    f"{member.path} has another schema than the manifest says: the backup was changed"
                )
    return chosen[0]


def _check_room(directory: Path, size: int) -> None:
    room = os.statvfs(directory)
    free = room.f_bavail * room.f_frsize
    if free < size + _HEADROOM:
        raise AiSysadminError(
            f"{directory} has room for {free >> 20} MiB and the backup needs {(size + _HEADROOM) >> 20}, beside the "
            "present state: make room first; nothing was changed"
        )


def _hand_over(manifest: Manifest, directories: Directories) -> None:
    """Give the staged files the owners and modes that they will have, and sync them. Raises: OSError."""
    for part, directory in directories.items():
        members = {member.kept.name: member for member in manifest.of(part)}
        with own_directory(directory / STAGED) as staged:
            for name, member in members.items():
                uid, gid, mode = _rights(directory, member)
                file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=staged)
                try:
                    if os.geteuid() == 0:
                        os.fchown(file, uid, gid)
                    os.fchmod(file, mode)
                    os.fsync(file)
                finally:
                    os.close(file)
            os.fsync(staged)


def _rights(directory: Path, member: Member) -> tuple[int, int, int]:
    """Return owner, group and mode: the replaced file's, else as the directory's owner would make it."""
    with suppress(FileNotFoundError):
        present = (directory / member.kept.name).lstat()
        if stat.S_ISREG(present.st_mode):
            return present.st_uid, present.st_gid, stat.S_IMODE(present.st_mode) & 0o777
    owner = directory.stat()
    uid, gid = owner.st_uid, owner.st_gid
    account = privileges.account() if uid == 0 and gid != 0 else None
    if account is not None and account.gid == gid:  # root's directory, in which the suite's own user writes
        uid = account.uid
    return uid, gid, member.mode


# --- changing places


def _swap(manifest: Manifest, directories: Directories, at: At) -> Replaced:
    """Decide, and do it; where a step fails, take all of them back. Raises: Refused, OSError, AiSysadminError."""
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    plan = Plan(stamp=now, parts=tuple(_part_plan(part, directories[part], manifest, now) for part in directories))
    replaced = would_replace(manifest, directories)
    asides = [part.aside(directories[part.part], now) for part in plan.parts]
    for path in asides:
        path.mkdir(mode=0o700)
        sync_path(path.parent)
    try:
        with _closed_up(plan, directories):
            try:
                write_plan(plan, directories, at)
                forward(plan, directories, at)
            except OSError:
                if is_interrupted(directories[Part.STATE]):
                    back(plan, directories, at)
                clear(directories, at)
                raise
    finally:
        if not is_interrupted(directories[Part.STATE]):
            _remove_empty(asides)
    _end(plan, directories, at)
    return Replaced(manifest, replaced, tuple(path for path in asides if path.exists()))


def _part_plan(part: Part, directory: Path, manifest: Manifest, stamp: str) -> PartPlan:
    placed = tuple(member.kept.name for member in manifest.of(part))
    parent = directory.parent
    inside = directory.stat().st_dev != parent.stat().st_dev or not os.access(parent, os.W_OK | os.X_OK)
    planned = PartPlan(part=part, away=set_aside(part, manifest), placed=placed, inside=inside)
    if planned.aside(directory, stamp).exists():
        raise Refused(f"{planned.aside(directory, stamp)} is there already: try again in a second")
    (directory / STAGED).mkdir(mode=0o700, exist_ok=True)
    return planned


@contextmanager
def _closed_up(plan: Plan, directories: Directories) -> Iterator[None]:
    """Keep everybody out of the databases that are to be replaced. Raises: Refused, StoreUnavailable."""
    with ExitStack() as closed:
        for part in plan.parts:
            for name in part.placed:
                path = directories[part.part] / name
                if name in _DATABASES and path.is_file() and not path.is_symlink():
                    closed.enter_context(closed_up(path))
        yield


def _end(plan: Plan, directories: Directories, at: At) -> None:
    """Take away the plan, and places for an earlier state that there was none of. Raises: OSError."""
    clear(directories, at)
    _remove_empty([part.aside(directories[part.part], plan.stamp) for part in plan.parts])


def _remove_empty(paths: Sequence[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.rmdir()
