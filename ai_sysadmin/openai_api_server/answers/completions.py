"""``POST /v1/chat/completions``: an answer in chunks while it is written, or as one body."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from fastapi import APIRouter, Request
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response

from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.meta_model.small_tasks import TaskKind
from ai_sysadmin.meta_model.talk import Event
from ai_sysadmin.openai_api_server import wire
from ai_sysadmin.openai_api_server.answers.tasks import task_of
from ai_sysadmin.openai_api_server.callers import Caller, caller_of
from ai_sysadmin.openai_api_server.errors import Fault, Faulty
from ai_sysadmin.openai_api_server.showing.frames import DONE, Completion, finish_reason, frame
from ai_sysadmin.openai_api_server.showing.links import Links, unlinked
from ai_sysadmin.openai_api_server.showing.open_webui import Style, style_of
from ai_sysadmin.openai_api_server.showing.showing import Call, Frame, Say, Showing, Shown, Think
from ai_sysadmin.openai_api_server.showing.streaming import (
    CLIENT_CLOSED,
    ClientGone,
    Gathered,
    fault_for,
    is_bug,
    streamed,
    while_connected,
)


class Front(Protocol):
    """Who answers a conversation."""

    def answer(self, asked: wire.ChatRequest, caller: Caller, headers: Headers) -> AsyncGenerator[Event, None]:
        """Yield an answer, ``Answered`` last; ``aclose()`` stops the work at once."""
        ...


@dataclass(frozen=True)
class Answers:
    """Starts answers: checks what is asked, and chooses how it is shown."""

    settings: Settings
    front: Front
    clock: Clock

    def start(self, asked: wire.ChatRequest, request: Request) -> Gathered:
        """Return the events of an answer. Raises: Faulty: it cannot be answered so."""
        wire.known_model(asked.model)
        asked.passed_tools(self.settings.api.client_tools)
        _ = asked.answer_schema
        if not any(message.role == "user" and message.text.strip() for message in asked.messages):
            raise Faulty(Fault(400, "messages: nobody asks anything here", code="no_question", param="messages"))
        return Gathered(self.front.answer(asked, caller_of(request.scope), request.headers))

    def showing(self, answer_id: str, asked: wire.ChatRequest, request: Request, *, cards: bool = True) -> Showing:
        """Return how the answer is shown to this client; not ``cards``: its stream has no place for them."""
        style = style_of(self.settings.api.tool_progress, request.headers, asked)
        style = Style.TEXT if style is Style.CARDS and not cards else style
        is_data = asked.answer_schema is not None or is_small_task(asked, request.headers)
        return Showing(answer_id, style, Links.of(self.settings), is_data=is_data, whole=not asked.stream)


def is_small_task(asked: wire.ChatRequest, headers: Headers) -> bool:
    """Tell whether a front end reads the answer itself, as JSON or a few words, and shows it to nobody as Markdown."""
    task = None if asked.stream else task_of(asked, headers)
    return task is not None and task.kind is not TaskKind.MERGE


def router(answers: Answers) -> APIRouter:
    """Return the path; it stands below ``/v1`` and at the root."""
    paths = APIRouter()

    @paths.post("/chat/completions")
    async def completions(request: Request) -> Response:
        asked = wire.parse(wire.ChatRequest, await request.body())
        completion = Completion(answers.clock.now(), wire.known_model(asked.model))
        events, showing = answers.start(asked, request), answers.showing(completion.suffix, asked, request)
        if asked.stream:
            return await streamed(request, events, _frames(completion, showing, events, asked.wants_usage))
        try:
            shown = await while_connected(request.receive, whole(events, showing))
        except ClientGone:
            return Response(status_code=CLIENT_CLOSED)
        text = unlinked(said(shown)) if is_small_task(asked, request.headers) else said(shown)
        return JSONResponse(completion.whole(text, thought(shown), showing.calls, showing.account))

    return paths


async def whole(events: Gathered, showing: Showing) -> list[Shown]:
    """Return all that is shown of an answer. Raises: what it failed with."""
    shown: list[Shown] = []
    async with aclosing(events.events()) as batches:
        async for batch in batches:
            shown += (each for event in batch for each in showing.of(event))
    if events.failure is not None:
        raise events.failure
    return [*shown, *showing.end()]


def said(shown: list[Shown]) -> str:
    return "".join(each.text for each in shown if isinstance(each, Say))


def thought(shown: list[Shown]) -> str:
    return "".join(each.text for each in shown if isinstance(each, Think))


async def _frames(
    completion: Completion, showing: Showing, events: Gathered, wants_usage: bool
) -> AsyncGenerator[bytes, None]:
    """Turn an answer into server-sent events. One that fails midway ends in an error frame, never in silence."""
    yield completion.piece({"role": "assistant", "content": ""})
    async with aclosing(events.events()) as batches:
        async for batch in batches:
            shown = [each for event in batch for each in showing.of(event)]
            yield b"".join(_frame(completion, showing, each) for each in shown)
    yield b"".join(_frame(completion, showing, each) for each in showing.end())
    failure = events.failure
    if failure is None:
        yield completion.piece({}, finish_reason(showing.account, showing.calls))
        if wants_usage:
            yield completion.usage_piece(showing.account)
    else:
        yield frame(fault_for(failure).body())
    yield DONE
    if failure is not None and is_bug(failure):
        raise failure


def _frame(completion: Completion, showing: Showing, shown: Shown) -> bytes:
    match shown:
        case Say(text):
            return completion.piece({"content": text})
        case Think(text):
            return completion.piece({"reasoning_content": text})
        case Frame(body):
            return completion.extension(body)
        case Call(call):
            return completion.call_piece(showing.calls.index(call), call)
