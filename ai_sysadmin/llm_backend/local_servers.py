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
from typing import Literal

from ai_sysadmin.core.settings import Backend, Backends, Models, Settings
from ai_sysadmin.llm_backend.llama_cpp import LlamaCpp
from ai_sysadmin.llm_backend.weights.catalogue import Layer, entry_of_file
from ai_sysadmin.llm_backend.weights.model_files import SUFFIX, dangling, linked, models_in
from ai_sysadmin.runtime.commands import spawn

log = logging.getLogger(__name__)
LAYERS: tuple[Layer, ...] = ("trigger", "review", "meta")
EMBEDDING_URL = "http://127.0.0.1:8084"
EMBEDDING_TOKENS = 2048
"""The longest text that is embedded, in tokens: it has to fit one batch, and a batch takes memory."""


@dataclass(frozen=True)
class Serving:
    """Where the models are served now, and a sentence a layer about it."""

    backends: Backends
    said: tuple[str, ...]
    without: tuple[str, ...]


@dataclass(frozen=True)
class Choice:
    """The file of a layer, and why it is that one."""

    file: Path
    because: Literal["settings", "link", "size"]


def choices(models: Models, directory: Path) -> dict[Layer, Choice]:
    """Match files to layers: those named in the settings, then the layers' links, then by size, smallest first.

    Fewer files than layers: the largest serves the layers above it too. A file for embeddings serves nothing else.
    """
    links = linked(directory)
    embedding = links["embedding"].resolve() if "embedding" in links else None
    found = [model.path for model in models_in(directory) if not _embeds(model.path, embedding)]
    by_size = {layer: Choice(found[min(place, len(found) - 1)], "size") for place, layer in enumerate(LAYERS) if found}
    by_link = {layer: Choice(path, "link") for layer, path in links.items()}
    named = {layer: Choice(path, "settings") for layer in LAYERS if (path := getattr(models, layer)) is not None}
    return by_size | by_link | named


def files_by_layer(models: Models, directory: Path) -> dict[Layer, Path]:
    """Return each layer's file, as ``choices`` finds it; none where there is no such directory."""
    return {layer: choice.file for layer, choice in choices(models, directory).items()}


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
    return (*start, *_model(file), "--host", "127.0.0.1", "--port", str(port), *sizes)


def embedding_argv(start: Sequence[str], file: Path, port: int) -> tuple[str, ...]:
    """Return the command line of a server of embeddings."""
    tokens = str(EMBEDDING_TOKENS)
    sizes = ("-c", tokens, "-np", "1", "-cram", "0", "-b", tokens, "-ub", tokens)
    return (*start, *_model(file), "--host", "127.0.0.1", "--port", str(port), "--embeddings", *sizes)


def _model(file: Path) -> tuple[str, ...]:
    """Name the file itself, not a layer's link to it: what a server says of its model tells models apart."""
    own = file.resolve()
    return ("-m", str(own), "--alias", own.name.removesuffix(SUFFIX))


def environment() -> dict[str, str]:
    """Return a server's environment: threads that wait must not spin, or the servers starve each other."""
    return {**os.environ, "OMP_WAIT_POLICY": "passive"}


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Serving]:
    """Start what has to be started, for as long as the context lasts."""
    backends = _wanted(settings)
    away = [layer for layer, backend in backends.items() if not await _in_use(layer, backend)]
    found = files_by_layer(settings.models, settings.models_directory)
    files = {layer: path for layer, path in found.items() if layer in away and backends[layer].loopback_port}
    start = program()
    said = [f"{layer}: {_standing(backend)}" for layer, backend in backends.items() if layer not in away]
    said += _warnings(settings, away, files)
    if files and not start:
        said.append("model files are there, but nothing that serves them: install llama.cpp or ai-sysadmin[models]")
        files = {}
    async with AsyncExitStack() as exits:
        urls: dict[tuple[Path, bool], str] = {}
        for layer, file in files.items():
            key = (file.resolve(), layer == "embedding")
            if key not in urls:
                urls[key] = backends[layer].url
                slots = sum(1 for other in files if other != "embedding" and files[other].resolve() == key[0])
                command = _command(start, layer, file, backends[layer], settings, slots)
                said_in = settings.state_dir / f"llama-{layer}.log"
                await exits.enter_async_context(await spawn(command, env=environment(), stderr_file=said_in))
            said.append(f"{layer}: {file.resolve().name}, served here at {urls[key]}")
        moved = {layer: urls[file.resolve(), layer == "embedding"] for layer, file in files.items()}
        without = tuple(layer for layer in LAYERS if layer in away and layer not in files)
        used: dict[str, Backend] = {layer: backend for layer, backend in backends.items() if layer not in away}
        used |= {layer: backends[layer].model_copy(update={"url": url}) for layer, url in moved.items()}
        yield Serving(settings.backends.model_copy(update=used), tuple(said), without)


def _wanted(settings: Settings) -> dict[Layer, Backend]:
    """Return the backends that there should be; one for embeddings where it is set, or a file for it is there."""
    wanted: dict[Layer, Backend] = {layer: getattr(settings.backends, layer) for layer in LAYERS}
    if settings.backends.embedding is not None:
        wanted["embedding"] = settings.backends.embedding
    elif "embedding" in linked(settings.models_directory) and settings.knowledge.onnx_archive is None:
        wanted["embedding"] = Backend(url=EMBEDDING_URL)
    return wanted


def _warnings(settings: Settings, away: Sequence[Layer], files: Mapping[Layer, Path]) -> list[str]:
    directory = settings.models_directory
    said = [f"{layer}: its link names {file}, which is not there" for layer, file in dangling(directory).items()]
    if settings.backends.embedding is not None and "embedding" in away and "embedding" not in files:
        said.append(f"embedding: {settings.backends.embedding.url} does not answer")
    return said


def _command(
    start: Sequence[str], layer: Layer, file: Path, backend: Backend, settings: Settings, slots: int
) -> tuple[str, ...]:
    port = backend.loopback_port or 0
    if layer == "embedding":
        return embedding_argv(start, file, port)
    return argv(start, file, port, settings.models.context_tokens, slots)


async def _in_use(layer: Layer, backend: Backend) -> bool:
    """Return whether a backend is used as it is: it answers, or it is of a kind that cannot be started here."""
    if backend.type != "llama-cpp":
        return True
    model = LlamaCpp(layer, backend)
    try:
        return (await model.health()).state != "away"
    finally:
        await model.close()


def _standing(backend: Backend) -> str:
    return f"{backend.url} answers" if backend.type == "llama-cpp" else f"{backend.url} ({backend.type}), used as it is"


def _embeds(path: Path, embedding: Path | None) -> bool:
    entry = entry_of_file(path.name)
    return path.resolve() == embedding or (entry is not None and entry.layer == "embedding")
