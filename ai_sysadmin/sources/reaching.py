"""Reaching a host at an address that was checked first: which addresses never, what a name resolves to, one request.

A name is resolved once, and the connection is made to the address that was found and checked, so that a name server
that answers otherwise a second time changes nothing.
"""

import asyncio
import errno
import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from io import BytesIO
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from ai_sysadmin.core.errors import AiSysadminError, Refused
from ai_sysadmin.sources.certificates import tls_context
from ai_sysadmin.sources.host import Aside, Hung
from ai_sysadmin.sources.probes.seen import plain, reason

MOST_BODY_BYTES: Final = 64 << 10
_MOST_HEAD_BYTES: Final = 32 << 10
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_METADATA: Final = frozenset(
    ipaddress.ip_address(each) for each in ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "192.0.0.192")
)
_END_OF_HEAD: Final = b"\r\n\r\n"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str], Awaitable[Sequence[str]]]


class Unreached(AiSysadminError):
    """The other side cannot be reached, or does not answer as it should."""


class Answer(NamedTuple):
    """What a web server said. ``cut``: there was more of the body, or its end did not come in time."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes
    cut: bool


def address_in(text: str) -> Address | None:
    """Return the address that a text is; none: it is a name."""
    try:
        return ipaddress.ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None


def why_never(address: str) -> str:
    """Say why nothing is ever sent to an address: the clouds' metadata services above all; empty: it may be asked."""
    found = address_in(address)
    if found is None:
        return "it is no address"
    for each in _meant(found):
        if each.is_link_local or each in _METADATA:
            return f"{each} is link-local, or a cloud's metadata service"
        if each.is_multicast or each.is_unspecified or str(each) == "255.255.255.255":
            return f"{each} is not one host's"
    return ""


def _meant(address: Address) -> list[Address]:
    """Return an address, and the one of IPv4 that stands in it, if any does."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    # The last 32 bits: translated by NAT64, or written behind ::.
    if address in _NAT64 or int(address) >> 32 == 0:
        inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [address, *(each for each in inner if each is not None and int(each) > 1)]


def written(address: str, port: int) -> str:
    """Return an address, or a host's name, with a port as it is written."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


class SystemResolver:
    """Resolves as programs on this host do, in one thread aside: a resolver that hangs costs no more than it."""

    def __init__(self, within_seconds: float = 6.0) -> None:
        self._aside = Aside()
        self._within_seconds = within_seconds

    async def __call__(self, name: str) -> Sequence[str]:
        """Return the addresses of a name. Raises: Unreached."""
        try:
            found = await self._aside.ask(name, lambda: _addresses(name), self._within_seconds)
        except Hung as error:
            raise Unreached(f"{error.what} does not resolve within {self._within_seconds:g} s") from error
        except OSError as error:
            raise Unreached(f"{name} does not resolve: {reason(error)}") from error
        except UnicodeError as error:
            raise Unreached(f"{name} cannot be a name") from error
        return found


def _addresses(name: str) -> list[str]:
    rows = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(row[4][0]) for row in rows))


async def addresses_of(host: str, resolve: Resolve) -> Sequence[str]:
    """Return the addresses of a host, all of which may be asked.

    Raises:
        Refused: one of them never is.
        Unreached: it has none.
    """
    given = address_in(host)
    found = [str(given)] if given is not None else list(await resolve(host))
    if not found:
        raise Unreached(f"{host} has no address")
    for address in found:
        if why := why_never(address):
            raise Refused(f"{host} is never asked: {why}")
    return found


async def connect(address: str, port: int, *, timeout_seconds: float) -> float:
    """Connect to a port and leave again; return how many seconds that took. Raises: Unreached, saying why."""
    where = written(address, port)
    began = time.monotonic()
    try:
        async with asyncio.timeout(timeout_seconds):
            _, writer = await asyncio.open_connection(address, port)
    except TimeoutError as error:
        raise Unreached(f"{where} did not answer within {timeout_seconds:g} s{_may_be_ours(address)}") from error
    except OSError as error:
        raise Unreached(f"{where} takes no connection: {_why(error)}") from error
    writer.transport.abort()
    return time.monotonic() - began


def _why(error: OSError) -> str:
    """Return why a connection failed, and who may be behind it."""
    is_barred = error.errno == errno.EPERM and not isinstance(error, ssl.SSLError)
    return reason(error) + (" (by this service's own sandbox or the host's firewall)" if is_barred else "")


