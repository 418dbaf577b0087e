"""A restore that has been decided on: which names change places, and how far it has come.

In each directory there are three places: ``staged`` (what was restored, whole and checked), the directory itself, and
``aside`` (the earlier state). Once the plan stands in the state's directory the restore is decided; every step is a
rename, and doing all of them again from the start does only what is left. So after an interruption it is finished;
before the plan stands, nothing of the state has been touched.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Annotated, Final

from pydantic import StringConstraints, ValidationError

from ai_sysadmin.core.errors import AiSysadminError
from ai_sysadmin.core.records import Record
from ai_sysadmin.runtime.restoring import PLAN
from ai_sysadmin.stores.backup.files import create_private, directory, open_regular, sync, sync_path
from ai_sysadmin.stores.backup.manifest import KEPT, SIDECARS, SPOOL, Form, Part

STAGED: Final = ".restore-staged"
_ASIDE: Final = "before-restore"
_MOST_BYTES: Final = 1 << 16
_NAMES: Final = frozenset(
    {SPOOL, *(kept.name for kept in KEPT)}
    | {kept.name + each for kept in KEPT if kept.form is Form.DATABASE for each in SIDECARS}
)

Directories = Mapping[Part, Path]
At = Callable[[str], None]
"""Told before each step what it is; a test interrupts there."""


class PartPlan(Record):
    """One directory's share. ``away`` makes room, ``placed`` comes from what is staged.

    ``inside``: the earlier state is put aside within the directory, which is a file system of its own, or whose
    parent is another's.
    """

    part: Part
    away: tuple[str, ...]
    placed: tuple[str, ...]
    inside: bool

    def aside(self, at: Path, stamp: str) -> Path:
        return at / f"{_ASIDE}-{stamp}" if self.inside else at.with_name(f"{at.name}.{_ASIDE}-{stamp}")


class Plan(Record):
    """The whole of it; ``stamp`` tells one restore from another."""

    stamp: Annotated[str, StringConstraints(pattern=r"^[0-9TZ-]{8,32}$")]
    parts: tuple[PartPlan, ...]


def write_plan(plan: Plan, directories: Directories, at: At) -> None:
    """Decide: from the moment that the state's directory has the plan. Raises: OSError."""
    for part in sorted((each.part for each in plan.parts), key=lambda part: part is Part.STATE):
        at(f"plan {part}")
        path = directories[part] / PLAN
        partial = path.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        with create_private(partial) as file:
            file.write(plan.model_dump_json().encode())
            sync(file)
        partial.rename(path)
        sync_path(path.parent)


def read_plan(path: Path) -> Plan:
    """Return the plan that stands in the state's directory.

    Raises:
        OSError: it is not there, or may not be read.
        AiSysadminError: it is another user's, or none.
    """
    with open_regular(path) as file:
        _check_own(os.fstat(file.fileno()), path)
        raw = file.read(_MOST_BYTES)
    try:
        plan = Plan.model_validate_json(raw)
    except ValidationError as error:
        raise AiSysadminError(f"{path} is no plan of a restore: look at it, and move it away") from error
    if not {name for part in plan.parts for name in (*part.away, *part.placed)} <= _NAMES:
        raise AiSysadminError(f"{path} names files that are none of this suite's: look at it, and move it away")
    return plan


def forward(plan: Plan, directories: Directories, at: At) -> None:
    """Do what is left of a plan. Raises: OSError, AiSysadminError."""
    for part in plan.parts:
        with ExitStack() as opened:
            here, staged, aside = _open(plan, part, directories, opened)
            left = [name for name in part.placed if _is_in(staged, name)]
            if not left:
                continue
            for name in (name for name in part.away if name not in part.placed):
                _move(name, here, aside, at)
            for name in left:
                _move(name, here, aside, at)
                _move(name, staged, here, at)
            for each in (aside, here, staged):
                os.fsync(each)


def back(plan: Plan, directories: Directories, at: At) -> None:
    """Take back what was done of a plan. Raises: OSError, AiSysadminError."""
    for part in reversed(plan.parts):
        with ExitStack() as opened:
            here, staged, aside = _open(plan, part, directories, opened)
            for name in part.placed:
                if not _is_in(staged, name):
                    _move(name, here, staged, at)
            for name in part.away:
                _move(name, aside, here, at)
            for each in (here, staged, aside):
                os.fsync(each)


def clear(directories: Directories, at: At) -> None:
    """Take away the plan and what is staged, the state's own plan last but for its staged files. Raises: OSError."""
    parts = sorted(directories, key=lambda part: part is Part.STATE)
    for part in parts:
        at(f"clear {part}")
        path = directories[part] / PLAN
        path.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            sync_path(path.parent)
    for part in parts:
        remove_staged(directories[part])


def remove_staged(path: Path) -> None:
    """Take away what is staged in a directory: plain files only, and only one's own. Raises: OSError."""
    for name in (Path(PLAN).with_suffix(".partial").name,):
        (path / name).unlink(missing_ok=True)
    with suppress(FileNotFoundError), own_directory(path / STAGED) as staged:
        with os.scandir(staged) as entries:
            names = [entry.name for entry in entries]
        for name in names:
            os.unlink(name, dir_fd=staged)
        (path / STAGED).rmdir()


def _open(plan: Plan, part: PartPlan, directories: Directories, opened: ExitStack) -> Sequence[int]:
    here = directories[part.part]
    own = (here / STAGED, part.aside(here, plan.stamp))
    return [opened.enter_context(directory(here)), *(opened.enter_context(own_directory(each)) for each in own)]


@contextmanager
def own_directory(path: Path) -> Iterator[int]:
    """Open a directory that this user made. Raises: OSError, AiSysadminError: another did."""
    with directory(path) as opened:
        _check_own(os.fstat(opened), path)
        yield opened


def _check_own(status: os.stat_result, path: Path) -> None:
    """Whoever else may write to the directory must not say what is renamed there."""
    if status.st_uid != os.geteuid():
        raise AiSysadminError(f"{path} is of uid {status.st_uid}: whoever began that restore has to finish it")


def _is_in(place: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=place, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _move(name: str, source: int, target: int, at: At) -> None:
    """Move a name from one directory into another, where it is there; what it meets there keeps beside it."""
    if not _is_in(source, name):
        return
    at(f"move {name}")
    if _is_in(target, name):
        number = next(number for number in range(1, 1000) if not _is_in(target, f"{name}.{number}"))
        os.rename(name, f"{name}.{number}", src_dir_fd=target, dst_dir_fd=target)
    os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
