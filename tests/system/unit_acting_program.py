"""What the executor does with one entry of the catalogue, as a program inside a machine: look, run, hold, take back.

`python unit_acting_program.py REQUEST`: the request is JSON with the entry's name and arguments, and how long to hold.
The argument `meanwhile` is a process's start that takes the place of the one that was looked at when the unit runs.
"""

import asyncio
import json
import sys
from typing import Any

from ai_sysadmin.actions.action import Action, Host
from ai_sysadmin.actions.catalogue import certificates, diagnostics, processes, unit_files, units
from ai_sysadmin.core.acting import Stage
from ai_sysadmin.core.clock import SystemClock
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.executor.sessions import LogindSessions
from ai_sysadmin.executor.systemd import SystemdEffects
from ai_sysadmin.runtime.bus import SystemBus
from ai_sysadmin.sources.units import SystemdUnits

ENTRIES = {
    entry.name: entry
    for module in (units, unit_files, certificates, processes, diagnostics)
    for entry in module.ENTRIES
}
SETTINGS = {
    "actions": {"kill_grace_seconds": 0.5},
    "trigger_monitor": {"certificates": ["/etc/t/*/cert.pem"]},
}


async def ran(effects: SystemdEffects, stage: Stage) -> dict[str, Any]:
    unit_id = f"trial-{stage.name}"
    await effects.start(unit_id, stage, {"AI_ACTION_ID": "trial"})
    while (unit := await effects.look(unit_id)) is not None and unit.running:
        await asyncio.sleep(0.02)
    output = await effects.output(unit_id, 8000)
    await effects.release(unit_id)
    return {"exit_status": unit.exit_status, "result": unit.result, "output": output}


async def held(action: Action, host: Host, before: Any, seconds: float) -> dict[str, Any]:
    first = now = await action.observe(host)
    shortfall, disturbed = action.shortfall(before, now), None
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while loop.time() < until and not (shortfall or disturbed):
        await asyncio.sleep(0.1)
        now = await action.observe(host)
        shortfall, disturbed = action.shortfall(before, now), action.disturbed(first, now)
    status = getattr(now, "status", None)
    after = [status.active_state, status.unit_file_state] if status else []
    return {"shortfall": shortfall, "disturbed": disturbed, "after": after}


async def act(action: Action, host: Host, effects: SystemdEffects, hold: float, meanwhile: str) -> dict[str, Any]:
    before = await action.observe(host)
    obstacle = action.refuse(host.settings) or action.obstacle(before)
    said: dict[str, Any] = {"obstacle": obstacle, "warrant": action.warrant(before), "risk": action.risk(before).value}
    if obstacle is not None:
        return said
    plan = action.plan(before)
    said["does"] = plan.does
    stage = plan.run
    if meanwhile:
        (argv,) = stage.commands
        stage = stage.model_copy(update={"commands": ((*argv[:-2], meanwhile, argv[-1]),)})
    said["run"] = await ran(effects, stage)
    said |= await held(action, host, before, hold)
    said["checks"] = [await ran(effects, check) for check in plan.checks]
    said["reverted"] = await ran(effects, plan.revert) if plan.revert else None
    return said


async def main(request: dict[str, Any]) -> None:
    bus = SystemBus()
    host = Host(
        settings=Settings.model_validate(SETTINGS),
        units=SystemdUnits(bus),
        sessions=LogindSessions(bus),
        clock=SystemClock(),
    )
    arguments = request["arguments"]
    meanwhile = arguments.pop("meanwhile", "")
    action = ENTRIES[request["name"]].model_validate(arguments)
    said = await act(action, host, SystemdEffects(bus, 30), request["hold"], meanwhile)
    bus.close()
    print(json.dumps(said))


asyncio.run(main(json.loads(sys.argv[1])))
