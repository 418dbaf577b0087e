"""`restore`: put a backup in the place of the present state."""

import asyncio
import fcntl
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import typer

from ai_sysadmin.cli.backup import DryRun, WithoutDatabase, check_embedded, directories_of
from ai_sysadmin.cli.backup_page import Restored, restored_page
from ai_sysadmin.cli.desk import Desk, Json, SettingsFile, StateDir, print_json, say
from ai_sysadmin.cli.own_units import own_units_or_why
from ai_sysadmin.core.acting import ActionState, ExecutorEventKind
from ai_sysadmin.core.errors import AiSysadminError, NotFound, Refused
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.runtime import privileges, settings_file
from ai_sysadmin.runtime.migrations import scripts_in
from ai_sysadmin.stores import backup as backups
from ai_sysadmin.stores.backup import Manifest, Part

_RUNNING: Final = frozenset({"active", "activating", "reloading", "deactivating"})
_SCHEMAS: Final[Mapping[str, tuple[str, str]]] = {
    "state/ai-sysadmin.db": ("ai_sysadmin.stores.relational", "migrations/sqlite"),
    "executor/executor.db": ("ai_sysadmin.executor", "migrations"),
}
_NOT_BEGUN: Final = frozenset({ActionState.PREPARING, ActionState.PENDING, ActionState.APPROVED})


def add_to(app: typer.Typer) -> None:
    app.command("restore")(restore)


