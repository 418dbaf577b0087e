"""SIGKILL of every service at every stage, and of the executor at every write of its journal.

The incident ends the same; nothing is done twice, nothing is lost or unaccounted for. `make test` does those that
matter most; `make test-crash` does all of them.
"""

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from tests.system import crash_points
from tests.system.crash_points import (
    EVERYWHERE,
    HELD,
    KINDS,
    RESTART,
    REVERTED,
    SAID,
    SWITCHED,
    UNPROVED,
    Crashing,
    Kind,
)
from tests.system.machine import Machine
from tests.system.story import STAGES, Story
from tests.system.suite import Suite

SUITE = Suite(
    models=("review",),
    options={"settings": {"executor": {"post_check_seconds": 1}, "trigger_monitor": {"storm_incidents": 0}}},
)
STARTED = "39f53479d3a045ac8e11786248231fbf"
"""systemd's MESSAGE_ID of a unit that was started."""
KILLER = """import subprocess, sys, time
event, victim = sys.argv[1:]
follow = ["journalctl", "-f", "--no-tail", f"--since=@{time.time():.6f}", "-o", "json", f"AI_EVENT={event}"]
with subprocess.Popen(follow, stdout=subprocess.PIPE) as log:
    subprocess.run(["systemd-notify", "--ready"], check=True)
    log.stdout.readline()
    subprocess.run(["systemctl", "kill", "--signal=KILL", victim], check=True)
    log.terminate()
"""
SERVICES = ("trigger-monitor", "review-model", "meta-model", "executor", "api")
FIRST_TEN = {
    ("trigger-monitor", "incident_opened"),
    ("review-model", "review_started"),
    ("review-model", "review_finished"),
    ("meta-model", "review_finished"),
    ("review-model", "action_finished"),
    ("executor", "request_submitted"),
    ("executor", "action_approved"),
    ("executor", "action_started"),
    ("executor", "action_ran"),
    ("api", "action_asked"),
}
EVERY = [*itertools.product(SERVICES, STAGES), ("llama-review", "review_started")]


def cases() -> list[Any]:
    first = [pytest.param(*case, id="-at-".join(case)) for case in EVERY if case in FIRST_TEN]
    rest = [
        pytest.param(*case, id="-at-".join(case), marks=pytest.mark.crash) for case in EVERY if case not in FIRST_TEN
    ]
    return first + rest


@pytest.fixture(scope="module")
def story(suite_machine: Machine) -> Story:
    suite_machine.put(KILLER, "/opt/killer.py")
    return Story(suite_machine)


def arm(story: Story, victim: str, event: str) -> str:
    """Have a service killed at the next log of an event; return the killer's unit."""
    killer = f"killer-{victim}-{event}.service"
    argv = ["systemd-run", "-q", f"--unit={killer}", "--service-type=notify", "-p", "NotifyAccess=all"]
    story.machine.run([*argv, "/usr/bin/python3", "/opt/killer.py", event, unit_of(victim)]).ok()
    return killer


def unit_of(service: str) -> str:
    return f"{service}.service" if service.startswith("llama-") else f"ai-sysadmin-{service}.service"


def kills(story: Story, victim: str) -> int:
    return int(story.machine.show(unit_of(victim), "NRestarts")["NRestarts"])


@pytest.mark.parametrize(("victim", "event"), cases())
def test_killed_at_a_stage_the_incident_ends_the_same(story: Story, victim: str, event: str) -> None:
    machine, before = story.machine, kills(story, victim)
    killer = arm(story, victim, event)
    unit = story.fail(f"{victim}_{event}")
    action = story.pending(unit)
    approved = ["actions", "approve", action["id"]]
    machine.eventually(
        lambda: story.cli(*approved).exit_status == 0 or not story.actions(unit, "pending"), "it is approved", 20
    )

    def over() -> bool:
        found = story.incidents(unit)
        return bool(found) and found[0]["state"] in {"resolved", "needs_person"}

    machine.eventually(over, f"the incident of {unit} is over", 30)
    machine.eventually(lambda: kills(story, victim) > before, f"{victim} was killed and came back", 15)
    assert machine.show(killer, "ActiveState")["ActiveState"] != "active", "nobody was killed"
    check_the_end(story, unit)


