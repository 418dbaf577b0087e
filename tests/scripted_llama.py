"""A real llama-server with a script before it: what the script has no line for is answered by the server itself.

The suite sees a llama-server with its real tokenizer, context and slots; a test decides what "the model" says to one
question. It serves from a thread of its own, so that tests that are no coroutines may use it.
"""

import asyncio
import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from ai_sysadmin.meta_model.chat import NOW_ANSWER
from ai_sysadmin.testing.http_server import HttpReply, HttpRequest, http_server

CHAT = "/v1/chat/completions"
ANSWER = {"do": "answer"}


@dataclass
class Course:
    """How "the model" deals with one question.

    ``steps`` are what it does, one for each time that it may look something up, and then it answers; ``answer`` streams
    in words, ``pause_seconds`` between them; ``status`` other than 200: the server fails instead of answering;
    ``breaks_after`` so many words: the connection ends there.
    """

    question: str
    answer: str = ""
    steps: Sequence[dict[str, Any]] = ()
    pause_seconds: float = 0.0
    status: int = 200
    breaks_after: int | None = None
    prompts: list[str] = field(default_factory=list)
    """Every prompt that belonged to it, oldest first."""
    answering: int = 0
    """How many answers stream at this moment."""
    left_after_words: int | None = None
    """After how many words the suite left the answer; none: it did not."""
    taken: int = 0

    def step(self) -> dict[str, Any]:
        self.taken += 1
        return dict(self.steps[self.taken - 1]) if self.taken <= len(self.steps) else ANSWER


class ScriptedLlama:
    """The script, and the way to the server. ``asked`` holds the body of every chat request."""

    def __init__(self, upstream: str) -> None:
        self.asked: list[dict[str, Any]] = []
        self._courses: list[Course] = []
        self._upstream = httpx.AsyncClient(base_url=upstream, timeout=120, trust_env=False)

    def course(self, question: str, answer: str = "", *steps: dict[str, Any], **more: Any) -> Course:
        """Add a course for prompts whose newest question has these words in it; the newest course counts."""
        made = Course(question, answer, steps, **more)
        self._courses.insert(0, made)
        return made

    async def handle(self, request: HttpRequest, reply: HttpReply) -> None:
        body = request.content if (request.method, request.path) == ("POST", CHAT) else None
        if body is not None:
            self.asked.append(body)
        course = self._course_of(body) if body is not None else None
        if body is None or course is None:
            await _unless_gone(reply, self._pass_on(request, reply))
            return
        course.prompts.append(_text(body))
        if "response_format" in body or (course.taken < len(course.steps) and may_look(body)):
            await _stream(body, reply, [json.dumps(course.step())], 0)
        elif course.status != httpx.codes.OK:
            fault = {"error": {"code": course.status, "message": "the scripted server fails", "type": "server_error"}}
            await reply.json(fault, course.status)
        else:
            await _answer(course, body, reply)

    def _course_of(self, body: dict[str, Any]) -> Course | None:
        said = [str(message.get("content")) for message in body.get("messages", []) if message["role"] == "user"]
        for text in reversed(said):
            if "### Task:" in text:
                continue
            if found := next((course for course in self._courses if course.question in text), None):
                return found
        return None

    async def _pass_on(self, request: HttpRequest, reply: HttpReply) -> None:
        kept = {name: value for name, value in request.headers.items() if name in {"content-type", "authorization"}}
        async with self._upstream.stream(request.method, request.path, content=request.body, headers=kept) as answer:
            kind = answer.headers.get("content-type", "application/json")
            if not kind.startswith("text/event-stream"):
                await reply.whole(await answer.aread(), kind, answer.status_code)
                return
            await reply.begin(kind)
            async for piece in answer.aiter_raw():
                await reply.raw(piece)


def may_look(body: dict[str, Any]) -> bool:
    """Tell whether a prompt offers tools that are asked for in words."""
    if NOW_ANSWER in str(body["messages"][-1].get("content")):
        return False
    systems = (str(message.get("content")) for message in body["messages"] if message["role"] == "system")
    return any("\nTools:\n" in system for system in systems)


async def _unless_gone(reply: HttpReply, work: Any) -> None:
    """Do some work while the client is there: like the server's own, its slot is free once the client has left."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(reply.reader.read(1))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _answer(course: Course, body: dict[str, Any], reply: HttpReply) -> None:
    words = [word + " " for word in course.answer.split(" ")]
    said = 0
    course.answering += 1
    try:

        async def speak() -> None:
            nonlocal said
            await reply.begin("text/event-stream")
            for word in words:
                if said == course.breaks_after:
                    reply.abort()
                    return
                await reply.raw(_event(body, {"content": word}))
                said += 1
                await asyncio.sleep(course.pause_seconds)
            await reply.raw(_end(body, len(words)))

        await _unless_gone(reply, speak())
    finally:
        course.answering -= 1
        if said < len(words):
            course.left_after_words = said


async def _stream(body: dict[str, Any], reply: HttpReply, pieces: Sequence[str], pause: float) -> None:
    await reply.begin("text/event-stream")
    for piece in pieces:
        await reply.raw(_event(body, {"content": piece}))
        await asyncio.sleep(pause)
    await reply.raw(_end(body, len(pieces)))


def _event(body: dict[str, Any], delta: dict[str, Any], finish: str | None = None) -> bytes:
    return _frame(body, choices=[{"index": 0, "delta": delta, "finish_reason": finish}])


def _end(body: dict[str, Any], words: int) -> bytes:
    prompt = int(body.get("prompt_tokens", len(_text(body)) // 4))
    usage = {"prompt_tokens": prompt, "completion_tokens": words, "total_tokens": prompt + words}
    return _event(body, {}, "stop") + _frame(body, choices=[], usage=usage) + b"data: [DONE]\n\n"


def _frame(body: dict[str, Any], **more: object) -> bytes:
    chunk = {
        "id": "chatcmpl-scripted",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": str(body.get("model", "")),
        **more,
    }
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def _text(body: dict[str, Any]) -> str:
    return "\n".join(str(message.get("content")) for message in body.get("messages", []))


@contextmanager
def scripted_llama(upstream: str, kind: type[ScriptedLlama] = ScriptedLlama) -> Iterator[tuple[ScriptedLlama, str]]:
    """Serve before a llama-server until the block ends; yield the script and the URL."""
    ready: list[tuple[ScriptedLlama, str]] = []
    loop = asyncio.new_event_loop()
    done = asyncio.Event()
    started = threading.Event()

    async def serve() -> None:
        script = kind(upstream)
        async with http_server(script.handle) as url:
            ready.append((script, url))
            started.set()
            await done.wait()
        await script._upstream.aclose()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), name="scripted llama", daemon=True)
    thread.start()
    try:
        assert started.wait(10), "the scripted server did not start"
        yield ready[0]
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(10)
        loop.close()
