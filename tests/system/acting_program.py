"""What the executor does with one entry of the catalogue, as a program inside a machine: look, run, check, look again.

`python acting_program.py REQUEST`: the request is JSON with the entry's name and arguments, the settings' actions, how
many days the entry is told that have passed, and a text of the stage's input with what stands for it.
"""

import asyncio
import json
import sys
from datetime import UTC, datetime, timedelta

from ai_sysadmin.actions.action import Action, Host
from ai_sysadmin.actions.catalogue import disk_space, journal_space, mounts, nix_garbage, temporary_paths
from ai_sysadmin.core.acting import Stage
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.executor.systemd import SystemdEffects
from ai_sysadmin.runtime.bus import SystemBus
from ai_sysadmin.sources.units import SystemdUnits
from ai_sysadmin.testing.host import FakeClock

ENTRIES = {
    entry.name: entry
    for module in (disk_space, journal_space, mounts, nix_garbage, temporary_paths)
    for entry in module.ENTRIES
}


class NoSessions:
    async def live(self):
        return []


async def ran(effects: SystemdEffects, stage: Stage, number: int) -> dict[str, object]:
    unit_id = f"trial-{stage.name}-{number}"
    await effects.start(unit_id, stage, {"AI_ACTION_ID": "trial"})
    while (unit := await effects.look(unit_id)) is not None and unit.running:
        await asyncio.sleep(0.02)
    output = await effects.output(unit_id, 4000)
    await effects.release(unit_id)
    return {"exit_status": unit.exit_status, "result": unit.result, "output": output}


async def act(action: Action, host: Host, effects: SystemdEffects, instead: tuple[str, str]) -> dict[str, object]:
    before = await action.observe(host)
    if (obstacle := action.refuse(host.settings) or action.obstacle(before)) is not None:
        return {"obstacle": obstacle, "warrant": action.warrant(before)}
    plan = action.plan(before)
    stage = plan.run.model_copy(update={"input": plan.run.input.replace(*instead)})
    run = await ran(effects, stage, 0)
    checks = [await ran(effects, check, number) for number, check in enumerate(plan.checks, 1)]
    now = await action.observe(host)
    return {
        "obstacle": None,
        "warrant": action.warrant(before),
        "commands": plan.run.commands,
        "run": run,
        "checks": checks,
        "shortfall": action.shortfall(before, now),
    }


async def main(request: dict) -> None:
    bus = SystemBus()
    host = Host(
        settings=Settings.model_validate({"actions": request.get("actions", {})}),
        units=SystemdUnits(bus),
        sessions=NoSessions(),
        clock=FakeClock(datetime.now(UTC) + timedelta(days=request.get("days", 0))),
    )
    action = ENTRIES[request["name"]].model_validate(request.get("arguments", {}))
    said = await act(action, host, SystemdEffects(bus, 30), request.get("instead", ("\0", "")))
    bus.close()
    print(json.dumps(said))


asyncio.run(main(json.loads(sys.argv[1])))
