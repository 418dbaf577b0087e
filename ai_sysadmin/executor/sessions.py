"""Who is logged in, as logind knows it."""

from collections.abc import Sequence
from typing import Any, Final

from ai_sysadmin.actions.action import Session
from ai_sysadmin.core.errors import SystemdUnavailable
from ai_sysadmin.executor.inhibitor import LOGIND, LOGIND_MANAGER, LOGIND_PATH
from ai_sysadmin.runtime.bus import PROPERTIES, BusRefused, SystemBus

_SESSION: Final = "org.freedesktop.login1.Session"
_GONE: Final = {
    "org.freedesktop.login1.NoSuchSession",
    "org.freedesktop.DBus.Error.UnknownObject",
    "org.freedesktop.DBus.Error.UnknownMethod",
}
_PEOPLE: Final = {"user", "user-early", "user-light", "user-early-light", "user-incomplete"}


class LogindSessions:
    """``Sessions`` over logind. Only people's: no greeter, no lock screen, no manager of a user's units."""

    def __init__(self, bus: SystemBus) -> None:
        self._bus = bus

    async def live(self) -> Sequence[Session]:
        try:
            (rows,) = await self._bus.call(LOGIND_PATH, LOGIND_MANAGER, "ListSessions", destination=LOGIND)
        except BusRefused as refusal:
            raise SystemdUnavailable(f"logind does not say who is logged in: {refusal}") from refusal
        found = [await self._session(path) for *_, path in rows]
        return [session for session in found if session is not None]

    async def _session(self, path: str) -> Session | None:
        """Return one session; none: it ended meanwhile, or it is nobody's."""
        try:
            (given,) = await self._bus.call(path, PROPERTIES, "GetAll", "s", (_SESSION,), LOGIND)
        except BusRefused as refusal:
            if refusal.name in _GONE:
                return None
            raise SystemdUnavailable(f"logind does not say whose session {path} is: {refusal}") from refusal
        return session_of({name: variant.value for name, variant in given.items()})


def session_of(properties: dict[str, Any]) -> Session | None:
    """Return the session that logind's properties describe; none: it has ended, or is no person's.

    A remote session always has a remote host: where logind does not know it, ``unknown`` stands for it.
    """
    if properties["State"] == "closing" or properties["Class"] not in _PEOPLE:
        return None
    uid, _path = properties["User"]
    return Session(
        user=properties["Name"],
        uid=uid,
        remote_host=(properties["RemoteHost"] or "unknown") if properties["Remote"] else "",
        tty=properties["TTY"],
        leader=properties["Leader"],
        kind=properties["Type"],
    )
