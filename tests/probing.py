"""Probes as settings declare them, and checks of them."""

from pydantic import TypeAdapter

from ai_sysadmin.core.probe_settings import ProbeSettings
from ai_sysadmin.sources.probes import ProbeResult, check
from ai_sysadmin.testing.host import FakeClock
from tests.serving import NOW

ANY: TypeAdapter[ProbeSettings] = TypeAdapter(ProbeSettings)
CLOCK = FakeClock(NOW)


def probe(type_: str, **settings: object) -> ProbeSettings:
    return ANY.validate_python({"type": type_, "name": "it", "timeout_seconds": 5, **settings})


async def checked(type_: str, **settings: object) -> ProbeResult:
    return await check(probe(type_, **settings), CLOCK)
