"""Who comes in, for what, and how often: a Unix peer by its user, everybody else by a key with the scope that a path
needs; and nothing from a browser's other tabs.

Pure ASGI, so that a client that goes away is noticed at once. What it lets through has its body read and bounded, and
knows its ``Caller``.
"""

import ipaddress
import math
import os
import re
from collections.abc import Collection
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from ai_sysadmin.core.clock import Clock, SystemClock
from ai_sysadmin.core.errors import StoreUnavailable
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.openai_api_server.callers import Caller, keep
from ai_sysadmin.openai_api_server.errors import Fault, Faulty, fault_of
from ai_sysadmin.openai_api_server.gate import body, peers
from ai_sysadmin.openai_api_server.gate.identity import identity_of
from ai_sysadmin.openai_api_server.gate.keys import Keyring
from ai_sysadmin.openai_api_server.gate.limits import Limits
from ai_sysadmin.openai_api_server.gate.origins import (
    host_fault,
    is_preflight,
    known_hosts,
    known_origins,
    origin_fault,
    preflight,
    readable_by,
)
from ai_sysadmin.openai_api_server.system import alerts
from ai_sysadmin.runtime.peers import user_name
from ai_sysadmin.stores import key_store
from ai_sysadmin.stores.key_store import KeyStore

PUBLIC_PATHS: Final = frozenset({"/health"})
ANSWERS: Final = ("/chat/completions", "/responses")
"""Paths, below ``/v1`` or not, where an answer is written: so many at a time for one caller."""

_CHAT, _READ, _INGEST = key_store.Scope.CHAT, key_store.Scope.READ, key_store.Scope.INGEST
_APPROVE: Final = key_store.Scope.APPROVE
_ANY: Final = frozenset(key_store.Scope)
_BELOW: Final = {
    "/chat": frozenset({_CHAT}),
    "/responses": frozenset({_CHAT}),
    "/embeddings": frozenset({_CHAT}),
    "/models": frozenset({_CHAT}),
    "/system": frozenset({_READ}),
}
_EXACTLY: Final = {alerts.PATH: frozenset({_INGEST}), "/ready": _ANY, "/openapi.json": _ANY}
_ELSEWHERE: Final = _ANY - {_INGEST}
_PROPOSES: Final = re.compile(r"/system/actions/?")
_DECIDES: Final = re.compile(r"/system/actions/[^/]*/(?:approve|reject)/?")
_PEER: Final = frozenset({_CHAT, _READ, _INGEST})
_ANYONE: Final = Caller(name="anyone", scopes=frozenset())
_KEYLESS: Final = Caller(name="keyless", scopes=frozenset({_CHAT}))
_FORWARDED: Final = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


