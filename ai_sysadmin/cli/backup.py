"""`backup`: what the embedded stores remember, in one file."""

import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import typer

from ai_sysadmin import __version__
from ai_sysadmin.cli.backup_page import BackedUp, backed_up_page
from ai_sysadmin.cli.desk import Desk, Json, SettingsFile, StateDir, print_json, warn
from ai_sysadmin.core.errors import AiSysadminError
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.stores import backup as backups
from ai_sysadmin.stores.backup import Part

_USAGE: Final = 2
_STDOUT: Final = Path("-")


DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
WithoutDatabase = Annotated[
    bool, typer.Option("--without-database", help="All but the database: it is PostgreSQL's, or stays as it is.")
]


def add_to(app: typer.Typer) -> None:
    app.command("backup")(backup)


def backup(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; - is stdout.")],
    force: Annotated[bool, typer.Option("--force", help="Replace FILE.")] = False,
    dry_run: DryRun = False,
    without_database: WithoutDatabase = False,
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Write what the embedded stores remember to one file, while the services run. The file is secret.

    Exit 2 where the database is PostgreSQL's: pg_dump backs that up.
    """
    desk = Desk.open(context, settings, state_dir, as_json)
    if file == _STDOUT and (desk.as_json or sys.stdout.isatty()):
        raise typer.BadParameter("the archive itself goes to stdout: no terminal, and no --json", param_hint="FILE")
    if not without_database:
        check_embedded(desk, "backed up with pg_dump", _dump(desk.settings))
    if dry_run:
        sizes, left_out = backups.would_take(directories_of(desk.settings), with_database=not without_database)
        done = BackedUp(
            file=str(file), bytes=0, files={str(at): n for at, n in sizes.items()}, left_out=left_out, dry_run=True
        )
    else:
        done = _back_up(desk.settings, file, force=force, with_database=not without_database)
    if file == _STDOUT:
        warn(backed_up_page(done))
    else:
        desk.answer(done, backed_up_page(done))


def _back_up(settings: Settings, file: Path, *, force: bool, with_database: bool) -> BackedUp:
    """Raises: AiSysadminError."""
    try:
        with (
            _target(file, force=force) as (opened, beside),
            tempfile.TemporaryDirectory(prefix=f".{file.name}.", dir=beside) as copies,
        ):
            taken = backups.take(
                directories_of(settings),
                Path(copies),
                settings.host_name,
                __version__,
                datetime.now(UTC),
                with_database=with_database,
            )
            backups.write_archive(opened, taken.manifest, taken.files)
            opened.flush()
        size = 0 if file == _STDOUT else file.stat().st_size
    except OSError as error:
        raise AiSysadminError(f"{file} cannot be written: {backups.said(error)}; nothing of it is left") from error
    sizes = {member.path: member.size for member in taken.manifest.members}
    return BackedUp(file=str(file), bytes=size, files=sizes, left_out=taken.manifest.left_out, dry_run=False)


@contextmanager
def _target(file: Path, *, force: bool) -> Iterator[tuple[BinaryIO, Path | None]]:
    """Open what the archive is written to; and say where copies may be made meanwhile."""
    if file == _STDOUT:
        yield sys.stdout.buffer, None
        return
    with backups.appearing(file, replace=force) as opened:
        yield opened, file.absolute().parent


# --- what both look at


def directories_of(settings: Settings) -> Mapping[Part, Path]:
    return {Part.STATE: settings.state_dir, Part.EXECUTOR: settings.executor.state_dir}


def check_embedded(desk: Desk, how: str, command: str) -> None:
    """Say how PostgreSQL's data are kept, and exit 2, where the database is not SQLite."""
    if isinstance(desk.settings.store_place, Path):
        return
    said = f"the database is {desk.settings.store_name}, which is {how}"
    warn(f"ai-sysadmin: {said}:\n\n  {command}\n\n--without-database does the rest; dump first, then back up.")
    if desk.as_json:
        print_json({"error": {"kind": "Usage", "message": said, "exit_code": _USAGE}, "command": command})
    raise typer.Exit(_USAGE)


def _dump(settings: Settings) -> str:
    return shlex.join(("pg_dump", "--format=custom", "--file=ai-sysadmin.dump", str(settings.store_place)))
