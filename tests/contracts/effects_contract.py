"""What systemd does for the executor: the same assertions on the fake, and on a real systemd inside a machine.

Run as a program it checks the real one: `python -m tests.contracts.effects_contract UNIT`, where UNIT has failed and
runs at its next start.
"""

import asyncio
import sys

from ai_sysadmin.executor.systemd import ActionUnit, Effects, SystemdEffects
from ai_sysadmin.runtime.bus import SystemBus
from ai_sysadmin.sources.units import SystemdUnits, Units

ABOUT = {"AI_INCIDENT_ID": "abcdef", "AI_ACTION_ID": "contract"}


async def ended(effects: Effects, action_id: str) -> ActionUnit:
    async with asyncio.timeout(10):
        while True:
            unit = await effects.look(action_id)
            assert unit is not None, "an action's unit is kept until it is released"
            if not unit.running:
                return unit
            await asyncio.sleep(0.02)


async def a_failed_unit_is_seen(effects: Effects, units: Units, name: str) -> None:
    seen = await units.status(name)
    assert (seen.name, seen.load_state, seen.active_state) == (name, "loaded", "failed")
    assert seen.invocation
    assert name in [unit.name for unit in await units.failed()]


async def a_unit_that_does_not_exist_is_not_found(effects: Effects, units: Units, name: str) -> None:
    seen = await units.status("no-such-unit.service")
    assert (seen.load_state, seen.active_state) == ("not-found", "inactive")


async def an_action_that_was_never_started_is_unknown(effects: Effects, units: Units, name: str) -> None:
    assert await effects.look("never-0") is None
    await effects.release("never-0")


async def a_command_that_fails_is_told(effects: Effects, units: Units, name: str) -> None:
    await effects.start("fails-0", (("systemctl", "restart", "--", "no-such-unit.service"),), ABOUT)
    unit = await ended(effects, "fails-0")
    assert (unit.exit_status, unit.result) == (5, "exit-code")
    assert "fails-0" in await effects.held()
    await effects.release("fails-0")


async def an_action_runs_once_and_is_kept_until_released(effects: Effects, units: Units, name: str) -> None:
    before = await units.status(name)
    commands = (("systemctl", "reset-failed", "--", name), ("systemctl", "restart", "--", name))
    await effects.start("once-0", commands, ABOUT)
    unit = await ended(effects, "once-0")
    assert (unit.exit_status, unit.result) == (0, "success")
    after = await units.status(name)
    assert after.active_state == "active"
    assert after.invocation != before.invocation
    await effects.start("once-0", commands, ABOUT)  # again under the same id: nothing happens
    await ended(effects, "once-0")
    assert (await units.status(name)).invocation == after.invocation
    assert "once-0" in await effects.held()
    await effects.release("once-0")
    assert await effects.look("once-0") is None
    assert "once-0" not in await effects.held()


async def no_action_is_seen_as_ended_before_it_ran(effects: Effects, units: Units, name: str) -> None:
    commands = (("systemctl", "reset-failed", "--", name), ("systemctl", "restart", "--", name))
    for number in range(20):
        before = await units.status(name)
        await effects.start(f"quick-{number}", commands, ABOUT)
        await ended(effects, f"quick-{number}")
        assert (await units.status(name)).invocation != before.invocation
        await effects.release(f"quick-{number}")


CONTRACT = (
    a_failed_unit_is_seen,
    a_unit_that_does_not_exist_is_not_found,
    an_action_that_was_never_started_is_unknown,
    a_command_that_fails_is_told,
    an_action_runs_once_and_is_kept_until_released,
    no_action_is_seen_as_ended_before_it_ran,
)


async def check(effects: Effects, units: Units, name: str) -> list[str]:
    """Check every clause in order; return their names."""
    for clause in CONTRACT:
        await clause(effects, units, name)
    return [clause.__name__ for clause in CONTRACT]


async def _real(name: str) -> None:
    bus = SystemBus()
    print(*await check(SystemdEffects(bus, 30), SystemdUnits(bus), name), sep="\n")
    bus.close()


if __name__ == "__main__":
    asyncio.run(_real(sys.argv[1]))
