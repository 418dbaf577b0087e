"""An activation takes itself back on a real systemd: by its timer, by the next boot, by the executor; and only itself.

NixOS's own commands are scripts that stand in (tests/nixos_standin). No executor runs here: what is tested is what
holds when there is none. The stages are started through the executor's own effects.
"""

import os
import sys
import sysconfig
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from ai_sysadmin.actions.ladder import LAST_GOOD, Activation, stages
from ai_sysadmin.core.acting import Stage
from tests.nixos_standin import PENDING, WEB, Nixos
from tests.system.machine import Completed, Machine
from tests.system.suite import CHECKOUT, LIBRARIES, Staged

RUN_STAGE = Path(__file__).with_name("run_stage.py")
PYTHON = Path(sys.base_prefix) / "bin" / f"python{sysconfig.get_python_version()}"
GOOD, BETTER = WEB.format(seconds="infinity"), WEB.format(seconds="100000")
BROKEN = "[Service]\nExecStart=/bin/sh -c 'sleep 0.2; exit 3'\n"
_numbers = count()


class Host(Nixos):
    """The machine as NixOS, with how the executor starts stages."""

    def stage(self, stage: Stage, *options: str) -> Completed:
        name = f"t{next(_numbers)}"
        self.machine.put(stage.model_dump_json(), f"/opt/{name}.json")
        python = ("env", f"PYTHONPATH={CHECKOUT}:{LIBRARIES}", str(PYTHON), "-P", "/opt/run_stage.py")
        return self.machine.run([*python, name, f"/opt/{name}.json", *options])

    def timer(self) -> bool:
        return self.active("ai-sysadmin-rollback.timer") == "active"


