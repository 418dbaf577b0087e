"""The paths of the API and what answers them."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Annotated, Any, NamedTuple, Protocol

from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from ai_sysadmin import __version__
from ai_sysadmin.context.knowledge import Search
from ai_sysadmin.context.redact import Redactor
from ai_sysadmin.core.clock import Clock, SystemClock
from ai_sysadmin.core.errors import AiSysadminError
from ai_sysadmin.core.incident import ENDED, State
from ai_sysadmin.core.records import Record
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.llm_backend import Delta, Message
from ai_sysadmin.meta_model.chat import LiveState
from ai_sysadmin.openai_api_server import alerts, decisions, knowledge, wire
from ai_sysadmin.openai_api_server.errors import BUG, Fault, Faulty, fault_of
from ai_sysadmin.openai_api_server.gate import Gate, changed_by
from ai_sysadmin.openai_api_server.opinions import Judged, Muting, Opinions
from ai_sysadmin.openai_api_server.streaming import ClientGone, EventStream, frames, while_connected
from ai_sysadmin.openai_api_server.system import ExecutorProbe, HealthProbe, System
from ai_sysadmin.stores import DecisionStore, ReadStore, TemplateStore
from ai_sysadmin.stores.health_store import HealthStore
from ai_sysadmin.stores.knowledge_store import KnowledgeStore
from ai_sysadmin.stores.opinion_store import AlertStore, MuteStore

RECENT_ENDED = 10
"""So many incidents that have ended are told to the chat, beside all that have not."""
_CLIENT_CLOSED = 499


class Chat(Protocol):
    """Who answers: the meta layer."""

    def answer(self, messages: Sequence[Message], live: LiveState) -> AsyncGenerator[Delta, None]: ...


class Stores(Protocol):
    """What the API reads and writes."""

    @property
    def reader(self) -> ReadStore: ...

    @property
    def templates(self) -> TemplateStore: ...

    @property
    def mutes(self) -> MuteStore: ...

    @property
    def alerts(self) -> AlertStore: ...

    @property
    def decisions(self) -> DecisionStore: ...

    @property
    def health(self) -> HealthStore: ...

    @property
    def knowledge(self) -> KnowledgeStore: ...


class Knowing(NamedTuple):
    """How knowledge is searched, and how its index is made anew."""

    search: Search
    reindex: knowledge.Reindex


def build(
    settings: Settings,
    stores: Stores,
    chat: Chat,
    executor: ExecutorProbe,
    probes: Mapping[str, HealthProbe],
    knowing: Knowing,
    clock: Clock | None = None,
) -> ASGIApp:
    """Return the whole application, behind its gate. ``probes`` maps a layer's name to its model server."""
    clock = clock or SystemClock()
    redactor = Redactor(settings.context.redaction)
    app = FastAPI(title="ai-sysadmin", version=__version__, openapi_url=None, docs_url=None, redoc_url=None)
    app.include_router(_health())
    chat_paths = _chat(settings, stores.reader, chat, clock)
    app.include_router(chat_paths, prefix="/v1")
    app.include_router(chat_paths)
    app.include_router(_system(System(settings, stores.reader, probes, executor, clock)), prefix="/v1/system")
    opinions = Opinions(stores.reader, stores.templates, stores.mutes, clock)
    app.include_router(_opinions(opinions, settings), prefix="/v1/system")
    decided = decisions.Decisions(stores.reader, stores.decisions, stores.health, clock)
    app.include_router(decisions.router(decided, settings), prefix="/v1/system")
    kept = knowledge.router(stores.knowledge, knowing.search, knowing.reindex, settings, clock, redactor)
    app.include_router(kept, prefix="/v1/system")
    app.include_router(alerts.router(stores.alerts, clock, redactor))
    _shape_errors(app)
    return Gate(app, settings)


def _health() -> APIRouter:
    router = APIRouter()

    @router.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    return router


def _chat(settings: Settings, store: ReadStore, chat: Chat, clock: Clock) -> APIRouter:
    router = APIRouter()
    started = clock.now()

    @router.get("/models")
    async def models() -> dict[str, Any]:
        return wire.models(f"{settings.ai_name} on {settings.host_name}", started)

    @router.post("/chat/completions")
    async def completions(request: Request) -> Response:
        asked = wire.parse(wire.ChatRequest, await request.body())
        live = await _live(settings.host_name, store, clock)
        deltas = chat.answer(_talk(asked), live)
        completion = wire.Completion(clock.now())
        if asked.stream:
            return EventStream(frames(completion, deltas, asked.wants_usage))
        return await _whole(request, completion, deltas)

    return router


