"""`mute` and `unmute`: let a fault be still for a while; it is seen all the same, and opens nothing."""

import asyncio
import re
from typing import Annotated

import typer

from ai_sysadmin.cli.api import Api
from ai_sysadmin.cli.desk import Desk, Json, SettingsFile, StateDir
from ai_sysadmin.cli.layout import table, wrapped
from ai_sysadmin.cli.templates import quoted
from ai_sysadmin.core.clock import local
from ai_sysadmin.openai_api_server.system.opinions import LONGEST_MUTE_SECONDS, Muting
from ai_sysadmin.openai_api_server.system.views import Mutes

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DURATION = re.compile(r"(\d{1,7})([smhdw])")
_WANTED = "a duration is needed, from 1s to 30d, as in 30s, 10m, 2h, 3d or 1w"

Name = Annotated[
    str,
    typer.Argument(metavar="FINGERPRINT_OR_INCIDENT", help="A fingerprint or an incident's id, or the beginning."),
]


def add_to(app: typer.Typer) -> None:
    app.command("mute")(mute)
    app.command("unmute")(unmute)


def seconds_of(duration: str) -> int:
    """Read a duration such as ``2h``. Raises: typer.BadParameter."""
    match = _DURATION.fullmatch(duration.strip().lower())
    seconds = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 1 <= seconds <= LONGEST_MUTE_SECONDS:
        raise typer.BadParameter(f"{duration!r} will not do: {_WANTED}")
    return seconds


def mute(
    context: typer.Context,
    name: Name = "",
    for_: Annotated[str, typer.Option("--for", help="How long: 30s, 10m, 2h, 3d, 1w; at most 30 days.")] = "",
    reason: Annotated[str, typer.Option("--reason", help="Why, for whoever reads it later.")] = "",
    list_: Annotated[bool, typer.Option("--list", help="Show what is muted now.")] = False,
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Mute a fault for a while: a fingerprint, or all those by which an incident opened."""
    desk = Desk.open(context, settings, state_dir, as_json)
    if list_:
        found = asyncio.run(Api(desk.settings).request("GET", "mutes", Mutes))
        desk.answer(found, mutes_page(found))
        return
    if not name.strip():
        raise typer.BadParameter("name a fingerprint or an incident, or give --list", param_hint="FINGERPRINT")
    muted(desk, name, for_, reason)


def muted(desk: Desk, name: str, duration: str, reason: str) -> None:
    """Mute what a name means, and say what that was. Raises: typer.BadParameter."""
    if not name.strip() or len(name) > 64 or len(reason) > 200:
        raise typer.BadParameter("a name has 1 to 64 characters, a reason at most 200")
    asked = Muting(name=name.strip(), seconds=seconds_of(duration), reason=reason)
    made = asyncio.run(Api(desk.settings).request("POST", "mutes", Mutes, asked))
    desk.answer(made, muted_page(made))


def unmute(
    context: typer.Context,
    name: Name,
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """End a mute before its time."""
    desk = Desk.open(context, settings, state_dir, as_json)
    ended = asyncio.run(Api(desk.settings).request("DELETE", f"mutes/{quoted(name)}", Mutes))
    desk.answer(ended, "\n".join(f"{each.fingerprint} is heard again" for each in ended.mutes))


def mutes_page(found: Mutes) -> str:
    """Render what is muted."""
    if not found.mutes:
        return "Nothing is muted."
    rows = [
        (each.fingerprint, local(each.until), each.by, each.kind or "-", each.subject or "-", each.reason)
        for each in found.mutes
    ]
    return "\n".join(table(("FINGERPRINT", "UNTIL", "BY", "KIND", "OF", "REASON"), rows, width=120))


def muted_page(made: Mutes) -> str:
    """Render what was just muted."""
    lines = []
    for each in made.mutes:
        lines += wrapped(f"{each.fingerprint} ({each.kind} of {each.subject}) opens nothing until {local(each.until)}")
    if not lines:
        return "Nothing was muted."
    return "\n".join([*lines, "What is open already stays open; `ai-sysadmin unmute FINGERPRINT` ends it."])
