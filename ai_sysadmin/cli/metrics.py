"""`metrics`: which figures are kept of this host, and how one of them went."""

import asyncio
import codecs
import locale
import os
import shutil
import sys
from typing import Annotated, Final

import typer

from ai_sysadmin.actions.periods import period_of
from ai_sysadmin.cli.api import Api
from ai_sysadmin.cli.columns import WIDTH
from ai_sysadmin.cli.desk import Desk, Given, Json, SettingsFile, StateDir
from ai_sysadmin.cli.metrics_page import MOST_CHARTS, Screen, histories_page, listing_page
from ai_sysadmin.cli.templates import quoted
from ai_sysadmin.core.errors import NotFound
from ai_sysadmin.openai_api_server.system.metric_views import MetricHistories, Metrics
from ai_sysadmin.openai_api_server.system.metrics import (
    DEFAULT_LISTED,
    DEFAULT_SINCE,
    MOST_LISTED,
    MOST_THINGS,
)

_NARROWEST: Final = 40
_WIDEST: Final = 200

app = typer.Typer(help="The host's figures over time, as the trigger monitor read them.", no_args_is_help=True)


@app.callback()
def common(
    context: typer.Context, settings: SettingsFile = None, state_dir: StateDir = None, as_json: Json = False
) -> None:
    context.obj = Given(settings, state_dir, as_json).over(context.obj)


@app.command("list")
def list_(
    context: typer.Context,
    prefix: Annotated[
        str, typer.Argument(metavar="[PREFIX]", help="Only names that begin so.", show_default=False)
    ] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=MOST_LISTED, help="At most so many.")] = DEFAULT_LISTED,
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """List what is measured, on what, with the newest figure and its age."""
    desk = Desk.open(context, settings, state_dir, as_json)
    query: dict[str, str | int] = {"name": prefix, "limit": limit}
    found = asyncio.run(Api(desk.settings).request("GET", "metrics", Metrics, query=query))
    desk.answer(found, listing_page(found, prefix, screen()))


@app.command()
def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A metric's name; `metrics list` shows them.")],
    about: Annotated[
        str, typer.Argument(metavar="[ABOUT]", help="On which thing: a mount point, a disk, …", show_default=False)
    ] = "",
    period: Annotated[
        str, typer.Option("--since", help="How far back: 24h, 7d, 4w; at most a year.", metavar="TIME")
    ] = DEFAULT_SINCE,
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Draw how a metric went: its mean as a line, least to most as a shade, times local."""
    desk = Desk.open(context, settings, state_dir, as_json)
    try:
        period_of(period)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--since") from error
    if not name.strip():
        raise NotFound("a metric's name is needed; `ai-sysadmin metrics list` shows every one")
    query: dict[str, str | int] = {"since": period, "limit": MOST_THINGS if desk.as_json else MOST_CHARTS}
    if about:
        query["about"] = about
    path = f"metrics/{quoted(name)}"
    found = asyncio.run(Api(desk.settings).request("GET", path, MetricHistories, query=query))
    desk.answer(found, histories_page(found, screen()))


def screen() -> Screen:
    """Return what the page may be drawn with: where nothing says how wide it is, 80 columns."""
    width = shutil.get_terminal_size((WIDTH, 24)).columns
    return Screen(max(_NARROWEST, min(width, _WIDEST)), is_ascii=not _shows_unicode())


def _shows_unicode() -> bool:
    """Tell whether braille can be shown: with UTF-8, and not on Linux's console, whose font has none.

    The locale is asked too, as Python writes UTF-8 even where ``LC_ALL`` is ``C``.
    """
    if sys.stdout.isatty() and os.environ.get("TERM") == "linux":
        return False
    return all(codecs.lookup(name).name == "utf-8" for name in (sys.stdout.encoding or "ascii", locale.getencoding()))
