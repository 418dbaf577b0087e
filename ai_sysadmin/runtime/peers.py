"""Who is at the other end of a Unix socket, as the kernel says."""

import array
import grp
import pwd
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass

_SO_PEERGROUPS = 59
_MOST_BYTES = 1024


@dataclass(frozen=True)
class Peer:
    """Who is at the other end of a socket, as the kernel says it. ``groups`` are all of their groups' names."""

    uid: int
    user: str
    groups: frozenset[str] = frozenset()


def peer_of(connection: socket.socket) -> Peer:
    """Return the peer's credentials at the time it connected (SO_PEERCRED, SO_PEERGROUPS)."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _pid, uid, gid = struct.unpack("3i", raw)
    return Peer(uid, user_name(uid), frozenset(filter(None, map(_group_name, {gid, *_further_groups(connection)}))))


def _further_groups(connection: socket.socket) -> Iterable[int]:
    try:
        return array.array("I", connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_BYTES))
    except OSError:  # more of them than fit: nobody is let in by what could not be read
        return ()


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return ""


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
