"""trigger_monitor/units/failures.py: what confirms a failure, what was meant so, what hangs and what flaps."""

from datetime import datetime, timedelta

import pytest

from ai_sysadmin.core.noticing_settings import TriggerMonitor as Settings
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.sources.units import UnitStatus, Unsettled
from ai_sysadmin.trigger_monitor.units import failures
from ai_sysadmin.trigger_monitor.units.failures import Candidate, Restarts
from ai_sysadmin.trigger_monitor.units.memory import Pending, UnitMemory, loaded
from tests.builders import HOST, NOW, UNIT

CANDIDATE = Candidate(UNIT, NOW, "web.service: Failed with result 'exit-code'.", "exit-code", "b2" * 16)
SECOND = timedelta(seconds=1)


def status(active_state: str = "failed", **changes: object) -> UnitStatus:
    result = "exit-code" if active_state == "failed" else "success"
    given = UnitStatus(name=UNIT, active_state=active_state, result=result, exit_status=3, invocation="a1" * 16)
    return given.model_copy(update={"state_changed_at": NOW, "load_state": "loaded", **changes})


def test_a_unit_that_stayed_failed_opens() -> None:
    assert failures.holds(CANDIDATE, status())
    trigger = failures.confirmed(CANDIDATE, status(state_changed_at=NOW - SECOND), HOST)
    assert (trigger.kind, trigger.opens, trigger.count, trigger.template) == (SymptomKind.UNIT_FAILED, True, 1, "")
    assert trigger.at == NOW - SECOND
    assert trigger.details == {
        "result": "exit-code",
        "exit_status": "3",
        "invocation": "a1" * 16,
        "load_state": "loaded",
    }


@pytest.mark.parametrize("active_state", ["active", "activating", "deactivating", "inactive", "reloading"])
def test_one_that_did_not_opens_nothing(active_state: str) -> None:
    assert not failures.holds(CANDIDATE, status(active_state))


def test_a_failed_state_on_the_way_to_a_restart_is_no_failure() -> None:
    assert not failures.is_failed(status(sub_state="failed-before-auto-restart"))


@pytest.mark.parametrize(
    ("result", "at_limit", "kind"),
    [
        ("exit-code", False, SymptomKind.UNIT_FAILED),
        ("protocol", False, SymptomKind.UNIT_FAILED),
        ("resources", False, SymptomKind.UNIT_FAILED),
        ("signal", False, SymptomKind.CRASHED),
        ("core-dump", False, SymptomKind.CRASHED),
        ("watchdog", False, SymptomKind.WATCHDOG),
        ("timeout", False, SymptomKind.TIMED_OUT),
        ("dependency", False, SymptomKind.DEPENDENCY_FAILED),
        ("exit-code", True, SymptomKind.START_LIMIT_HIT),
        ("start-limit-hit", False, SymptomKind.START_LIMIT_HIT),
        ("oom-kill", False, SymptomKind.OOM_KILL),
        ("oom-kill", True, SymptomKind.OOM_KILL),
    ],
)
def test_the_result_names_the_symptom(result: str, at_limit: bool, kind: SymptomKind) -> None:
    trigger = failures.confirmed(Candidate(UNIT, NOW, at_limit=at_limit), status(result=result), HOST)
    assert trigger.kind is kind
    assert trigger.details["result"] == result
    assert trigger.details.get("start_limit") == ("hit" if at_limit else None)
    assert result in trigger.text


def test_without_systemd_the_journal_s_word_counts() -> None:
    trigger = failures.confirmed(CANDIDATE, None, HOST)
    assert trigger.details == {"result": "exit-code", "invocation": "b2" * 16}
    assert "does not answer" in trigger.why


