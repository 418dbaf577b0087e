"""How many TCP connections there are, by state and by the port here that they belong to; and what is listened on."""

import ipaddress
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from ai_sysadmin.sources.host.reading import HostUnreadable
from ai_sysadmin.sources.listening import address_of

MOST_SOCKETS: Final = 200_000
STATES: Final[Mapping[str, str]] = {
    "01": "established",
    "02": "syn-sent",
    "03": "syn-received",
    "04": "fin-wait-1",
    "05": "fin-wait-2",
    "06": "time-wait",
    "07": "closed",
    "08": "close-wait",
    "09": "last-ack",
    "0A": "listening",
    "0B": "closing",
    "0C": "new-syn-received",
}
_EVERYWHERE: Final = frozenset({"0.0.0.0", "[::]"})  # noqa: S104 — it is looked for, nothing is bound to it


class _Socket(NamedTuple):
    address: str
    port: int
    state: str


class Connections(NamedTuple):
    """``by_port``: established ones by the port here, of ports that are listened on. ``states``: all, by state."""

    by_port: Mapping[int, int]
    states: Mapping[str, int]
    complete: bool


def connections(root: Path = Path("/")) -> Connections:
    """Count TCP connections. Raises: HostUnreadable: there is no table of them."""
    listened: set[int] = set()
    by_port: Counter[int] = Counter()
    states: Counter[str] = Counter()
    seen = 0
    for _, port, state in islice(_sockets(root), MOST_SOCKETS):
        seen += 1
        states[state] += 1
        if state == "listening":
            listened.add(port)
        elif state == "established":
            by_port[port] += 1
    kept = {port: count for port, count in by_port.items() if port in listened}
    return Connections(kept, states, seen < MOST_SOCKETS)


def listens_on_loopback(port: int, address: str, root: Path = Path("/")) -> bool:
    """Tell whether something here takes connections to a port at ``127.0.0.1`` or ``[::1]``.

    Raises:
        HostUnreadable: there is no table of sockets.
    """
    wanted = {address, *_EVERYWHERE}
    found = (each for each in islice(_sockets(root), MOST_SOCKETS) if each.state == "listening")
    return any(each.port == port and bare(each.address) in wanted for each in found)


def bare(address: str) -> str:
    """Return an address of IPv4 that is written as one of IPv6 as itself."""
    if not address.startswith("[::ffff:"):
        return address
    inner = ipaddress.IPv6Address(address.strip("[]")).ipv4_mapped
    return str(inner) if inner else address


def _sockets(root: Path) -> Iterator[_Socket]:
    found = False
    for name in ("tcp", "tcp6"):
        try:
            with (root / "proc/net" / name).open() as lines:
                found = True
                for line in islice(lines, 1, None):
                    if (socket := _parsed(line)) is not None:
                        yield socket
        except OSError:  # this kernel has no IPv6
            continue
    if not found:
        raise HostUnreadable("connections cannot be counted: there is no /proc/net/tcp")


def _parsed(line: str) -> _Socket | None:
    fields = line.split()
    address, colon, port = fields[1].partition(":") if len(fields) > 3 else ("", "", "")
    if not colon:
        return None
    state = STATES.get(fields[3], fields[3])
    # Addresses of others are not needed, and there may be a hundred thousand of them.
    return _Socket(address_of(address) if state == "listening" else "", int(port, 16), state)
