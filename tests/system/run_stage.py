"""Run one stage of an action as the executor does, inside a machine: `run_stage.py UNIT_ID STAGE.json [--leave]`.

Exits 0 where it ended well; with `--leave` as soon as it is started.
"""

import asyncio
import sys
from pathlib import Path

from ai_sysadmin.core.acting import Stage
from ai_sysadmin.executor.systemd import SystemdEffects
from ai_sysadmin.runtime.bus import SystemBus


async def main(unit_id: str, stage: Stage, *, leaves: bool) -> int:
    effects = SystemdEffects(SystemBus(), 90)
    await effects.start(unit_id, stage, {"AI_ACTION_ID": unit_id})
    while not leaves:
        unit = await effects.look(unit_id)
        assert unit is not None
        if not unit.running:
            sys.stdout.write(f"{unit.result} {unit.exit_status}\n{await effects.output(unit_id, 16_000)}")
            return 0 if unit.result == "success" else 1
        await asyncio.sleep(0.05)
    return 0


if __name__ == "__main__":
    given = Stage.model_validate_json(Path(sys.argv[2]).read_text())
    sys.exit(asyncio.run(main(sys.argv[1], given, leaves="--leave" in sys.argv)))
