"""The incident's state machine: total, and exactly what ARCHITECTURE.md tabulates."""

from datetime import timedelta
from pathlib import Path

import pytest

from ai_sysadmin.core.acting import ActionState, ExecutorEventKind, OutcomeKind
from ai_sysadmin.core.incident import (
    ENDED,
    Adopted,
    Decided,
    FaultCleared,
    Investigated,
    Judged,
    Merged,
    Returned,
    State,
    advance,
    rests_until,
)
from ai_sysadmin.core.incident_triggers import attach, open_incident, reopens
from ai_sysadmin.core.records import Verdict
from ai_sysadmin.core.symptom_kinds import SymptomKind
from tests.builders import NOW, event, finished, incident, investigation, request, review, trigger

ASKED = request()
EVENTS = {
    "judged benign": Judged(review(Verdict.BENIGN), 1, requested=False),
    "judged watch": Judged(review(Verdict.WATCH), 1, requested=False),
    "judged act, requested": Judged(review(Verdict.ACT), 1, requested=True),
    "judged act, nothing to request": Judged(review(Verdict.ACT), 1, requested=False),
    "judged escalate": Judged(review(Verdict.ESCALATE), 1, requested=False),
    "investigated, requested": Investigated(investigation(), requested=True),
    "investigated, nothing to request": Investigated(investigation(), requested=False),
    "fault cleared": FaultCleared(NOW, "active again"),
    "merged": Merged("root42", NOW, "part of root42"),
    "returned": Returned(trigger()),
    "a person resolves it": Decided("resolve", "alice", NOW),
    "a person dismisses it": Decided("dismiss", "alice", NOW),
    "a person reopens it": Decided("reopen", "alice", NOW),
    "action refused": event(ASKED, ExecutorEventKind.REFUSED),
    "action asked": event(ASKED, ExecutorEventKind.ASKED),
    "action started": event(ASKED, ExecutorEventKind.STARTED),
    "action rejected": event(ASKED, ExecutorEventKind.REJECTED),
    "action expired": event(ASKED, ExecutorEventKind.EXPIRED),
    "action withdrawn": event(ASKED, ExecutorEventKind.WITHDRAWN),
    "action recorded": event(ASKED, ExecutorEventKind.RECORDED),
    "action succeeded": finished(ASKED, OutcomeKind.SUCCEEDED, passed=True),
    "action failed": finished(ASKED, OutcomeKind.FAILED),
    "action reverted": finished(ASKED, OutcomeKind.REVERTED),
    "action being prepared": event(ASKED, ExecutorEventKind.PREPARING),
    "action being made to last": event(ASKED, ExecutorEventKind.CONFIRMING),
    "action being taken back": event(ASKED, ExecutorEventKind.REVERTING),
    "adopted, waiting": Adopted(ActionState.PENDING, NOW, "waits"),
    "adopted, on its way": Adopted(ActionState.SUBMITTED, NOW, "on its way"),
    "adopted, running": Adopted(ActionState.STARTED, NOW, "runs"),
    "action unknown, post-check passed": finished(ASKED, OutcomeKind.UNKNOWN, passed=True),
    "action unknown, post-check failed": finished(ASKED, OutcomeKind.UNKNOWN, passed=False),
}
FROM_OPEN = {
    "judged benign": State.DISMISSED,
    "judged watch": State.OPEN,
    "judged act, requested": State.OPEN,
    "judged act, nothing to request": State.NEEDS_PERSON,
    "judged escalate": State.INVESTIGATING,
    "fault cleared": State.RESOLVED,
    "merged": State.DISMISSED,
    "a person resolves it": State.RESOLVED,
    "a person dismisses it": State.DISMISSED,
    "a person reopens it": State.OPEN,
    "action refused": State.NEEDS_PERSON,
    "action asked": State.AWAITING_APPROVAL,
    "action started": State.ACTING,
    "action rejected": State.NEEDS_PERSON,
    "action expired": State.OPEN,
    "action withdrawn": State.OPEN,
    "action recorded": State.NEEDS_PERSON,
    "action succeeded": State.RESOLVED,
    "action failed": State.INVESTIGATING,
    "action reverted": State.INVESTIGATING,
    "action being prepared": State.OPEN,
    "action being made to last": State.OPEN,
    "action being taken back": State.OPEN,
    "adopted, waiting": State.AWAITING_APPROVAL,
    "adopted, on its way": State.OPEN,
    "adopted, running": State.ACTING,
    "action unknown, post-check passed": State.RESOLVED,
    "action unknown, post-check failed": State.NEEDS_PERSON,
}


@pytest.mark.parametrize("name", EVENTS)
@pytest.mark.parametrize("state", State)
def test_every_event_is_allowed_in_every_state(name, state):
    moved = advance(incident(state=state), EVENTS[name])
    assert moved.state in State


