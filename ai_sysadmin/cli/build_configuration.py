"""`build-configuration`: what the executor's units run for a change of the NixOS configuration; nobody types it.

Each step ends with one line of JSON; the executor reads that line, and checks it as it checks what a stranger says.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from ai_sysadmin.cli.desk import say
from ai_sysadmin.core.errors import Refused

app = typer.Typer(help="Steps of a change of the NixOS configuration; the executor starts them.", no_args_is_help=True)

Repository = Annotated[Path, typer.Option(help="The configuration's repository.")]
Branch = Annotated[str, typer.Option(help="The branch to start from.")]
Attribute = Annotated[str, typer.Option(help="The host's name below nixosConfigurations.")]
ChangesFile = Annotated[str, typer.Option(help="The file of literals in the repository.")]
BuildDir = Annotated[Path, typer.Option(help="Where the clone is.")]
PushRemote = Annotated[str, typer.Option(help="The remote that branches are pushed to.")]
Seconds = Annotated[float, typer.Option(help="The longest that one step of Nix may take.")]
CurrentSystem = Annotated[Path, typer.Option(help="The link to the system that runs.")]

_CURRENT = Path("/run/current-system")
_REQUEST_BYTES = 256 << 10


@app.command()
def apply(
    repository: Repository,
    branch: Branch,
    attribute: Attribute,
    changes_file: ChangesFile,
    build_dir: BuildDir,
    seconds: Seconds,
    option: Annotated[str, typer.Option(help="The option's path.")],
    value: Annotated[str, typer.Option(help="Its value as JSON.")],
    incident: Annotated[str, typer.Option(help="The incident's id.")] = "",
    push_remote: PushRemote = "",
    current_system: CurrentSystem = _CURRENT,
) -> None:
    """Set an option, evaluate, build."""
    from ai_sysadmin.actions.nixos.building import Job, build
    from ai_sysadmin.actions.nixos.literals import scalar
    from ai_sysadmin.actions.nixos.results import as_line

    _as_a_user_without_rights()
    job = Job(
        repository=repository,
        branch=branch,
        attribute=attribute,
        changes_file=changes_file,
        build_dir=build_dir,
        push_remote=push_remote,
        seconds=seconds,
        current_system=current_system,
    )
    say(as_line(asyncio.run(build(job, option, scalar(value), incident))))


@app.command()
def draft(
    repository: Repository,
    branch: Branch,
    attribute: Attribute,
    changes_file: ChangesFile,
    build_dir: BuildDir,
    seconds: Seconds,
    push_remote: PushRemote = "",
) -> None:
    """Put a free change, read from standard input as JSON, on a branch."""
    from pydantic import ValidationError

    from ai_sysadmin.actions.nixos.building import Job
    from ai_sysadmin.actions.nixos.drafting import Draft
    from ai_sysadmin.actions.nixos.drafting import draft as write_draft
    from ai_sysadmin.actions.nixos.results import as_line

    _as_a_user_without_rights()
    job = Job(
        repository=repository,
        branch=branch,
        attribute=attribute,
        changes_file=changes_file,
        build_dir=build_dir,
        push_remote=push_remote,
        seconds=seconds,
    )
    try:
        wanted = Draft.model_validate_json(sys.stdin.buffer.read(_REQUEST_BYTES))
    except ValidationError as error:
        raise Refused(f"standard input holds no draft: {error.errors(include_input=False)[0]['msg']}") from error
    say(as_line(asyncio.run(write_draft(job, wanted))))


@app.command()
def push(
    finished: Annotated[str, typer.Argument(help="The branch to push.")],
    repository: Repository,
    branch: Branch,
    attribute: Attribute,
    changes_file: ChangesFile,
    build_dir: BuildDir,
    seconds: Seconds,
    push_remote: PushRemote,
) -> None:
    """Push a finished branch to the operator's remote."""
    from ai_sysadmin.actions.nixos.building import Job
    from ai_sysadmin.actions.nixos.drafting import push as push_branch

    _as_a_user_without_rights()
    job = Job(
        repository=repository,
        branch=branch,
        attribute=attribute,
        changes_file=changes_file,
        build_dir=build_dir,
        push_remote=push_remote,
        seconds=seconds,
    )
    say(asyncio.run(push_branch(job, finished)))


@app.command()
def rehearse(
    store_path: Annotated[str, typer.Argument(help="The system's path in the store.")],
    current_system: CurrentSystem = _CURRENT,
) -> None:
    """Ask a built system what its activation would do."""
    from ai_sysadmin.actions.nixos.rehearsal import rehearse as rehearse_activation
    from ai_sysadmin.actions.nixos.results import as_line

    say(as_line(asyncio.run(rehearse_activation(store_path, current_system))))


def _as_a_user_without_rights() -> None:
    """Refuse to be root, and let people read what is written. Raises: Refused."""
    if os.geteuid() == 0:
        raise Refused("the configuration is not built as root: set actions.nixos.build_user to a user without rights")
    os.umask(0o022)
