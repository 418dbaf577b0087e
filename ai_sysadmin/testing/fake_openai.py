"""A server that speaks OpenAI's interface over HTTP and answers from a ``ScriptedModel``."""

import json
from collections.abc import AsyncIterator, Collection
from contextlib import aclosing, asynccontextmanager
from typing import Any

from ai_sysadmin.core.errors import BackendUnavailable
from ai_sysadmin.llm_backend import Completion, Delta, Message, PromptTooLong, Schema
from ai_sysadmin.testing.http_server import HttpReply, HttpRequest, http_server
from ai_sysadmin.testing.scripted_model import ScriptedModel


class FakeOpenAI:
    """An OpenAI-compatible server.

    Args:
        script: what it answers.
        models: the names that ``/v1/models`` lists; others are not found.
        refuses: parameters that it answers with HTTP 400.
        keeps_schemas: false: a schema is taken, and ignored.
        key: the API key that it wants; empty: none.

    ``asked`` holds every request's body.
    """

    def __init__(
        self,
        script: ScriptedModel | None = None,
        *,
        models: Collection[str] = ("fake",),
        refuses: Collection[str] = (),
        keeps_schemas: bool = True,
        key: str = "",
    ) -> None:
        self.script = script or ScriptedModel()
        self.models = tuple(models)
        self.refuses = frozenset(refuses)
        self.keeps_schemas = keeps_schemas
        self.asked: list[dict[str, Any]] = []
        self._key = key

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve until the block ends; yield the URL."""
        async with http_server(self.handle) as url:
            yield url

    async def handle(self, request: HttpRequest, reply: HttpReply) -> None:
        if self._key and request.headers.get("authorization") != f"Bearer {self._key}":
            await reply.json(_error("Incorrect API key provided", "invalid_api_key"), 401)
        elif (request.method, request.path) == ("GET", "/v1/models"):
            await reply.json({"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]})
        elif (request.method, request.path) == ("POST", "/v1/chat/completions"):
            await self.chat(request.content, reply)
        else:
            await reply.json(_error(f"no such path: {request.path}", "not_found"), 404)

    async def chat(self, asked: dict[str, Any], reply: HttpReply) -> None:
        self.asked.append(asked)
        if asked.get("model") not in self.models:
            await reply.json(_error(f"The model `{asked.get('model')}` does not exist", "model_not_found"), 404)
        elif unknown := sorted(self.refuses & asked.keys()):
            await reply.json(_error(f"Unrecognized request argument supplied: {unknown[0]}", "unknown_parameter"), 400)
        else:
            await self._answer(asked, reply)

    async def _answer(self, asked: dict[str, Any], reply: HttpReply) -> None:
        stream = self.script.stream(
            messages_of(asked), max_tokens=asked["max_tokens"], schema=self._schema(asked), temperature=0
        )
        async with aclosing(stream) as deltas:
            try:
                delta = await anext(deltas)
            except PromptTooLong as error:
                text = (
                    f"This model's maximum context length is {error.n_ctx} tokens. However, your messages resulted in"
                    f" {error.n_prompt_tokens} tokens. Please reduce the length of the messages."
                )
                await reply.json(_error(text, "context_length_exceeded"), 400)
                return
            except BackendUnavailable as error:
                await reply.json(_error(str(error), "unavailable"), 503)
                return
            await reply.begin("text/event-stream")
            await reply.raw(self._events(asked, delta))
            async for delta in deltas:
                await reply.raw(self._events(asked, delta))

    def _schema(self, asked: dict[str, Any]) -> Schema | None:
        if not self.keeps_schemas:
            return None
        schema: Schema | None = asked.get("response_format", {}).get("json_schema", {}).get("schema")
        return schema

    def _events(self, asked: dict[str, Any], delta: Delta) -> bytes:
        done = delta.completion
        choice = {"index": 0, "delta": {"content": delta.text}, "finish_reason": done.finish_reason if done else None}
        said = [_chunk(asked, choices=[choice])]
        if done and asked.get("stream_options", {}).get("include_usage"):
            said.append(_chunk(asked, choices=[], usage=_usage(done)))
        events = [f"data: {json.dumps(chunk)}\n\n" for chunk in said] + (["data: [DONE]\n\n"] if done else [])
        return "".join(events).encode()


def messages_of(asked: dict[str, Any]) -> tuple[Message, ...]:
    return tuple(Message(role=each["role"], content=each["content"]) for each in asked["messages"])


def _chunk(asked: dict[str, Any], **more: object) -> dict[str, object]:
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": asked["model"], **more}


def _usage(done: Completion) -> dict[str, object]:
    return {
        "prompt_tokens": done.prompt_tokens,
        "completion_tokens": done.completion_tokens,
        "total_tokens": done.prompt_tokens + done.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": done.cached_tokens},
    }


def _error(message: str, code: str) -> dict[str, object]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}
