"""``/v1/system/keys``: the keys of the API, for root and the operators over the Unix socket only."""

import logging

from fastapi import APIRouter, Request
from starlette.responses import Response

from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.records import Record
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.openai_api_server import wire
from ai_sysadmin.openai_api_server.gate.gate import changed_by
from ai_sysadmin.openai_api_server.system.key_views import Keys, KeyView, NewKey
from ai_sysadmin.stores.key_store import ApiKey, KeyStore

log = logging.getLogger(__name__)


def router(keys: KeyStore, settings: Settings, clock: Clock) -> APIRouter:
    """Return the paths below ``/v1/system``. A key that is to approve also has to be made known to the executor."""
    paths = APIRouter()

    @paths.get("/keys")
    async def listed(request: Request) -> Response:
        changed_by(request.scope, settings)
        return _record(Keys(keys=tuple(map(KeyView.of, await keys.keys()))))

    @paths.post("/keys")
    async def add(request: Request) -> Response:
        by = changed_by(request.scope, settings)
        wanted = wire.parse(NewKey, await request.body())
        key = ApiKey(**wanted.model_dump(), by=by, at=clock.now())
        await keys.add(key)
        log.info("key %s made by %s", key.name, by, extra={"event": "key_made", "key_id": key.id, "by": by})
        return _record(KeyView.of(key))

    @paths.delete("/keys/{id_or_name}")
    async def revoke(id_or_name: str, request: Request) -> Response:
        by = changed_by(request.scope, settings)
        key = await keys.revoke(id_or_name, by, clock.now())
        log.info("key %s revoked by %s", key.name, by, extra={"event": "key_revoked", "key_id": key.id, "by": by})
        return _record(KeyView.of(key))

    return paths


def _record(record: Record) -> Response:
    return Response(record.model_dump_json(), media_type="application/json")
