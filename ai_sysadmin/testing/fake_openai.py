"""A server that speaks OpenAI's interface over HTTP and answers from a ``ScriptedModel``."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from ai_sysadmin.core.errors import BackendUnavailable
from ai_sysadmin.llm_backend import Completion, Delta, Extras, Message, PromptTooLong, Schema, ToolCall, ToolSpec
from ai_sysadmin.testing.http_server import HttpReply, HttpRequest, http_server
from ai_sysadmin.testing.scripted_model import ScriptedModel


class FakeOpenAI:
    """An OpenAI-compatible server.

    Args:
        script: what it answers.
        models: the names that ``/v1/models`` lists; others are not found.
        refuses: parameters that it answers with HTTP 400.
        keeps_schemas: false: a schema is taken, and ignored.
        reasoning_in: the field of a delta that has what the model thinks; empty: it stands in the text, between
            ``<think>`` and ``</think>``.
        piece_of_call: into how many characters the arguments of a tool call are cut; 0: they come whole.
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
        reasoning_in: str = "reasoning_content",
        piece_of_call: int = 8,
        key: str = "",
    ) -> None:
        self.script = script or ScriptedModel()
        self.models = tuple(models)
        self.refuses = frozenset(refuses)
        self.keeps_schemas = keeps_schemas
        self.reasoning_in = reasoning_in
        self._piece_of_call = piece_of_call
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
            messages_of(asked),
            max_tokens=asked["max_tokens"],
            schema=self._schema(asked),
            seed=asked.get("seed"),
            temperature=asked.get("temperature", 0),
            extras=extras_of(asked),
        )
        async with aclosing(stream if self.reasoning_in else _marked(stream)) as deltas:
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
        words = {self.reasoning_in: delta.reasoning} if delta.reasoning else {"content": delta.text}
        pieces = [{"tool_calls": [piece]} for piece in self._calls(done)]
        choices = [{"index": 0, "delta": said, "finish_reason": None} for said in (*pieces, words)]
        choices[-1]["finish_reason"] = ("tool_calls" if pieces else done.finish_reason) if done else None
        said = [_chunk(asked, choices=[choice]) for choice in choices]
        if done and asked.get("stream_options", {}).get("include_usage"):
            said.append(_chunk(asked, choices=[], usage=_usage(done)))
        events = [f"data: {json.dumps(chunk)}\n\n" for chunk in said] + (["data: [DONE]\n\n"] if done else [])
        return "".join(events).encode()

    def _calls(self, done: Completion | None) -> Iterator[dict[str, object]]:
        """Yield the calls as they are streamed: the name, then the arguments in pieces."""
        for index, call in enumerate(done.tool_calls if done else ()):
            size = self._piece_of_call or len(call.arguments) + 1
            pieces = [call.arguments[at : at + size] for at in range(0, len(call.arguments), size)] or [""]
            function = {"name": call.name, "arguments": pieces[0]}
            yield {"index": index, "id": call.id, "type": "function", "function": function}
            yield from ({"index": index, "function": {"arguments": piece}} for piece in pieces[1:])


async def _marked(stream: AsyncGenerator[Delta, None]) -> AsyncGenerator[Delta, None]:
    """Yield an answer whose thoughts stand in its text, between marks."""
    thinks = False
    async with aclosing(stream) as deltas:
        async for delta in deltas:
            if delta.reasoning:
                yield Delta(text=("" if thinks else "<think>\n") + delta.reasoning)
            else:
                if thinks:
                    yield Delta(text="\n</think>\n\n")
                yield delta
            thinks = bool(delta.reasoning)


def messages_of(asked: dict[str, Any]) -> tuple[Message, ...]:
    return tuple(
        Message(
            role=each["role"],
            content=each["content"] or "",
            tool_calls=tuple(
                ToolCall(id=call["id"], name=call["function"]["name"], arguments=call["function"]["arguments"])
                for call in each.get("tool_calls", ())
            ),
            tool_call_id=each.get("tool_call_id", ""),
        )
        for each in asked["messages"]
    )


def extras_of(asked: dict[str, Any]) -> Extras:
    """Return what a request asks for beside an answer; it thinks where nothing says otherwise."""
    stop = asked.get("stop") or ()
    told = asked.get("chat_template_kwargs", {}).get("enable_thinking", True)
    tools = tuple(ToolSpec.model_validate(tool["function"]) for tool in asked.get("tools", ()))
    return Extras(
        thinking=told and asked.get("reasoning_effort") != "none",
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        tools=tools,
    )


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
