"""What activating a built system would do, asked of the system itself; root without any right does it."""

import os
import re
from pathlib import Path
from typing import Final

from ai_sysadmin.actions.nixos import dry_run
from ai_sysadmin.actions.nixos.nix import NIX
from ai_sysadmin.actions.nixos.results import SYSTEM, Rehearsed, plain
from ai_sysadmin.core.errors import Refused, Unavailable
from ai_sysadmin.runtime.commands import CommandMissing, CommandTimedOut, Completed, run

SECONDS: Final = 120.0
_LINES, _CHARACTERS = 40, 120
_KEPT_OF_STDERR: Final = 64 << 10


async def rehearse(
    store_path: str, current_system: Path = Path("/run/current-system"), root: Path = Path("/")
) -> Rehearsed:
    """Ask a system what its activation would do, and how its closure differs from the running one.

    Raises:
        Refused: it is no valid system of the store, or does not say.
        Unavailable: Nix is missing or does not answer.
    """
    if not re.fullmatch(SYSTEM, store_path):
        raise Refused(f"{plain(store_path)} is no system of the store")
    running = os.path.realpath(current_system)
    valid = await _run("nix-store", "--check-validity", store_path)
    if valid.exit_status:
        raise Refused(f"{store_path} is not valid in the store: {plain(valid.stderr)}")
    said = await _run(str(root / store_path.lstrip("/") / "bin/switch-to-configuration"), "dry-activate")
    if said.exit_status or said.truncated or len(said.stderr.encode()) >= _KEPT_OF_STDERR:
        raise Refused(f"its dry-activate did not end well ({said.exit_status}): {plain(said.stderr[-600:], 400)}")
    text = f"{said.stdout.decode(errors='replace')}\n{said.stderr}"
    units = dict(dry_run.touched(text))
    if _manager(root, running) != _manager(root, store_path):
        units["restart"] = ("init.scope", *units.get("restart", ()))
    closure = await _closure(running, store_path)
    return Rehearsed(
        store_path=store_path,
        running=running,
        **units,
        left_alone=dry_run.left_alone(text),
        closure=closure[:_LINES],
        closure_more=max(0, len(closure) - _LINES),
    )


def _manager(root: Path, system: str) -> tuple[str, str]:
    """Return what a system's process 1 is, and is set up by: where one differs, systemd is restarted."""
    place = os.path.realpath(root / system.lstrip("/"))
    program, settings = (os.path.realpath(f"{place}/{link}") for link in ("systemd", "etc/systemd/system.conf"))
    return program.removeprefix(place), settings.removeprefix(place)


async def _closure(before: str, after: str) -> tuple[str, ...]:
    compared = await _run(*NIX, "store", "diff-closures", before, after)
    if compared.exit_status:
        raise Unavailable(f"the closures cannot be compared: {plain(compared.stderr[-600:], 400)}")
    lines = (plain(line, _CHARACTERS) for line in compared.stdout.decode(errors="replace").splitlines())
    return tuple(filter(None, lines))


async def _run(*argv: str) -> Completed:
    environment = {**os.environ, "NIX_REMOTE": "daemon"}  # this process may not write to the store's own database
    try:
        return await run(argv, timeout_seconds=SECONDS, env=environment)
    except CommandMissing as error:
        raise Refused(str(error)) from error
    except CommandTimedOut as error:
        raise Unavailable(str(error)) from error
