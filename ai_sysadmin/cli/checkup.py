"""The check-up behind `doctor`: each dependency is asked by itself, all at once, none for longer than a few seconds."""

import asyncio
import platform
from collections.abc import Awaitable
from enum import StrEnum
from itertools import chain
from pathlib import Path

from ai_sysadmin import __version__
from ai_sysadmin.actions.client import ExecutorClient
from ai_sysadmin.cli.api import Api
from ai_sysadmin.cli.own_units import own_units_or_why
from ai_sysadmin.core.errors import AiSysadminError, JournalUnavailable, NotFound, Refused, Unavailable
from ai_sysadmin.core.records import Record
from ai_sysadmin.core.settings import Backend, Settings
from ai_sysadmin.llm_backend.door import open_model
from ai_sysadmin.notifications import UNCONFIGURED
from ai_sysadmin.openai_api_server.system.notification_views import Notifying
from ai_sysadmin.openai_api_server.system.system import WITHOUT
from ai_sysadmin.openai_api_server.system.views import SystemStatus
from ai_sysadmin.runtime.bus import MANAGER, MANAGER_PATH, SystemBus
from ai_sysadmin.runtime.commands import CommandMissing, CommandTimedOut, run
from ai_sysadmin.sources.host import HostUnreadable, pressure
from ai_sysadmin.sources.journal import unit_log
from ai_sysadmin.sources.units import UnitStatus

LIMIT_SECONDS = 5.0
LAYERS = ("trigger", "review", "meta")


class Health(StrEnum):
    """``lacking`` costs something but is no fault: a model that is not there, a kernel without pressure figures."""

    GOOD = "good"
    LACKING = "lacking"
    BAD = "bad"


class Check(Record):
    """One dependency, and what to do about it."""

    name: str
    health: Health
    text: str
    version: str = ""
    advice: str = ""


class Checkup(Record):
    checks: tuple[Check, ...]
    units: tuple[UnitStatus, ...] = ()
    why_no_units: str = ""


async def check_up(settings: Settings) -> Checkup:
    """Check every dependency, side by side."""
    api, *others = await asyncio.gather(
        _within("api", _api(settings)),
        _within("executor", _executor(settings)),
        _within("journal", _journal()),
        _within("systemd", _systemd()),
        *(_within(f"{layer} model", _model(layer, settings)) for layer in LAYERS),
        _within("nix", _nix()),
        _within("notifications", notifications(settings)),
    )
    units, why = await own_units_or_why()
    return Checkup(checks=(_python(), *api, *chain.from_iterable(others), _pressure()), units=units, why_no_units=why)


async def _within(name: str, checking: Awaitable[tuple[Check, ...]]) -> tuple[Check, ...]:
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            return await checking
    except TimeoutError:
        text = f"no answer within {LIMIT_SECONDS:g} s"
        return (Check(name=name, health=Health.BAD, text=text, advice="look at the load of this host"),)


def _python() -> Check:
    text = f"ai-sysadmin {__version__} on Python, {platform.system()} {platform.release()}"
    return Check(name="python", health=Health.GOOD, text=text, version=platform.python_version())


async def _api(settings: Settings) -> tuple[Check, ...]:
    """Ask the API; what it says of the store is all that can be known of the store from here."""
    try:
        status = await Api(settings).get("status", SystemStatus)
    except Refused as error:
        return (Check(name="api", health=Health.LACKING, text=str(error), advice="run this with sudo"),)
    except Unavailable:
        start = "systemctl start ai-sysadmin-api, or `ai-sysadmin up` where there are no units"
        text = f"nobody answers on {settings.api_socket}"
        return (Check(name="api", health=Health.BAD, text=text, advice=start),)
    text = f"answers on {settings.api_socket}, says {status.state}"
    api = Check(name="api", health=Health.GOOD, text=text, version=status.version)
    if status.store.reachable:
        return api, Check(name="store", health=Health.GOOD, text=status.store.text)
    advice = "look at the free space and the owner of the state directory"
    if settings.database.url:
        advice = "does PostgreSQL run, and let this user in? `journalctl -u postgresql` says; see docs/database.md"
    return api, Check(name="store", health=Health.BAD, text=status.store.text, advice=advice)


