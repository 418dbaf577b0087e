"""The fake systemd keeps the contract; ``tests/system/test_effects.py`` holds the real one to it."""

from ai_sysadmin.testing.fake_systemd import FakeSystemd
from tests.contracts.effects_contract import CONTRACT, check

UNIT = "web.service"


async def test_the_fake_keeps_the_contract():
    systemd = FakeSystemd(programs={"echo": lambda argv: (0, " ".join(argv[1:]) + "\n"), "false": lambda argv: (1, "")})
    systemd.add(UNIT, active="failed", result="exit-code")
    assert len(await check(systemd, systemd, UNIT)) == len(CONTRACT)