def test_a_unit_that_never_ran_is_told_apart_by_the_moment_of_its_failure() -> None:
    never = status(invocation="")
    one = failures.confirmed(CANDIDATE, never, HOST)
    same = failures.confirmed(failures.of_failed(never, NOW), never, HOST)
    assert one.details["invocation"] == same.details["invocation"] != ""
    later = status(invocation="", state_changed_at=NOW + 5 * SECOND)
    assert failures.confirmed(CANDIDATE, later, HOST).details["invocation"] != one.details["invocation"]


def test_a_unit_that_was_not_started_names_the_job_that_never_ran() -> None:
    waiting = Candidate(UNIT, NOW, job="boot-1-job-7")
    assert failures.holds(waiting, status("inactive"))
    assert not failures.holds(waiting, status("active"))
    assert not failures.holds(waiting, status("inactive", load_state="not-found"))
    trigger = failures.confirmed(waiting, status("inactive"), HOST)
    assert (trigger.kind, trigger.at) == (SymptomKind.DEPENDENCY_FAILED, NOW)
    assert trigger.details["invocation"] == "boot-1-job-7"


# --- stops that were meant

RAN = {"inactive_exit_at": NOW - 60 * SECOND}


@pytest.mark.parametrize(
    ("found", "stopped_at", "meant"),
    [
        (status(**RAN), NOW - SECOND, True),
        (status(**RAN), NOW, True),
        (status(**RAN, result="signal", exit_status=15), NOW - SECOND, True),
        (status(**RAN, result="timeout"), NOW - SECOND, True),
        (status(**RAN), None, False),
        (status(**RAN), NOW - 90 * SECOND, False),  # it was started again since
        (status(**RAN), NOW + 5 * SECOND, False),  # it had failed already
        (status(**RAN, result="start-limit-hit"), NOW - SECOND, False),
        (status(inactive_exit_at=None), NOW - SECOND, True),
    ],
)
def test_a_failure_within_a_stop_was_meant(found: UnitStatus, stopped_at: datetime | None, meant: bool) -> None:
    assert failures.was_meant(found, stopped_at) is meant


def test_a_stop_that_ended_badly_supports() -> None:
    assert failures.badly_stopped(status(), HOST, NOW) == ()
    (trigger,) = failures.badly_stopped(status(result="timeout"), HOST, NOW)
    assert (trigger.kind, trigger.opens) == (SymptomKind.TIMED_OUT, False)
    assert trigger.details["invocation"] != failures.run_of(status()), "or that run's own failure could not be told"


# --- flapping and hanging

SETTINGS = Settings(flap_restarts=3, flap_seconds=60)
STAMP = NOW.timestamp()


@pytest.mark.parametrize(
    ("restarts", "state", "flaps"),
    [
        (Restarts(told=(STAMP - 3, STAMP - 2, STAMP - 1)), "activating", True),
        (Restarts(seen=(STAMP - 3, STAMP - 2, STAMP - 1)), "active", True),
        (Restarts(told=(STAMP - 3, STAMP - 2), seen=(STAMP - 3, STAMP - 2)), "active", False),
        (Restarts(told=(STAMP - 90, STAMP - 2, STAMP - 1)), "active", False),
        (Restarts(told=(STAMP - 3, STAMP - 2, STAMP - 1)), "failed", False),
    ],
)
def test_a_unit_restarted_so_often_flaps(restarts: Restarts, state: str, flaps: bool) -> None:
    found = failures.flapping(status(state), restarts, HOST, SETTINGS, NOW)
    assert [each.kind for each in found] == [SymptomKind.FLAPPING] * flaps


def unsettled(seconds: float, **changes: object) -> Unsettled:
    return Unsettled(name=UNIT, active_state="activating", type="notify", seconds=seconds).model_copy(update=changes)


