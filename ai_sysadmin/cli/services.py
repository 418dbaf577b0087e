"""The services, each a command; ``pipeline`` builds them, imported where it is needed."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from ai_sysadmin.cli.desk import Desk, Json, SettingsFile, StateDir
from ai_sysadmin.runtime import settings_file
from ai_sysadmin.runtime.logs import set_up

ModelsDir = Annotated[
    Path | None, typer.Option("--models", help="Serve the GGUF files of this directory.", metavar="DIR")
]


def add_to(app: typer.Typer) -> None:
    app.command("up")(up)
    app.command("trigger-monitor")(trigger_monitor)
    app.command("review-model")(review_model)
    app.command("meta-model")(meta_model)
    app.command("api")(api)
    app.command("notifier")(notifier)
    app.command("executor")(executor)


def _run(name: str, service: Coroutine[Any, Any, None]) -> None:
    set_up(f"ai-sysadmin-{name}")
    asyncio.run(service)


def up(
    context: typer.Context,
    models_dir: ModelsDir = None,
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Survey this host, then run the whole suite."""
    from ai_sysadmin.cli.up import up as run_up

    raise typer.Exit(run_up(Desk.open(context, settings, state_dir, as_json), models_dir))


def trigger_monitor(
    context: typer.Context, settings: SettingsFile = None, state_dir: StateDir = None, as_json: Json = False
) -> None:
    """Service, layer 1: notice."""
    from ai_sysadmin import pipeline

    desk = Desk.open(context, settings, state_dir, as_json)
    _run("trigger-monitor", pipeline.trigger_monitor(desk.settings))


def review_model(
    context: typer.Context, settings: SettingsFile = None, state_dir: StateDir = None, as_json: Json = False
) -> None:
    """Service, layer 3: judge."""
    from ai_sysadmin import pipeline

    desk = Desk.open(context, settings, state_dir, as_json)
    _run("review-model", pipeline.review_model(desk.settings))


def meta_model(
    context: typer.Context, settings: SettingsFile = None, state_dir: StateDir = None, as_json: Json = False
) -> None:
    """Service, layer 4: investigate."""
    from ai_sysadmin import pipeline

    desk = Desk.open(context, settings, state_dir, as_json)
    _run("meta-model", pipeline.meta_model(desk.settings))


def api(
    context: typer.Context, settings: SettingsFile = None, state_dir: StateDir = None, as_json: Json = False
) -> None:
    """Service: the OpenAI-compatible API."""
    from ai_sysadmin import pipeline

    desk = Desk.open(context, settings, state_dir, as_json)
    _run("api", pipeline.api(desk.settings))


def notifier(
    context: typer.Context, settings: SettingsFile = None, state_dir: StateDir = None, as_json: Json = False
) -> None:
    """Service: tell people what needs them."""
    from ai_sysadmin import pipeline

    desk = Desk.open(context, settings, state_dir, as_json)
    _run("notifier", pipeline.notifier(desk.settings))


def executor(
    context: typer.Context, settings: SettingsFile = None, state_dir: StateDir = None, as_json: Json = False
) -> None:
    """Service: the privileged executor."""
    from ai_sysadmin import pipeline

    desk = Desk.open(context, settings, state_dir, as_json)
    _run("executor", pipeline.executor(desk.settings, desk.given.settings or settings_file.find()))
