"""`notify test`: whether a person is told at all, by the running notifier and by the way that every notice goes."""

import asyncio
import time
from typing import Final

import typer

from ai_sysadmin.cli.api import Api
from ai_sysadmin.cli.desk import Desk, Json, SettingsFile, StateDir
from ai_sysadmin.cli.outcome import FAILED
from ai_sysadmin.core.errors import SettingsError, Unavailable
from ai_sysadmin.core.records import Record
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.notifications import UNCONFIGURED
from ai_sysadmin.openai_api_server.system.notification_views import Asked, Notifying

WAIT_SECONDS: Final = 75.0
_LOOK_SECONDS: Final = 0.5

app = typer.Typer(name="notify", help="How a person is told.", no_args_is_help=True)


class Tried(Record):
    """What came of a test. ``text`` names each URL by its line, its scheme and its host at most."""

    told: bool
    text: str


@app.callback()
def common() -> None:
    """How a person is told."""


@app.command("test")
def test(
    context: typer.Context, settings: SettingsFile = None, state_dir: StateDir = None, as_json: Json = False
) -> None:
    """Have the notifier send a test to every URL of notifications.urls_file; exit 1 unless all took it."""
    desk = Desk.open(context, settings, state_dir, as_json)
    if desk.settings.notifications.urls_file is None:
        raise SettingsError(UNCONFIGURED)
    tried = asyncio.run(try_out(desk.settings))
    desk.answer(tried, f"{'All were told' if tried.told else 'Not all were told'}: {tried.text}.")
    raise typer.Exit(0 if tried.told else FAILED)


async def try_out(settings: Settings, wait_seconds: float = WAIT_SECONDS) -> Tried:
    """Ask for a test and wait for its end.

    Raises:
        Unavailable: the API does not answer, or nobody took the test up.
        Refused: this user may not ask.
    """
    api = Api(settings)
    asked = await api.request("POST", "notifications/test", Asked)
    give_up = time.monotonic() + wait_seconds
    while time.monotonic() < give_up:
        await asyncio.sleep(_LOOK_SECONDS)
        now = await api.get("notifications", Notifying)
        if not now.test_waits and now.notifier is not None and now.notifier.at >= asked.at:
            return Tried(told=now.notifier.state == "ok", text=now.notifier.text)
    raise Unavailable(
        f"the notifier took no test up within {wait_seconds:g} s: systemctl status ai-sysadmin-notifier"
        " (`ai-sysadmin doctor` says what else may be wrong)"
    )