@pytest.mark.parametrize(("name", "to"), FROM_OPEN.items())
def test_an_open_incident_moves_as_tabulated(name, to):
    assert advance(incident(), EVENTS[name]).state is to


@pytest.mark.parametrize("name", sorted(set(EVENTS) - {"returned", "a person reopens it"}))
@pytest.mark.parametrize("state", sorted(ENDED))
def test_what_has_ended_only_comes_back_with_its_symptom(name, state):
    ended = incident(state=state)
    assert advance(ended, EVENTS[name]) == ended
    assert advance(ended, EVENTS["returned"]).state is State.OPEN
    assert advance(ended, EVENTS["a person reopens it"]).state is State.OPEN


def test_a_judgement_does_not_take_an_incident_back_from_the_executor():
    acting = incident(state=State.ACTING)
    assert advance(acting, EVENTS["judged benign"]).state is State.ACTING


def test_the_executor_measures_its_own_action_itself():
    acting = incident(state=State.ACTING)
    assert advance(acting, EVENTS["fault cleared"]) == acting
    assert advance(acting, EVENTS["merged"]) == acting


@pytest.mark.parametrize("decision", ["resolve", "dismiss", "reopen"])
def test_what_is_under_way_ends_before_a_person_decides(decision):
    acting = incident(state=State.ACTING)
    assert advance(acting, Decided(decision, "alice", NOW)) == acting


@pytest.mark.parametrize("state", sorted(set(State) - ENDED - {State.NEEDS_PERSON}))
def test_what_is_being_looked_at_is_not_reopened(state):
    assert advance(incident(state=state), EVENTS["a person reopens it"]).state is state


def test_the_tabulated_events_are_in_the_architectures_table():
    table = Path(__file__).parents[2].joinpath("ARCHITECTURE.md").read_text()
    for name in ("a person resolves it", "a person dismisses it", "a person reopens it"):
        assert f"| {name} |" in table


def test_an_incident_rests_ever_longer_between_judgements_by_a_model():
    minute, hour = timedelta(minutes=1), timedelta(hours=1)
    seen = incident()
    waits = []
    for _ in range(8):
        seen = advance(seen, Judged(review(Verdict.WATCH, model_calls=1), 1, requested=False))
        waits.append((rests_until(seen, minute, hour) - NOW) / minute)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    assert rests_until(incident(), minute, hour) is None
    stronger = seen.model_copy(update={"kind": SymptomKind.OOM_KILL})
    assert rests_until(stronger, minute, hour) is None
    by_rules = advance(incident(), Judged(review(Verdict.WATCH), 1, requested=False))
    assert rests_until(by_rules, minute, hour) is None


def test_an_investigation_ends_with_its_request_or_with_a_person():
    investigating = incident(state=State.INVESTIGATING)
    assert advance(investigating, EVENTS["investigated, requested"]).state is State.INVESTIGATING
    assert advance(investigating, EVENTS["investigated, nothing to request"]).state is State.NEEDS_PERSON


def test_repetition_counts_and_is_no_new_evidence():
    burst = trigger(SymptomKind.SEVERE_LOG, count=40)
    once = attach(incident(), burst, known=False, at=NOW)
    twice = attach(once, burst, known=True, at=NOW + timedelta(seconds=1))
    assert twice.count == once.count + 40
    assert twice.evidence_revision == once.evidence_revision
    assert twice.evidence_at == once.evidence_at


def test_a_burst_that_ends_in_the_units_failure_is_named_for_the_failure():
    burst = open_incident(trigger(SymptomKind.BURST))
    failed = attach(burst, trigger(), known=False, at=NOW)
    assert failed.kind is SymptomKind.UNIT_FAILED
    assert failed.title == "web.service failed (exit-code)"
    assert attach(failed, trigger(SymptomKind.BURST), known=False, at=NOW).kind is SymptomKind.UNIT_FAILED


def test_a_symptom_reopens_only_soon_after_the_end():
    ended = incident(state=State.RESOLVED, resolved_at=NOW)
    soon, late = trigger(at=NOW + timedelta(minutes=10)), trigger(at=NOW + timedelta(hours=2))
    assert reopens(ended, soon, timedelta(hours=1))
    assert not reopens(ended, late, timedelta(hours=1))
    assert not reopens(ended, trigger(SymptomKind.SEVERE_LOG), timedelta(hours=1))
    assert not reopens(incident(), soon, timedelta(hours=1))


@pytest.mark.parametrize("state", [State.INVESTIGATING, State.NEEDS_PERSON])
def test_a_new_fault_opens_again_what_was_left_to_a_person(state):
    left = incident(state=state, kind=SymptomKind.BURST)
    assert attach(left, trigger(), known=False, at=NOW).state is State.OPEN
    assert attach(left, trigger(), known=True, at=NOW).state is state
    assert attach(left, trigger(SymptomKind.SEVERE_LOG), known=False, at=NOW).state is state


