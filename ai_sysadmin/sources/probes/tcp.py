"""Connect to a port, and read what the server says first."""

import asyncio

from ai_sysadmin.core.probe_settings import TcpProbe
from ai_sysadmin.sources.certificates import farewell
from ai_sysadmin.sources.probes.seen import ProbeFailed, Seen, plain, reason


async def look(probe: TcpProbe, seen: Seen) -> str:
    """Return what is good about it. Raises: ProbeFailed."""
    where = f"{probe.host}:{probe.port}"
    try:
        reader, writer = await asyncio.open_connection(probe.host, probe.port)
    except (OSError, UnicodeError) as error:
        why = reason(error) if isinstance(error, OSError) else str(error)
        raise ProbeFailed(f"{where} takes no connection: {why}") from error
    try:
        if peer := writer.get_extra_info("peername"):
            seen.note("address", peer[0])
        why = await _greeted(reader, probe, seen) if probe.expect_banner else f"{where} takes connections"
        await farewell(writer)
        return why
    finally:
        writer.transport.abort()


async def _greeted(reader: asyncio.StreamReader, probe: TcpProbe, seen: Seen) -> str:
    where = f"{probe.host}:{probe.port}"
    wanted = probe.expect_banner.encode()
    said = bytearray()
    try:
        while wanted.startswith(said) and len(said) < len(wanted) and (chunk := await reader.read(len(wanted))):
            said += chunk
    except OSError as error:
        raise ProbeFailed(f"{where} broke off: {reason(error)}") from error
    seen.note("banner", said.decode(errors="replace"))
    if not said.startswith(wanted):
        raise ProbeFailed(f"{where} does not begin with “{plain(probe.expect_banner)}” but with “{seen['banner']}”")
    return f"{where} greets as it should"