@pytest.mark.parametrize(
    ("unit", "stuck"),
    [
        (unsettled(299), False),
        (unsettled(301), True),
        (unsettled(301, type="oneshot"), False),
        (unsettled(301, type="oneshot", active_state="deactivating"), True),
        (unsettled(301, active_state="reloading"), True),
        (unsettled(301, sub_state="auto-restart"), False),
        (unsettled(301, limit_seconds=90.0), True),
        (unsettled(301, limit_seconds=900.0), False),
        (unsettled(901, limit_seconds=900.0), True),
    ],
)
def test_a_unit_that_comes_to_no_rest_is_stuck(unit: Unsettled, stuck: bool) -> None:
    assert failures.is_stuck(unit, 300) is stuck
    if not stuck and unit.type != "oneshot" and not unit.sub_state:
        later = unit.model_copy(update={"seconds": unit.seconds + failures.first_stuck_in(unit, 300) + 0.01})
        assert failures.is_stuck(later, 300)


# --- what waits, and what is kept


def test_the_debounce_runs_from_the_failure_itself() -> None:
    pending = Pending(0.3)
    pending.add(CANDIDATE, NOW + 0.1 * SECOND, ticks=50)
    assert pending.first() == pytest.approx(50.2)
    pending.add(Candidate("old.service", NOW - 60 * SECOND), NOW, ticks=50)
    assert [each.candidate.unit for each in pending.due(50)] == ["old.service"]


def test_two_reports_of_one_failure_are_one_and_know_all() -> None:
    pending = Pending(0.3)
    pending.add(Candidate(UNIT, NOW, listed=True), NOW, ticks=50)
    pending.add(Candidate(UNIT, NOW + 0.01 * SECOND, "it failed", at_limit=True), NOW, ticks=50.2)
    (one,) = pending.due(50.3)
    assert (one.candidate.text, one.candidate.at_limit, one.candidate.listed) == ("it failed", True, False)
    pending.add(Candidate(UNIT, NOW + SECOND), NOW + SECOND, ticks=51)
    assert pending.due(51.2) == [], "a newer failure has a debounce of its own"
    pending.forget(one)
    assert pending.first() == pytest.approx(51.3), "what is done with is the older one"


@pytest.mark.parametrize(("at", "is_left"), [(NOW - SECOND, True), (NOW, False), (NOW + SECOND, False)])
def test_only_newer_word_settles_a_candidate(at: datetime, is_left: bool) -> None:
    pending = Pending(0.3)
    pending.add(CANDIDATE, NOW, ticks=50)
    pending.drop(UNIT, at)
    assert (pending.first() is not None) is is_left


def test_the_memory_survives_and_is_bounded() -> None:
    memory = UnitMemory()
    for number in range(700):
        memory.stopped(f"u{number}.service", NOW)
        memory.restarted(f"u{number}.service", NOW, told=2, seen=1)
    memory.stopped(UNIT, NOW)
    memory.stopped(UNIT, NOW - SECOND)
    memory.restarted(UNIT, NOW, told=1)
    kept, unrest = loaded(memory.dump([{"kind": "resume"}]))
    assert (kept.stops, kept.restarts, unrest) == (memory.stops, memory.restarts, [{"kind": "resume"}])
    assert len(kept.stops) == len(kept.restarts) == 500
    assert kept.stops[UNIT] == NOW
    kept.prune(NOW + 30 * SECOND, flap_seconds=20)
    assert kept.restarts == {}
    kept.prune(NOW + timedelta(days=30), flap_seconds=20)
    assert kept.stops == {}
    assert loaded("")[0].stops == {}


@pytest.mark.parametrize(
    ("restart", "restarts", "kind"),
    [
        ("on-failure", 4, SymptomKind.START_LIMIT_HIT),
        ("always", 9, SymptomKind.START_LIMIT_HIT),
        ("on-failure", 3, SymptomKind.UNIT_FAILED),
        ("no", 4, SymptomKind.UNIT_FAILED),
    ],
)
def test_the_start_limit_shows_in_the_units_own_state_where_nobody_told_of_it(
    restart: str, restarts: int, kind: SymptomKind
) -> None:
    found = status(restart=restart, n_restarts=restarts, start_limit_burst=4)
    assert failures.confirmed(CANDIDATE, found, HOST).kind is kind
