"""An Ollama server over HTTP: its own API, and the OpenAI side scripted or passed on to another server.

Like the real one it cuts a prompt that is too long from the front without a word, loads a model with the first
request, and says so in ``/api/ps`` from then on.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ai_sysadmin.testing.fake_openai import FakeOpenAI, messages_of
from ai_sysadmin.testing.http_server import HttpReply, HttpRequest, http_server
from ai_sysadmin.testing.scripted_model import ScriptedModel

VERSION = "0.15.0"
_NOW = "2026-11-22T12:00:00Z"
_DIMENSIONS = 16


@dataclass(frozen=True)
class OllamaModel:
    """A model as ``ollama list`` shows it. ``num_ctx`` is its Modelfile's, 0: none; ``given`` what it gets loaded."""

    name: str = "qwen3:4b"
    num_ctx: int = 0
    given: int = 4096
    trained_for: int = 40960
    remote_host: str = ""
    capabilities: tuple[str, ...] = ("completion",)

    @property
    def context(self) -> int:
        return self.num_ctx or self.given

    def listed(self) -> dict[str, object]:
        remote = {"remote_host": self.remote_host} if self.remote_host else {}
        names = {"name": self.name, "model": self.name, "modified_at": _NOW, "size": 1, "digest": "d"}
        return {**names, **remote, "capabilities": list(self.capabilities), "details": {"family": "qwen3"}}

    def shown(self) -> dict[str, object]:
        parameters = f'stop    "<|im_end|>"\nnum_ctx    {self.num_ctx}' if self.num_ctx else 'stop    "<|im_end|>"'
        info = {"general.architecture": "qwen3", "qwen3.context_length": self.trained_for}
        return {"parameters": parameters, "model_info": info, "capabilities": list(self.capabilities)}


_Answer = Callable[[OllamaModel, dict[str, Any], HttpReply], Awaitable[None]]


class FakeOllama:
    """An Ollama server. ``proxy_to`` answers its OpenAI side; without it, the script does."""

    def __init__(
        self,
        models: Collection[OllamaModel] = (OllamaModel(),),
        script: ScriptedModel | None = None,
        *,
        proxy_to: str = "",
    ) -> None:
        self.models = {model.name: model for model in models}
        self.script = script or ScriptedModel(context_tokens=1 << 30)
        self.openai = FakeOpenAI(self.script, models=self.models, reasoning_in="reasoning", piece_of_call=0)
        self.loaded: set[str] = set()
        self.asked: list[str] = []
        self._proxy_to = proxy_to

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve until the block ends; yield the URL."""
        async with http_server(self.handle) as url:
            yield url

    def unload(self) -> None:
        """Do what happens when nothing was asked for five minutes."""
        self.loaded.clear()

    async def handle(self, request: HttpRequest, reply: HttpReply) -> None:
        self.asked.append(request.path)
        match request.method, request.path:
            case "GET", "/api/version":
                await reply.json({"version": VERSION})
            case "GET", "/api/tags":
                await reply.json({"models": [model.listed() for model in self.models.values()]})
            case "GET", "/api/ps":
                await reply.json(
                    {"models": [self._running(self.models[name]) for name in sorted(self.loaded & self.models.keys())]}
                )
            case "POST", "/api/show":
                await self._with_model(request, reply, self._show)
            case "POST", "/api/chat":
                await self._with_model(request, reply, self._chat)
            case "POST", "/api/embed":
                await self._with_model(request, reply, self._embed)
            case "POST", "/v1/chat/completions":
                await self._openai_chat(request, reply)
            case _:
                await self.openai.handle(request, reply)

    def _running(self, model: OllamaModel) -> dict[str, object]:
        return model.listed() | {"expires_at": _NOW, "size_vram": 0, "context_length": model.context}

    async def _with_model(self, request: HttpRequest, reply: HttpReply, answer: _Answer) -> None:
        name = str(request.content.get("model", ""))
        model = self.models.get(name) or self.models.get(f"{name}:latest")
        if model is None:
            await reply.json({"error": f"model '{name}' not found"}, 404)
        else:
            await answer(model, request.content, reply)

    async def _show(self, model: OllamaModel, _: dict[str, Any], reply: HttpReply) -> None:
        await reply.json(model.shown())

    async def _chat(self, model: OllamaModel, asked: dict[str, Any], reply: HttpReply) -> None:
        self.loaded.add(model.name)
        talk = messages_of({"messages": _cut(asked["messages"], model.context)})
        schema = asked.get("format") if isinstance(asked.get("format"), dict) else None
        limit = asked.get("options", {}).get("num_predict", 1 << 20)
        await reply.begin("application/x-ndjson")
        async with aclosing(self.script.stream(talk, max_tokens=limit, schema=schema)) as deltas:
            async for delta in deltas:
                said: dict[str, Any] = {"model": model.name, "created_at": _NOW, "done": delta.completion is not None}
                said["message"] = {"role": "assistant", "content": delta.text, "thinking": delta.reasoning}
                if done := delta.completion:
                    said |= {"done_reason": done.finish_reason, "eval_count": done.completion_tokens}
                    said |= {"prompt_eval_count": done.prompt_tokens}
                await reply.raw(json.dumps(said).encode() + b"\n")

    async def _embed(self, model: OllamaModel, asked: dict[str, Any], reply: HttpReply) -> None:
        self.loaded.add(model.name)
        texts = [asked["input"]] if isinstance(asked["input"], str) else asked["input"]
        await reply.json({"model": model.name, "embeddings": [_vector(text) for text in texts]})

    async def _openai_chat(self, request: HttpRequest, reply: HttpReply) -> None:
        asked = request.content
        if model := self.models.get(asked.get("model", "")):
            self.loaded.add(model.name)
            asked = asked | {"messages": _cut(asked["messages"], model.context)}
        if model and asked.get("tools") and "tools" not in model.capabilities:
            await reply.json({"error": {"message": f"registry/{model.name} does not support tools", "code": None}}, 400)
        elif model and self._proxy_to:
            await _pass_on(self._proxy_to, asked, reply)
        else:
            await self.openai.chat(asked, reply)


def _cut(messages: Sequence[dict[str, Any]], context_tokens: int) -> list[dict[str, Any]]:
    """Leave out the oldest messages but the system's until the rest fits, as Ollama does."""
    kept = list(messages)
    while len(kept) > 1 and sum(len(each["content"] or "") // 4 for each in kept) > context_tokens:
        oldest = next((at for at, each in enumerate(kept[:-1]) if each["role"] != "system"), None)
        if oldest is None:
            break
        del kept[oldest]
    return kept


def _vector(text: str) -> list[float]:
    digest = hashlib.sha256(text.encode()).digest()[:_DIMENSIONS]
    return [byte / 255 for byte in digest]


async def _pass_on(url: str, asked: dict[str, Any], reply: HttpReply) -> None:
    """Ask another server the same, and give its answer on as it comes; it is left as soon as the client leaves."""
    parts = urlsplit(url)
    body = json.dumps(asked).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {len(body)}\r\n"
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write(head.encode() + b"Content-Type: application/json\r\nConnection: close\r\n\r\n" + body)
        while piece := await reader.read(65536):
            await reply.raw(piece)
    finally:
        writer.close()