def test_a_new_fault_does_not_take_an_incident_from_the_executor():
    acting = incident(state=State.ACTING, kind=SymptomKind.BURST)
    assert attach(acting, trigger(), known=False, at=NOW).state is State.ACTING


# --- what acting does


COURSE = [
    ExecutorEventKind.PREPARING,
    ExecutorEventKind.APPROVED,
    ExecutorEventKind.RAN,
    ExecutorEventKind.CONFIRMING,
    ExecutorEventKind.REVERTING,
]


@pytest.mark.parametrize("kind", COURSE)
@pytest.mark.parametrize("state", sorted(set(State) - ENDED))
def test_what_an_action_goes_through_leaves_its_incident_where_it_is(state, kind):
    held = incident(state=state)
    assert advance(held, event(ASKED, kind)) == held


@pytest.mark.parametrize("kind", [OutcomeKind.FAILED, OutcomeKind.REVERTED])
def test_a_remedy_that_did_not_help_is_investigated_once_and_then_left_to_a_person(kind):
    looked = advance(incident(state=State.INVESTIGATING), EVENTS["investigated, requested"])  # before anything failed
    failed = advance(advance(looked, EVENTS["action started"]), finished(ASKED, kind))
    assert (failed.state, failed.failures) == (State.INVESTIGATING, 1)
    again = advance(failed, EVENTS["investigated, requested"])
    assert again.state is State.INVESTIGATING
    over = advance(advance(again, EVENTS["action started"]), finished(ASKED, kind))
    assert (over.state, over.failures) == (State.NEEDS_PERSON, 2)


def test_two_failures_before_anybody_looked_are_still_investigated():
    failed = advance(advance(incident(), EVENTS["action failed"]), EVENTS["action failed"])
    assert failed.state is State.INVESTIGATING


def test_what_failed_counts_for_nothing_once_the_incident_begins_anew():
    spent = incident(failures=2, failures_investigated=1, expiries=4, state=State.NEEDS_PERSON)
    reopened = advance(spent, EVENTS["a person reopens it"])
    returned = advance(advance(spent, EVENTS["fault cleared"]), EVENTS["returned"])
    for anew in (reopened, returned):
        assert (anew.failures, anew.failures_investigated, anew.expiries, anew.waits_until) == (0, 0, 0, None)
        assert advance(anew, EVENTS["action failed"]).state is State.INVESTIGATING


def expire(held, at, waited=timedelta(hours=1)):
    asked = advance(held, event(ASKED, ExecutorEventKind.ASKED, at=at))
    return advance(asked, event(ASKED, ExecutorEventKind.EXPIRED, at=at + waited))


def test_what_nobody_decided_on_is_judged_again_ever_later_and_then_left_to_a_person():
    held = advance(incident(), Judged(review(model_calls=1), 1, requested=True))
    at, waits = NOW, []
    for _ in range(3):
        held = expire(held, at)
        assert held.state is State.OPEN
        assert held.evidence_revision > held.reviewed_revision
        assert rests_until(held, timedelta(0), timedelta(0)) == held.waits_until
        at = held.waits_until
        waits.append((at - NOW) / timedelta(hours=1))
        held = advance(held, Judged(review(at=at), held.evidence_revision, requested=True))
        assert held.waits_until is None
    assert waits == [2, 5, 10]  # one hour to decide, then one, two and four to rest
    held = expire(held, at)
    assert held.state is State.NEEDS_PERSON
    assert "nobody decided" in held.note


def test_what_a_reboot_ended_at_once_rests_a_minute_and_never_longer_than_a_day():
    soon = expire(incident(), NOW, waited=timedelta(seconds=2))
    assert soon.waits_until - NOW == timedelta(seconds=62)
    late = expire(incident(), NOW, waited=timedelta(days=30))
    assert late.waits_until - NOW == timedelta(days=31)


def test_a_new_fault_does_not_wait_for_what_nobody_decided_on():
    resting = expire(incident(kind=SymptomKind.BURST), NOW)
    assert attach(resting, trigger(), known=True, at=NOW).waits_until is not None
    assert attach(resting, trigger(SymptomKind.SEVERE_LOG), known=False, at=NOW).waits_until is not None
    assert attach(resting, trigger(), known=False, at=NOW).waits_until is None


@pytest.mark.parametrize("state", [State.ACTING, State.NEEDS_PERSON])
def test_an_expiry_takes_nothing_from_the_executor_or_a_person(state):
    held = incident(state=state)
    assert advance(held, EVENTS["action expired"]) == held


def test_an_expiry_does_not_pass_over_the_investigation_of_a_failure():
    failed = advance(incident(), EVENTS["action failed"])
    assert advance(failed, EVENTS["action expired"]) == failed


def test_what_is_taken_back_while_a_person_is_asked_is_judged_again():
    asked = advance(incident(), EVENTS["action asked"])
    assert advance(asked, EVENTS["action withdrawn"]).state is State.OPEN
    assert advance(asked, EVENTS["action withdrawn"]).waits_until is not None
