"""What a person decides of an incident: resolved, dismissed, looked at again."""

from datetime import timedelta

import pytest

from ai_sysadmin.core.acting import ExecutorEventKind
from ai_sysadmin.core.errors import NotFound, Refused
from ai_sysadmin.core.incident import ENDED, Decided, State
from ai_sysadmin.core.records import Verdict
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.stores import Cleared, Noticed
from tests.builders import NOW, PLACING, event, investigation, pack, request, review, trigger

LATER = NOW + timedelta(minutes=1)
MUCH_LATER = NOW + timedelta(minutes=20)


def decided(decision, at=LATER, why=""):
    return Decided(decision, "alice", at, why)


async def noticed(stores, *triggers, **changes):
    return await stores.notices.commit(Noticed(None, triggers=triggers, **changes), PLACING)


async def claim(stores, now=LATER, back_off=timedelta(0)):
    return await stores.reviews.claim_review(
        "r1",
        lease=timedelta(minutes=3),
        settle=timedelta(seconds=1),
        settle_at_most=timedelta(seconds=5),
        now=now,
        back_off=back_off,
        back_off_at_most=timedelta(hours=1),
    )


async def brought_to(stores, state):
    """Open an incident and bring it into a live state; return it with the request that took it there, if any."""
    (opened,) = await noticed(stores, trigger())
    wanted = request(opened.id)
    if state is State.OPEN:
        return opened.id, wanted
    held = await claim(stores)
    if state in {State.INVESTIGATING, State.NEEDS_PERSON}:
        await stores.reviews.finish_review(held, pack(opened.id), review(Verdict.ESCALATE), [])
        if state is State.NEEDS_PERSON:
            found = await stores.investigations.claim_investigation("m1", lease=timedelta(minutes=5), now=LATER)
            await stores.investigations.finish_investigation(found, pack(opened.id), investigation(), [])
        return opened.id, wanted
    await stores.reviews.finish_review(held, pack(opened.id), review(), [wanted])
    await stores.outbox.apply([event(wanted, ExecutorEventKind.ASKED, 1)])
    if state is State.ACTING:
        await stores.outbox.apply([event(wanted, ExecutorEventKind.STARTED, 2)])
    return opened.id, wanted


LIVE = sorted(set(State) - ENDED)


@pytest.mark.parametrize("state", LIVE)
@pytest.mark.parametrize(("decision", "to"), [("resolve", State.RESOLVED), ("dismiss", State.DISMISSED)])
async def test_a_person_ends_an_incident_in_any_state_but_while_an_action_runs(stores, state, decision, to):
    name, _ = await brought_to(stores, state)
    if state is State.ACTING:
        with pytest.raises(Refused, match="under way"):
            await stores.decisions.decide(name, decided(decision))
        return
    ended = await stores.decisions.decide(name, decided(decision, why="I did it by hand"))
    assert (ended.state, ended.note, ended.resolved_at) == (to, "I did it by hand", LATER)
    line = (await stores.reader.incident(name)).timeline[-1]
    told = {"resolve": "incident_resolved", "dismiss": "incident_dismissed"}[decision]
    assert (line.event, line.by, line.text, line.state) == (told, "alice", "I did it by hand", to)


@pytest.mark.parametrize("state", LIVE)
async def test_a_fault_that_is_measured_gone_ends_an_incident_in_any_state_but_while_an_action_runs(stores, state):
    name, _ = await brought_to(stores, state)
    await noticed(stores, cleared=[Cleared(name, LATER, "active again")])
    incident = (await stores.reader.incident(name)).incident
    assert incident.state is (State.ACTING if state is State.ACTING else State.RESOLVED)


async def test_what_is_so_already_stays_untold(stores):
    name, _ = await brought_to(stores, State.OPEN)
    first = await stores.decisions.decide(name, decided("resolve"))
    told = (await stores.reader.incident(name)).timeline
    again = await stores.decisions.decide(name, decided("dismiss", MUCH_LATER))
    assert again == first
    assert (await stores.reader.incident(name)).timeline == told


async def test_what_a_person_resolved_opens_again_only_when_it_fails_anew(stores):
    name, _ = await brought_to(stores, State.OPEN)
    await stores.decisions.decide(name, decided("resolve"))
    assert await noticed(stores, trigger(at=MUCH_LATER)) == ()  # the same failure, told again
    anew = {"result": "exit-code", "invocation": "bb"}
    (again,) = await noticed(stores, trigger(at=MUCH_LATER, details=anew))
    assert (again.id, again.state) == (name, State.OPEN)


async def test_a_proposal_that_was_not_carried_on_is_taken_back_and_one_that_waits_is_named(stores):
    (opened,) = await noticed(stores, trigger())
    wanted = request(opened.id)
    await stores.reviews.finish_review(await claim(stores), pack(opened.id), review(), [wanted])
    await stores.decisions.decide(opened.id, decided("dismiss", why="it may rest"))
    assert await stores.outbox.unsubmitted() == ()
    assert (await stores.reader.action(wanted.id)).state == "withdrawn"


async def test_a_request_that_waits_for_a_person_is_withdrawn_by_the_courier(stores):
    name, wanted = await brought_to(stores, State.AWAITING_APPROVAL)
    await stores.decisions.decide(name, decided("resolve", why="done by hand"))
    assert await stores.outbox.unneeded() == ((wanted, "done by hand"),)


