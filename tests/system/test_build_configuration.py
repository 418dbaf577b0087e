"""A change of the configuration in the sandboxes of its stages, on a real systemd: built by the build user, rehearsed.

Git and Nix's evaluator are real; ``nix`` itself and the system's commands are stood in.
"""

import os
import sys
import sysconfig
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from ai_sysadmin.actions.catalogue.configuration import ApplyConfiguration
from ai_sysadmin.actions.catalogue.drafts import DraftConfiguration
from ai_sysadmin.actions.nixos.results import Built, Drafted, Rehearsed, last_line
from ai_sysadmin.core.acting import Stage
from ai_sysadmin.core.settings import Settings
from tests.nixos.changing import FILES
from tests.nixos.test_draft_configuration import GOOD
from tests.nixos.test_rehearsal import DRY_ACTIVATE
from tests.system.machine import Completed, Machine
from tests.system.suite import CHECKOUT, LIBRARIES, PROGRAMS, WRAPPER, Staged

HERE = Path(__file__)
PYTHON = Path(sys.base_prefix) / "bin" / f"python{sysconfig.get_python_version()}"
RUNNING = f"/nix/store/{'0' * 32}-nixos-system-before"
USER, HOME = "ai-sysadmin-build", "/var/lib/ai-sysadmin-build"
SETTINGS = Settings.model_validate(
    {
        "actions": {
            "nixos": {
                "repository": "/etc/nixos",
                "attribute": "h",
                "changes_file": "ai/changes.nix",
                "options": [{"option": "services.web.port", "type": "integer", "maximum": 65535}],
            }
        }
    }
)
STANDIN = """#!/bin/sh
export STANDIN_LOG="${{HOME:-/tmp}}/log" STANDIN_LIB=/opt/standin/lib.nix STANDIN_VALID="$(ls -d /nix/store/*)"
exec {python} -S /opt/standin/{name} "$@"
"""
_numbers = count()


@pytest.fixture(scope="module")
def machine(staged: Staged, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine with a build user, a configuration that root owns, and the stand-ins for Nix."""
    machine = Machine(f"building-{os.getpid()}", tmp_path_factory.mktemp("machines"))
    try:
        machine.up(staged.binds)
        _install(machine)
        yield machine
    finally:
        machine.down()


def _install(machine: Machine) -> None:
    machine.put(HERE.with_name("run_stage.py"), "/opt/run_stage.py")
    program = WRAPPER.format(checkout=CHECKOUT, libraries=LIBRARIES, python=PYTHON, module="ai_sysadmin")
    machine.put(program, str(PROGRAMS / "ai-sysadmin"), mode=0o755)
    machine.path("/usr/local/bin/ai-sysadmin").symlink_to(PROGRAMS / "ai-sysadmin")
    machine.put(HERE.parents[1] / "nixos/lib.nix", "/opt/standin/lib.nix")
    for name in ("nix", "nix-store"):
        machine.put(HERE.parents[1] / "nixos/standin_nix.py", f"/opt/standin/{name}")
        machine.put(STANDIN.format(python=PYTHON, name=name), f"/usr/local/bin/{name}", mode=0o755)
    machine.run(["useradd", "--system", "--home-dir", HOME, "--create-home", "--shell", "/bin/false", USER]).ok()
    machine.run(["mkdir", "-p", "/run/nixos", RUNNING]).ok()
    machine.run(["ln", "-s", RUNNING, "/run/current-system"]).ok()
    for name, text in FILES.items():
        machine.put(text, f"/etc/nixos/{name}")
    git = ("git", "-C", "/etc/nixos", "-c", "user.name=root", "-c", "user.email=root@localhost")
    machine.run([*git, "init", "--quiet", "--initial-branch=main"]).ok()
    machine.run([*git, "add", "--all"]).ok()
    machine.run([*git, "commit", "--quiet", "-m", "by hand"]).ok()


def run(machine: Machine, stage: Stage) -> tuple[str, Completed]:
    """Run a stage as the executor does; return its unit and how it ended."""
    name = f"b{next(_numbers)}"
    machine.put(stage.model_dump_json(), f"/opt/{name}.json")
    python = ("env", f"PYTHONPATH={CHECKOUT}:{LIBRARIES}", str(PYTHON), "-P", "/opt/run_stage.py")
    return f"ai-sysadmin-action-{name}.service", machine.run([*python, name, f"/opt/{name}.json"])


def exposure(machine: Machine, unit: str) -> float:
    shown = machine.run(["systemd-analyze", "security", "--no-pager", unit]).stdout
    return float(shown.split("Overall exposure level")[1].split(":")[1].split()[0])


def asked(value: str) -> ApplyConfiguration:
    given = {"option": "services.web.port", "value": value, "incident": "k7m3x9"}
    return ApplyConfiguration.model_validate(given).settle(SETTINGS)


def drafted(**more: str) -> DraftConfiguration:
    given = {"diff": GOOD, "title": "Another port", "incident": "k7m3x9", **more}
    return DraftConfiguration.model_validate(given).settle(SETTINGS)


def test_a_change_is_built_and_rehearsed_within_its_sandboxes(machine: Machine) -> None:
    action = asked("8080")
    first = action.preparation(())
    assert first is not None
    unit, done = run(machine, first)
    built = last_line(Built, done.ok().stdout)
    assert built.running == RUNNING
    assert exposure(machine, unit) <= 4.0
    machine.put(DRY_ACTIVATE, f"{built.store_path}/bin/switch-to-configuration", mode=0o755)
    second = action.preparation((done.stdout,))
    assert second is not None
    unit, rehearsed = run(machine, second)
    assert "sshd.service" in last_line(Rehearsed, rehearsed.ok().stdout).restart
    assert exposure(machine, unit) <= 4.0
    assert "sshd.service" in action.bind((done.stdout, rehearsed.stdout)).units
    owners = machine.run(["find", HOME, "!", "-user", USER]).ok().stdout
    assert not owners, "all that the build wrote is the build user's"
    assert not machine.run(["git", "-C", "/etc/nixos", "status", "--porcelain"]).ok().stdout


def test_what_is_refused_is_said_by_the_stage(machine: Machine) -> None:
    stage = asked("70000").preparation(())
    assert stage is not None
    _, done = run(machine, stage)
    assert done.exit_status == 1
    assert "is not of type" in done.stdout


def test_nothing_is_built_as_root(machine: Machine) -> None:
    stage = asked("8081").preparation(())
    assert stage is not None
    _, done = run(machine, stage.model_copy(update={"sandbox": stage.sandbox.model_copy(update={"user": ""})}))
    assert "not built as root" in done.stdout


def test_a_draft_is_written_where_there_is_no_network(machine: Machine) -> None:
    action = drafted(why='it says "hello"\nand more; $(reboot)')
    plan = action.plan(action.seen())
    unit, done = run(machine, plan.run)
    found = last_line(Drafted, done.ok().stdout)
    assert found.evaluates == "it evaluates"
    assert exposure(machine, unit) <= 4.0
    _, devices = run(machine, plan.run.model_copy(update={"commands": (("cat", "/proc/net/dev"),), "input": ""}))
    assert [line.split(":")[0].strip() for line in devices.ok().stdout.splitlines() if ":" in line] == ["lo"]
