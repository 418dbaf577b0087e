"""The OpenAPI document that the server gives of itself: every path, what it takes, and every status it may answer."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from ai_sysadmin.openai_api_server.answers.responses_wire import ResponsesRequest
from ai_sysadmin.openai_api_server.embeddings import EmbeddingRequest
from ai_sysadmin.openai_api_server.system import alerts, proposing
from ai_sysadmin.openai_api_server.system.deciding_views import Deciding, NewAction
from ai_sysadmin.openai_api_server.system.key_views import NewKey
from ai_sysadmin.openai_api_server.system.knowledge_views import NewFile, NewNote
from ai_sysadmin.openai_api_server.system.opinions import Judged, Muting
from ai_sysadmin.openai_api_server.system.views import Why
from ai_sysadmin.openai_api_server.wire import ChatRequest

_SYSTEM: Final = "/v1/system"
_BODIES: Final[Mapping[str, type[BaseModel]]] = {
    "/chat/completions": ChatRequest,
    "/v1/chat/completions": ChatRequest,
    "/responses": ResponsesRequest,
    "/v1/responses": ResponsesRequest,
    "/embeddings": EmbeddingRequest,
    "/v1/embeddings": EmbeddingRequest,
    alerts.PATH: alerts.Notification,
    f"{_SYSTEM}/templates/{{template_id}}/judgement": Judged,
    f"{_SYSTEM}/mutes": Muting,
    f"{_SYSTEM}/knowledge/notes": NewNote,
    f"{_SYSTEM}/knowledge/files": NewFile,
    f"{_SYSTEM}/keys": NewKey,
    f"{_SYSTEM}/incidents/{{incident_id}}/{{decision}}": Why,
    f"{_SYSTEM}{proposing.PATH}": NewAction,
    f"{_SYSTEM}{proposing.PATH}/{{action_id}}/approve": Deciding,
    f"{_SYSTEM}{proposing.PATH}/{{action_id}}/reject": Deciding,
}
_MAY_BE_EMPTY: Final = frozenset({Why})
_STREAMS: Final = frozenset({ChatRequest, ResponsesRequest})
_STATUSES: Final = {
    400: "What was sent is wrong; the message says where.",
    401: "An API key is needed, or the one that was sent is not known.",
    403: "The key is for something else, the caller may not do it, or the Host or Origin is not allowed.",
    404: "There is no such thing.",
    408: "The request did not come to its end.",
    413: "The request is too large.",
    429: "Too many requests, or too many answers at a time; Retry-After says when to try again.",
    502: "A model's reply could not be used.",
    503: "Something that is needed does not answer; Retry-After says when to try again.",
}
_ERROR: Final = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "code", "param"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "code": {"type": ["string", "null"]},
                "param": {"type": ["string", "null"]},
            },
        }
    },
}


def of(app: FastAPI) -> dict[str, Any]:
    """Return the document."""
    made = get_openapi(title=app.title, version=app.version, routes=app.routes)
    components = made.setdefault("components", {})
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    components["schemas"] = {"Error": _ERROR}
    components["responses"] = {str(status): _fault(text) for status, text in _STATUSES.items()}
    for path, methods in made["paths"].items():
        for method, operation in methods.items():
            _describe(operation, _BODIES.get(path) if method == "post" else None, path)
    return made


def _describe(operation: dict[str, Any], body: type[BaseModel] | None, path: str) -> None:
    answers = operation["responses"]
    answers.pop("422", None)
    answers |= {str(status): {"$ref": f"#/components/responses/{status}"} for status in _STATUSES}
    operation["security"] = [] if path == "/health" else [{"key": []}]
    if body is None:
        return
    schema = body.model_json_schema(ref_template=f"#/x-bodies/{body.__name__}/{{model}}")
    operation["requestBody"] = {
        "required": body not in _MAY_BE_EMPTY,
        "content": {"application/json": {"schema": _inlined(schema, schema.pop("$defs", {}))}},
    }
    if body in _STREAMS:
        answers["200"]["content"]["text/event-stream"] = {"schema": {"type": "string"}}


def _inlined(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """Return a schema with its definitions where they are used; none of ours uses itself."""
    if isinstance(schema, list):
        return [_inlined(each, definitions) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {key: _inlined(value, definitions) for key, value in schema.items()}


def _fault(text: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Error"}
    return {"description": text, "content": {"application/json": {"schema": schema}}}
