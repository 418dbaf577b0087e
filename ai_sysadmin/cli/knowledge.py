"""`knowledge`: find what is known, add to it, take one's own away, have the index made anew."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ai_sysadmin.cli.api import Api
from ai_sysadmin.cli.desk import Desk, Given, Json, SettingsFile, StateDir
from ai_sysadmin.cli.knowledge_page import (
    Import,
    NotTaken,
    added_page,
    document_page,
    found_page,
    import_page,
    listing_page,
    reindexed_page,
    removed_page,
)
from ai_sysadmin.cli.templates import quoted
from ai_sysadmin.context.knowledge.runbooks import MOST_FILES, files_in, text_in
from ai_sysadmin.core.errors import AiSysadminError, Refused, Unavailable
from ai_sysadmin.core.knowledge import Document, DocumentKind, Found
from ai_sysadmin.openai_api_server.system.knowledge_views import Added, Listed, Listing, NewFile, NewNote, Reindexing

app = typer.Typer(help="What is known: runbooks, configuration, past incidents, notes.", no_args_is_help=True)
DocumentId = Annotated[str, typer.Argument(metavar="ID", help="A document's id, or the beginning of one.")]
Kinds = Annotated[list[DocumentKind] | None, typer.Option("--kind", help="Only these kinds; may be given repeatedly.")]

Query = dict[str, str | int | Sequence[str]]

_POLL_SECONDS = 0.5


@app.callback()
def common(
    context: typer.Context, settings: SettingsFile = None, state_dir: StateDir = None, as_json: Json = False
) -> None:
    context.obj = Given(settings, state_dir, as_json).over(context.obj)


@app.command()
def search(
    context: typer.Context,
    words: Annotated[list[str], typer.Argument(metavar="QUERY...", help="What is looked for, in your own words.")],
    kind: Kinds = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=50, help="At most so many, the best first.")] = 5,
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Find what is known about something."""
    desk = Desk.open(context, settings, state_dir, as_json)
    query: Query = {"query": " ".join(words), "kind": _values(kind), "limit": limit}
    found = asyncio.run(Api(desk.settings).request("GET", "knowledge/search", Found, query=query))
    desk.answer(found, found_page(found, narrowed=bool(kind)))


@app.command("list")
def list_(
    context: typer.Context,
    kind: Kinds = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="At most so many.")] = 100,
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """List documents, by kind and name."""
    desk = Desk.open(context, settings, state_dir, as_json)
    query: Query = {"kind": _values(kind), "limit": limit}
    found = asyncio.run(Api(desk.settings).request("GET", "knowledge", Listing, query=query))
    desk.answer(found, listing_page(found, narrowed=bool(kind)))


@app.command()
def show(
    context: typer.Context,
    document_id: DocumentId,
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Show one document whole; of the configuration, with its file and lines."""
    desk = Desk.open(context, settings, state_dir, as_json)
    path = f"knowledge/documents/{quoted(document_id)}"
    found = asyncio.run(Api(desk.settings).request("GET", path, Document))
    desk.answer(found, document_page(found))


@app.command()
def add(
    context: typer.Context,
    title: Annotated[str, typer.Argument(metavar="TITLE", help="What the note is about, in one line.")],
    file: Annotated[Path | None, typer.Option("--file", help="Its text; without it, what comes in on stdin.")] = None,
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Remember a note; one of the same title is replaced. Secrets are taken out of it."""
    desk = Desk.open(context, settings, state_dir, as_json)
    note = NewNote(title=_title(title), text=_text(file))
    added = asyncio.run(Api(desk.settings).request("POST", "knowledge/notes", Added, note))
    desk.answer(added, added_page(added))


@app.command()
def remove(
    context: typer.Context,
    document_id: DocumentId,
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Forget a note, or what was imported."""
    desk = Desk.open(context, settings, state_dir, as_json)
    path = f"knowledge/documents/{quoted(document_id)}"
    removed = asyncio.run(Api(desk.settings).request("DELETE", path, Listed))
    desk.answer(removed, removed_page(removed))


@app.command("import")
def import_(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A directory of Markdown files.")],
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Take in a directory's Markdown files: runbooks where they begin with a head, else notes."""
    desk = Desk.open(context, settings, state_dir, as_json)
    if not directory.is_dir():
        raise Refused(f"{directory} is no directory: give the one that holds the Markdown files")
    done = asyncio.run(_import(Api(desk.settings), directory))
    desk.answer(done, import_page(done, directory))
    if done.not_taken:
        raise typer.Exit(1)


@app.command()
def reindex(
    context: typer.Context, settings: SettingsFile = None, state_dir: StateDir = None, as_json: Json = False
) -> None:
    """Make the index of vectors anew from the text, and wait for it."""
    desk = Desk.open(context, settings, state_dir, as_json)
    state = asyncio.run(_reindex(Api(desk.settings)))
    desk.answer(state, reindexed_page(state))
    if state.state == "failed":
        raise typer.Exit(1)


async def _reindex(api: Api) -> Reindexing:
    state = await api.request("POST", "knowledge/index", Reindexing)
    while state.state == "running":
        await asyncio.sleep(_POLL_SECONDS)
        state = await api.request("GET", "knowledge/index", Reindexing)
    if state.state == "never":
        raise Unavailable("the API was restarted meanwhile: ask again with `ai-sysadmin knowledge reindex`")
    return state


async def _import(api: Api, directory: Path) -> Import:
    taken: list[Added] = []
    not_taken: list[NotTaken] = []
    base = directory.resolve()
    for count, path in enumerate(files_in(directory)):
        name = path.relative_to(base).as_posix()
        if count >= MOST_FILES:
            not_taken.append(NotTaken(path=name, why=f"and all after it: {MOST_FILES} files are the most at once"))
            break
        try:
            text = text_in(path)
            if not text.strip():
                raise Refused("is empty")
            taken.append(await api.request("POST", "knowledge/files", Added, NewFile(path=name, text=text)))
        except Unavailable:
            raise
        except AiSysadminError as error:
            not_taken.append(NotTaken(path=name, why=str(error).removeprefix(f"{name}: ")))
    return Import(added=tuple(taken), not_taken=tuple(not_taken))


def _values(kinds: list[DocumentKind] | None) -> list[str]:
    return [kind.value for kind in kinds or ()]


def _title(title: str) -> str:
    if not title.strip() or len(title) > 200:
        raise typer.BadParameter("a title has 1 to 200 characters", param_hint="TITLE")
    return title


def _text(file: Path | None) -> str:
    """Return a note's text. Raises: typer.BadParameter: there is none; TextUnreadable."""
    if file is not None:
        text = text_in(file)
    elif sys.stdin.isatty():
        raise typer.BadParameter("give the note's text with --file, or on stdin: echo … | ai-sysadmin knowledge add …")
    else:
        text = sys.stdin.read()
    if not text.strip():
        raise typer.BadParameter("the note has no text")
    return text