class Gate:
    """Let a request through to the app, or answer it here. Without a store only the keys of the files count."""

    def __init__(
        self, app: ASGIApp, settings: Settings, keys: KeyStore | None = None, clock: Clock | None = None
    ) -> None:
        self._app = app
        self._settings = settings
        self._keyring = Keyring(settings, keys, clock or SystemClock())
        self._limits = Limits(settings.api.requests_per_minute, settings.api.concurrent_answers)
        self._hosts, self._origins = known_hosts(settings), known_origins(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if headers.get("origin", "").lower() in self._origins:
            send = readable_by(headers["origin"], send)
        try:
            caller = await self._admit(scope, headers)
        except Faulty as faulty:
            await body.drain(receive)
            await faulty.fault.response()(scope, receive, send)
            return
        if caller is None:
            await preflight(headers)(scope, receive, send)
            return
        keep(scope, caller)
        await self._pass(caller, scope, receive, send)

    async def _pass(self, caller: Caller, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body, and give the app the request while the caller has a place for its answer."""
        try:
            whole = await body.read(receive)
            if whole is None:
                return
            answers = scope["method"] == "POST" and below_v1(scope["path"]) in ANSWERS
            if answers and not self._limits.begin(_who(caller)):
                raise Faulty(_too_many_answers(self._settings.api.concurrent_answers))
        except Faulty as faulty:
            await faulty.fault.response()(scope, receive, send)
            return
        try:
            await self._app(scope, body.again(whole, receive), send)
        finally:
            if answers:
                self._limits.end(_who(caller))

    async def _admit(self, scope: Scope, headers: Headers) -> Caller | None:
        """Return who is asking; none: a browser that only asks whether it may. Raises: Faulty."""
        path: str = scope["path"]
        uid = peers.uid_of(scope.get("client"))
        if uid is not None:
            caller = self._peer(uid)
        else:
            fault = host_fault(headers.getlist("host"), self._hosts) or origin_fault(headers, self._origins)
            if fault is not None:
                raise Faulty(fault)
            if is_preflight(scope["method"], headers, self._origins):
                return None
            if path in PUBLIC_PATHS:
                return _ANYONE
            caller = await self._by_key(scope, headers)
        needed = scopes_for(path, scope["method"])
        if not caller.scopes & needed:
            raise Faulty(_wrong_scope(caller, path, needed))
        self._count(caller, scope["method"], path)
        return caller

    def _peer(self, uid: int) -> Caller:
        own, operators = os.geteuid(), peers.uids_of(self._settings.operators)
        if not peers.may_enter(uid, own_uid=own, operators=operators):
            text = "only root and the operators may ask here: use sudo, or have yourself named in settings.operators"
            raise Faulty(Fault(403, text, "permission_error", "not_an_operator"))
        services = peers.uids_of(self._settings.executor.service_users)
        may = may_change(uid, own_uid=own, operators=operators, services=services)
        return Caller(name=user_name(uid), scopes=_PEER, uid=uid, may_change=may)

    async def _by_key(self, scope: Scope, headers: Headers) -> Caller:
        given = bearer(headers)
        if not given and self._settings.api.keyless_chat and is_local(scope.get("client"), headers):
            return _KEYLESS
        try:
            opening = await self._keyring.find(given, scopes_for(scope["path"], scope["method"]))
        except StoreUnavailable as error:
            raise Faulty(fault_of(error)) from error
        if opening is None:
            raise Faulty(_no_key(headers))
        return Caller(
            name=opening.name, scopes=opening.scopes, key_id=opening.id, key=given, identity=identity_of(headers)
        )

    def _count(self, caller: Caller, method: str, path: str) -> None:
        """Count a request; lists of models, which front ends ask for all the time, and a person's look-ups are free."""
        if (method == "GET" and below_v1(path) == "/models") or path in PUBLIC_PATHS:
            return
        if caller.uid is not None and _CHAT not in scopes_for(path, method):
            return
        seconds = self._limits.wait(_who(caller))
        if seconds > 0:
            raise Faulty(_too_many_requests(self._settings.api.requests_per_minute, seconds))


def scopes_for(path: str, method: str = "GET") -> frozenset[key_store.Scope]:
    """Return the scopes of which any opens a path. A path that is not there is told to all but senders of alerts."""
    below = below_v1(path)
    if method == "POST" and _PROPOSES.fullmatch(below):
        return frozenset({_CHAT})
    if method == "POST" and _DECIDES.fullmatch(below):
        return frozenset({_APPROVE})
    first = "/" + below.removeprefix("/").partition("/")[0]
    return _EXACTLY.get(below) or _BELOW.get(first, _ELSEWHERE)


def below_v1(path: str) -> str:
    return path.removeprefix("/v1") if path.startswith("/v1/") else path


def is_local(client: object, headers: Headers) -> bool:
    """Tell whether a program on this host asks for itself, and not for others as a proxy would."""
    if any(name in headers for name in _FORWARDED):
        return False
    match client:
        case (str() as host, *_):
            try:
                address = ipaddress.ip_address(host)
            except ValueError:
                return False
            mapped = getattr(address, "ipv4_mapped", None)
            return (mapped or address).is_loopback
        case _:
            return False


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


def bearer(headers: Headers) -> str:
    """Return the key that a request carries; empty without one."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _who(caller: Caller) -> str:
    """Return what a caller's limits go by."""
    return f"uid:{caller.uid}" if caller.uid is not None else caller.key_id or caller.name


def _no_key(headers: Headers) -> Fault:
    given = bool(bearer(headers))
    text = "this API key is not known here" if given else "an API key is needed: Authorization: Bearer KEY"
    return Fault(401, text, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})


def _wrong_scope(caller: Caller, path: str, needed: frozenset[key_store.Scope]) -> Fault:
    if caller.uid is not None and needed == {_APPROVE}:
        text = (
            "here only a key with the scope approve decides; on the host: `ai-sysadmin actions approve ID` (or reject)"
        )
        return Fault(403, text, "permission_error", "wrong_scope")
    one, has = min(needed), ", ".join(sorted(caller.scopes)) or "none"
    text = (
        f"{path[:100]} needs the scope {one}, and this key has {has}: an operator makes one with "
        f"`ai-sysadmin keys create NAME --scope {one}`"
    )
    if one is _INGEST:
        text += ", and STATE_DIR/ingest-key holds one"
    return Fault(403, text, "permission_error", "wrong_scope")


def _too_many_requests(per_minute: int, seconds: float) -> Fault:
    text = f"more than {per_minute} requests a minute with this key (api.requests_per_minute)"
    retry = {"Retry-After": str(max(1, math.ceil(seconds)))}
    return Fault(429, text, "rate_limit_error", "rate_limit_exceeded", headers=retry)


def _too_many_answers(most: int) -> Fault:
    text = f"{most} answers are under way for this key (api.concurrent_answers): wait for one of them, or stop it"
    return Fault(429, text, "rate_limit_error", "too_many_answers", headers={"Retry-After": "2"})
