"""An operator's own action for real: what systemd gives its program, whatever the argument, and where it may write."""

import json

import pytest

from ai_sysadmin.core.declared_settings import DeclaredAction
from tests.system.machine import Machine
from tests.system.suite import Suite

SUITE = Suite(start=())
TOLD = "/srv/told/argv"
DECLARED = {
    "name": "tell",
    "description": "Write down what it was given.",
    "risk": "disruptive",
    "command": ["/opt/bin/tell", "--site={site}", "{site}", "$HOME ${site} %n %% ;", "x{site}y"],
    "parameters": {"site": {"pattern": ".*"}},
    "writable_paths": ["/srv/told"],
}
TELL = f"""#!/usr/bin/python3
import json, sys
json.dump(sys.argv[1:], open("{TOLD}", "w"))
"""

# Runs one action as the executor does, if nothing stands in its way: what it looks at, then its unit, by D-Bus.
ACT = """
import asyncio, json, sys
from pathlib import Path
from ai_sysadmin.actions.action import Host
from ai_sysadmin.actions.catalogue.declared import entry_of
from ai_sysadmin.core.clock import SystemClock
from ai_sysadmin.core.declared_settings import DeclaredAction
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.executor.sessions import LogindSessions
from ai_sysadmin.executor.systemd import SystemdEffects
from ai_sysadmin.runtime.bus import SystemBus
from ai_sysadmin.sources.units import SystemdUnits

async def act(declared, arguments):
    bus = SystemBus()
    host = Host(Settings(host_name="box"), SystemdUnits(bus), LogindSessions(bus), SystemClock())
    action = entry_of(DeclaredAction.model_validate_json(declared)).model_validate_json(arguments)
    seen = await action.observe(host)
    said = {"obstacle": action.obstacle(seen)}
    if said["obstacle"] is None:
        effects = SystemdEffects(bus, 30)
        await effects.release("test")
        await effects.start("test", action.plan(seen).run, {})
        while (unit := await effects.look("test")).running:
            await asyncio.sleep(0.02)
        said["status"] = unit.exit_status
        await effects.release("test")
    print(json.dumps(said))

asyncio.run(act(*sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def machine(suite_machine: Machine) -> Machine:
    wrapper = suite_machine.path("/opt/bin/ai-sysadmin").read_text()
    suite_machine.put(wrapper.replace("-P -m ai_sysadmin", "-P /opt/act.py"), "/opt/bin/act", mode=0o755)
    suite_machine.put(ACT, "/opt/act.py")
    suite_machine.put(TELL, "/opt/bin/tell", mode=0o755)
    suite_machine.run(["mkdir", "-p", "/srv/told"]).ok()
    return suite_machine


def act(machine: Machine, site: str, **changes: object) -> dict[str, object]:
    declared = DeclaredAction.model_validate(DECLARED | changes)
    found: dict[str, object] = (
        machine.run(["/opt/bin/act", declared.model_dump_json(), json.dumps({"site": site})]).ok().json
    )
    return found


@pytest.mark.parametrize(
    "site", ["shop", "a b", "a; reboot", "%i%%", '"it\'s"', "back\\slash\\x41", "`id`", "{site}", "ä→", "x" * 256]
)
def test_a_program_is_given_each_argument_as_it_is(machine: Machine, site: str) -> None:
    machine.run(["rm", "-f", TOLD]).ok()
    assert act(machine, site) == {"obstacle": None, "status": 0}
    assert json.loads(machine.path(TOLD).read_text()) == [
        f"--site={site}",
        site,
        f"$HOME ${site} %n %% ;",
        f"x{site}y",
    ]


def test_it_writes_where_the_operator_says_and_nowhere_else(machine: Machine) -> None:
    assert act(machine, "shop", writable_paths=[])["status"] != 0


def test_a_program_that_another_user_could_change_does_not_run(machine: Machine) -> None:
    machine.run(["rm", "-f", TOLD]).ok()
    machine.run(["chown", "nobody", "/opt/bin/tell"]).ok()
    assert "belongs to the user id" in str(act(machine, "shop")["obstacle"])
    machine.run(["chown", "root", "/opt/bin/tell"]).ok()
    machine.run(["chmod", "1777", "/opt/bin"]).ok()
    assert "everybody may write /opt/bin" in str(act(machine, "shop")["obstacle"])
    machine.run(["chmod", "755", "/opt/bin"]).ok()
    assert not machine.path(TOLD).exists()
    assert act(machine, "shop")["status"] == 0
