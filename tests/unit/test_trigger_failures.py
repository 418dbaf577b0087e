"""trigger_monitor/failures.py: what confirms a failure, and what ends an incident."""

from datetime import datetime, timedelta

import pytest

from ai_sysadmin.core.incident import State
from ai_sysadmin.core.records import SymptomKind
from ai_sysadmin.sources.units import UnitStatus
from ai_sysadmin.trigger_monitor.bursts import BURST_OVER
from ai_sysadmin.trigger_monitor.failures import (
    MENDED_AFTER,
    Candidate,
    confirmed,
    fell_quiet,
    is_overtaken,
    mended,
    of_failed,
)
from tests.builders import HOST, NOW, UNIT, incident

CANDIDATE = Candidate(UNIT, NOW, "web.service: Failed with result 'exit-code'.", "exit-code", "b2" * 16)


def status(active_state: str = "failed", **changes: object) -> UnitStatus:
    result = "exit-code" if active_state == "failed" else "success"
    given = UnitStatus(name=UNIT, active_state=active_state, result=result, exit_status=3, invocation="a1" * 16)
    return given.model_copy(update={"state_changed_at": NOW, "load_state": "loaded", **changes})


def test_a_unit_that_stayed_failed_opens() -> None:
    (trigger,) = confirmed(CANDIDATE, status(), HOST)
    assert (trigger.kind, trigger.opens, trigger.count, trigger.template) == (SymptomKind.UNIT_FAILED, True, 1, "")
    assert trigger.details == {
        "result": "exit-code",
        "exit_status": "3",
        "invocation": "a1" * 16,
        "load_state": "loaded",
    }


@pytest.mark.parametrize("active_state", ["active", "activating", "deactivating", "inactive", "reloading"])
def test_one_that_did_not_opens_nothing(active_state: str) -> None:
    assert confirmed(CANDIDATE, status(active_state), HOST) == ()


@pytest.mark.parametrize(
    ("result", "at_limit", "kind"),
    [
        ("exit-code", False, SymptomKind.UNIT_FAILED),
        ("exit-code", True, SymptomKind.START_LIMIT_HIT),
        ("start-limit-hit", False, SymptomKind.START_LIMIT_HIT),
        ("oom-kill", False, SymptomKind.OOM_KILL),
        ("oom-kill", True, SymptomKind.OOM_KILL),
        ("watchdog", False, SymptomKind.UNIT_FAILED),
    ],
)
def test_the_result_names_the_symptom(result: str, at_limit: bool, kind: SymptomKind) -> None:
    candidate = Candidate(UNIT, NOW, at_limit=at_limit)
    (trigger,) = confirmed(candidate, status(result=result), HOST)
    assert trigger.kind is kind
    assert result in trigger.text


def test_without_systemd_the_journal_s_word_counts() -> None:
    (trigger,) = confirmed(CANDIDATE, None, HOST)
    assert trigger.details == {"result": "exit-code", "invocation": "b2" * 16}
    assert "does not answer" in trigger.why


def test_a_unit_that_never_ran_is_told_apart_by_the_moment_of_its_failure() -> None:
    never = status(invocation="")
    (one,), (same,) = confirmed(CANDIDATE, never, HOST), confirmed(of_failed(never, NOW), never, HOST)
    assert one.details["invocation"] == same.details["invocation"] != ""
    later = status(invocation="", state_changed_at=NOW + timedelta(seconds=5))
    assert confirmed(CANDIDATE, later, HOST)[0].details["invocation"] != one.details["invocation"]


def test_a_newer_failure_is_waited_for_once() -> None:
    newer = status(state_changed_at=NOW + timedelta(seconds=0.4))
    assert is_overtaken(CANDIDATE, newer)
    assert not is_overtaken(Candidate(UNIT, NOW, is_last_word=True), newer)
    assert not is_overtaken(CANDIDATE, status())
    assert not is_overtaken(CANDIDATE, status("active", state_changed_at=NOW + timedelta(seconds=9)))
    assert not is_overtaken(of_failed(newer, NOW), newer)


HELD = NOW + MENDED_AFTER + timedelta(seconds=1)


def test_a_unit_that_holds_again_is_mended() -> None:
    (cleared,) = mended(incident(), status("active", active_enter_at=NOW), HELD)
    assert cleared.unit == UNIT
    assert cleared.why.startswith("active again since ")
    assert cleared.why.endswith("not by an action of this suite")


@pytest.mark.parametrize(
    ("found", "now"),
    [
        (status("active", active_enter_at=NOW), NOW + MENDED_AFTER / 2),
        (status(), HELD),
        (status("activating"), HELD),
        (status("inactive", result="exit-code"), HELD),
        (status("inactive", state_changed_at=None), NOW + MENDED_AFTER / 2),
    ],
)
def test_one_that_does_not_hold_yet_is_not(found: UnitStatus, now: datetime) -> None:
    assert mended(incident(), found, now) == ()


def test_a_unit_that_a_person_reset_is_not_failed_any_more() -> None:
    (cleared,) = mended(incident(), status("inactive", state_changed_at=None), HELD)
    assert "inactive" in cleared.why


def test_while_we_act_the_executor_measures() -> None:
    held = status("active", active_enter_at=NOW)
    assert mended(incident(state=State.ACTING), held, HELD) == ()
    assert fell_quiet(incident(kind=SymptomKind.BURST, state=State.ACTING), NOW + BURST_OVER * 2) == ()


def test_a_burst_is_over_when_it_falls_quiet() -> None:
    burst = incident(kind=SymptomKind.BURST)
    assert mended(burst, status("active", active_enter_at=NOW), HELD) == ()
    assert fell_quiet(burst, NOW + BURST_OVER / 2) == ()
    assert len(fell_quiet(burst, NOW + BURST_OVER)) == 1
    assert fell_quiet(incident(), NOW + BURST_OVER) == ()
