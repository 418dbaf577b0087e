"""How far the suite may be trusted: its proposals of a time and what became of them."""

import asyncio
from collections.abc import Collection
from datetime import timedelta
from typing import Final

from fastapi import APIRouter
from starlette.responses import Response

from ai_sysadmin.actions.catalogue import Catalogue, catalogue_of
from ai_sysadmin.actions.periods import DEFAULT_PERIOD, period_of
from ai_sysadmin.actions.promotion import Case
from ai_sysadmin.actions.trust import TrustReport, trust_report
from ai_sysadmin.core.acting import ActionRequest, ActionState, Ruling
from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.errors import Refused
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.openai_api_server.errors import Fault, Faulty
from ai_sysadmin.stores import Action, ReadStore

_MOST_SUBJECT: Final = 255


class Reports:
    """The look-ups behind ``/v1/system/report``."""

    def __init__(self, reader: ReadStore, settings: Settings, clock: Clock) -> None:
        self._reader = reader
        self._settings = settings
        self._clock = clock
        self._catalogue = catalogue_of(settings)

    async def trust(self, period: timedelta) -> TrustReport:
        """Return the report on the time up to now. Raises: StoreUnavailable."""
        now = self._clock.now()
        healed = {incident.id for incident in await self._reader.healed_since(now - period)}
        actions = await self._reader.actions_since(now - period)
        return await asyncio.to_thread(  # a year of many actions takes seconds
            trust_report,
            [case_of(action, healed, self._catalogue) for action in actions],
            host=self._settings.host_name,
            since=now - period,
            at=now,
            healed=len(healed),
            autonomy=self._settings.autonomy_level,
            policy=self._settings.policy,
        )


def router(reports: Reports) -> APIRouter:
    """Return the path below ``/v1/system``."""
    paths = APIRouter()

    @paths.get("/report")
    async def report(since: str = DEFAULT_PERIOD) -> Response:
        try:
            period = period_of(since)
        except ValueError as error:
            raise Faulty(Fault(400, str(error), code="invalid_request", param="since")) from error
        return Response((await reports.trust(period)).model_dump_json(), media_type="application/json")

    return paths


def case_of(action: Action, healed: Collection[str], catalogue: Catalogue) -> Case:
    """Return an action as a case; ``healed`` are the ids of incidents that went by themselves."""
    request = action.request
    is_healed = action.state is ActionState.WITHDRAWN and not action.superseded_by and request.incident_id in healed
    return Case(
        id=request.id,
        action=request.name,
        subject=_subject(request, catalogue),
        host=request.host,
        origin=request.origin,
        state=action.state,
        proposed_at=request.at,
        decided_at=action.decided_at,
        ruling=_ruled(action.ruling),
        by=action.by,
        reminds=bool(request.ask),
        healed=is_healed,
    )


def _ruled(ruling: Ruling | None) -> Ruling | None:
    """Return a ruling, if the policy has spoken: until it has, no line of it is named."""
    return ruling if ruling is not None and ruling.line else None


def _subject(request: ActionRequest, catalogue: Catalogue) -> str:
    try:
        subject = catalogue.validate(request.name, request.arguments).lane
    except Refused:  # the executor did not take it either
        subject = " ".join(request.arguments.values())
    return subject[:_MOST_SUBJECT]
