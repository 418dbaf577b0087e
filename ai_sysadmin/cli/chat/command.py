"""`chat`: a conversation in the terminal, with the assistant that answers every front end."""

from typing import Annotated

import typer

from ai_sysadmin.cli.desk import Desk, SettingsFile, StateDir

Fast = Annotated[
    bool, typer.Option("--fast", help="Let the small model answer: sooner, and without looking anything up.")
]


def add_to(app: typer.Typer) -> None:
    app.command("chat")(chat)


def chat(context: typer.Context, fast: Fast = False, settings: SettingsFile = None, state_dir: StateDir = None) -> None:
    """Talk with the AI system administrator. With questions on stdin, one a line: answer them."""
    from ai_sysadmin.cli.chat.loop import chat as talk

    desk = Desk.open(context, settings, state_dir, as_json=False)
    raise typer.Exit(talk(desk.settings, fast=fast))