async def test_a_person_has_an_incident_looked_at_again_and_judged_anew(stores):
    name, _ = await brought_to(stores, State.OPEN)
    await stores.reviews.finish_review(await claim(stores), pack(name), review(Verdict.BENIGN, model_calls=1), [])
    again = await stores.decisions.decide(name, decided("reopen", MUCH_LATER, "it is not harmless"))
    assert (again.state, again.reopened, again.resolved_at, again.reviewed_hash) == (State.OPEN, 1, None, "")
    held = await claim(stores, MUCH_LATER + timedelta(seconds=2), back_off=timedelta(hours=1))
    assert held is not None


async def test_an_incident_that_was_left_to_a_person_is_looked_at_again_when_they_ask(stores):
    name, _ = await brought_to(stores, State.NEEDS_PERSON)
    again = await stores.decisions.decide(name, decided("reopen"))
    assert (again.state, again.reopened) == (State.OPEN, 0)
    assert await claim(stores, MUCH_LATER) is not None


async def test_a_part_of_another_incident_is_decided_there(stores):
    (part,) = await noticed(stores, trigger())
    (root,) = await noticed(stores, trigger(unit="db.service", explains=("web.service",), details={"invocation": "d"}))
    for decision in ("resolve", "dismiss", "reopen"):
        with pytest.raises(Refused, match=root.id):
            await stores.decisions.decide(part.id, decided(decision))


async def test_an_incident_does_not_come_back_beside_another_of_its_unit(stores):
    name, _ = await brought_to(stores, State.OPEN)
    await stores.decisions.decide(name, decided("resolve"))
    later = NOW + timedelta(hours=3)
    (other,) = await noticed(stores, trigger(at=later, details={"invocation": "bb"}))
    with pytest.raises(Refused, match=other.id):
        await stores.decisions.decide(name, decided("reopen", later))


async def test_an_unknown_incident_is_named(stores):
    with pytest.raises(NotFound, match="nobody"):
        await stores.decisions.decide("nobody", decided("resolve"))


# --- what keeps changing rests between judgements


async def judged(stores, at, verdict=Verdict.WATCH, calls=1):
    held = await claim(stores, at)
    return await stores.reviews.finish_review(
        held, pack(held.incident.id), review(verdict, model_calls=calls, at=at), []
    )


def symptom_of(number, at):
    return trigger(SymptomKind.BURST, template=f"t{number}", at=at, opens=True)


async def test_an_incident_that_keeps_changing_is_judged_after_ever_longer_times(stores):
    minute = timedelta(minutes=1)
    await noticed(stores, symptom_of(0, NOW))
    at, waits = LATER, []
    for number in range(1, 5):
        await judged(stores, at)
        await noticed(stores, symptom_of(number, at))
        judged_at = at
        while await claim_rested(stores, at, minute) is None:
            at += timedelta(seconds=15)
        waits.append((at - judged_at) / minute)
    assert waits == [1, 2, 4, 8]


async def claim_rested(stores, at, back_off):
    held = await claim(stores, at, back_off)
    if held is not None:
        await stores.reviews.release(held)
    return held


async def test_a_stronger_fault_is_judged_at_once(stores):
    hour = timedelta(hours=1)
    await noticed(stores, symptom_of(0, NOW))
    await judged(stores, LATER)
    await noticed(stores, symptom_of(1, LATER))
    assert await claim(stores, MUCH_LATER, hour) is None
    await noticed(stores, trigger(at=LATER))
    assert await claim(stores, MUCH_LATER, hour) is not None


async def test_a_stronger_fault_that_came_during_the_judgement_is_judged_at_once(stores):
    await noticed(stores, symptom_of(0, NOW))
    held = await claim(stores)
    await noticed(stores, trigger(at=LATER))
    await stores.reviews.finish_review(held, pack(held.incident.id), review(Verdict.WATCH, model_calls=1), [])
    assert await claim(stores, MUCH_LATER, timedelta(hours=1)) is not None


async def test_rules_judge_as_often_as_they_like(stores):
    await noticed(stores, symptom_of(0, NOW))
    await judged(stores, LATER, calls=0)
    await noticed(stores, symptom_of(1, LATER))
    assert await claim(stores, MUCH_LATER, timedelta(hours=1)) is not None


async def test_one_that_rests_does_not_hold_up_another(stores):
    await noticed(stores, symptom_of(0, NOW))
    await judged(stores, LATER)
    await noticed(stores, symptom_of(1, LATER))
    await noticed(stores, trigger(unit="db.service", at=LATER + timedelta(seconds=5), details={"invocation": "d"}))
    held = await claim(stores, MUCH_LATER, timedelta(hours=1))
    assert held.incident.unit == "db.service"


async def test_an_escalation_waits_while_an_action_of_the_incident_still_waits_for_a_person(stores):
    name, wanted = await brought_to(stores, State.AWAITING_APPROVAL)
    await stores.decisions.decide(name, decided("dismiss"))
    await stores.decisions.decide(name, decided("reopen"))
    await stores.reviews.finish_review(await claim(stores, MUCH_LATER), pack(name), review(Verdict.ESCALATE), [])
    lease = timedelta(minutes=5)
    assert await stores.investigations.claim_investigation("m1", lease=lease, now=MUCH_LATER) is None
    await stores.outbox.apply([event(wanted, ExecutorEventKind.WITHDRAWN, 2)])
    assert await stores.investigations.claim_investigation("m1", lease=lease, now=MUCH_LATER) is not None