@pytest.fixture(scope="module")
def host(staged: Staged, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    machine = Machine(f"rollback-{os.getpid()}", tmp_path_factory.mktemp("machines"))
    try:
        machine.up(staged.binds)
        machine.put(RUN_STAGE, "/opt/run_stage.py")
        yield Host(machine)
    finally:
        machine.down()


@pytest.fixture
def first(host: Host, request: pytest.FixtureRequest) -> str:
    """Return the system that runs and is the boot default when a test begins; nothing is pending."""
    host.machine.systemctl("stop", "ai-sysadmin-rollback.timer")
    host.machine.run(["flock", "/run/nixos/switch-to-configuration.lock", "true"])
    host.machine.run(["rm", "-rf", "/nix/var/nix/gcroots/ai-sysadmin"]).ok()
    system = host.make(f"{request.node.originalname[-30:]}-1", {"web.service": GOOD})
    host.install(system)
    assert (host.running, host.profile, host.default, host.active("web.service")) == (system, system, system, "active")
    return system


def ladder(activated: str, previous: str, rollback_seconds: float = 300) -> Activation:
    return stages(activated, previous, check_seconds=60, rollback_seconds=rollback_seconds)


def upto(stage: Stage, commands: int) -> Stage:
    """Return a stage as far as it came when the power failed."""
    return stage.model_copy(update={"commands": stage.commands[:commands]})


def test_what_holds_is_confirmed_and_never_taken_back(host: Host, first: str) -> None:
    second = host.make("confirmed", {"web.service": BETTER})
    steps = ladder(second, first)
    host.stage(steps.run).ok()
    assert (host.running, host.profile, host.default, host.pending) == (second, first, first, True)
    assert host.timer()
    host.stage(steps.confirm).ok()
    host.stage(steps.confirm).ok()  # a restarted executor does it again
    assert (host.running, host.profile, host.default, host.pending) == (second, second, second, False)
    assert not host.timer()
    assert host.machine.run(["readlink", LAST_GOOD]).stdout.strip() == second
    host.lose_power()
    assert (host.running, host.active("web.service")) == (second, "active")


def test_a_system_that_breaks_a_unit_is_undone_by_the_timer_alone(host: Host, first: str) -> None:
    second = host.make("broken", {"web.service": BROKEN})
    ran = host.stage(ladder(second, first, rollback_seconds=4).run)
    assert "starting the following units: web.service" in ran.stdout
    host.machine.eventually(lambda: host.active("web.service") == "failed", "it is broken")
    host.machine.eventually(lambda: host.running == first, "the timer went back", within=20)
    host.machine.eventually(lambda: host.active("web.service") == "active", "it works again")
    host.machine.eventually(lambda: not host.pending, "nothing waits any more")
    assert (host.profile, host.default) == (first, first)


def test_the_timer_waits_for_a_switch_that_holds_the_lock(host: Host, first: str) -> None:
    second = host.make("locked", {"web.service": BETTER})
    host.stage(ladder(second, first, rollback_seconds=3).run).ok()
    lock = "/run/nixos/switch-to-configuration.lock"
    host.machine.run(["systemd-run", "--unit=holder", "--collect", "flock", lock, "sleep", "6"]).ok()
    host.machine.eventually(lambda: host.running == first, "it went back once the lock was free", within=40)


def test_the_executor_takes_back_at_once(host: Host, first: str) -> None:
    second = host.make("reverted", {"web.service": BROKEN})
    steps = ladder(second, first)
    host.stage(steps.run)
    host.stage(steps.revert).ok()
    host.stage(steps.revert).ok()
    assert (host.running, host.profile, host.default, host.pending) == (first, first, first, False)
    assert host.active("web.service") == "active"
    assert not host.timer()


@pytest.mark.parametrize("commands", [4, 7])
def test_a_timer_that_fires_while_confirming_leaves_no_other_boot_default(
    host: Host, first: str, commands: int
) -> None:
    second = host.make("overtaken", {"web.service": BETTER})
    steps = ladder(second, first)
    host.stage(steps.run).ok()
    host.stage(upto(steps.confirm, commands)).ok()
    assert host.profile == second
    host.machine.run([f"{first}/bin/switch-to-configuration", "test"]).ok()
    host.machine.run(["rm", f"{PENDING}/activated"]).ok()
    assert host.stage(steps.confirm).exit_status != 0
    host.stage(steps.revert).ok()
    assert (host.running, host.profile, host.default, host.pending) == (first, first, first, False)


def test_whoever_switched_meanwhile_is_left_alone(host: Host, first: str) -> None:
    second, third = host.make("ours", {"web.service": BETTER}), host.make("theirs", {"web.service": BETTER})
    steps = ladder(second, first, rollback_seconds=4)
    host.stage(steps.run).ok()
    host.install(third)
    host.machine.eventually(lambda: not host.timer(), "the timer has elapsed", within=15)
    host.machine.eventually(lambda: host.active("ai-sysadmin-rollback.service") == "inactive", "it is done")
    assert (host.running, host.profile, host.default) == (third, third, third)
    assert host.stage(steps.confirm).exit_status != 0
    host.stage(steps.revert).ok()
    assert (host.running, host.profile, host.default, host.pending) == (third, third, third, False)


def test_whoever_made_it_the_boot_default_is_left_alone_by_the_timer(host: Host, first: str) -> None:
    second = host.make("adopted", {"web.service": BETTER})
    host.stage(ladder(second, first, rollback_seconds=3).run).ok()
    host.install(second)
    host.machine.eventually(lambda: not host.timer(), "the timer has elapsed", within=15)
    host.machine.eventually(lambda: host.active("ai-sysadmin-rollback.service") == "inactive", "it is done")
    assert (host.running, host.profile, host.default) == (second, second, second)


def test_nothing_is_activated_where_somebody_switched_since_the_look(host: Host, first: str) -> None:
    second, third = host.make("late", {"web.service": BETTER}), host.make("earlier", {"web.service": BETTER})
    steps = ladder(second, first)
    host.install(third, "test")
    assert host.stage(steps.run).exit_status != 0
    assert (host.running, host.pending, host.timer()) == (third, False, False)
    host.stage(steps.revert).ok()
    assert host.running == third


def test_power_lost_in_the_middle_of_an_activation_boots_the_system_before(host: Host, first: str) -> None:
    second = host.make("interrupted", {"web.service": BETTER}, {"activate": "#!/bin/sh\nexec sleep 100\n"})
    host.stage(ladder(second, first).run, "--leave").ok()
    host.machine.eventually(lambda: host.active("ai-sysadmin-activate.service") == "activating", "it hangs")
    host.lose_power()
    host.machine.eventually(lambda: not host.pending, "nothing waits any more")
    assert (host.running, host.profile, host.default) == (first, first, first)


def test_an_activation_killed_half_way_is_taken_back(host: Host, first: str) -> None:
    second = host.make("hanging", {"web.service": BETTER}, {"activate": "#!/bin/sh\nexec sleep 100\n"})
    steps = ladder(second, first)
    host.stage(steps.run, "--leave").ok()
    host.machine.eventually(lambda: host.active("ai-sysadmin-activate.service") == "activating", "it hangs")
    host.machine.systemctl("kill", "-s", "KILL", "ai-sysadmin-activate.service").ok()
    host.machine.eventually(lambda: host.active("ai-sysadmin-activate.service") == "inactive", "it is dead")
    host.stage(steps.revert).ok()
    assert (host.running, host.pending, host.timer()) == (first, False, False)


@pytest.mark.parametrize("commands", (3, 4, 6, 7))
def test_power_lost_while_activating_boots_the_system_before(host: Host, first: str, commands: int) -> None:
    second = host.make("unconfirmed", {"web.service": BETTER})
    host.stage(upto(ladder(second, first).run, commands)).ok()
    host.lose_power()
    host.machine.eventually(lambda: not host.pending, "nothing waits any more")
    assert (host.running, host.profile, host.default) == (first, first, first)
    assert host.active("web.service") == "active"


@pytest.mark.parametrize("commands", (2, 4, 7, 9, 12))
def test_power_lost_while_confirming_goes_back_until_it_is_done(host: Host, first: str, commands: int) -> None:
    second = host.make("half-confirmed", {"web.service": BETTER})
    steps = ladder(second, first)
    host.stage(steps.run).ok()
    host.stage(upto(steps.confirm, commands)).ok()
    confirmed = not host.pending
    host.lose_power()
    host.machine.eventually(lambda: not host.pending, "nothing waits any more")
    host.machine.eventually(lambda: host.active("ai-sysadmin-recover.service") == "inactive", "it is done")
    left = second if confirmed else first
    assert (host.running, host.profile, host.default) == (left, left, left)
    assert host.active("web.service") == "active"
