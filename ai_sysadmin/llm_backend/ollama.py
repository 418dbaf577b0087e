"""Ollama: its own API says how it is, its OpenAI side chats.

What does not fit the context, Ollama cuts from the front without a word, and its OpenAI side cannot be told to do
otherwise, or to use more. So its context is looked up before each request, and what does not fit is not sent.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from ai_sysadmin.core.errors import AiSysadminError
from ai_sysadmin.llm_backend import ModelMissing, ServerHealth
from ai_sysadmin.llm_backend.answering import Request
from ai_sysadmin.llm_backend.openai_chat import OpenAIChat

LEAST_CONTEXT_TOKENS = 4096
"""What Ollama gives a model where neither the model nor ``OLLAMA_CONTEXT_LENGTH`` says more, on a small machine."""
SLOTS = 1
"""``OLLAMA_NUM_PARALLEL`` where nobody sets it; the server does not tell."""


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", protected_namespaces=())


_W = TypeVar("_W", bound=_Wire)


class _Listed(_Wire):
    name: str
    remote_host: str = ""
    capabilities: tuple[str, ...] = ()


class _Loaded(_Wire):
    name: str
    context_length: int = 0


class _Tags(_Wire):
    models: tuple[_Listed, ...]


class _Running(_Wire):
    models: tuple[_Loaded, ...]


class _Shown(_Wire):
    parameters: str = ""
    model_info: dict[str, Any] = {}

    @property
    def num_ctx(self) -> int:
        found = re.search(r"^num_ctx\s+(\d+)", self.parameters, re.MULTILINE)
        return int(found[1]) if found else 0

    @property
    def trained_for(self) -> int:
        known = [value for name, value in self.model_info.items() if name.endswith(".context_length")]
        return next((value for value in known if isinstance(value, int)), 0)


@dataclass(frozen=True)
class _State:
    """A model as it is now. ``is_assumed``: nothing says what context it will be given."""

    model: str
    is_loaded: bool
    context_tokens: int
    is_assumed: bool


class Ollama(OpenAIChat):
    """One model of an Ollama server, as one layer sees it. Raises: SettingsError (the API key cannot be read)."""

    speaks = "Ollama"
    start = "start it with `ollama serve`"
    no_thinking: Mapping[str, object] = {"reasoning_effort": "none"}
    _found: tuple[str, _Shown] | None = None

    async def _look(self) -> ServerHealth:
        self._found = None
        state = await self._state()
        self.words.answered()
        said = "ready" if state.is_loaded else "asleep; the next request loads it"
        return ServerHealth(
            state="ready" if state.is_loaded else "asleep",
            text=f"{self.words.it} is {said}{self._about_context(state)}",
            model=state.model,
            context_tokens=state.context_tokens,
            slots=SLOTS,
        )

    def _about_context(self, state: _State) -> str:
        if not state.is_assumed:
            return ""
        return (
            f"; what context Ollama will give it is not known, so it is taken for {state.context_tokens} tokens: set"
            " OLLAMA_CONTEXT_LENGTH for `ollama serve`, or `PARAMETER num_ctx` in its Modelfile"
        )

    async def _prepare(self, request: Request) -> str:
        state = await self._state()
        self.check_room(request, state.context_tokens)
        return state.model

    async def _state(self) -> _State:
        """Look at the model now. Raises: BackendUnavailable."""
        if self._found is None:
            name = await self._find()
            self._found = name, _parsed(self, _Shown, await self._status("POST", "/api/show", {"model": name}))
        name, shown = self._found
        running = _parsed(self, _Running, await self._status("GET", "/api/ps")).models
        loaded = next((each for each in running if each.name == name), None)
        told = loaded.context_length if loaded else shown.num_ctx
        context = min(filter(None, (told or LEAST_CONTEXT_TOKENS, shown.trained_for, self.backend.context_tokens)))
        return _State(name, loaded is not None, context, is_assumed=not told and not self.backend.context_tokens)

    async def _find(self) -> str:
        """Return the model's full name. Raises: ModelMissing, BackendUnavailable."""
        wanted = self.backend.model
        listed = _parsed(self, _Tags, await self._status("GET", "/api/tags")).models
        talking = [each for each in listed if not each.capabilities or "completion" in each.capabilities]
        if wanted:
            named = [each for each in listed if each.name in {wanted, f"{wanted}:latest"}]
            if not named:
                raise self.words.without_model(wanted, f"ollama pull {wanted}")
        elif len(talking) == 1:
            named = talking
        elif not talking:
            raise ModelMissing(f"{self.words.it} has no model: `ollama pull` one, and set backends.{self.name}.model")
        else:
            raise self.words.which_model([each.name for each in talking])
        return self._kept_here(named[0])

    def _kept_here(self, model: _Listed) -> str:
        """Refuse a model that Ollama runs elsewhere, unless log text may leave this host."""
        if model.remote_host and not self.backend.allow_remote:
            raise ModelMissing(
                f"{self.words.it} runs {model.name} at {model.remote_host}, so log text would leave this host: choose"
                f" a local model, or set backends.{self.name}.allow_remote = true"
            )
        return model.name

    def _status_error(self, status: int, fault: Mapping[str, Any], message: str) -> AiSysadminError:
        if status == httpx.codes.NOT_FOUND:
            self._found = None
            model = self.backend.model or "asked for"
            return self.words.without_model(model, f"ollama pull {self.backend.model or 'MODEL'}")
        if status == httpx.codes.SERVICE_UNAVAILABLE and "busy" in message:
            return self.words.busy(message)
        return super()._status_error(status, fault, message)


def _parsed(server: Ollama, shape: type[_W], content: dict[str, Any]) -> _W:
    try:
        return shape.model_validate(content)
    except ValidationError as error:
        raise server.words.odd() from error
