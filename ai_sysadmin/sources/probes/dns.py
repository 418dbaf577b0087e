"""Resolve a name by asking a DNS server: over UDP, and over TCP where the answer is too long for that."""

import asyncio
import secrets
import struct
from contextlib import suppress
from pathlib import Path
from typing import Final

from ai_sysadmin.core.probe_settings import DnsProbe
from ai_sysadmin.sources.probes.dns_message import Answers, MessageUnusable, answers, question, same
from ai_sysadmin.sources.probes.seen import ProbeFailed, Seen, plain, reason

RESOLV_CONF: Final = Path("/etc/resolv.conf")
TRIES: Final = 3
"""How often a server is asked: a datagram may get lost."""
ANOTHER_MAY_KNOW: Final = frozenset({"server failure", "not implemented", "refused"})
"""Answers that say something of the server, and nothing of the name."""


async def look(probe: DnsProbe, seen: Seen, resolv_conf: Path = RESOLV_CONF) -> str:
    """Return what is good about it. Raises: ProbeFailed."""
    try:
        question(0, probe.query, probe.record)
    except MessageUnusable as error:
        raise ProbeFailed(str(error)) from error
    servers = [probe.server] if probe.server else servers_in(resolv_conf)
    found = await _resolved(probe, servers, seen)
    if found.fault:
        raise ProbeFailed(f"{probe.query} does not resolve: {found.fault}")
    said = seen.note("answers", ", ".join(found.values))
    if not found.values:
        raise ProbeFailed(f"{probe.query} has no {probe.record} record")
    if probe.expect and not any(same(value, probe.expect) for value in found.values):
        raise ProbeFailed(f"{probe.query} resolves to {said} and not to {plain(probe.expect)}")
    return f"{probe.query} resolves to {said}"


def servers_in(resolv_conf: Path) -> list[str]:
    """Return the name servers that a host is set up with. Raises: ProbeFailed."""
    try:
        rows = [line.split() for line in resolv_conf.read_text(errors="replace").splitlines()]
    except OSError as error:
        raise ProbeFailed(f"{resolv_conf} cannot be read: {error.strerror}") from error
    found = [row[1] for row in rows if len(row) > 1 and row[0] == "nameserver"]
    if not found:
        raise ProbeFailed(f"{resolv_conf} names no DNS server")
    return found


async def _resolved(probe: DnsProbe, servers: list[str], seen: Seen) -> Answers:
    """Ask one server after the other, until one answers."""
    wait = probe.timeout_seconds / (TRIES * len(servers) + 1)
    why = ""
    for server in servers * TRIES:
        seen.note("server", server)
        try:
            found = await _asked(probe, server, wait)
        except TimeoutError:
            why = why or f"{server} does not answer"
        except (OSError, MessageUnusable) as error:
            why = f"{server}: {reason(error) if isinstance(error, OSError) else error}"
        else:
            if found.fault not in ANOTHER_MAY_KNOW:
                return found
            why = f"{server}: {found.fault}"
    raise ProbeFailed(f"{probe.query} does not resolve: {why}")


async def _asked(probe: DnsProbe, server: str, wait: float) -> Answers:
    number = secrets.randbelow(1 << 16)
    message = question(number, probe.query, probe.record)
    address = (server, probe.server_port)
    async with asyncio.timeout(wait):
        found = await _by_udp(message, number, probe, address)
        if not found.truncated:
            return found
        reply = await _by_tcp(message, address)
    return answers(reply, number, probe.query, probe.record)


class _Datagrams(asyncio.DatagramProtocol):
    """Takes the first datagram that answers the question; others are not listened to."""

    def __init__(self, number: int, probe: DnsProbe) -> None:
        self._number = number
        self._probe = probe
        self.found: asyncio.Future[Answers] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:  # noqa: ARG002 — it is connected
        with suppress(MessageUnusable):
            found = answers(data, self._number, self._probe.query, self._probe.record)
            if not self.found.done():
                self.found.set_result(found)

    def error_received(self, exc: Exception) -> None:
        if not self.found.done():
            self.found.set_exception(exc)


async def _by_udp(message: bytes, number: int, probe: DnsProbe, address: tuple[str, int]) -> Answers:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(lambda: _Datagrams(number, probe), remote_addr=address)
    try:
        transport.sendto(message)
        return await protocol.found
    finally:
        transport.close()


async def _by_tcp(message: bytes, address: tuple[str, int]) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(struct.pack("!H", len(message)) + message)
        length = struct.unpack("!H", await reader.readexactly(2))[0]
        return await reader.readexactly(length)
    except asyncio.IncompleteReadError as error:
        raise MessageUnusable("the answer ends early") from error
    finally:
        writer.transport.abort()
