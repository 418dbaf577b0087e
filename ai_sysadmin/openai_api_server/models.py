"""``GET /v1/models``: who can be asked here."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter

from ai_sysadmin.core.settings import Settings
from ai_sysadmin.openai_api_server.wire import FAST_MODEL_ID, MODEL_ID, known_model


def router(settings: Settings, started: datetime) -> APIRouter:
    """Return the paths; they stand below ``/v1`` and at the root."""
    paths = APIRouter()
    offered = {model["id"]: model for model in models(settings, started)}

    @paths.get("/models")
    async def listed() -> dict[str, Any]:
        return {"object": "list", "data": list(offered.values())}

    @paths.get("/models/{model_id}")
    async def model(model_id: str) -> dict[str, Any]:
        return offered[known_model(model_id)]

    return paths


def models(settings: Settings, started: datetime) -> tuple[dict[str, Any], ...]:
    """Return the models, whose ``name`` front ends show: the whole sysadmin, and the small model alone."""
    name = f"{settings.ai_name} on {settings.host_name}"
    return tuple(
        {"id": id_, "object": "model", "created": int(started.timestamp()), "owned_by": MODEL_ID, "name": shown}
        for id_, shown in ((MODEL_ID, name), (FAST_MODEL_ID, f"{name} (fast)"))
    )
