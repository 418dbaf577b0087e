"""What addresses this host lives by: its own, its gateways', its name servers', and who is connected to it.

All of it is read from ``/proc/1/net``, the network of the host's first process: a service without a network of its own
sees it too, as long as it may see that process.
"""

import ipaddress
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from ai_sysadmin.sources.host.reading import HostUnreadable
from ai_sysadmin.sources.listening import address_of

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NET: Final = "proc/1/net"
_RESOLVERS: Final = ("etc/resolv.conf", "run/systemd/resolve/resolv.conf")
_MOST_LINES: Final = 1_000_000
_ESTABLISHED: Final = "01"
_BYTES_OF_4: Final = 4


class TcpPeer(NamedTuple):
    """The far end of an established connection; ``port`` is the one here, ``uid`` whose the socket is."""

    address: Address
    port: int
    uid: int


class OwnNetwork(NamedTuple):
    """``own`` holds the addresses of this host, those to which it broadcasts too."""

    own: frozenset[Address]
    gateways: frozenset[Address]
    resolvers: frozenset[Address]


def own_network(root: Path = Path("/")) -> OwnNetwork:
    """Return the addresses that this host lives by. Raises: HostUnreadable."""
    net = root / _NET
    own = {*_own_4(net), *_own_6(net)}
    return OwnNetwork(frozenset(own), frozenset((*_gateways_4(net), *_gateways_6(net))), frozenset(_resolvers(root)))


def tcp_peers(root: Path = Path("/"), only: Iterable[Address] | None = None) -> Iterator[TcpPeer]:
    """Return the far ends of all established connections. Raises: HostUnreadable.

    Args:
        only: of these addresses; none: of all. There may be a hundred thousand connections.
    """
    net = root / _NET
    wanted = None if only is None else {text for address in only for text in _as_written(address)}
    for name, is_needed in (("tcp", True), ("tcp6", False)):
        for line in islice(_lines(net / name, is_needed=is_needed), 1, None):
            fields = line.split(None, 8)
            far = fields[2].partition(":")[0] if len(fields) > 8 and fields[3] == _ESTABLISHED else ""
            if far and (wanted is None or far in wanted):
                local = fields[1].partition(":")[2]
                yield TcpPeer(plain(address_of(far).strip("[]")), int(local, 16), int(fields[7]))


def plain(text: str) -> Address:
    """Return an address; one of IPv4 that is written as one of IPv6 is one of IPv4. Raises: ValueError."""
    return unmapped(ipaddress.ip_address(text))


def unmapped(address: Address) -> Address:
    """Return an address; one of IPv4 within one of IPv6 is one of IPv4."""
    inner = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return inner or address


def _as_written(address: Address) -> Iterator[str]:
    """Yield how the kernel writes an address: words of eight digits in the machine's own order; of IPv4 in two ways."""
    step = -1 if sys.byteorder == "little" else 1
    packed = address.packed
    forms = [packed, bytes(10) + b"\xff\xff" + packed] if len(packed) == _BYTES_OF_4 else [packed]
    for form in forms:
        yield "".join(form[start : start + 4][::step].hex().upper() for start in range(0, len(form), 4))


def _lines(path: Path, *, is_needed: bool) -> Iterator[str]:
    """Yield a table's lines; one that is not needed may be missing, since a kernel may have no IPv6."""
    try:
        with path.open(errors="replace") as file:
            for number, line in enumerate(file):
                if number == _MOST_LINES:
                    raise HostUnreadable(f"{path} has more than {_MOST_LINES} lines")
                yield line
    except OSError as error:
        if is_needed or not isinstance(error, FileNotFoundError):
            raise HostUnreadable(f"{path} cannot be read: {error.strerror}") from error


def _own_4(net: Path) -> Iterator[Address]:
    before = ""
    for line in _lines(net / "fib_trie", is_needed=True):
        text = line.strip()
        if text.startswith("/32 ") and text.endswith((" LOCAL", " BROADCAST")):
            yield ipaddress.IPv4Address(before)
        elif text.startswith(("|-- ", "+-- ")):
            before = text[4:]


def _own_6(net: Path) -> Iterator[Address]:
    for line in _lines(net / "if_inet6", is_needed=False):
        yield ipaddress.IPv6Address(bytes.fromhex(line.split()[0]))


def _gateways_4(net: Path) -> Iterator[Address]:
    for line in islice(_lines(net / "route", is_needed=True), 1, None):
        fields = line.split()
        if len(fields) > 2 and int(fields[2], 16):
            yield ipaddress.ip_address(address_of(fields[2]))


def _gateways_6(net: Path) -> Iterator[Address]:
    for line in _lines(net / "ipv6_route", is_needed=False):
        fields = line.split()
        if len(fields) > 4 and int(fields[4], 16):
            yield ipaddress.IPv6Address(bytes.fromhex(fields[4]))


def _resolvers(root: Path) -> Iterator[Address]:
    for name in _RESOLVERS:
        for line in _lines(root / name, is_needed=False):
            fields = line.split()
            if len(fields) > 1 and fields[0] == "nameserver":
                try:
                    yield plain(fields[1].partition("%")[0])
                except ValueError:  # a line that no resolver understands either
                    continue
