"""Any other server that speaks like OpenAI's: vLLM, LM Studio, a proxy, a provider."""

from typing import Any

from ai_sysadmin.llm_backend import ServerHealth
from ai_sysadmin.llm_backend.answering import Request
from ai_sysadmin.llm_backend.openai_chat import OpenAIChat


class OpenAICompatible(OpenAIChat):
    """One model of such a server, as one layer sees it. Raises: SettingsError (the API key cannot be read).

    It says nothing of its slots, and seldom its context: ``backends.NAME.context_tokens`` does.
    """

    speaks = "an OpenAI-compatible server"
    start = "start the server there"
    _model = ""

    async def _look(self) -> ServerHealth:
        model, context_tokens = await self._find()
        self.words.answered()
        hint = "" if context_tokens else f"; it does not say its context: set backends.{self.name}.context_tokens"
        return ServerHealth(
            state="ready", text=f"{self.words.it} is ready{hint}", model=model, context_tokens=context_tokens
        )

    async def _prepare(self, request: Request) -> str:
        if not self._model:
            self._model = self.backend.model or (await self._find())[0]
        self.check_room(request, self.backend.context_tokens or 0)
        return self._model

    async def _find(self) -> tuple[str, int]:
        """Return the model's name and its context, 0 where that is not known. Raises: ModelMissing."""
        listed = _models(await self._status("GET", "/v1/models"))
        if listed is None:
            raise self.words.odd()
        wanted = self.backend.model
        if not wanted and len(listed) != 1:
            raise self.words.which_model(sorted(listed))
        if wanted and listed and wanted not in listed:
            some = ", ".join(sorted(listed)[:8])
            raise self.words.without_model(wanted, f"it has {some}; set backends.{self.name}.model to one of them")
        name = wanted or next(iter(listed))
        said = listed.get(name, 0)
        own = self.backend.context_tokens
        return name, min(said, own) if said and own else (own or said)


def _models(content: dict[str, Any]) -> dict[str, int] | None:
    """Return the models by name with the context that some servers (vLLM) say; none: this is no list of models."""
    entries = content.get("data")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) and "id" in entry for entry in entries):
        return None
    return {str(entry["id"]): _whole(entry.get("max_model_len")) for entry in entries}


def _whole(number: object) -> int:
    return number if isinstance(number, int) and number > 0 else 0
