"""One real incident through every layer: a real unit, a real systemd, real model servers, the units of module.nix."""

import statistics
from collections.abc import Sequence
from typing import Any

import pytest

from tests.system.machine import Machine
from tests.system.story import STAGES, Story
from tests.system.suite import Suite

SUITE = Suite(
    models=("trigger", "review", "meta"),
    options={"settings": {"executor": {"post_check_seconds": 2}, "trigger_monitor": {"storm_incidents": 0}}},
)
MODELS = ("llama-trigger.service", "llama-review.service", "llama-meta.service")


@pytest.fixture(scope="module")
def story(suite_machine: Machine) -> Story:
    return Story(suite_machine)


def in_order(steps: Sequence[str], events: list[str]) -> bool:
    left = iter(events)
    return all(step in left for step in steps)


def test_a_failed_unit_is_noticed_judged_approved_restarted_and_resolved(suite_machine: Machine, story: Story) -> None:
    unit = story.fail("flow")
    action = story.pending(unit)
    assert action["name"] == "restart_unit"
    assert action["arguments"] == {"unit": unit}
    waiting = story.ends(unit, "awaiting_approval")

    for nobody in ("bob", "ai-sysadmin", "ai-sysadmin-api"):  # the suite's own users propose, and never decide
        refused = story.cli("actions", "approve", action["id"], user=nobody)
        assert refused.exit_status == 3, refused
    assert story.actions(unit, "pending"), "a refused approval changed the action"
    assert suite_machine.show(unit, "ActiveState")["ActiveState"] == "failed"

    story.cli("actions", "approve", action["id"], user="alice").ok()
    resolved = story.ends(unit, "resolved")
    assert resolved["id"] == waiting["id"]
    assert suite_machine.show(unit, "ActiveState")["ActiveState"] == "active"
    assert in_order(STAGES, story.events(resolved["id"])), story.events(resolved["id"])

    detail = story.cli("incidents", "show", resolved["id"]).ok().json
    first = detail["reviews"][0]  # a nonsense model's cause may have no words: then the rules' judgement stands
    assert (first["model_calls"] > 0, "unusable" in str(first["notes"])) == (True, False), first["notes"]
    assert [each["state"] for each in detail["actions"]] == ["succeeded"]
    # the transient unit carried the incident's id too, and nothing of it is left
    assert suite_machine.journal(AI_INCIDENT_ID=resolved["id"], _SYSTEMD_UNIT="ai-sysadmin-executor.service")
    left = suite_machine.systemctl("list-units", "--all", "--plain", "--no-legend", "ai-sysadmin-action-*").stdout
    assert left.strip() == ""


def test_a_failure_is_an_incident_within_two_seconds(story: Story) -> None:
    units = [story.fail(f"quick{number}") for number in range(10)]
    taken = []
    for unit in units:
        (incident,) = story.machine.eventually(lambda unit=unit: story.incidents(unit), f"{unit} is an incident")
        taken.append(story.seconds_to_notice(unit, incident["id"]))
    print(f"from systemd's word to the incident: median {statistics.median(taken):.2f} s, most {max(taken):.2f} s")
    assert statistics.median(taken) < 2


def test_status_is_ok_while_everything_runs(story: Story) -> None:
    status = story.cli("status").ok().json
    assert (status["state"], status["reasons"]) == ("ok", [])
    assert {backend["state"] for backend in status["backends"]} == {"ready"}


def test_without_any_model_the_rules_do_it(suite_machine: Machine, story: Story) -> None:
    suite_machine.systemctl("stop", *MODELS).ok()
    unit = story.fail("rules")
    action = story.pending(unit)
    status = story.cli("status").json
    assert status["state"] == "degraded"
    assert any("review" in reason for reason in status["reasons"]), status["reasons"]
    story.cli("actions", "approve", action["id"]).ok()
    resolved = story.ends(unit, "resolved")
    detail = story.cli("incidents", "show", resolved["id"]).ok().json
    assert detail["reviews"][0]["judged_by"] == "rules"
    suite_machine.systemctl("start", *MODELS).ok()


def test_the_suite_does_not_hear_itself(suite_machine: Machine, story: Story) -> None:
    every: list[dict[str, Any]] = story.cli("incidents").ok().json["incidents"]
    assert [incident["unit"] for incident in every if not incident["unit"].startswith("e2e-")] == []


def test_without_the_api_status_still_tells_what_systemd_knows(suite_machine: Machine, story: Story) -> None:
    suite_machine.systemctl("stop", "ai-sysadmin-api.socket", "ai-sysadmin-api.service").ok()
    for command in ("status", "doctor"):
        done = suite_machine.run(["/opt/bin/ai-sysadmin", command])
        assert done.exit_status == 4, done
        assert "ai-sysadmin-executor.service" in done.stdout
    suite_machine.systemctl("start", "ai-sysadmin-api.socket", "ai-sysadmin-api.service").ok()


def test_a_wrong_settings_file_ends_with_78_and_says_what_is_allowed(suite_machine: Machine) -> None:
    wrong = {
        '{"autonomy": "suggest"}': ("autonomy", "autonomy_level"),
        '{"autonomy_level": "full"}': ("autonomy_level", "auto-full"),
        '{"api": {"port": 8081}}': ("api.port = 8081", "backends.review.url"),
        '{"executor": {"post_check_seconds": -1}}': ("executor.post_check_seconds", "greater than 0"),
        "{": ("JSON", "settings.json"),
    }
    for text, said in wrong.items():
        suite_machine.put(text, "/tmp/settings.json")
        for command in (("config", "check"), ("trigger-monitor",), ("executor",)):
            done = suite_machine.run(["/opt/bin/ai-sysadmin", *command, "--settings", "/tmp/settings.json"])
            assert done.exit_status == 78, (text, command, done)
            assert all(part in done.stderr for part in said), (text, done.stderr)
