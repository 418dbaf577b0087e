"""Who comes in: a Unix peer by its user, everybody else by a key; and nothing from a browser's other tabs.

Pure ASGI, so that a client that goes away is noticed at once. What it lets through has its body read and bounded.
"""

import asyncio
import contextlib
import os
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ai_sysadmin.core.errors import StoreUnavailable
from ai_sysadmin.core.settings import LOOPBACK_HOSTS, Settings
from ai_sysadmin.openai_api_server import alerts, keys, peers
from ai_sysadmin.openai_api_server.errors import Fault, Faulty, fault_of
from ai_sysadmin.runtime.peers import user_name

PUBLIC_PATHS = frozenset({"/health"})
INGEST_PATHS = frozenset({alerts.PATH})
MAX_BODY_BYTES = 2 << 20
BODY_SECONDS = 30.0
DRAIN_BYTES = 8 << 20
DRAIN_SECONDS = 3.0


class Gate:
    """Let a request through to the app, or answer it here."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._hosts = known_hosts(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._admit(scope)
        except Faulty as faulty:
            await _drain(receive)
            await faulty.fault.response()(scope, receive, send)
            return
        try:
            body = await _read(receive)
        except Faulty as faulty:
            await faulty.fault.response()(scope, receive, send)
            return
        if body is not None:
            await self._app(scope, _again(body, receive), send)

    def _admit(self, scope: Scope) -> None:
        uid = peers.uid_of(scope.get("client"))
        fault = self._peer_fault(uid) if uid is not None else self._tcp_fault(scope["path"], Headers(scope=scope))
        if fault is not None:
            raise Faulty(fault)

    def _peer_fault(self, uid: int) -> Fault | None:
        if peers.may_enter(uid, own_uid=os.geteuid(), operators=peers.uids_of(self._settings.operators)):
            return None
        text = "only root and the operators may ask here: use sudo, or have yourself named in settings.operators"
        return Fault(403, text, "permission_error", "not_an_operator")

    def _tcp_fault(self, path: str, headers: Headers) -> Fault | None:
        fault = host_fault(headers.getlist("host"), self._hosts) or origin_fault(headers)
        if fault is not None or path in PUBLIC_PATHS:
            return fault
        return self._key_fault(path, headers)

    def _key_fault(self, path: str, headers: Headers) -> Fault | None:
        """Refuse a key that is not known, and one that is known for something else."""
        own, others = self._settings.api_key_file, self._settings.ingest_key_file
        if path in INGEST_PATHS:
            own, others = others, own
        given = bearer(headers)
        try:
            if keys.opens(own, given):
                return None
        except StoreUnavailable as error:
            return fault_of(error)
        with contextlib.suppress(StoreUnavailable):
            if keys.opens(others, given):
                return _WRONG_KEY[path in INGEST_PATHS]
        return _no_key(headers)


def may_change(uid: int, *, own_uid: int, operators: Collection[int], services: Collection[int]) -> bool:
    """Tell whether a peer may change what is remembered: root and the operators, never the suite's own users.

    A person who runs `up` as themselves is the API's own user.
    """
    return uid not in services and uid in {0, own_uid, *operators}


def changed_by(scope: Scope, settings: Settings) -> str:
    """Return the name of the person who asks for a change.

    Raises:
        Faulty: 403, only root and the operators may, and only over the Unix socket, where the kernel says who asks.
    """
    uid = peers.uid_of(scope.get("client"))
    operators, services = peers.uids_of(settings.operators), peers.uids_of(settings.executor.service_users)
    if uid is not None and may_change(uid, own_uid=os.geteuid(), operators=operators, services=services):
        return user_name(uid)
    text = "only root and the operators may change this, with `ai-sysadmin` on the host itself"
    raise Faulty(Fault(403, text, "permission_error", "not_an_operator"))


def known_hosts(settings: Settings) -> frozenset[str]:
    """Return the names under which the API may be called, in lower case and without port."""
    return frozenset(h.lower().strip("[]") for h in (*LOOPBACK_HOSTS, settings.api.host, *settings.api.allowed_hosts))


def host_fault(given: list[str], known: Collection[str]) -> Fault | None:
    """Refuse a Host that is not ours: a page elsewhere whose name was pointed at this machine (DNS rebinding)."""
    if len(given) == 1 and (_host_name(given[0]) or "") in known:
        return None
    text = f"this server does not go by the name {', '.join(given)[:100]!r}: add it to api.allowed_hosts if it should"
    return Fault(403, text, "permission_error", "host_not_allowed")


def origin_fault(headers: Headers) -> Fault | None:
    """Refuse a browser page of another origin; programs send no Origin."""
    origin = headers.get("origin")
    if origin is None or origin.lower() in {f"{scheme}://{headers['host'].lower()}" for scheme in ("http", "https")}:
        return None
    return Fault(403, "pages of another origin may not call this server", "permission_error", "origin_not_allowed")


def bearer(headers: Headers) -> str:
    """Return the key that a request carries; empty without one."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _host_name(host: str) -> str | None:
    try:
        parts = urlsplit(f"//{host}")
        return parts.hostname if parts.netloc == host and parts.username is None else None
    except ValueError:
        return None


def _no_key(headers: Headers) -> Fault:
    given = bool(bearer(headers))
    text = "this API key is not known here" if given else "an API key is needed: Authorization: Bearer KEY"
    return Fault(401, text, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})


_WRONG_KEY = {
    True: Fault(403, "alerts come in with the ingest key, not with this one", "permission_error", "wrong_scope"),
    False: Fault(403, f"this key may only send alerts in, to {alerts.PATH}", "permission_error", "wrong_scope"),
}


async def _read(receive: Receive) -> bytes | None:
    """Return the whole body, bounded in size and time; none where the client went away before its end."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > MAX_BODY_BYTES:
                    break
                if not more:
                    return bytes(body)
    except TimeoutError as error:
        raise Faulty(Fault(408, "the request did not come to its end", code="request_timeout")) from error
    if more:
        await _drain(receive)
    raise Faulty(_too_large())


async def _drain(receive: Receive) -> None:
    """Hear out a client that is still sending, within limits: one that is cut off never reads why."""
    left = DRAIN_BYTES
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            while left > 0:
                message = await receive()
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
                left -= len(message.get("body", b""))


def _too_large() -> Fault:
    closing = {"Connection": "close"}
    return Fault(413, f"the request is over {MAX_BODY_BYTES} bytes", code="request_too_large", headers=closing)


def _again(body: bytes, receive: Receive) -> Receive:
    """Give the app the body that was read, then what really comes: the client's going away."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return pending.pop() if pending else await receive()

    return next_message