def check_the_end(story: Story, unit: str) -> None:
    (incident,) = story.incidents(unit)
    (action,) = story.actions(unit)
    if action["state"] == "unknown":  # killed between the intent and the start: that is not run again
        assert len(starts(story, unit)) <= 2
    else:
        assert (incident["state"], action["state"]) == ("resolved", "succeeded"), action["text"]
        assert len(starts(story, unit)) == 2  # the one that failed, and one restart
    assert len(starts(story, f"ai-sysadmin-action-{action['id']}.service")) <= 1


def starts(story: Story, unit: str) -> list[dict[str, Any]]:
    return story.machine.journal(MESSAGE_ID=STARTED, UNIT=unit)


def test_after_all_that_no_entry_was_lost(story: Story) -> None:
    def all_read() -> dict[str, Any] | None:
        journal: dict[str, Any] = story.cli("status").json["journal"]
        last = story.machine.run(["journalctl", "-q", "-n", "1", "-o", "json"]).ok().json["__CURSOR"]
        return journal if journal["sequence"] >= sequence_of(last) - 20 else None

    journal = story.machine.eventually(all_read, "the journal was read to its end", 20)
    assert journal["entries_lost"] == 0
    # nothing twice either: as many were read as the journal has numbered, from its first to the last that was read
    assert journal["entries_read"] == journal["sequence"] - first_sequence(story) + 1


def first_sequence(story: Story) -> int:
    first = story.machine.run(["sh", "-c", "journalctl -q -o json | head -n 1"]).ok()
    return sequence_of(first.json["__CURSOR"])


def sequence_of(cursor: str) -> int:
    return int(dict(part.split("=", 1) for part in cursor.split(";"))["i"], 16)


# --- the executor, at every write of its journal

FIRST_POINTS = {
    (RESTART.name, "approved committed"),
    (RESTART.name, "started committed"),
    (RESTART.name, "run begun"),
    (RESTART.name, "ran uncommitted"),
    (RESTART.name, "finished torn"),
    (REVERTED.name, "asked uncommitted"),
    (REVERTED.name, "revert begun"),
    (SWITCHED.name, "kept uncommitted"),
    (SWITCHED.name, "confirm begun"),
    (HELD.name, "check-last begun"),
}


def points() -> list[Any]:
    every = [(kind, point, [point]) for kind in KINDS for point in kind.points]
    every += [(kind, "everywhere", EVERYWHERE[kind]) for kind in KINDS if kind.said]
    return [
        pytest.param(
            kind,
            armed,
            id=f"{kind.name}-{point.replace(' ', '-')}",
            marks=() if (kind.name, point) in FIRST_POINTS else pytest.mark.crash,
        )
        for kind, point, armed in every
    ]


@pytest.fixture(scope="module")
def crashing(boot_suite: Callable[[Suite], Machine]) -> Crashing:
    return Crashing(boot_suite(crash_points.SUITE))


@pytest.mark.parametrize(("kind", "armed"), points())
async def test_killed_at_a_write_each_action_is_done_once_and_accounted_for(
    crashing: Crashing, kind: Kind, armed: list[str], request: pytest.FixtureRequest
) -> None:
    name = request.node.callspec.id.removeprefix(f"{kind.name}-")
    action, counted = crashing.wanted(kind, name)
    before, earlier = len(crashing.done(counted)), len(await crashing.events())
    crashing.arm(armed)
    asked, state = await crashing.live(action)
    assert crashing.unspent == [], "it was not killed there"

    unproved = armed[0] in UNPROVED
    assert crashing.done(counted)[before:] == ([] if unproved else list(kind.does))
    assert state == ("unknown" if unproved else kind.ends)
    events = await crashing.events()
    assert [each.sequence for each in events] == list(range(1, len(events) + 1))
    assert {each.action_id for each in events[earlier:]} == {asked.id}
    said = SAID[kind]
    assert [each.kind.value for each in events[earlier:]] == [
        each for each in said if not unproved or each in said[: said.index("started") + 1] or each == "finished"
    ]
    assert events[-1].outcome is not None
    assert events[-1].outcome.kind == state
    crashing.check_audit(events)
