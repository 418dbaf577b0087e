"""Ten thousand equal error lines: one incident, an exact count, at most one model call."""

from typing import Any

import pytest

from tests.system.machine import Machine
from tests.system.story import Story
from tests.system.suite import Suite

SUITE = Suite(models=("review", "meta"), options={"settings": {"trigger_monitor": {"burst_count": 100}}})
LINES = 10_000
BURST = """import sys, time
name, lines, status = sys.argv[1].split("-")
sys.stderr.write("".join(f"<3>upstream {number % 7} refused the connection\\n" for number in range(int(lines))))
sys.stderr.flush()
time.sleep(float(status) / 10)
sys.exit(int(status))
"""


@pytest.fixture(scope="module")
def story(suite_machine: Machine) -> Story:
    suite_machine.put(BURST, "/opt/burst.py")
    return Story(suite_machine)


def detail(story: Story, unit: str) -> dict[str, Any]:
    (incident,) = story.machine.eventually(lambda: story.incidents(unit), f"{unit} is an incident", 20)
    return dict(story.cli("incidents", "show", incident["id"]).ok().json)


def by_models(found: dict[str, Any]) -> int:
    """Count how often a model has judged an incident, and how often one has investigated it: each once at most."""
    return max(sum(each["model_calls"] > 0 for each in found[kind]) for kind in ("reviews", "investigations"))


def settled(story: Story, unit: str, lines: int) -> dict[str, Any]:
    """Return the unit's incident once it was judged and all its lines are counted."""

    def done() -> dict[str, Any] | None:
        found = detail(story, unit)
        counted = sum(each["count"] for each in found["symptoms"] if each["kind"] in {"severe_log", "suppressed"})
        return found if found["reviews"] and counted >= lines else None

    return dict(story.machine.eventually(done, f"all lines of {unit} are counted and judged", 30))


def read_and_last(story: Story) -> tuple[int, int]:
    """Return how many entries the monitor has accounted for, and the journal's last sequence number."""
    journal = story.cli("status").json["journal"]
    return journal["entries_read"] + journal["entries_lost"], journal["sequence"]


def test_ten_thousand_lines_are_one_incident_one_count_and_one_model_call(story: Story) -> None:
    before_count, before_sequence = read_and_last(story)
    unit = f"e2e-burst@a-{LINES}-0.service"
    story.machine.systemctl("start", unit).ok()
    found = settled(story, unit, LINES)
    assert {each["kind"]: each["count"] for each in found["symptoms"]}["severe_log"] == LINES
    assert found["incident"]["count"] == LINES
    assert by_models(found) <= 1
    after_count, after_sequence = read_and_last(story)
    assert after_count - before_count == after_sequence - before_sequence
    assert story.cli("status").json["journal"]["entries_lost"] == 0


def test_a_burst_and_the_failure_that_follows_are_one_incident(story: Story) -> None:
    unit = f"e2e-burst@b-{LINES}-1.service"
    story.machine.systemctl("start", unit).ok()
    found = settled(story, unit, LINES)
    assert found["incident"]["kind"] == "unit_failed"
    assert {each["kind"]: each["count"] for each in found["symptoms"]} == {
        "severe_log": LINES,
        "burst": 0,
        "unit_failed": 1,
    }
    assert by_models(found) <= 1
    assert len(story.incidents(unit)) == 1


def test_what_journald_suppressed_is_counted(story: Story) -> None:
    limits = "[Journal]\nRateLimitIntervalSec=2s\nRateLimitBurst=1000\n"
    story.machine.put(limits, "/etc/systemd/journald.conf.d/90-limit.conf")
    story.machine.systemctl("restart", "systemd-journald.service").ok()
    unit = f"e2e-burst@c-{LINES}-0.service"
    story.machine.systemctl("start", unit).ok()
    story.machine.eventually(lambda: story.incidents(unit), f"{unit} is an incident", 20)
    # after the limit's interval the unit's next line tells what was dropped; but journald forgets it where another
    # unit's first line comes in between
    for _ in range(4):
        story.machine.run(["sleep", "2.5"]).ok()
        story.machine.systemctl("restart", unit).ok()
        if "Suppressed" in story.machine.run(["journalctl", "-q", "-u", "systemd-journald", "-n", "20"]).stdout:
            break
    found = settled(story, unit, LINES)
    kinds = {each["kind"]: each["count"] for each in found["symptoms"]}
    assert kinds["suppressed"] > 0
    assert kinds["suppressed"] + kinds["severe_log"] >= LINES


def test_fifteen_units_that_fail_at_once_are_one_storm_and_one_review(story: Story) -> None:
    units = [f"e2e-once@storm{number}.service" for number in range(15)]
    story.machine.systemctl("start", "--no-block", *units).ok()

    def storm() -> dict[str, Any] | None:
        found = [each for each in story.cli("incidents").json["incidents"] if each["kind"] == "storm"]
        return dict(story.cli("incidents", "show", found[0]["id"]).ok().json) if found else None

    def judged() -> dict[str, Any] | None:
        found = storm()
        faults = {each["unit"] for each in found["symptoms"] if each["opens"]} if found else set()
        return found if found and faults >= set(units) and found["reviews"] else None

    found = story.machine.eventually(judged, "all of them are one storm that was judged", 30)
    live = [each for each in story.cli("incidents").json["incidents"] if each["state"] not in {"dismissed", "resolved"}]
    assert [each["kind"] for each in live] == ["storm"]
    assert by_models(found) <= 1
    assert [each for unit in units for each in story.actions(unit, "pending")] == []