def restore(
    context: typer.Context,
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="A file of `backup`'s.")] = None,
    host_differs: Annotated[bool, typer.Option("--host-differs", help="Take another host's backup.")] = False,
    finish: Annotated[bool, typer.Option("--finish", help="Finish a restore that was broken off.")] = False,
    dry_run: DryRun = False,
    without_database: WithoutDatabase = False,
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Put a backup in the place of the present state, which is put aside. The services must not run."""
    desk = Desk.open(context, settings, state_dir, as_json)
    if finish:
        _finish(desk)
        return
    if file is None:
        raise typer.BadParameter("name the backup, or give --finish", param_hint="FILE")
    if not without_database:
        check_embedded(desk, "restored with pg_restore", _undump(desk.settings))
    wanted = _Wanted(desk.settings, host_differs, with_database=not without_database)
    with _stopped(desk, make=not dry_run), _opened(file) as archive:
        done = _would_restore(wanted, file, archive) if dry_run else _restore(wanted, file, archive)
    desk.answer(done, restored_page(done))


@dataclass(frozen=True)
class _Wanted:
    """What of a backup is to be restored, here and by this user."""

    settings: Settings
    host_differs: bool
    with_database: bool

    def of(self, manifest: Manifest) -> Manifest:
        """Raises: Refused."""
        schemas = {path: _newest_schema(*at) for path, at in _SCHEMAS.items()}
        backups.check_fits(manifest, self.settings.host_name, schemas, host_differs=self.host_differs)
        at, parts, left_out = self.settings.executor.state_dir, frozenset(Part), list[str]()
        if manifest.of(Part.EXECUTOR) and not _may_write(at):
            parts -= {Part.EXECUTOR}
            left_out.append(f"the executor's journal and audit: only root may write {at}")
        if manifest.has(backups.DATABASE) and not self.with_database:
            left_out.append("the database")
        return manifest.only(parts, with_database=self.with_database, left_out=left_out)


def _restore(wanted: _Wanted, file: Path, archive: BinaryIO) -> Restored:
    """Raises: AiSysadminError."""
    done = backups.restore(archive, directories_of(wanted.settings), wanted.of, _end_waiting)
    return _restored(file, done.manifest, done.replaced, done.aside, dry_run=False)


def _would_restore(wanted: _Wanted, file: Path, archive: BinaryIO) -> Restored:
    """Check a whole archive, and change nothing. Raises: AiSysadminError."""
    manifest = wanted.of(backups.read_archive(archive, lambda manifest: _check(wanted, manifest)))
    replaced = backups.would_replace(manifest, directories_of(wanted.settings))
    return _restored(file, manifest, replaced, (), dry_run=True)


def _check(wanted: _Wanted, manifest: Manifest) -> None:
    wanted.of(manifest)


def _restored(
    file: Path, manifest: Manifest, replaced: Sequence[Path], aside: Sequence[Path], *, dry_run: bool
) -> Restored:
    return Restored(
        file=str(file),
        manifest=manifest,
        replaced=tuple(map(str, replaced)),
        aside=tuple(map(str, aside)),
        left_out=manifest.left_out,
        dry_run=dry_run,
    )


def _finish(desk: Desk) -> None:
    with _stopped(desk, make=False):
        finished = backups.finish_restore(directories_of(desk.settings))
    said = "The restore is finished." if finished else "No restore was decided on: the state is as it was."
    if desk.as_json:
        print_json({"finished": finished})
    else:
        say(said)


def _newest_schema(package: str, directory: str) -> int:
    return len(scripts_in(files(package).joinpath(directory)))


def _may_write(path: Path) -> bool:
    """Tell whether this user may write to a directory, or make it."""
    there = next((each for each in (path, *path.parents) if _is_there(each)), Path("/"))
    return os.access(there, os.R_OK | os.W_OK | os.X_OK)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:
        return True


def _undump(settings: Settings) -> str:
    url = str(settings.store_place)
    return shlex.join(
        ("pg_restore", "--clean", "--if-exists", "--single-transaction", f"--dbname={url}", "ai-sysadmin.dump")
    )


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    try:
        archive = file.open("rb")
    except OSError as error:
        raise NotFound(f"{file} cannot be read: {backups.said(error)}") from error
    with archive:
        yield archive


@contextmanager
def _stopped(desk: Desk, *, make: bool) -> Iterator[None]:
    """Go on only where no service runs on this state; and keep `up` from it meanwhile.

    Raises:
        Refused: a service runs.
        AiSysadminError: the state directory cannot be made or used.
    """
    settings = desk.settings
    if settings.state_dir == _installed_state_dir() and (running := asyncio.run(_running_units())):
        raise Refused(
            f"{running[0]} runs on {settings.state_dir}: `systemctl stop ai-sysadmin.target`, restore, and start it "
            "again"
        )
    try:
        if make:
            _make(settings)
        if not settings.state_dir.is_dir():
            yield
            return
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_CREAT if make else 0)
        lock = os.open(settings.state_dir / "up.lock", flags, 0o644)
    except FileNotFoundError:
        lock = -1
    except OSError as error:
        raise AiSysadminError(f"the state directory cannot be used: {backups.said(error)}") from error
    try:
        if lock >= 0:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise Refused(f"the suite runs on {settings.state_dir}: stop `ai-sysadmin up` first") from error
    finally:
        if lock >= 0:
            os.close(lock)


def _make(settings: Settings) -> None:
    """Make the state directory as `up` would. Raises: OSError."""
    account = privileges.account() if os.geteuid() == 0 else None
    if settings.state_dir.exists():
        return
    if account is not None:
        privileges.prepare(settings.state_dir, settings.runtime_dir, account)
    else:
        settings.state_dir.mkdir(mode=0o700, parents=True)


def _installed_state_dir() -> Path:
    """Return the state directory of the suite's own units. Raises: SettingsError."""
    found = next((path for path in settings_file.SYSTEM_FILES if path.exists()), None)
    return settings_file.load(found).state_dir if found else Settings().state_dir


async def _running_units() -> list[str]:
    units, _why = await own_units_or_why()
    return [unit.name for unit in units if unit.active_state in _RUNNING and not unit.name.startswith("llama-")]


def _end_waiting(staged: Path) -> None:
    """Let nothing begin that waited when the backup was made: it may have been done since, and is done once at most.

    The audit says that it was restored.
    """
    asyncio.run(_expired(staged))


async def _expired(staged: Path) -> None:
    from ai_sysadmin.executor.audit import Audit
    from ai_sysadmin.executor.journal import Journal

    audit = Audit(staged)
    journal = Journal(staged, audit)
    await journal.open()
    try:
        text = "a backup was restored: what was done after it was made stands in the audit that was put aside"
        await audit.note("restored", datetime.now(UTC), {"text": text})
        for entry in await journal.under_way():
            if entry.state in _NOT_BEGUN:
                text = "it waited when a backup was made that has been restored; whether it was done since is not known"
                ended = entry.model_copy(update={"text": text, "state": ActionState.EXPIRED})
                await journal.record(ended, ExecutorEventKind.EXPIRED, datetime.now(UTC))
    finally:
        await journal.close()
