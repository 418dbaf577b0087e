"""A model server over HTTP that does one thing wrong, and may be told to stop."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Any

from ai_sysadmin.testing.fake_openai import FakeOpenAI
from ai_sysadmin.testing.http_server import HttpReply, HttpRequest, http_server
from ai_sysadmin.testing.scripted_model import ScriptedModel

_CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Fault(StrEnum):
    NONE = "none"
    LOADING = "loading"
    HTML = "html"
    NOT_JSON = "not json"
    WRONG_JSON = "wrong json"
    SERVER_ERROR = "server error"
    FAULT_IN_STREAM = "fault in stream"
    NO_ANSWER = "no answer"
    TRICKLE = "trickle"
    ENDLESS = "endless"
    ENDLESS_THOUGHTS = "endless thoughts"
    ENDLESS_CALL = "endless call"
    DROPS_AT_ONCE = "drops at once"
    DROPS_IN_STREAM = "drops in stream"
    ENDS_IN_STREAM = "ends in stream"
    BINARY = "binary"
    REFUSES_KEY = "refuses key"


class MisbehavingServer:
    """A llama-server by its interface, with a fault. ``fault`` may be changed at any time; ``asked`` counts chats.

    Without a fault it answers from ``script``. ``pause_seconds`` is between the words of a trickle.
    """

    def __init__(self, fault: Fault, script: ScriptedModel | None = None, *, pause_seconds: float = 0.05) -> None:
        self.fault = fault
        self.asked = 0
        self.openai = FakeOpenAI(script or ScriptedModel(), models=("default",))
        self._pause_seconds = pause_seconds

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve until the block ends; yield the URL."""
        async with http_server(self.handle) as url:
            yield url

    async def handle(self, request: HttpRequest, reply: HttpReply) -> None:
        if self.fault is Fault.LOADING:
            await reply.json(_error(503, "Loading model", "unavailable_error"), 503)
        elif request.path == "/health":
            await reply.json({"status": "ok"})
        elif request.path == "/props":
            settings = {"n_ctx": 8192}
            await reply.json({"default_generation_settings": settings, "total_slots": 1, "model_alias": "default"})
        elif request.path == "/v1/chat/completions":
            self.asked += 1
            await self._chat(request, reply)
        else:
            await reply.json(_error(404, "File Not Found", "not_found_error"), 404)

    async def _chat(self, request: HttpRequest, reply: HttpReply) -> None:
        match self.fault:
            case Fault.NONE:
                await self.openai.handle(request, reply)
            case Fault.HTML:
                await reply.whole(b"<!doctype html><title>Welcome to nginx</title>", "text/html")
            case Fault.NOT_JSON:
                await self._says(reply, "All is well, I think.")
            case Fault.WRONG_JSON:
                await self._says(reply, json.dumps({"verdict": "benign", "status": "healthy"}))
            case Fault.SERVER_ERROR:
                await reply.json(_error(500, "CUDA error: out of memory", "server_error"), 500)
            case Fault.REFUSES_KEY:
                await reply.json(_error(401, "Invalid API Key", "authentication_error"), 401)
            case Fault.NO_ANSWER:
                await reply.reader.read()
            case Fault.DROPS_AT_ONCE:
                reply.abort()
            case Fault.ENDLESS_THOUGHTS | Fault.ENDLESS_CALL:
                await self._never_answers(reply)
            case _:
                await self._in_stream(reply)

    async def _in_stream(self, reply: HttpReply) -> None:
        await reply.raw(_CHUNKED)
        await reply.raw(_piece(_chunk("some ")))
        match self.fault:
            case Fault.DROPS_IN_STREAM:
                await asyncio.sleep(0.02)
                reply.abort()
            case Fault.FAULT_IN_STREAM:
                await reply.raw(_piece(_error(500, "decode failed", "server_error")) + b"0\r\n\r\n")
            case Fault.BINARY:
                await reply.raw(b"8\r\n\x00\xff\xfe{\xc3(\n\n\r\n0\r\n\r\n")
            case Fault.TRICKLE:
                while True:
                    await reply.raw(_piece(_chunk("slow ")))
                    await asyncio.sleep(self._pause_seconds)
            case Fault.ENDLESS:
                while True:
                    await reply.raw(_piece(_chunk("more " * 1000)))
            case _:
                await reply.raw(b"0\r\n\r\n")

    async def _never_answers(self, reply: HttpReply) -> None:
        """Think, or write the arguments of a call, for ever."""
        call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "disk", "arguments": "x" * 1000}}
        delta = {"tool_calls": [call]} if self.fault is Fault.ENDLESS_CALL else {"reasoning_content": "hm " * 1000}
        await reply.raw(_CHUNKED)
        while True:
            await reply.raw(_piece(_event(delta)))

    async def _says(self, reply: HttpReply, text: str) -> None:
        await reply.raw(_CHUNKED)
        await reply.raw(_piece(_chunk(text)) + _piece(_chunk("", "stop")) + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")


def _chunk(text: str, finish: str | None = None) -> dict[str, Any]:
    return _event({"content": text}, finish)


def _event(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    head = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "default"}
    return head | {"choices": [choice]}


def _piece(content: dict[str, Any]) -> bytes:
    event = f"data: {json.dumps(content)}\n\n".encode()
    return f"{len(event):x}\r\n".encode() + event + b"\r\n"


def _error(code: int, message: str, kind: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "type": kind}}
