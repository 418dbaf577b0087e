"""``POST /v1/responses``: the same answers in the shape of OpenAI's Responses, whole or as typed events."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse
from starlette.responses import Response as HttpResponse

from ai_sysadmin.llm_backend import ToolCall
from ai_sysadmin.openai_api_server import wire
from ai_sysadmin.openai_api_server.answers.completions import Answers, said, whole
from ai_sysadmin.openai_api_server.answers.responses_wire import NOT_KEPT, Response, ResponsesRequest, text_part
from ai_sysadmin.openai_api_server.errors import Fault, Faulty
from ai_sysadmin.openai_api_server.showing.frames import Body, frame
from ai_sysadmin.openai_api_server.showing.showing import Call, Say, Showing, Shown
from ai_sysadmin.openai_api_server.showing.streaming import (
    CLIENT_CLOSED,
    ClientGone,
    Gathered,
    fault_for,
    is_bug,
    streamed,
    while_connected,
)


def router(answers: Answers) -> APIRouter:
    """Return the paths; they stand below ``/v1`` and at the root."""
    paths = APIRouter()

    @paths.post("/responses")
    async def create(request: Request) -> HttpResponse:
        given = wire.parse(ResponsesRequest, await request.body())
        asked = given.as_chat()
        response = Response(answers.clock.now(), wire.known_model(asked.model), given)
        events = answers.start(asked, request)
        showing = answers.showing(response.suffix, asked, request, cards=False)
        if asked.stream:
            return await streamed(request, events, _frames(response, showing, events))
        try:
            shown = await while_connected(request.receive, whole(events, showing))
        except ClientGone:
            return HttpResponse(status_code=CLIENT_CLOSED)
        text, calls = said(shown), [response.call(call) for call in showing.calls]
        message = [response.message(text, _status(showing))] if text or not calls else []
        return JSONResponse(response.ended([*message, *calls], showing.account))

    @paths.get("/responses/{response_id}")
    async def retrieve(response_id: str) -> HttpResponse:
        text = f"there is no response {response_id[:64]!r}: {NOT_KEPT}"
        raise Faulty(Fault(404, text, code="not_kept", param="response_id"))

    return paths


def _status(showing: Showing) -> str:
    cut = showing.account is not None and showing.account.finish_reason == "length"
    return "incomplete" if cut else "completed"


class _Output:
    """What the answer has come to, and the typed events that say so, numbered from 0."""

    def __init__(self, response: Response) -> None:
        self._response = response
        self._number = 0
        self._texts: list[str] = []
        self._is_open = False
        self.items: list[Body] = []

    def event(self, kind: str, **fields: object) -> bytes:
        body = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return frame(body, kind)

    def shown(self, shown: Shown) -> Iterator[bytes]:
        match shown:
            case Say(text):
                yield from self._text(text)
            case Call(call):
                yield from self.close("completed")
                yield from self._call(call)

    def _text(self, text: str) -> Iterator[bytes]:
        if not self._is_open:
            yield from self._opened()
        self._texts.append(text)
        yield self.event("response.output_text.delta", **self._where(), delta=text, logprobs=[])

    def _opened(self) -> Iterator[bytes]:
        self._is_open = True
        at = len(self.items)
        message = self._response.message(None, "in_progress")
        yield self.event("response.output_item.added", output_index=at, item=message)
        yield self.event("response.content_part.added", **self._where(), part=text_part(""))

    def _where(self) -> Body:
        return {"item_id": self._response.message_id, "output_index": len(self.items), "content_index": 0}

    def close(self, status: str, *, at_end: bool = False) -> Iterator[bytes]:
        """End the message; at the very end there is one, if only an empty one."""
        if not self._is_open:
            if not at_end or self.items:
                return
            yield from self._opened()
        text = "".join(self._texts)
        where = self._where()
        yield self.event("response.output_text.done", **where, text=text, logprobs=[])
        yield self.event("response.content_part.done", **where, part=text_part(text))
        message = self._response.message(text, status)
        yield self.event("response.output_item.done", output_index=len(self.items), item=message)
        self.items.append(message)
        self._texts, self._is_open = [], False

    def _call(self, call: ToolCall) -> Iterator[bytes]:
        at, item = len(self.items), self._response.call(call)
        begun = self._response.call(call, "in_progress")
        where = {"item_id": item["id"], "output_index": at}
        yield self.event("response.output_item.added", output_index=at, item=begun)
        yield self.event("response.function_call_arguments.delta", **where, delta=call.arguments)
        yield self.event("response.function_call_arguments.done", **where, name=call.name, arguments=call.arguments)
        yield self.event("response.output_item.done", output_index=at, item=item)
        self.items.append(item)


async def _frames(response: Response, showing: Showing, events: Gathered) -> AsyncGenerator[bytes, None]:
    """Turn an answer into typed events. One that fails midway ends in ``response.failed``, never in silence."""
    output = _Output(response)
    yield output.event("response.created", response=response.begun())
    yield output.event("response.in_progress", response=response.begun())
    async with aclosing(events.events()) as batches:
        async for batch in batches:
            shown = [each for event in batch for each in showing.of(event)]
            yield b"".join(piece for each in shown for piece in output.shown(each))
    yield b"".join(piece for each in showing.end() for piece in output.shown(each))
    failure = events.failure
    if failure is None:
        yield b"".join(output.close(_status(showing), at_end=True))
        body = response.ended(output.items, showing.account)
        yield output.event(f"response.{body['status']}", response=body)
    else:
        yield b"".join(output.close("incomplete"))
        yield output.event("response.failed", response=response.failed(output.items, fault_for(failure)))
    if failure is not None and is_bug(failure):
        raise failure
