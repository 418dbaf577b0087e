"""What an error looks like on the wire: OpenAI's shape, whatever went wrong."""

from dataclasses import dataclass, field
from typing import Any

from starlette.responses import JSONResponse

from ai_sysadmin.core.errors import (
    AiSysadminError,
    ApprovalRequired,
    ModelMisbehaved,
    NotFound,
    Refused,
    Unavailable,
)

RETRY_AFTER_SECONDS = 5


@dataclass(frozen=True)
class Fault:
    """One error as a client sees it. ``code`` is a stable word for programs, ``message`` a sentence for people."""

    status: int
    message: str
    type: str = "invalid_request_error"
    code: str | None = None
    param: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        return {"error": {"message": self.message, "type": self.type, "code": self.code, "param": self.param}}

    def response(self) -> JSONResponse:
        return JSONResponse(self.body(), status_code=self.status, headers=self.headers)


class Faulty(Exception):
    """A request that ends in a fault; the app turns it into the response."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


BUG = Fault(500, "something went wrong inside; the service's log says what", "server_error", "internal_error")

_KINDS: tuple[tuple[type[AiSysadminError], int, str, str], ...] = (
    (NotFound, 404, "invalid_request_error", "not_found"),
    (ApprovalRequired, 403, "permission_error", "approval_required"),
    (Refused, 403, "permission_error", "refused"),
    (Unavailable, 503, "server_error", "unavailable"),
    (ModelMisbehaved, 502, "server_error", "model_misbehaved"),
)


def fault_of(error: AiSysadminError) -> Fault:
    """Say one of our own errors to a client."""
    for kind, status, type_, code in _KINDS:
        if isinstance(error, kind):
            retry = {"Retry-After": str(RETRY_AFTER_SECONDS)} if status == 503 else {}
            return Fault(status, str(error), type_, code, headers=retry)
    return Fault(500, str(error), "server_error", "failed")
