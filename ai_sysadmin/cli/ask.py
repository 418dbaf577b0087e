"""`ask`: one question, answered by the meta layer."""

import asyncio
import sys
from contextlib import aclosing
from typing import Annotated

import typer

from ai_sysadmin.cli.api import Api
from ai_sysadmin.cli.desk import Desk, Json, SettingsFile, StateDir, print_json
from ai_sysadmin.context.defuse import defuse

Question = Annotated[str, typer.Argument(help="What you want to know.")]


def add_to(app: typer.Typer) -> None:
    app.command("ask")(ask)


def ask(
    context: typer.Context,
    question: Question,
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Ask a question about this host."""
    desk = Desk.open(context, settings, state_dir, as_json)
    text = asyncio.run(_answer(Api(desk.settings), question, aloud=not desk.as_json))
    if desk.as_json:
        print_json({"question": question, "answer": text})


async def _answer(api: Api, question: str, *, aloud: bool) -> str:
    """Return the whole answer; aloud, print it as it comes."""
    text = ""
    async with aclosing(api.ask(question)) as deltas:
        async for delta in deltas:
            text += delta
            if aloud:
                sys.stdout.write(defuse(delta))
                sys.stdout.flush()
    if aloud and not text.endswith("\n"):
        sys.stdout.write("\n")
    return text
