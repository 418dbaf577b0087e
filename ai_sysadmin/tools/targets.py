"""What may be reached: what settings name, and what this host is and is connected to. Nothing else."""

import asyncio
import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from ai_sysadmin.core.errors import Refused
from ai_sysadmin.core.probe_settings import CertificateProbe, DnsProbe, HttpProbe, ProbeSettings, TcpProbe
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.sources.connections import listens_on_loopback
from ai_sysadmin.sources.host.reading import attribute
from ai_sysadmin.sources.listening import address_of
from ai_sysadmin.sources.probes.dns import servers_in
from ai_sysadmin.sources.probes.seen import ProbeFailed
from ai_sysadmin.sources.reaching import address_in, written

_HOST_PORT: Final = re.compile(r"(?:\[([^\]\s]+)\]|([^:\s\[\]/]+)):(\d{1,5})")
_HOST: Final = re.compile(r"[A-Za-z0-9_:][A-Za-z0-9_.:%-]{0,252}")
_LOOPBACK_URL: Final = re.compile(r"http://(127\.0\.0\.1|\[::1\]|localhost)(?::(\d{1,5}))?/?", re.IGNORECASE)


class HowAsked(NamedTuple):
    """How a URL of the settings is asked for."""

    method: str = "GET"
    verify: bool = True


class Place(NamedTuple):
    """A host, and perhaps a port (0: none was given)."""

    host: str
    port: int


@dataclass(frozen=True)
class Targets:
    """Hosts as ``host_key`` writes them, and URLs as ``url_key`` does."""

    hosts: frozenset[str] = frozenset()
    urls: Mapping[str, HowAsked] = field(default_factory=dict)


def host_key(host: str) -> str:
    """Return a host's name or address in the one way in which it is compared."""
    address = address_in(host)
    if address is not None:
        return str(address)
    return host.strip("[]").rstrip(".").lower()


def url_key(url: str) -> str:
    """Return a URL as it is compared: exactly, but for the case of its host and the slash of an empty path."""
    parts = urlsplit(url)
    return parts._replace(scheme=parts.scheme.lower(), netloc=parts.netloc.lower(), path=parts.path or "/").geturl()


def place_in(target: str) -> Place | None:
    """Read ``host``, ``host:port``, ``[address]:port`` or an address; none: it is neither."""
    match = _HOST_PORT.fullmatch(target)
    if match and _HOST.fullmatch(match[1] or match[2]) and 0 < int(match[3]) < 1 << 16:
        return Place(match[1] or match[2], int(match[3]))
    bare = target[1:-1] if target.startswith("[") and target.endswith("]") else target
    if not _HOST.fullmatch(bare) or (":" in bare and address_in(bare) is None):
        return None
    return Place(bare, 0)


def loopback_place(url: str) -> Place | None:
    """Return where on this host a URL of a port's first page leads; none: it is another URL."""
    match = _LOOPBACK_URL.fullmatch(url)
    port = int(match[2] or 80) if match else 0
    if match is None or not 0 < port < 1 << 16:
        return None
    return Place("::1" if match[1] == "[::1]" else "127.0.0.1", port)


async def check_listens(place: Place, root: Path) -> None:
    """Raises: Refused: nothing on this host listens at a place, whose host is 127.0.0.1 or ::1."""
    address = "[::1]" if place.host == "::1" else place.host
    if not await asyncio.to_thread(listens_on_loopback, place.port, address, root):
        raise Refused(f"nothing on this host listens on {written(*place)}; `listening` shows what does")


def targets_of(settings: Settings) -> Targets:
    """Return what settings name."""
    hosts: set[str] = set()
    urls: dict[str, HowAsked] = {}
    for text in (*settings.tools.targets, *_backends(settings)):
        if "://" not in text:
            hosts.update(_host_of(text))
    named = [(text, HowAsked()) for text in settings.tools.targets if "://" in text]
    for endpoint in (each for each in settings.trigger_monitor.certificates if not each.startswith("/")):
        hosts.update(_host_of(endpoint))
        named.append((f"https://{endpoint.removesuffix(':443')}/", HowAsked()))
    for probe in settings.trigger_monitor.probes:
        hosts.update(_hosts_of(probe))
        if isinstance(probe, HttpProbe):
            named.append((probe.url, HowAsked(probe.method, probe.verify_tls)))
    for url, how in named:
        parts = urlsplit(url)
        if parts.scheme in {"http", "https"} and parts.hostname:
            urls.setdefault(url_key(url), how)
            hosts.add(host_key(parts.hostname))
    return Targets(frozenset(hosts), urls)


def _backends(settings: Settings) -> Iterator[str]:
    """Yield the hosts of the model servers."""
    backends = settings.backends
    for backend in (backends.trigger, backends.review, backends.meta, backends.embedding):
        if backend is not None:
            yield urlsplit(backend.url).hostname or ""


def _host_of(text: str) -> Iterator[str]:
    place = place_in(text)
    if place is not None:
        yield host_key(place.host)


def _hosts_of(probe: ProbeSettings) -> Iterator[str]:
    match probe:
        case TcpProbe():
            yield host_key(probe.host)
        case DnsProbe():
            yield host_key(probe.query)
            if probe.server:
                yield host_key(probe.server)
        case CertificateProbe() if probe.host:
            yield host_key(probe.host)
        case _:
            return


def own_hosts(root: Path = Path("/")) -> frozenset[str]:
    """Return this host's names, addresses, gateways and name servers."""
    proc = root / "proc"
    addresses = {"127.0.0.1", "::1", *_addresses_of_4(proc), *_addresses_of_6(proc)}
    names = {"localhost", attribute(proc / "sys/kernel/hostname"), attribute(root / "etc/hostname")}
    for line in attribute(root / "etc/hosts").splitlines():
        fields = line.partition("#")[0].split()
        if fields and host_key(fields[0]) in addresses:
            names.update(fields[1:])
    found = {host_key(each) for each in (*addresses, *names, *_gateways(proc), *resolvers(root)) if each}
    return frozenset(found - {"(none)"})


def resolvers(root: Path = Path("/")) -> list[str]:
    """Return the name servers that this host is set up with, those behind systemd-resolved too."""
    found: list[str] = []
    for name in ("etc/resolv.conf", "run/systemd/resolve/resolv.conf"):
        try:
            found += servers_in(root / name)
        except ProbeFailed:
            continue
    return list(dict.fromkeys(found))


def _addresses_of_4(proc: Path) -> Iterator[str]:
    before = ""
    for line in attribute(proc / "net/fib_trie").splitlines():
        text = line.strip()
        if text == "/32 host LOCAL":
            yield before
        before = text.removeprefix("|-- ")


def _addresses_of_6(proc: Path) -> Iterator[str]:
    for line in attribute(proc / "net/if_inet6").splitlines():
        digits = line.partition(" ")[0]
        if len(digits) == 32:
            yield str(ipaddress.IPv6Address(bytes.fromhex(digits)))


def _gateways(proc: Path) -> Iterator[str]:
    for line in attribute(proc / "net/route").splitlines()[1:]:
        fields = line.split()
        if len(fields) > 2 and len(fields[2]) == 8 and int(fields[2], 16):
            yield address_of(fields[2])
    for line in attribute(proc / "net/ipv6_route").splitlines():
        fields = line.split()
        if len(fields) > 4 and len(fields[4]) == 32 and int(fields[4], 16):
            yield str(ipaddress.IPv6Address(bytes.fromhex(fields[4])))
