"""What the executor without root can do and cannot: a program for inside a machine, run in the executor's own unit.

`python -m tests.contracts.polkit_effects LISTED OTHER FAILING`: polkit lets it touch the first unit, which has failed
and runs at its next start, and the third, which never starts; not the second, which runs.
"""

import asyncio
import sys
from collections.abc import Awaitable, Sequence

from ai_sysadmin.core.acting import Stage
from ai_sysadmin.executor.inhibitor import Inhibitor
from ai_sysadmin.executor.polkit import PolkitEffects
from ai_sysadmin.executor.systemd import CannotStart, SystemdEffects
from ai_sysadmin.runtime.bus import MANAGER, MANAGER_PATH, BusRefused, SystemBus
from ai_sysadmin.sources.units import SystemdUnits
from tests.contracts.effects_contract import Clause, check, ended, stage, systemctl

LISTED, OTHER, FAILING = sys.argv[1:4]
MEND = (("ResetFailedUnit", LISTED), ("RestartUnit", LISTED))
DENIED = {"org.freedesktop.DBus.Error.AccessDenied", "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"}


async def refused(trying: Awaitable[object]) -> str:
    try:
        await trying
    except CannotStart as refusal:
        return str(refusal)
    raise AssertionError("it was not refused")


def restarts(unit: str) -> Stage:
    return stage(systemctl("restart", unit))


async def a_listed_unit_is_mended_once(effects: PolkitEffects, units: SystemdUnits, name: str) -> None:
    before = await units.status(name)
    assert before.active_state == "failed"
    await effects.start("mend-0", restarts(name), {}, MEND)
    unit = await ended(effects, "mend-0")
    assert (unit.exit_status, unit.result) == (0, "success")
    after = await units.status(name)
    assert after.active_state == "active"
    await effects.start("mend-0", restarts(name), {}, MEND)
    assert (await units.status(name)).invocation == after.invocation
    assert await effects.held() == ["mend-0"]
    await effects.release("mend-0")
    assert await effects.look("mend-0") is None
    assert await PolkitEffects(SystemBus(), (LISTED,), 10).look("mend-0") is None, "the next executor knows nothing"


async def a_job_that_fails_is_told(effects: PolkitEffects, units: SystemdUnits, name: str) -> None:
    await effects.start("failing-0", restarts(FAILING), {}, (("StartUnit", FAILING), ("RestartUnit", name)))
    before = await units.status(name)
    unit = await ended(effects, "failing-0")
    assert (unit.exit_status, unit.result) == (1, "failed")
    assert (await units.status(name)).invocation == before.invocation, "what follows a job that failed is not done"
    # a unit that cannot be reloaded
    said = await refused(effects.start("reload-0", restarts(name), {}, (("ReloadUnit", name),)))
    assert "not applicable" in said


async def polkit_refuses_what_is_not_listed(effects: PolkitEffects, units: SystemdUnits, name: str) -> None:
    before = await units.status(OTHER)
    assert "executor.polkit_units" in await refused(
        effects.start("other-0", restarts(OTHER), {}, (("RestartUnit", OTHER),))
    )
    # also where the executor itself would let it pass
    careless = PolkitEffects(SystemBus(), (LISTED, OTHER), 10)
    said = await refused(careless.start("other-1", restarts(OTHER), {}, (("RestartUnit", OTHER),)))
    assert "systemd refuses to restart" in said
    assert await careless.look("other-1") is None
    assert await units.status(OTHER) == before


async def it_can_neither_stop_nor_run_a_command(effects: PolkitEffects, units: SystemdUnits, name: str) -> None:
    assert "root" in await refused(effects.start("stop-0", restarts(name), {}, (("StopUnit", name),)))
    assert "root" in await refused(effects.start("run-0", stage(("true",)), {}))
    said = await refused(SystemdEffects(SystemBus(), 10).start("transient-0", stage(("true",)), {}))
    assert any(denied in said for denied in DENIED), said


async def polkit_refuses_every_other_call(effects: PolkitEffects, units: SystemdUnits, name: str) -> None:
    bus = SystemBus()
    for member, signature, body in (
        ("StopUnit", "ss", [name, "replace"]),
        ("KillUnit", "ssi", [name, "all", 9]),
        ("MaskUnitFiles", "asbb", [[name], True, False]),
        ("Reload", "", []),
        ("Reboot", "", []),
    ):
        try:
            await bus.call(MANAGER_PATH, MANAGER, member, signature, body)
        except BusRefused as refusal:
            assert refusal.name in DENIED, (member, str(refusal))
        else:
            raise AssertionError(f"{member} was allowed")
    bus.close()


async def it_may_ask_that_sleep_waits(effects: PolkitEffects, units: SystemdUnits, name: str) -> None:
    async with Inhibitor(SystemBus()).held("mending") as delays:
        assert delays


CLAUSES: Sequence[Clause] = (
    a_listed_unit_is_mended_once,
    a_job_that_fails_is_told,
    polkit_refuses_what_is_not_listed,
    it_can_neither_stop_nor_run_a_command,
    polkit_refuses_every_other_call,
    it_may_ask_that_sleep_waits,
)


async def _real() -> None:
    bus = SystemBus()
    print(*await check(PolkitEffects(bus, (LISTED, FAILING), 10), SystemdUnits(bus), LISTED, CLAUSES), sep="\n")
    bus.close()


if __name__ == "__main__":
    asyncio.run(_real())
