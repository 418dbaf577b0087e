"""`ask`: one question, answered by the assistant that answers every front end."""

import os
import re
import select
import stat
import sys
from typing import TYPE_CHECKING, Annotated, Final, TextIO

import typer

from ai_sysadmin.cli.chat.command import Fast
from ai_sysadmin.cli.desk import Desk, Json, SettingsFile, StateDir, print_json, warn
from ai_sysadmin.core.settings import Settings

if TYPE_CHECKING:
    from ai_sysadmin.cli.chat.telling import Told

Question = Annotated[str, typer.Argument(help="What you want to know; `-` reads it from stdin.")]
MOST_PIPED: Final = 1 << 20
PIPE_SECONDS: Final = 2.0
"""So long a pipe may be silent before the question is asked without it: one that nobody writes to has no end."""


def add_to(app: typer.Typer) -> None:
    app.command("ask")(ask)


def ask(
    context: typer.Context,
    question: Question,
    fast: Fast = False,
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Ask a question about this host. What is piped in is attached to it."""
    desk = Desk.open(context, settings, state_dir, as_json)
    whole = _piped(sys.stdin) if question == "-" else attached(question, _beside(sys.stdin))
    if not whole.strip():
        raise typer.BadParameter("nobody asks anything: the question is empty")
    told = _told(desk.settings, whole, fast=fast, aloud=not desk.as_json)
    if desk.as_json:
        print_json(_document(question if question != "-" else whole.strip(), told))


def _told(settings: Settings, question: str, *, fast: bool, aloud: bool) -> "Told":
    """Ask, with the answer on stdout if ``aloud``, and what is being looked at on stderr if that is a terminal."""
    import asyncio

    from ai_sysadmin.cli.api import Api
    from ai_sysadmin.cli.chat.session import Conversation
    from ai_sysadmin.cli.chat.stream import answer
    from ai_sysadmin.cli.chat.telling import Told, tell
    from ai_sysadmin.cli.chat.view import PlainView

    progress = sys.stderr if sys.stderr.isatty() else None
    view = PlainView(sys.stdout if aloud else None, progress, dim=not os.environ.get("NO_COLOR"))
    told = Told()
    asyncio.run(tell(answer(Api(settings), Conversation().asked(question).messages(), fast=fast), view, told))
    return told


def _document(question: str, told: "Told") -> dict[str, object]:
    sources = [{"id": source.id, "title": source.title, "failed": source.id in told.failed} for source in told.sources]
    usage = told.usage
    counts = usage._asdict() if usage else {}
    model = counts.pop("model", None)
    return {"question": question, "answer": told.text, "sources": sources, "usage": counts or None, "model": model}


def attached(question: str, text: str) -> str:
    """Return a question with a text behind it, in a fence that the text cannot close."""
    if not text.strip():
        return question
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{question}\n\nAttached, from stdin:\n\n{fence}\n{text.rstrip()}\n{fence}"


def _beside(stdin: TextIO | None) -> str:
    """Return what is piped in beside a question: a file, or a pipe to which somebody writes."""
    try:
        source = stdin.fileno() if stdin is not None else -1
        mode = os.fstat(source).st_mode
    except (OSError, ValueError):
        return ""
    if stat.S_ISFIFO(mode) and not select.select([source], [], [], PIPE_SECONDS)[0]:
        warn(f"ai-sysadmin: nothing came on stdin in {PIPE_SECONDS:.0f} s; asked without it")
        return ""
    return _piped(stdin) if stat.S_ISREG(mode) or stat.S_ISFIFO(mode) else ""


def _piped(stdin: TextIO | None) -> str:
    piped = stdin.buffer.read(MOST_PIPED + 1) if stdin is not None else b""
    if len(piped) > MOST_PIPED:
        raise typer.BadParameter(f"more than {MOST_PIPED >> 20} MiB on stdin: attach less of it")
    return piped.decode(errors="replace")