def _may_be_ours(address: str) -> str:
    """Say that silence need not be the other side's: a service that may only talk to this host hears nothing else."""
    found = address_in(address)
    if found is None or found.is_loopback:
        return ""
    return " (nor would it where this service's sandbox, IPAddressDeny, lets it talk to this host only)"


async def ask(url: str, address: str, *, timeout_seconds: float, method: str = "GET", verify: bool = True) -> Answer:
    """Ask a web server at an address for a URL, once: no redirect is followed, no more than 64 KiB are read.

    Raises:
        Unreached: it does not answer, or not in HTTP, or its certificate does not verify.
    """
    parts = urlsplit(url)
    tls = tls_context(verify) if parts.scheme == "https" else None
    port = parts.port or (443 if tls else 80)
    head = f"{method} {parts.path or '/'}{'?' + parts.query if parts.query else ''} HTTP/1.1\r\n"
    host = parts.netloc.rpartition("@")[2]
    head += f"Host: {host}\r\nUser-Agent: ai-sysadmin-probe\r\nAccept: */*\r\nAccept-Encoding: identity\r\n"
    request = (head + "Connection: close\r\n\r\n").encode("ascii", errors="replace")
    said = bytearray()
    try:
        async with asyncio.timeout(timeout_seconds):
            await _exchange(address, port, tls, parts.hostname or "", request, said)
    except TimeoutError as error:
        if _END_OF_HEAD not in said:
            late = f"{url} did not answer within {timeout_seconds:g} s{_may_be_ours(address)}"
            raise Unreached(late) from error
    except ssl.SSLCertVerificationError as error:
        raise Unreached(f"{url}: its certificate does not verify: {plain(error.verify_message)}") from error
    except (OSError, UnicodeError) as error:
        if not said:
            why = _why(error) if isinstance(error, OSError) else plain(str(error))
            raise Unreached(f"{url} does not answer: {why}") from error
    return _parsed(bytes(said), url, method)


async def _exchange(
    address: str, port: int, tls: ssl.SSLContext | None, name: str, request: bytes, said: bytearray
) -> None:
    reader, writer = await asyncio.open_connection(address, port, ssl=tls, server_hostname=name if tls else None)
    try:
        writer.write(request)
        await writer.drain()
        while not _is_whole(said) and (chunk := await reader.read(1 << 14)):
            said += chunk
    finally:
        writer.transport.abort()  # the server was told that this is all, and mostly has closed already


def _is_whole(said: bytearray) -> bool:
    """Tell whether no more is to be read: the answer is at its end, or as long as it is ever read."""
    head, end, body = bytes(said).partition(_END_OF_HEAD)
    if not end:
        return len(said) > _MOST_HEAD_BYTES
    if len(body) > MOST_BODY_BYTES:
        return True
    lines = [line.partition(b":") for line in head.lower().split(b"\r\n")[1:]]
    fields = {name.strip(): value.strip() for name, _, value in lines}
    if fields.get(b"transfer-encoding", b"") == b"chunked":
        return body.endswith(b"0\r\n\r\n")
    length = fields.get(b"content-length", b"")
    return length.isdigit() and len(length) < 20 and len(body) >= int(length)


class _Said:
    """Bytes in the shape in which the parser asks for them."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_: object, **__: object) -> BytesIO:
        return BytesIO(self._data)


def _parsed(said: bytes, url: str, method: str) -> Answer:
    response = http.client.HTTPResponse(_Said(said), method=method)  # type: ignore[arg-type]  # it only reads
    try:
        response.begin()
    except (http.client.HTTPException, ValueError) as error:
        words = plain(said[:80].decode(errors="replace"))
        how = f"answers with {words!r}, which is not HTTP" if words else "closes the connection without an answer"
        raise Unreached(f"{url} {how}") from error
    cut = False
    try:
        body = response.read(MOST_BODY_BYTES + 1)
        cut = len(body) > MOST_BODY_BYTES or bool(response.length)
    except http.client.IncompleteRead as error:
        body, cut = error.partial, True
    except (http.client.HTTPException, ValueError):
        body, cut = b"", True
    headers = {name.lower(): plain(value) for name, value in response.getheaders()}
    return Answer(response.status, plain(response.reason), headers, body[:MOST_BODY_BYTES], cut)
