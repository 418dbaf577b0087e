"""What actions came to, and what the trust report reads of them."""

from datetime import timedelta

import pytest

from ai_sysadmin.core.acting import ExecutorEventKind, OutcomeKind
from ai_sysadmin.core.incident import Decided
from ai_sysadmin.stores import Noticed
from ai_sysadmin.stores.outcome_store import subject_of
from ai_sysadmin.stores.relational import outcomes
from tests.builders import NOW, PLACING, UNIT, finished, request, trigger
from tests.contracts.test_acting_stores import LATER, Story, by_chat, opened, over, proposed


@pytest.fixture
def story(stores):
    return Story(stores)


# --- what helped


async def test_what_an_action_came_to_is_counted_for_each_symptom_that_opened(stores, story):
    burst = trigger(template="boom", details={"invocation": "aa"})
    held = await opened(stores)
    quiet = trigger(template="noise").model_copy(update={"opens": False, "details": {}})
    await stores.notices.commit(Noticed(None, triggers=[burst.model_copy(update={"details": {}}), quiet]), PLACING)
    for kind, passed in (
        (OutcomeKind.FAILED, False),
        (OutcomeKind.REVERTED, False),
        (OutcomeKind.UNKNOWN, None),
        (OutcomeKind.UNKNOWN, False),
        (OutcomeKind.SUCCEEDED, True),
    ):
        wanted = request(held.id)
        await stores.proposals.propose(wanted)
        await story(wanted, ExecutorEventKind.STARTED)
        await story.ends(wanted, kind, passed=passed)
        await story.ends(wanted, kind, passed=passed)  # told twice, counted once
    opening = [symptom.fingerprint for symptom in (await stores.reader.incident(held.id)).symptoms if symptom.opens]
    assert len(opening) == 2
    found = await stores.outcomes.outcomes([*opening, quiet.fingerprint])
    assert sorted(each.fingerprint for each in found) == sorted(opening)
    for each in found:
        assert (each.action, each.subject, each.last_text) == ("restart_unit", UNIT, "succeeded")
        assert (each.tried, each.helped, each.reverted, each.failed, each.in_vain) == (5, 1, 1, 2, 3)
    assert await stores.outcomes.outcomes([]) == ()


async def test_what_was_never_carried_out_is_no_outcome(stores, story):
    wanted = await proposed(stores)
    for kind in ("asked", "rejected"):
        await story(wanted, ExecutorEventKind(kind))
    assert await stores.outcomes.outcomes([trigger().fingerprint]) == ()


async def test_an_event_that_fails_to_be_applied_counts_nothing(stores, monkeypatch, story):
    wanted = await proposed(stores)
    done = finished(wanted, OutcomeKind.FAILED, 1)
    monkeypatch.setattr("ai_sysadmin.stores.relational.outbox.tell", None)  # the power goes in the midst of it
    with pytest.raises(TypeError):
        await stores.outbox.apply([done])
    monkeypatch.undo()
    assert await stores.outcomes.outcomes([trigger().fingerprint]) == ()
    assert await stores.outbox.executor_position() == ("", 0)
    await stores.outbox.apply([done])
    (tried,) = await stores.outcomes.outcomes([trigger().fingerprint])
    assert (tried.tried, tried.failed) == (1, 1)


async def test_the_memory_is_bounded(stores, story, monkeypatch):
    monkeypatch.setattr(outcomes, "MOST_OUTCOMES", 3)
    held = await opened(stores)
    for number in range(6):
        wanted = request(held.id, unit=f"u{number}.service")
        await stores.proposals.propose(wanted)
        await story.ends(wanted, OutcomeKind.FAILED, at=NOW + timedelta(minutes=number))
    found = await stores.outcomes.outcomes([trigger().fingerprint])
    assert [each.subject for each in found] == ["u5.service", "u4.service", "u3.service"]


def test_a_subject_is_the_unit_or_all_arguments_in_order():
    assert subject_of({"seconds": "5", "unit": UNIT}) == UNIT
    assert subject_of({"seconds": "5", "address": "192.0.2.1"}) == "address=192.0.2.1, seconds=5"
    assert subject_of({}) == ""


# --- the trust report


async def test_actions_since_a_moment_the_oldest_first(stores, story):
    first, second = by_chat(), by_chat(unit="other.service")
    for wanted, hours in ((first, 1), (second, 2)):
        await stores.proposals.propose(wanted)
        await story(wanted, ExecutorEventKind.ASKED, at=NOW + timedelta(hours=hours))
    assert [each.request.id for each in await stores.reader.actions_since(NOW)] == [first.id, second.id]
    assert [each.request.id for each in await stores.reader.actions_since(NOW + timedelta(hours=2))] == [second.id]


async def test_what_healed_by_itself_was_neither_acted_on_nor_closed_by_a_person(stores, story):
    healed, closed, acted, recorded = [
        await opened(stores, unit=f"u{number}.service", details={"invocation": str(number)}) for number in range(4)
    ]
    await over(stores, healed.id)
    await stores.decisions.decide(closed.id, Decided("resolve", "alice", LATER))
    for held, ends in ((acted, True), (recorded, False)):
        wanted = request(held.id, unit=held.unit)
        await stores.proposals.propose(wanted)
        if ends:
            await story.ends(wanted, OutcomeKind.FAILED)
        else:
            await story(wanted, ExecutorEventKind.RECORDED)
        await over(stores, held.id)
    assert {each.id for each in await stores.reader.healed_since(NOW)} == {healed.id, recorded.id}
    assert await stores.reader.healed_since(LATER + timedelta(seconds=1)) == ()