async def _executor(settings: Settings) -> tuple[Check, ...]:
    socket = settings.operate_socket
    try:
        known = await ExecutorClient(socket, timeout_seconds=LIMIT_SECONDS).list()
    except Unavailable as error:
        advice = "systemctl start ai-sysadmin-executor-operate.socket, or `ai-sysadmin up` where there are no units"
        return (Check(name="executor", health=Health.BAD, text=str(error), advice=advice),)
    except Refused as error:
        return (Check(name="executor", health=Health.GOOD, text=f"answers on {socket}: {error}"),)
    return (Check(name="executor", health=Health.GOOD, text=f"answers on {socket}, knows {len(known)} actions"),)


async def _journal() -> tuple[Check, ...]:
    try:
        lines = await unit_log("init.scope", 1)
    except JournalUnavailable as error:
        advice = "usermod -aG systemd-journal USER, then log in again; the services have that group already"
        return (Check(name="journal", health=Health.BAD, text=str(error), advice=advice),)
    if not lines:
        text = "systemd has written nothing to the journal"
        return (Check(name="journal", health=Health.LACKING, text=text, advice="look at systemd-journald.service"),)
    return (Check(name="journal", health=Health.GOOD, text="readable by this user"),)


async def _systemd() -> tuple[Check, ...]:
    bus = SystemBus(LIMIT_SECONDS)
    try:
        version = await bus.property(MANAGER_PATH, MANAGER, "Version")
    except AiSysadminError as error:
        advice = "unit states cannot be seen without it: start dbus, or run this on the host itself"
        return (Check(name="systemd", health=Health.BAD, text=str(error), advice=advice),)
    finally:
        bus.close()
    return (Check(name="systemd", health=Health.GOOD, text="answers on the system bus", version=str(version)),)


async def _model(layer: str, settings: Settings) -> tuple[Check, ...]:
    backend: Backend = getattr(settings.backends, layer)
    server = open_model(layer, backend)
    try:
        health = await server.health()
    finally:
        await server.close()
    name = f"{layer} model"
    if health.state == "ready":
        text = f"ready at {backend.url}, {health.context_tokens} tokens of context, {health.slots} slots"
        return (Check(name=name, health=Health.GOOD, text=text, version=health.model),)
    if health.may_be_asked:
        return (Check(name=name, health=Health.GOOD, text=health.text, version=health.model),)
    advice = f"`ai-sysadmin models pull NAME` gets one; without it {WITHOUT[layer]}"
    return (Check(name=name, health=Health.LACKING, text=health.text, advice=advice),)


async def _nix() -> tuple[Check, ...]:
    nixos = Path("/etc/NIXOS").exists()
    try:
        done = await run(["nix", "--version"], timeout_seconds=LIMIT_SECONDS)
    except (CommandMissing, CommandTimedOut):
        kind = Health.BAD if nixos else Health.LACKING
        return (Check(name="nix", health=kind, text="there is no nix here; only needed on NixOS"),)
    version = done.stdout.decode(errors="replace").strip().rpartition(" ")[2]
    return (Check(name="nix", health=Health.GOOD, text="on NixOS" if nixos else "present, not NixOS", version=version),)


async def notifications(settings: Settings) -> tuple[Check, ...]:
    """Ask how the notifier stands; what it says names the scheme and the host of a URL at most."""
    name = "notifications"
    if settings.notifications.urls_file is None:
        advice = "set notifications.urls_file to a file of Apprise URLs, then `ai-sysadmin notify test`"
        return (Check(name=name, health=Health.LACKING, text=UNCONFIGURED.partition(":")[0], advice=advice),)
    try:
        note = (await Api(settings).get(name, Notifying)).notifier
    except (Unavailable, Refused, NotFound):
        return (Check(name=name, health=Health.LACKING, text="set, and only the API knows whether they arrive"),)
    if note is None:
        advice = "systemctl start ai-sysadmin-notifier, or `ai-sysadmin up` where there are no units"
        return (Check(name=name, health=Health.BAD, text="set, and no notifier has run yet", advice=advice),)
    if note.state != "ok":
        advice = "mend the file of notifications.urls_file or the network, then `ai-sysadmin notify test`"
        return (Check(name=name, health=Health.BAD, text=note.text, advice=advice),)
    return (Check(name=name, health=Health.GOOD, text=note.text),)


def _pressure() -> Check:
    try:
        found = pressure()
    except HostUnreadable as error:
        return Check(name="pressure", health=Health.LACKING, text=str(error), advice="boot with psi=1 to have it")
    return Check(name="pressure", health=Health.GOOD, text=f"the kernel reports it for {len(found)} resources")
