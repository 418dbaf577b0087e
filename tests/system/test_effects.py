"""The real systemd keeps the contract that the fake keeps; without root, polkit draws the line."""

from pathlib import Path

import pytest

from tests.contracts.effects_contract import CONTRACT, EXECUTOR, REAL
from tests.system.machine import Machine
from tests.system.story import Story
from tests.system.suite import PROGRAMS, Suite

SUITE = Suite(start=())
CONTRACTS = Path(__file__).parents[1] / "contracts"
LISTED, OTHER, FAILING = "e2e-once@polkit.service", "systemd-journald.service", "e2e-never.service"
NEVER = "[Service]\nType=oneshot\nExecStart=/bin/false\n"
POLKIT = {"settings": {"executor": {"rights": "polkit", "polkit_units": [LISTED, FAILING]}}}
UNIT = "ai-sysadmin-executor.service"
DROP_IN = f"/run/systemd/system/{UNIT}.d/contract.conf"
IN_ITS_PLACE = """[Service]
Type=oneshot
Restart=no
TimeoutStartSec=90
ExecStart=
ExecStart={command}
"""


def put_program(machine: Machine, name: str) -> str:
    """Put one of the contracts on the machine; return the program that runs it."""
    wrapper = machine.path(str(PROGRAMS / "ai-sysadmin")).read_text()
    program = f"/opt/bin/{name}"
    module = wrapper.replace("-P -m ai_sysadmin", f"-P -m tests.contracts.{name}")
    machine.put(module.replace("PYTHONPATH=", "PYTHONPATH=/opt/contracts:"), program, mode=0o755)
    for package in ("tests", "tests/contracts"):
        machine.put("", f"/opt/contracts/{package}/__init__.py")
    for path in CONTRACTS.glob("*effects*.py"):
        machine.put(path, f"/opt/contracts/tests/contracts/{path.name}")
    return program


def failed(machine: Machine, name: str) -> str:
    """Return a unit that has failed and runs at its next start."""
    unit = Story(machine).fail(name)
    machine.eventually(lambda: machine.show(unit, "ActiveState")["ActiveState"] == "failed", "it failed")
    return unit


def run_as_the_executor(machine: Machine, command: str) -> list[str]:
    """Run a program in the executor's unit, in place of it; return the lines that it printed."""
    machine.put(IN_ITS_PLACE.format(command=command), DROP_IN)
    machine.systemctl("daemon-reload").ok()
    done = machine.systemctl("start", UNIT, timeout=100)
    lines = [str(entry["MESSAGE"]) for entry in machine.journal(_SYSTEMD_UNIT=UNIT, _TRANSPORT="stdout")]
    machine.path(DROP_IN).unlink()
    machine.systemctl("daemon-reload").ok()
    assert done.exit_status == 0, "\n".join(lines)
    return lines


def test_the_real_systemd_keeps_the_contract(suite_machine: Machine) -> None:
    unit = failed(suite_machine, "contract")
    kept = suite_machine.run([put_program(suite_machine, "effects_contract"), unit]).ok().stdout.split()
    assert len(kept) == len(CONTRACT) + len(REAL)


def test_the_executors_own_sandbox_leaves_it_its_work(suite_machine: Machine) -> None:
    unit = failed(suite_machine, "sandboxed")
    program = put_program(suite_machine, "effects_contract")
    kept = run_as_the_executor(suite_machine, f"{program} {unit} sandboxed")
    assert len(kept) == len(EXECUTOR)


@pytest.fixture(scope="module")
def polkit_machine(boot_suite) -> Machine:
    machine: Machine = boot_suite(Suite(start=(), options=POLKIT))
    machine.put(NEVER, f"/run/systemd/system/{FAILING}")
    return machine


def test_without_root_it_does_what_polkit_allows_and_nothing_else(polkit_machine: Machine) -> None:
    assert failed(polkit_machine, "polkit") == LISTED
    program = put_program(polkit_machine, "polkit_effects")
    kept = run_as_the_executor(polkit_machine, f"{program} {LISTED} {OTHER} {FAILING}")
    assert kept[-1] == "it_may_ask_that_sleep_waits"


def test_without_the_rules_it_may_do_nothing(polkit_machine: Machine) -> None:
    polkit_machine.systemctl("stop", LISTED).ok()
    polkit_machine.path("/run/e2e-polkit").unlink()
    failed(polkit_machine, "polkit")
    polkit_machine.path("/etc/polkit-1/rules.d/10-nixos.rules").unlink()
    polkit_machine.systemctl("restart", "polkit.service").ok()
    program = put_program(polkit_machine, "polkit_effects")
    with pytest.raises(AssertionError, match="systemd refuses to reset-failed"):
        run_as_the_executor(polkit_machine, f"{program} {LISTED} {OTHER} {FAILING}")
