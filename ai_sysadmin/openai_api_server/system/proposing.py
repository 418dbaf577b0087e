"""Proposing an action over HTTP, and carrying the yes or no of who holds a key that approves."""

import logging
from collections.abc import Mapping
from typing import Protocol

from fastapi import APIRouter, Request
from starlette.responses import Response

from ai_sysadmin.actions.protocol import ActionFacts
from ai_sysadmin.core.acting import Origin
from ai_sysadmin.core.records import Record
from ai_sysadmin.meta_model.talk import Proposed
from ai_sysadmin.openai_api_server import wire
from ai_sysadmin.openai_api_server.callers import Caller, caller_of
from ai_sysadmin.openai_api_server.system.deciding_views import Deciding, NewAction
from ai_sysadmin.openai_api_server.system.views import ActionView
from ai_sysadmin.stores import ReadStore

log = logging.getLogger(__name__)

PATH = "/actions"


class Proposing(Protocol):
    """Who puts actions up. Raises: Refused, Unavailable."""

    async def propose(self, name: str, arguments: Mapping[str, str], why: str, origin: Origin) -> Proposed: ...


class Decider(Protocol):
    """The executor, as far as a key may decide. Every method raises ExecutorUnavailable, Refused and NotFound."""

    async def approve_by_key(self, action_id: str, digest: str, key: str, identity: str = "") -> ActionFacts: ...

    async def reject_by_key(
        self, action_id: str, digest: str, key: str, why: str, identity: str = ""
    ) -> ActionFacts: ...


def router(proposals: Proposing, executor: Decider, reader: ReadStore) -> APIRouter:
    """Return the paths below ``/v1/system``; the gate lets in who has the scope that each needs."""
    paths = APIRouter()

    @paths.post(PATH)
    async def propose(request: Request) -> Response:
        caller, wanted = caller_of(request.scope), wire.parse(NewAction, await request.body())
        proposed = await proposals.propose(
            wanted.name, wanted.arguments, f"{caller.name}: {wanted.why or 'no reason was given'}", origin_of(caller)
        )
        said = {"event": "action_asked_for", "action_id": proposed.action_id, "asker": caller.name}
        log.info("%s proposed by %s", proposed.says, caller.name, extra=said)
        return _record(ActionView.of(await reader.action(proposed.action_id)))

    @paths.post(PATH + "/{action_id}/approve")
    async def approve(action_id: str, request: Request) -> Response:
        caller, given = caller_of(request.scope), wire.parse(Deciding, await request.body())
        _note("approve", action_id, caller)
        return _record(await executor.approve_by_key(action_id, given.digest, caller.key, caller.identity))

    @paths.post(PATH + "/{action_id}/reject")
    async def reject(action_id: str, request: Request) -> Response:
        caller, given = caller_of(request.scope), wire.parse(Deciding, await request.body())
        _note("reject", action_id, caller)
        why = given.why or "rejected over the API"
        return _record(await executor.reject_by_key(action_id, given.digest, caller.key, why, caller.identity))

    return paths


def origin_of(caller: Caller) -> Origin:
    """Return in whose name a caller proposes: an operator on this host, or whoever has a key to talk."""
    return Origin.OPERATOR if caller.uid is not None and caller.may_change else Origin.CHAT


def _note(verb: str, action_id: str, caller: Caller) -> None:
    said = {"event": "api_decision", "action_id": action_id[:32], "asker": caller.name}
    log.info("%s by %s", verb, caller.name, extra=said)


def _record(record: Record) -> Response:
    return Response(record.model_dump_json(), media_type="application/json")
