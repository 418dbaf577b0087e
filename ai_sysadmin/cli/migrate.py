"""`migrate --from-prototype`: what the prototype remembered is imported once, and left as it is.

Run by root it becomes the services' user first, whom the database belongs to.
"""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from ai_sysadmin.cli.desk import Desk, Json, SettingsFile, StateDir
from ai_sysadmin.cli.migrate_page import migration_page
from ai_sysadmin.cli.outcome import FAILED
from ai_sysadmin.stores.prototype import CHROMA_URL

MOST_ENTRIES = 5000


def add_to(app: typer.Typer) -> None:
    app.command("migrate")(migrate)


def migrate(
    context: typer.Context,
    from_prototype: Annotated[
        bool, typer.Option("--from-prototype", help="Import what the prototype remembered.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    prototype_dir: Annotated[
        Path | None,
        typer.Option("--prototype-dir", metavar="DIR", help="The prototype's state directory; without it, ours."),
    ] = None,
    chroma: Annotated[
        str | None,
        typer.Option("--chroma", metavar="URL", help=f"Its ChromaDB; else knowledge.chroma_url or {CHROMA_URL}."),
    ] = None,
    chroma_directory: Annotated[
        Path | None,
        typer.Option(
            "--chroma-directory", metavar="DIR", help="The directory of its embedded ChromaDB: a copy of it is read."
        ),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option("--database", metavar="URL", help="Its PostgreSQL; without it, database.url where that is one."),
    ] = None,
    most: Annotated[
        int, typer.Option("--most", min=1, max=50_000, help="Of each log, import at most so many entries, the newest.")
    ] = MOST_ENTRIES,
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Import what the prototype remembered, once; its own data is left as it is.

    What is imported is found by `ai-sysadmin knowledge search`. Exit 1 when something could not be read.
    """
    from ai_sysadmin.cli.migration import Prototype, become_owner

    desk = Desk.open(context, settings, state_dir, as_json)
    if not from_prototype:
        raise typer.BadParameter("say what from: ai-sysadmin migrate --from-prototype", param_hint="--from-prototype")
    if chroma and chroma_directory:
        raise typer.BadParameter("give --chroma or --chroma-directory, not both", param_hint="--chroma")
    where = Prototype(desk.settings, prototype_dir, chroma, chroma_directory, database)
    become_owner(desk.settings)
    done = asyncio.run(where.migrate(most, dry_run=dry_run))
    desk.answer(done, migration_page(done))
    raise typer.Exit(FAILED if done.unread else 0)
