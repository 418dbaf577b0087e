"""What a person decides of an incident and asks for: its end, another look, one piece of evidence whole, a check."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.errors import NotFound
from ai_sysadmin.core.health import HealthReport
from ai_sysadmin.core.incident import Decided
from ai_sysadmin.core.records import Evidence, Record
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.openai_api_server import wire
from ai_sysadmin.openai_api_server.gate.gate import changed_by
from ai_sysadmin.openai_api_server.system.views import Decision, DecisionView, Why
from ai_sysadmin.stores import DecisionStore, ReadStore
from ai_sysadmin.stores.health_store import Check, HealthStore


class Decisions:
    """The look-ups and changes behind ``/v1/system/incidents/…``, ``/checks`` and ``/health-report``."""

    def __init__(self, reader: ReadStore, decisions: DecisionStore, health: HealthStore, clock: Clock) -> None:
        self._reader = reader
        self._decisions = decisions
        self._health = health
        self._clock = clock

    async def decide(self, incident_id: str, decision: Decision, why: str, by: str) -> DecisionView:
        """Apply a decision; the answer says whether it changed anything. Raises: NotFound, Refused."""
        before = (await self._reader.incident(incident_id)).incident
        event = Decided(decision, by, self._clock.now(), why.strip())
        after = await self._decisions.decide(before.id, event)
        return DecisionView(incident=after, changed=after.revision != before.revision)

    async def evidence(self, incident_id: str, piece_id: str) -> Evidence:
        """Return one piece of an incident's evidence, whole. Raises: NotFound."""
        detail = await self._reader.incident(incident_id)
        pieces = detail.evidence.pieces if detail.evidence else ()
        for piece in pieces:
            if piece.id == piece_id:
                return piece
        known = ", ".join(piece.id for piece in pieces) or "none: it was not judged yet"
        raise NotFound(f"incident {detail.incident.id} has no evidence {piece_id[:40]!r}; it has {known}")

    async def report(self) -> HealthReport:
        """Return the last health report. Raises: NotFound."""
        for report in await self._health.reports(1):
            return report
        raise NotFound("this host was not reviewed yet: `ai-sysadmin check` does it now")

    async def ask_check(self, by: str) -> Check:
        return await self._health.ask_check(by, self._clock.now())

    async def check(self, check_id: str) -> Check:
        return await self._health.check(check_id)


def router(decisions: Decisions, settings: Settings) -> APIRouter:
    """Return the paths below ``/v1/system``."""
    paths = APIRouter()

    @paths.post("/incidents/{incident_id}/{decision}")
    async def decide(incident_id: str, decision: Decision, request: Request) -> Response:
        by = changed_by(request.scope, settings)
        body = await request.body()
        asked = wire.parse(Why, body) if body else Why()
        return _record(await decisions.decide(incident_id, decision, asked.why, by))

    @paths.get("/incidents/{incident_id}/evidence/{piece_id}")
    async def evidence(incident_id: str, piece_id: str) -> Response:
        return _record(await decisions.evidence(incident_id, piece_id))

    @paths.get("/health-report")
    async def report() -> Response:
        return _record(await decisions.report())

    @paths.post("/checks")
    async def ask_check(request: Request) -> Response:
        return _record(await decisions.ask_check(changed_by(request.scope, settings)))

    @paths.get("/checks/{check_id}")
    async def check(check_id: str) -> Response:
        return _record(await decisions.check(check_id))

    return paths


def _record(record: Record) -> Response:
    return Response(record.model_dump_json(), media_type="application/json")
