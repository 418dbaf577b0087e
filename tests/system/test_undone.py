"""A configuration change that breaks the web server is undone without a person, whoever dies meanwhile.

`tests/system/undoing.py` says what is stood in. The executor is the one of module.nix, in its own unit and sandbox.
"""

from collections.abc import Callable

import pytest

from ai_sysadmin.core.acting import ActionState
from tests.system.machine import Machine
from tests.system.power import Disk
from tests.system.suite import Suite
from tests.system.undoing import BREAKS, HOLDS, NIXOS, STARVES, WEB, Undoing

PROBE = {"name": "web", "type": "http", "url": "http://127.0.0.1/", "every_seconds": 3600, "units": [WEB]}
SETTINGS = {"executor": {"post_check_seconds": 1}, "actions": {"nixos": NIXOS}}
SUITE = Suite(start=(), options={"settings": SETTINGS})
PROBED = Suite(start=(), options={"settings": {**SETTINGS, "trigger_monitor": {"probes": [PROBE]}}})


@pytest.fixture(scope="module")
def host(suite_machine: Machine) -> Undoing:
    return Undoing(suite_machine)


@pytest.fixture(scope="module")
def disk(host: Undoing) -> Disk:
    return Disk(host.machine)


@pytest.fixture(autouse=True)
def _begin(host: Undoing) -> None:
    host.begin()


def test_what_breaks_the_web_server_is_undone(host: Undoing) -> None:
    facts = host.live(host.request(BREAKS))
    assert facts.state is ActionState.REVERTED, facts.text
    assert "web.service is failed" in facts.text or "failed: web.service" in facts.text
    assert host.wait_for(host.first)
    assert host.activations == ["port-7070", "first"]
    assert host.audit_holds()


def test_what_holds_is_made_to_last(host: Undoing) -> None:
    facts = host.live(host.request(HOLDS))
    assert facts.state is ActionState.SUCCEEDED, facts.text
    assert host.wait_for(host.build(HOLDS))


def test_what_only_its_users_notice_is_undone(boot_suite: Callable[[Suite], Machine]) -> None:
    """The unit runs and systemd is content; the operator's probe is not."""
    host = Undoing(boot_suite(PROBED))
    facts = host.live(host.request(STARVES))
    assert facts.state is ActionState.REVERTED, facts.text
    assert "probe web fails" in facts.text
    assert "413" in facts.text
    assert host.wait_for(host.first)


EVENTS = ("preparing", "asked", "approved", "started", "ran", "reverting", "finished")
WHENS = ("uncommitted", "committed", "torn", "told")
BROKEN_AT = (
    *(f"{event} {when}" for event in EVENTS for when in WHENS),
    *("kept uncommitted", "kept committed", "build begun", "dry-activate begun", "run begun", "revert begun"),
)
HELD_AT = (*(f"confirming {when}" for when in WHENS), "confirm begun", "finished uncommitted", "finished torn")
UNPROVED = ("started committed", "started torn", "started told")
"""Killed between the intent and the start: nobody could prove that it did not run, so it is not run."""
FIRST = {
    *("kept committed", "approved told", "started committed", "run begun", "ran uncommitted"),
    *("reverting committed", "revert begun", "finished uncommitted", "confirming told", "confirm begun"),
}


def points(*every: str) -> list[object]:
    return [pytest.param(each, marks=() if each in FIRST else pytest.mark.crash) for each in every]


@pytest.mark.parametrize("point", points(*BROKEN_AT))
def test_killed_anywhere_what_breaks_is_still_undone(host: Undoing, point: str) -> None:
    host.arm(point)
    facts = host.live(host.request(BREAKS))
    host.machine.eventually(lambda: host.died, "the executor is killed")  # the last line follows its event
    assert host.wait_for(host.first)
    if point in UNPROVED:
        assert (facts.state, host.activations) == (ActionState.UNKNOWN, []), facts.text
    else:
        assert facts.state is ActionState.REVERTED, facts.text
        assert host.activations == ["port-7070", "first"]
    assert host.audit_holds()


