"""By which names the API may be called, and from which web pages."""

import re
from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import Message, Send

from ai_sysadmin.core.settings import LOOPBACK_HOSTS, Settings
from ai_sysadmin.openai_api_server.errors import Fault

_ASKED_HEADERS: Final = re.compile(r"[A-Za-z0-9_, -]{1,1000}")
_REMEMBERED_SECONDS: Final = 600


def known_hosts(settings: Settings) -> frozenset[str]:
    """Return the names under which the API may be called, in lower case and without port."""
    return frozenset(h.lower().strip("[]") for h in (*LOOPBACK_HOSTS, settings.api.host, *settings.api.allowed_hosts))


def known_origins(settings: Settings) -> frozenset[str]:
    """Return the origins of pages that may call the API from a browser, as browsers write them."""
    return frozenset(origin.lower().rstrip("/") for origin in settings.api.allowed_origins)


def host_fault(given: list[str], known: Collection[str]) -> Fault | None:
    """Refuse a Host that is not ours: a page elsewhere whose name was pointed at this machine (DNS rebinding)."""
    if len(given) == 1 and (_host_name(given[0]) or "") in known:
        return None
    text = f"this server does not go by the name {', '.join(given)[:100]!r}: add it to api.allowed_hosts if it should"
    return Fault(403, text, "permission_error", "host_not_allowed")


def origin_fault(headers: Headers, allowed: Collection[str] = ()) -> Fault | None:
    """Refuse a browser page of another origin; programs send no Origin."""
    given = headers.getlist("origin")
    own = {f"{scheme}://{headers.get('host', '').lower()}" for scheme in ("http", "https")}
    if not given or (len(given) == 1 and given[0].lower() in own | set(allowed)):
        return None
    text = "pages of another origin may not call this server: add theirs to api.allowed_origins if they should"
    return Fault(403, text, "permission_error", "origin_not_allowed")


def is_preflight(method: str, headers: Headers, allowed: Collection[str]) -> bool:
    """Tell whether a browser asks whether a page of an allowed origin may call here. Nothing is done by it."""
    asks = method == "OPTIONS" and "access-control-request-method" in headers
    return asks and headers.get("origin", "").lower() in allowed


def preflight(headers: Headers) -> Response:
    """Return what a browser may send from an allowed page: any header that it names, but no cookies."""
    asked = headers.get("access-control-request-headers", "")
    return Response(
        status_code=204,
        headers={
            "Access-Control-Allow-Methods": "GET, POST, DELETE",
            "Access-Control-Allow-Headers": asked if _ASKED_HEADERS.fullmatch(asked) else "authorization, content-type",
            "Access-Control-Max-Age": str(_REMEMBERED_SECONDS),
        },
    )


def readable_by(origin: str, send: Send) -> Send:
    """Let a page of an allowed origin read what is answered."""

    async def send_with_origin(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["Access-Control-Allow-Origin"] = origin
            headers["Access-Control-Expose-Headers"] = "Retry-After"
            headers.add_vary_header("Origin")
        await send(message)

    return send_with_origin


def _host_name(host: str) -> str | None:
    try:
        parts = urlsplit(f"//{host}")
        return parts.hostname if parts.netloc == host and parts.username is None else None
    except ValueError:
        return None
