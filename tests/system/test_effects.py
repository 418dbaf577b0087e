"""The real systemd keeps the contract that the fake keeps."""

from pathlib import Path

from tests.contracts.effects_contract import CONTRACT
from tests.system.machine import Machine
from tests.system.story import Story
from tests.system.suite import Suite

SUITE = Suite(start=())
PROGRAM = Path(__file__).parents[1] / "contracts/effects_contract.py"


def test_the_real_systemd_keeps_the_contract(suite_machine: Machine) -> None:
    unit = Story(suite_machine).fail("contract")
    suite_machine.eventually(lambda: suite_machine.show(unit, "ActiveState")["ActiveState"] == "failed", "it failed")
    wrapper = suite_machine.path("/opt/bin/ai-sysadmin").read_text()
    suite_machine.put(wrapper.replace("-P -m ai_sysadmin", "-P /opt/contract.py"), "/opt/bin/contract", mode=0o755)
    suite_machine.put(PROGRAM, "/opt/contract.py")
    kept = suite_machine.run(["/opt/bin/contract", unit]).ok().stdout.split()
    assert len(kept) == len(CONTRACT)
