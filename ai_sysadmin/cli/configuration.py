"""`config`: check the settings file, show what it comes to, print its schema."""

from pathlib import Path
from typing import Annotated

import typer

from ai_sysadmin.cli.desk import Desk, Json, SettingsFile, StateDir, print_json, say, warn
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.runtime import settings_file

app = typer.Typer(help="The settings: check, schema, show.", no_args_is_help=True)


@app.command()
def check(
    context: typer.Context,
    file: Annotated[Path | None, typer.Argument(help="The file to check, as with --settings.")] = None,
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Check the settings file.

    A mistake is named with its key, its value and what is allowed; exit 78. What is allowed and can have no effect is
    said, and is no mistake.
    """
    from ai_sysadmin.actions.catalogue import catalogue_of
    from ai_sysadmin.actions.policy import remarks

    desk = Desk.open(context, settings or file, state_dir, as_json)
    path = desk.given.settings or settings_file.find()
    said = remarks(desk.settings.policy, catalogue_of(desk.settings).entries)
    if desk.as_json:
        print_json({"ok": True, "file": str(path) if path else None, "remarks": said})
        return
    for remark in said:
        warn(remark)
    say(f"{path}: fine" if path else "there is no settings file; the defaults are fine")


@app.command()
def schema(_settings: SettingsFile = None, _state_dir: StateDir = None, _as_json: Json = False) -> None:
    """Print the JSON schema of the settings: every key, its meaning, its default."""
    print_json(Settings.model_json_schema())


@app.command()
def show(
    context: typer.Context, settings: SettingsFile = None, state_dir: StateDir = None, as_json: Json = False
) -> None:
    """Print every setting as it counts now, defaults included, as JSON."""
    print_json(Desk.open(context, settings, state_dir, as_json).settings.model_dump(mode="json"))
