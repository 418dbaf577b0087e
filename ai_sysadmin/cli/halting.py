"""`halt` and `resume`: the kill switch."""

import asyncio
from typing import Annotated

import typer

from ai_sysadmin.actions.client import ExecutorClient
from ai_sysadmin.actions.protocol import Halted
from ai_sysadmin.cli.desk import Desk, Json, SettingsFile, StateDir, print_json, say
from ai_sysadmin.core.clock import local
from ai_sysadmin.core.errors import ExecutorUnavailable

Why = Annotated[str, typer.Option("--why", help="Your reason; it is remembered.")]


def add_to(app: typer.Typer) -> None:
    app.command("halt")(halt)
    app.command("resume")(resume)


def halt(
    context: typer.Context,
    why: Why = "",
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Stop: no action begins any more until `resume`. What runs already ends, and is checked or taken back."""
    desk = Desk.open(context, settings, state_dir, as_json)
    try:
        halted = asyncio.run(ExecutorClient(desk.settings.operate_socket).halt(why))
    except ExecutorUnavailable as error:
        file = desk.settings.executor.state_dir / "halt"
        raise ExecutorUnavailable(
            f"{error}; `sudo touch {file}` stops it all the same, now and when it is back"
        ) from error
    _say(desk, halted, "Nothing is begun any more")


def resume(
    context: typer.Context,
    why: Why = "",
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Let actions begin again."""
    desk = Desk.open(context, settings, state_dir, as_json)
    held = asyncio.run(ExecutorClient(desk.settings.operate_socket).resume(why))
    _say(desk, held, "Actions begin again; they were halted" if held else "Nothing held them")


def _say(desk: Desk, halted: Halted | None, what: str) -> None:
    if desk.as_json:
        print_json({"halted": halted.model_dump(mode="json") if halted else None})
        return
    by = f", by {halted.by} since {local(halted.at)}: {halted.why}" if halted else ""
    say(f"{what}{by}.")