async def _whole(request: Request, completion: wire.Completion, deltas: AsyncGenerator[Delta, None]) -> Response:
    try:
        every = await while_connected(request.receive, _all(deltas))
    except ClientGone:
        return Response(status_code=_CLIENT_CLOSED)
    account = next((delta.completion for delta in reversed(every) if delta.completion), None)
    return JSONResponse(completion.whole("".join(delta.text for delta in every), account))


async def _all(deltas: AsyncGenerator[Delta, None]) -> list[Delta]:
    async with aclosing(deltas):
        return [delta async for delta in deltas]


def _talk(asked: wire.ChatRequest) -> tuple[Message, ...]:
    """Return the conversation for the meta layer, without what a front end's own tools answered."""
    if not any(message.role == "user" and message.text.strip() for message in asked.messages):
        raise Faulty(Fault(400, "messages: nobody asks anything here", code="no_question", param="messages"))
    return tuple(Message(role=m.spoken_by, content=m.text) for m in asked.messages if m.spoken_by and m.text)


async def _live(host: str, store: ReadStore, clock: Clock) -> LiveState:
    """Read what is true now: incidents that live and a few that ended, their actions, the services' notes."""
    live = await store.incidents([state for state in State if state not in ENDED])
    ended = await store.incidents(list(ENDED), RECENT_ENDED)
    return LiveState(
        host=host,
        incidents=(*live, *ended),
        actions=tuple(await store.actions()),
        notes=tuple(await store.notes()),
        now=clock.now(),
    )


def _system(system: System) -> APIRouter:
    router = APIRouter()
    States = Annotated[list[str] | None, Query()]  # noqa: N806

    @router.get("/status")
    async def status() -> Response:
        return _record(await system.status())

    @router.get("/incidents")
    async def incidents(state: States = None) -> Response:
        return _record(await system.incidents(state or ()))

    @router.get("/incidents/{incident_id}")
    async def incident(incident_id: str) -> Response:
        return _record(await system.incident(incident_id))

    @router.get("/actions")
    async def actions(state: States = None) -> Response:
        return _record(await system.actions(state or ()))

    @router.get("/actions/{action_id}")
    async def action(action_id: str) -> Response:
        return _record(await system.action(action_id))

    return router


def _opinions(opinions: Opinions, settings: Settings) -> APIRouter:
    router = APIRouter()

    @router.get("/templates")
    async def templates(source: str = "", unlabelled: bool = False, limit: int = 50) -> Response:
        return _record(await opinions.templates(source, unlabelled, limit))

    @router.get("/templates/{template_id}")
    async def template(template_id: str) -> Response:
        return _record(await opinions.template(template_id))

    @router.post("/templates/{template_id}/judgement")
    async def judge(template_id: str, request: Request) -> Response:
        by = changed_by(request.scope, settings)
        return _record(await opinions.judge(template_id, wire.parse(Judged, await request.body()), by))

    @router.get("/mutes")
    async def mutes() -> Response:
        return _record(await opinions.mutes())

    @router.post("/mutes")
    async def mute(request: Request) -> Response:
        by = changed_by(request.scope, settings)
        return _record(await opinions.mute(wire.parse(Muting, await request.body()), by))

    @router.delete("/mutes/{name}")
    async def unmute(name: str, request: Request) -> Response:
        changed_by(request.scope, settings)
        return _record(await opinions.unmute(name))

    return router


def _record(record: Record) -> Response:
    return Response(record.model_dump_json(), media_type="application/json")


def _shape_errors(app: FastAPI) -> None:
    """Give every error, also the framework's own, the one shape; a bug is still raised, and logged with its trace."""

    @app.exception_handler(Faulty)
    async def faulty(_request: Request, error: Faulty) -> Response:
        return error.fault.response()

    @app.exception_handler(AiSysadminError)
    async def ours(_request: Request, error: AiSysadminError) -> Response:
        return fault_of(error).response()

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        text = f"there is no {request.method} {request.url.path[:100]} here"
        return Fault(error.status_code, text, code="unknown_path", headers=dict(error.headers or {})).response()

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        return Fault(400, f"{where}: {first['msg']}", code="invalid_request", param=where).response()

    @app.exception_handler(Exception)
    async def bug(_request: Request, _error: Exception) -> Response:
        return BUG.response()
