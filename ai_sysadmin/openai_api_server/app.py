"""The paths of the API and what answers them."""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, NamedTuple, Protocol

from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp

from ai_sysadmin import __version__
from ai_sysadmin.context.knowledge import Search
from ai_sysadmin.context.redact import Redactor
from ai_sysadmin.core.clock import Clock, SystemClock
from ai_sysadmin.core.errors import AiSysadminError, StoreUnavailable
from ai_sysadmin.core.records import Record
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.llm_backend.embeddings import Embedder
from ai_sysadmin.openai_api_server import document, embeddings, models, wire
from ai_sysadmin.openai_api_server.answers import completions, responses
from ai_sysadmin.openai_api_server.answers.completions import Front
from ai_sysadmin.openai_api_server.errors import BUG, Fault, Faulty, fault_of
from ai_sysadmin.openai_api_server.gate.gate import Gate, changed_by
from ai_sysadmin.openai_api_server.system import (
    alerts,
    decisions,
    key_paths,
    knowledge,
    metrics,
    notifications,
    proposing,
    report,
)
from ai_sysadmin.openai_api_server.system.opinions import Judged, Muting, Opinions
from ai_sysadmin.openai_api_server.system.system import ExecutorProbe, HealthProbe, System
from ai_sysadmin.stores import DecisionStore, ReadStore, TemplateStore
from ai_sysadmin.stores.health_store import HealthStore
from ai_sysadmin.stores.key_store import KeyStore
from ai_sysadmin.stores.knowledge_store import KnowledgeStore
from ai_sysadmin.stores.metric_store import MetricStore
from ai_sysadmin.stores.notification_store import NotificationStore
from ai_sysadmin.stores.opinion_store import AlertStore, MuteStore

READY_SECONDS: Final = 2.0


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
    def notifications(self) -> NotificationStore: ...

    @property
    def decisions(self) -> DecisionStore: ...

    @property
    def health(self) -> HealthStore: ...

    @property
    def knowledge(self) -> KnowledgeStore: ...

    @property
    def keys(self) -> KeyStore: ...

    @property
    def metrics(self) -> MetricStore: ...


class Executor(ExecutorProbe, proposing.Decider, Protocol):
    """The executor, as far as the API asks it."""


class Knowing(NamedTuple):
    """How knowledge is searched, and how its index is made anew."""

    search: Search
    reindex: knowledge.Reindex


@dataclass(frozen=True)
class Parts:
    """What the API is made of. ``probes`` maps a layer's name to its model server."""

    settings: Settings
    stores: Stores
    front: Front
    executor: Executor
    probes: Mapping[str, HealthProbe]
    knowing: Knowing
    proposals: proposing.Proposing
    embedder: Embedder | None = None
    clock: Clock = field(default_factory=SystemClock)


def build(parts: Parts) -> ASGIApp:
    """Return the whole application, behind its gate."""
    settings, stores, clock = parts.settings, parts.stores, parts.clock
    app = FastAPI(title="ai-sysadmin", version=__version__, openapi_url=None, docs_url=None, redoc_url=None)
    app.include_router(_condition(app, stores.reader))
    answers = completions.Answers(settings, parts.front, clock)
    for prefix in ("/v1", ""):
        app.include_router(models.router(settings, clock.now()), prefix=prefix)
        app.include_router(completions.router(answers), prefix=prefix)
        app.include_router(responses.router(answers), prefix=prefix)
        app.include_router(embeddings.router(parts.embedder), prefix=prefix)
    for router in _system_routers(parts):
        app.include_router(router, prefix="/v1/system")
    app.include_router(alerts.router(stores.alerts, clock, Redactor(settings.context.redaction)))
    _shape_errors(app)
    return Gate(app, settings, stores.keys, clock)


def _system_routers(parts: Parts) -> Iterator[APIRouter]:
    settings, stores, clock = parts.settings, parts.stores, parts.clock
    yield _system(System(settings, stores.reader, parts.probes, parts.executor, clock))
    yield _opinions(Opinions(stores.reader, stores.templates, stores.mutes, clock), settings)
    yield proposing.router(parts.proposals, parts.executor, stores.reader)
    yield decisions.router(decisions.Decisions(stores.reader, stores.decisions, stores.health, clock), settings)
    search, reindex = parts.knowing
    redactor = Redactor(settings.context.redaction)
    yield knowledge.router(stores.knowledge, search, reindex, settings, clock, redactor)
    yield key_paths.router(stores.keys, settings, clock)
    yield notifications.router(stores.notifications, stores.reader, settings, clock)
    yield metrics.router(metrics.Figures(stores.metrics, clock))
    yield report.router(report.Reports(stores.reader, settings, clock))


def _condition(app: FastAPI, store: ReadStore) -> APIRouter:
    router = APIRouter()

    @router.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @router.get("/ready")
    async def ready() -> dict[str, str]:
        try:
            async with asyncio.timeout(READY_SECONDS):
                await store.notes()
        except TimeoutError as error:
            raise StoreUnavailable(f"the store did not answer within {READY_SECONDS:g} s") from error
        return {"status": "ready"}

    @router.get("/openapi.json")
    async def described() -> dict[str, Any]:
        return document.of(app)

    return router


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
