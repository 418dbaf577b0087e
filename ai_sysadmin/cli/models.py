"""`models`: which model files there are, where to get them, whether they are whole, and which layer uses which."""

import re
from pathlib import Path
from typing import Annotated

import typer

from ai_sysadmin.cli.desk import Desk, Json, SettingsFile, StateDir, warn
from ai_sysadmin.cli.models_page import (
    VerifyView,
    catalogue_lines,
    layers_of,
    models_page,
    models_view,
    pull_page,
    pull_view,
    verify_page,
)
from ai_sysadmin.cli.outcome import FAILED
from ai_sysadmin.cli.pull_progress import shown
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.llm_backend.weights.catalogue import LAYERS, Layer
from ai_sysadmin.llm_backend.weights.download import Means
from ai_sysadmin.llm_backend.weights.model_files import give_to_layer, link_of, locate, models_in, verify
from ai_sysadmin.llm_backend.weights.publishers import Hub
from ai_sysadmin.llm_backend.weights.pull import Pulled, Wanted, pull, wanted
from ai_sysadmin.llm_backend.weights.web import ModelFileError, open_web

HELP = """The model files: fetch them, check them, give them to layers.

On NixOS the module names the files instead: services.ai-sysadmin.llama-cpp.models.LAYER.model.
"""
_USAGE = 2
_INTERRUPTED = 130
_SHA256 = re.compile(r"[0-9a-f]{64}")

app = typer.Typer(help=HELP, no_args_is_help=True)


def _layer(text: str) -> Layer:
    for layer in LAYERS:
        if layer == text:
            return layer
    raise typer.BadParameter(f"{text!r} is no layer: {', '.join(LAYERS)}")


def _sha256(text: str) -> str:
    if not _SHA256.fullmatch(text.lower()):
        raise typer.BadParameter("a SHA-256 is 64 hexadecimal digits")
    return text.lower()


Source = Annotated[str | None, typer.Argument(help="A short name, the URL or the path of a GGUF file.")]
ForLayer = Annotated[
    Layer | None,
    typer.Option("--layer", parser=_layer, help="Let this layer use it.", metavar="|".join(LAYERS)),
]
To = Annotated[Path | None, typer.Option(help="Keep it in this directory.", metavar="DIR")]
Sha256 = Annotated[
    str | None, typer.Option("--sha256", parser=_sha256, help="What its SHA-256 must be.", metavar="HEX")
]
Files = Annotated[list[str] | None, typer.Argument(help="Short names or files; without any, all that are there.")]


@app.callback()
def group() -> None:
    pass


@app.command("list")
def list_models(
    context: typer.Context, settings: SettingsFile = None, state_dir: StateDir = None, as_json: Json = False
) -> None:
    """Show the files that are here, which layer uses which, and what can be fetched."""
    desk = Desk.open(context, settings, state_dir, as_json)
    view = models_view(desk.settings)
    desk.answer(view, models_page(view))


@app.command("pull")
def pull_model(
    context: typer.Context,
    source: Source = None,
    layer: ForLayer = None,
    to: To = None,
    sha256: Sha256 = None,
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Fetch a model file, check it, and record what it is; a broken-off one goes on where it was.

    HF_ENDPOINT names another hub, HF_TOKEN an account on it; HTTPS_PROXY and NO_PROXY are heeded.
    """
    desk = Desk.open(context, settings, state_dir, as_json)
    if source is None:
        warn("\n".join(["which one?", *catalogue_lines(models_view(desk.settings))]))
        raise typer.Exit(_USAGE)
    hub = Hub.from_environment()
    asked = wanted(source, hub)
    pulled = _pulled(asked, _directory(desk.settings, to), hub, sha256)
    next_step = _give(pulled, desk.settings, layer)
    view = pull_view(pulled, desk.settings, next_step)
    desk.answer(view, pull_page(view))


@app.command("verify")
def verify_models(
    context: typer.Context,
    files: Files = None,
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Hash files again and compare with what was recorded.

    Exit 1 when one differs, or when one that was named cannot be compared.
    """
    desk = Desk.open(context, settings, state_dir, as_json)
    directory = desk.settings.models_directory
    found = [locate(name, directory) for name in files or []] or [model.path for model in models_in(directory)]
    seen = []
    for file in found:
        with shown(file.name) as watch:
            seen.append(verify(file, watch.progress))
    view = VerifyView(files=tuple(seen))
    desk.answer(view, verify_page(view))
    bad = {"differs", "unreadable"} | ({"unrecorded"} if files else set())
    raise typer.Exit(FAILED if any(one.state in bad for one in seen) else 0)


@app.command("use")
def use_model(
    context: typer.Context,
    layer: Annotated[Layer, typer.Argument(parser=_layer, metavar="|".join(LAYERS))],
    file: Annotated[str, typer.Argument(help="A short name or a file.")],
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Let a layer use a file, in `up`."""
    desk = Desk.open(context, settings, state_dir, as_json)
    found = locate(file, desk.settings.models_directory)
    _link(layer, found, desk.settings)
    view = models_view(desk.settings)
    named = found.resolve().name
    desk.answer(view, f"The {layer} layer uses {named}.\nNext     ai-sysadmin up (one that runs: stop it first)")


def _pulled(asked: Wanted, directory: Path, hub: Hub, sha256: str | None) -> Pulled:
    web = open_web(hub.token)
    try:
        with shown(asked.file_name) as watch:
            return pull(asked, directory, web, hub, Means(watch), sha256)
    except KeyboardInterrupt:
        warn("Stopped. What came is kept: the same command goes on from there.")
        raise typer.Exit(_INTERRUPTED) from None
    finally:
        web.close()


def _directory(settings: Settings, to: Path | None) -> Path:
    """Return where the file goes, made where it is not there: open to whichever user serves it."""
    directory = (to or settings.models_directory).expanduser().absolute()
    try:
        if directory.is_relative_to(settings.state_dir) and not settings.state_dir.exists():
            settings.state_dir.mkdir(mode=0o700, parents=True)
        if not directory.exists():
            directory.mkdir(parents=True)
            directory.chmod(0o755)
    except OSError as error:
        raise ModelFileError(f"{directory} cannot be made: {error.strerror}") from error
    return directory


def _give(pulled: Pulled, settings: Settings, layer: Layer | None) -> str:
    """Give a file to the layer that was named, else to the one it is meant for if that has none; say what is next."""
    directory = settings.models_directory
    if layer is not None:
        _link(layer, pulled.file, settings)
    elif pulled.file.parent.resolve() != directory.resolve():
        return f"ai-sysadmin up --models {pulled.file.parent}, or ai-sysadmin models use LAYER {pulled.file}"
    elif pulled.entry is not None:
        meant = pulled.entry.layer
        link = link_of(directory, meant)
        if not link.exists():
            _link(meant, pulled.file, settings)
        elif link.resolve() != pulled.file.resolve():
            return f"ai-sysadmin models use {meant} {pulled.entry.name} ({meant} has {link.resolve().name} now)"
    return "ai-sysadmin up"


def _link(layer: Layer, file: Path, settings: Settings) -> None:
    directory = _directory(settings, None)
    try:
        give_to_layer(layer, file, directory)
    except OSError as error:
        raise ModelFileError(f"{link_of(directory, layer)} cannot be made: {error.strerror}") from error
    if layer not in layers_of(file, settings):
        warn(f"the settings name another file for {layer} (models.{layer}), and they win")
