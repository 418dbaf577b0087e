"""Where a model server is opened, with everything around it that the settings ask for."""

import logging
from collections.abc import AsyncGenerator
from typing import Literal

from ai_sysadmin.core.clock import Clock, SystemClock
from ai_sysadmin.core.settings import Backend, Settings
from ai_sysadmin.llm_backend import Delta, Figures, ModelServer
from ai_sysadmin.llm_backend.answering import Around, Request, ask
from ai_sysadmin.llm_backend.embeddings import Embedder, ServerEmbeddings
from ai_sysadmin.llm_backend.guarded import Guarded
from ai_sysadmin.llm_backend.lanes import lane_of
from ai_sysadmin.llm_backend.llama_cpp import LlamaCpp
from ai_sysadmin.llm_backend.ollama import Ollama
from ai_sysadmin.llm_backend.onnx_embeddings import OnnxEmbeddings
from ai_sysadmin.llm_backend.openai_chat import OpenAIChat
from ai_sysadmin.llm_backend.openai_compatible import OpenAICompatible
from ai_sysadmin.llm_backend.schema_keeping import SchemaKeeping
from ai_sysadmin.llm_backend.turns import Background, Foreground, Leases

log = logging.getLogger(__name__)

_KINDS: dict[str, type[OpenAIChat]] = {"llama-cpp": LlamaCpp, "ollama": Ollama, "openai": OpenAICompatible}

Turn = Literal["foreground", "background", "plain"]


class OpenModel(Around):
    """One layer's model server, and what this process has asked of it."""

    def __init__(self, guarded: Guarded, outermost: ModelServer) -> None:
        super().__init__(outermost, guarded.timeout_seconds)
        self._guarded = guarded

    @property
    def figures(self) -> Figures:
        return self._guarded.figures

    def answer(self, request: Request) -> AsyncGenerator[Delta, None]:
        return ask(self._inner, request)

    async def close(self) -> None:
        seen = self.figures
        if seen.calls:
            log.info(
                "%s model at %s was asked %d times: %d tokens read, %d of them from its cache, %d written; %d failures",
                self.name,
                self.url,
                seen.calls,
                seen.prompt_tokens,
                seen.cached_tokens,
                seen.completion_tokens,
                seen.failures,
                extra={"event": "model_figures"},
            )
        await super().close()


def open_model(
    name: str, backend: Backend, *, leases: Leases | None = None, turn: Turn = "plain", clock: Clock | None = None
) -> OpenModel:
    """Return one layer's model server; nothing is sent before the first call.

    Args:
        name: the layer, as sentences name it and as it stands in the settings (``backends.NAME``).
        leases: where people's turns and the background's meet; none: nobody gives way.
        turn: ``foreground`` answers people, ``background`` keeps off meanwhile, ``plain`` does neither.

    Raises:
        SettingsError: the API key's file cannot be read.
    """
    return around(_KINDS[backend.type](name, backend), backend, leases=leases, turn=turn, clock=clock)


def open_embedder(settings: Settings) -> Embedder | None:
    """Return what makes vectors; none: nothing was configured to.

    Raises:
        SettingsError: the API key's file cannot be read.
    """
    if settings.backends.embedding is not None:
        return ServerEmbeddings(settings.backends.embedding)
    if settings.knowledge.onnx_archive is not None:
        return OnnxEmbeddings(settings.knowledge.onnx_archive, settings.state_dir / "embeddings")
    return None


def around(
    server: ModelServer,
    backend: Backend,
    *,
    leases: Leases | None = None,
    turn: Turn = "plain",
    clock: Clock | None = None,
) -> OpenModel:
    """Put around a server what ``open_model`` puts around its own."""
    lane = lane_of(backend.url)
    seconds = backend.timeout_seconds
    guarded = Guarded(server, lane, timeout_seconds=seconds, waiting=backend.waiting)
    outermost: ModelServer = SchemaKeeping(guarded, lane, timeout_seconds=seconds)
    if leases is not None and turn == "foreground":
        outermost = Foreground(outermost, leases, clock or SystemClock(), timeout_seconds=seconds)
    if leases is not None and turn == "background":
        outermost = Background(outermost, leases, clock or SystemClock(), timeout_seconds=seconds)
    return OpenModel(guarded, outermost)
