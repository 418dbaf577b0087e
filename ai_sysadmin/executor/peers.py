"""Who is at the other end of a Unix socket, as the kernel says."""

import os
import pwd
import socket
import struct
from dataclasses import dataclass

from ai_sysadmin.core.settings import Settings


@dataclass(frozen=True)
class Peer:
    uid: int
    user: str


def peer_of(connection: socket.socket) -> Peer:
    """Return the peer's credentials at the time it connected (SO_PEERCRED)."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _pid, uid, _gid = struct.unpack("3i", raw)
    return Peer(uid, user_name(uid))


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def why_no_operator(peer: Peer, settings: Settings) -> str | None:
    """Say why a peer may not decide over actions; none: it may. The suite's own users never may."""
    if peer.user in settings.executor.service_users:
        return f"{peer.user} is one of the suite's own users, and those never decide over actions"
    if peer.uid == 0 or peer.user in settings.operators:
        return None
    if os.geteuid() != 0 and peer.uid == os.geteuid():  # `up` as an ordinary user: there is no boundary to keep
        return None
    return f"{peer.user} is no operator of this host; root is, and the users that the setting `operators` names" + (
        f" ({', '.join(settings.operators)})" if settings.operators else " (none so far)"
    )
