"""SIGKILL of every service at every stage: the incident ends the same, nothing twice, nothing lost.

`make test` does the ten that matter most; `make test-crash` does all of them.
"""

import itertools
from typing import Any

import pytest

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
