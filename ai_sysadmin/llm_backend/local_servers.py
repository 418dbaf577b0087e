"""Model servers of our own, for `ai-sysadmin up`: used where a layer's server does not answer and a file is there.

What is there already is used as it is. A file that serves several layers is loaded once.
"""

import importlib.util
import logging
import os
import shutil
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ai_sysadmin.core.settings import Backends, Models, Settings
from ai_sysadmin.llm_backend.llama_cpp import LlamaCpp
from ai_sysadmin.runtime.commands import spawn

log = logging.getLogger(__name__)
LAYERS = ("trigger", "review", "meta")


@dataclass(frozen=True)
class Serving:
    """Where the models are served now, and a sentence a layer about it."""

    backends: Backends
    said: tuple[str, ...]
    without: tuple[str, ...]


def files_by_layer(models: Models) -> dict[str, Path]:
    """Match files to layers: those named in the settings, then a directory's by size, smallest first.

    Fewer files than layers: the largest serves the layers above it too.
    """
    named = {layer: path for layer in LAYERS if (path := getattr(models, layer)) is not None}
    found = sorted(models.directory.glob("*.gguf"), key=lambda file: file.stat().st_size) if models.directory else []
    by_size = {layer: found[min(place, len(found) - 1)] for place, layer in enumerate(LAYERS) if found}
    return by_size | named


def program() -> tuple[str, ...]:
    """Return how a model server is started here: llama.cpp's own, else the embedded one; empty: neither is there."""
    own = shutil.which("llama-server")
    if own:
        return (own,)
    if importlib.util.find_spec("xllamacpp"):
        return (sys.executable, "-m", "ai_sysadmin.llm_backend.embedded_server")
    return ()


def argv(start: Sequence[str], file: Path, port: int, context_tokens: int, slots: int) -> tuple[str, ...]:
    """Return the command line of one server; each slot has the whole context asked for."""
    sizes = ("-c", str(context_tokens * slots), "-np", str(slots), "-cram", "256")
    return (*start, "-m", str(file), "--host", "127.0.0.1", "--port", str(port), *sizes)


def environment() -> dict[str, str]:
    """Return a server's environment: threads that wait must not spin, or the servers starve each other."""
    return {**os.environ, "OMP_WAIT_POLICY": "passive"}


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Serving]:
    """Start what has to be started, for as long as the context lasts."""
    away = [layer for layer in LAYERS if not await _answers(layer, settings)]
    files = {layer: path for layer, path in files_by_layer(settings.models).items() if layer in away}
    start = program()
    said = [f"{layer}: {_backend_url(settings, layer)} answers" for layer in LAYERS if layer not in away]
    if files and not start:
        said.append("model files are there, but nothing that serves them: install llama.cpp or ai-sysadmin[models]")
        files = {}
    async with AsyncExitStack() as exits:
        urls: dict[Path, str] = {}
        for layer, file in files.items():
            if file not in urls:
                urls[file] = _backend_url(settings, layer)
                port = urlsplit(urls[file]).port or 80
                slots = sum(1 for other in files.values() if other == file)
                command = argv(start, file, port, settings.models.context_tokens, slots)
                said_in = settings.state_dir / f"llama-{layer}.log"
                await exits.enter_async_context(await spawn(command, env=environment(), stderr_file=said_in))
            said.append(f"{layer}: {file.name}, served here at {urls[file]}")
        moved = {layer: urls[file] for layer, file in files.items()}
        without = tuple(layer for layer in away if layer not in files)
        yield Serving(_moved(settings.backends, moved), tuple(said), without)


async def _answers(layer: str, settings: Settings) -> bool:
    model = LlamaCpp(layer, getattr(settings.backends, layer))
    try:
        return (await model.health()).state != "away"
    finally:
        await model.close()


def _backend_url(settings: Settings, layer: str) -> str:
    return str(getattr(settings.backends, layer).url)


def _moved(backends: Backends, urls: Mapping[str, str]) -> Backends:
    changes = {layer: getattr(backends, layer).model_copy(update={"url": url}) for layer, url in urls.items()}
    return backends.model_copy(update=changes)
