"""Who is at the other end of the Unix socket: the kernel says so, and nobody can claim otherwise."""

import asyncio
import grp
import pwd
import socket
from collections.abc import Iterable

from uvicorn.protocols.http.h11_impl import H11Protocol

from ai_sysadmin.runtime.peers import peer_of

_PREFIX = "uid:"


class PeerProtocol(H11Protocol):
    """Put a Unix peer's user into ``scope["client"]`` as ``("uid:1000", 0)``, where TCP has an address and port."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family == socket.AF_UNIX:
            self.client = (f"{_PREFIX}{peer_of(sock).uid}", 0)


def uid_of(client: object) -> int | None:
    """Return the user behind a connection; none for one over TCP."""
    match client:
        case (str() as name, *_) if name.startswith(_PREFIX):
            return int(name.removeprefix(_PREFIX))
        case _:
            return None


def may_enter(uid: int, *, own_uid: int, operators: Iterable[int]) -> bool:
    """Tell whether a user may read without a key: root, the operators, and the user that the API itself runs as."""
    return uid in {0, own_uid, *operators}


def uids_of(names: Iterable[str]) -> frozenset[int]:
    """Look users up by name, and all members of a group by ``@`` and its name; who is not on this host is nobody."""
    known: set[int] = set()
    for name in names:
        try:
            known |= _members(name[1:]) if name.startswith("@") else {pwd.getpwnam(name).pw_uid}
        except KeyError:
            continue
    return frozenset(known)


def _members(group: str) -> set[int]:
    """Return the users of a group, those whose first group it is among them. Raises: KeyError: there is none."""
    entry = grp.getgrnam(group)
    named = set(entry.gr_mem)
    return {user.pw_uid for user in pwd.getpwall() if user.pw_name in named or user.pw_gid == entry.gr_gid}
