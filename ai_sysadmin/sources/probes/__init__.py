"""Carry out the probes that an operator declared: http, tcp, dns and certificate.

A probe starts no process, sends no body, and takes what it is told for text of strangers. The four kinds have a file
each; ``dns_message`` is DNS as bytes.
"""

import asyncio
import time

from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.probe_settings import CertificateProbe, DnsProbe, HttpProbe, ProbeSettings, TcpProbe
from ai_sysadmin.core.records import Record
from ai_sysadmin.sources.probes import certificate, dns, http, tcp
from ai_sysadmin.sources.probes.seen import ProbeFailed, Seen

__all__ = ["ProbeResult", "check"]


class ProbeResult(Record):
    """What a check came to. ``why`` is one sentence, ``observed`` what was seen; both may hold a stranger's words."""

    ok: bool
    why: str
    seconds: float
    observed: dict[str, str]


async def check(probe: ProbeSettings, clock: Clock) -> ProbeResult:
    """Carry out a probe once, within its ``timeout_seconds`` in all. A target that fails is a result, no error."""
    started = time.monotonic()
    seen = Seen()
    try:
        async with asyncio.timeout(probe.timeout_seconds):
            why = await _look(probe, clock, seen)
        ok = True
    except ProbeFailed as failed:
        why, ok = str(failed), False
    except TimeoutError:
        why, ok = f"{target_of(probe)} did not answer within {probe.timeout_seconds:g} s", False
    return ProbeResult(ok=ok, why=why, seconds=time.monotonic() - started, observed=dict(seen))


async def _look(probe: ProbeSettings, clock: Clock, seen: Seen) -> str:
    """Return in one sentence what is good. Raises: ProbeFailed."""
    match probe:
        case HttpProbe():
            return await http.look(probe, seen)
        case TcpProbe():
            return await tcp.look(probe, seen)
        case DnsProbe():
            return await dns.look(probe, seen)
        case CertificateProbe():
            return await certificate.look(probe, clock.now(), seen)


def target_of(probe: ProbeSettings) -> str:
    """Name what a probe looks at, for a sentence."""
    match probe:
        case HttpProbe():
            return probe.url
        case TcpProbe():
            return f"{probe.host}:{probe.port}"
        case DnsProbe():
            return f"the DNS server for {probe.query}"
        case CertificateProbe():
            return str(probe.path) if probe.path else f"{probe.host}:{probe.port}"
