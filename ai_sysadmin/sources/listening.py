"""Who listens on which port, from /proc: the sockets of everybody, their processes where this user may see them."""

import re
import sys
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

from ai_sysadmin.sources.host.reading import HostUnreadable, attribute, children
from ai_sysadmin.sources.socket_units import holders_by_cgroup

MOST_SOCKETS: Final = 20_000
MOST_OWNERS: Final = 300
_LISTENING: Final = "0A"
_UNCONNECTED: Final = "07"
_EPHEMERAL: Final = (32768, 60999)
_SOCKET: Final = re.compile(r"socket:\[(\d+)\]")
_UNIT: Final = re.compile(r"/([^/]+\.service)(?=/|$)")


class Port(NamedTuple):
    """An address that is listened on; one of IPv6 stands in brackets."""

    protocol: str
    port: int
    address: str


class Owner(NamedTuple):
    """Who listens, as far as it can be seen: a unit and its process, or only the user's name or number."""

    unit: str
    process: str
    user: str
    ports: tuple[Port, ...]


class _Socket(NamedTuple):
    port: Port
    uid: int
    inode: int


class Listening:
    """Looks who listens. A port among those that the kernel gives to clients counts once it was there at two looks."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._before: frozenset[int] = frozenset()

    def look(self) -> list[Owner]:
        """Return who listens on TCP, or waits for anybody on UDP, in a stable order.

        Raises:
            HostUnreadable: the kernel's tables of sockets cannot be read.
        """
        proc = self._root / "proc"
        every, fleeting = list(_sockets(proc)), _fleeting(proc)
        sockets = [each for each in every if each.port.port not in fleeting or each.inode in self._before]
        self._before = frozenset(each.inode for each in every)
        holders = _holders(proc, {each.inode for each in sockets})
        if self._root == Path("/") and any(each.inode not in holders for each in sockets):
            holders = {**holders_by_cgroup(), **holders}
        users = users_of(self._root)
        owned = sorted({(_owner(each, holders, users), each.port) for each in sockets})
        owners = [
            Owner(unit, process, user, tuple(port for _, port in rows))
            for (unit, process, user), rows in groupby(owned, key=lambda row: row[0])
        ]
        return owners[:MOST_OWNERS]


def _owner(each: _Socket, holders: Mapping[int, tuple[str, str]], users: Mapping[int, str]) -> tuple[str, str, str]:
    unit, process = holders.get(each.inode, ("", ""))
    return unit, process, users.get(each.uid, f"uid {each.uid}")


def _sockets(proc: Path) -> Iterator[_Socket]:
    found = False
    for name in ("tcp", "tcp6", "udp", "udp6"):
        try:
            lines = (proc / "net" / name).read_text().splitlines()[1 : MOST_SOCKETS + 1]
        except OSError:  # this kernel has no IPv6
            continue
        found = True
        yield from (socket for line in lines if (socket := _parsed(name, line)) is not None)
    if not found:
        raise HostUnreadable("who listens on which port cannot be read: there is no /proc/net/tcp")


def _parsed(name: str, line: str) -> _Socket | None:
    """Parse one line of a table; none: nobody listens there."""
    fields = line.split()
    if len(fields) < 10 or fields[3] != (_UNCONNECTED if name.startswith("udp") else _LISTENING):
        return None
    address, _, port = fields[1].partition(":")
    if int(fields[2].rpartition(":")[2], 16) or not int(port, 16):  # it has a peer, or is bound to nothing
        return None
    return _Socket(Port(name.removesuffix("6"), int(port, 16), address_of(address)), int(fields[7]), int(fields[9]))


def address_of(digits: str, byteorder: str = sys.byteorder) -> str:
    """Return an address that the kernel wrote as words of eight hexadecimal digits, each in the machine's order."""
    step = -1 if byteorder == "little" else 1
    words = [bytes.fromhex(digits[start : start + 8])[::step] for start in range(0, len(digits), 8)]
    if len(words) == 1:
        return ".".join(str(byte) for byte in words[0])
    import ipaddress  # slow to import, and only needed here

    return f"[{ipaddress.IPv6Address(b''.join(words)).compressed}]"


def _fleeting(proc: Path) -> range:
    """Return the ports that the kernel gives to clients: what is open there is mostly no service."""
    limits = attribute(proc / "sys/net/ipv4/ip_local_port_range").split()
    low, high = (int(each) for each in limits) if len(limits) == 2 else _EPHEMERAL
    return range(low, high + 1)


def _holders(proc: Path, inodes: set[int]) -> dict[int, tuple[str, str]]:
    """Return unit and process by socket, of the processes that this user may look into."""
    holders: dict[int, tuple[str, str]] = {}
    for process in children(proc, "[0-9]*"):
        held = _held(process) & inodes
        if held:
            known = _unit_of(process), attribute(process / "comm")
            holders |= {inode: min(known, holders.get(inode, known)) for inode in held}
    return holders


def _held(process: Path) -> set[int]:
    found: set[int] = set()
    try:
        for each in (process / "fd").iterdir():
            try:
                match = _SOCKET.fullmatch(str(each.readlink()))
            except OSError:  # it was closed meanwhile
                continue
            if match:
                found.add(int(match[1]))
    except OSError:  # another user's process, or it ended
        return found
    return found


def _unit_of(process: Path) -> str:
    """Return the service that a process belongs to; empty: none, such as a session's."""
    for line in attribute(process / "cgroup").splitlines():
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if (number == "0" or controllers == "name=systemd") and (match := _UNIT.search(path)):
            return match[1]
    return ""


def users_of(root: Path) -> dict[int, str]:
    """Return the names of the users that /etc/passwd knows, by number."""
    rows = (line.split(":") for line in attribute(root / "etc/passwd").splitlines())
    return {int(row[2]): row[0] for row in rows if len(row) > 2 and row[2].isdecimal()}