@pytest.mark.parametrize("point", points(*HELD_AT))
def test_killed_anywhere_what_holds_still_lasts(host: Undoing, point: str) -> None:
    host.arm(point)
    facts = host.live(host.request(HOLDS))
    host.machine.eventually(lambda: host.died, "the executor is killed")  # the last line follows its event
    assert facts.state is ActionState.SUCCEEDED, facts.text
    assert host.wait_for(host.build(HOLDS))
    assert host.activations == ["size-2m"]


def test_killed_while_it_is_activated(host: Undoing) -> None:
    host.build(BREAKS, seconds=1.5)
    request = host.request(BREAKS)
    host.live_until(request, ActionState.STARTED)
    host.machine.eventually(lambda: host.activations, "the activation script runs")
    host.kill()
    assert host.ended(request).state is ActionState.REVERTED
    assert host.wait_for(host.first)
    assert host.activations == ["port-7070", "first"]
    host.build(BREAKS)


def test_killed_again_and_again_while_it_is_checked(host: Undoing) -> None:
    request = host.request(HOLDS)
    host.live_until(request, ActionState.RAN)
    for _ in range(3):
        host.kill()
        host.machine.eventually(lambda: host.active("ai-sysadmin-executor.service") == "active", "it is back")
    assert host.ended(request).state is ActionState.SUCCEEDED
    assert host.wait_for(host.build(HOLDS))
    assert host.activations == ["size-2m"]


LOST_AT = {
    # what the change is, how it ends, and which system runs then
    "approved told": (BREAKS, ActionState.EXPIRED, False),
    "started told": (BREAKS, ActionState.UNKNOWN, False),
    "run begun": (BREAKS, ActionState.UNKNOWN, False),
    "ran uncommitted": (BREAKS, ActionState.UNKNOWN, False),
    "ran told": (HOLDS, ActionState.FAILED, False),
    "reverting told": (BREAKS, ActionState.FAILED, False),
    "revert begun": (BREAKS, ActionState.FAILED, False),
    "finished uncommitted": (BREAKS, ActionState.FAILED, False),
    "confirming told": (HOLDS, ActionState.UNKNOWN, False),
    "confirm begun": (HOLDS, ActionState.UNKNOWN, None),
    "finished torn": (HOLDS, ActionState.SUCCEEDED, True),
}
OFTEN = {"run begun", "ran told", "reverting told", "confirm begun"}


def test_the_disk_drops_what_was_not_synced(disk: Disk) -> None:
    assert disk.drops()


@pytest.mark.parametrize(
    "point", [pytest.param(each, marks=() if each in OFTEN else pytest.mark.crash) for each in LOST_AT]
)
def test_power_lost_anywhere_one_whole_system_runs(host: Undoing, disk: Disk, point: str) -> None:
    change, state, lasts = LOST_AT[point]
    made = host.build(change)
    request = host.request(change)
    host.arm(point, stays=True)
    host.live_until_dead(request)
    disk.cut()
    runs = host.wait_for(*{True: [made], False: [host.first], None: [made, host.first]}[lasts])
    facts = host.ended(request)
    assert facts.state is state, facts.text
    assert host.running == runs
    assert host.audit_holds()


def test_power_lost_while_it_is_activated(host: Undoing, disk: Disk) -> None:
    host.build(BREAKS, seconds=5)
    request = host.request(BREAKS)
    host.live_until(request, ActionState.STARTED)
    host.machine.eventually(lambda: host.activations, "the activation script runs")
    disk.cut()
    assert host.wait_for(host.first)
    facts = host.ended(request)
    assert facts.state is ActionState.UNKNOWN
    assert "runs, and not nixos-system-h" in facts.text
    host.build(BREAKS)
