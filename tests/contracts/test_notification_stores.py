"""What a person is to be told: written with what it tells of, once, and taken back when it is not so any more."""

from datetime import timedelta

import pytest

from ai_sysadmin.core.acting import ExecutorEventKind, OutcomeKind
from ai_sysadmin.core.incident import Decided
from ai_sysadmin.core.records import Verdict
from ai_sysadmin.stores import Noticed
from ai_sysadmin.stores.relational import notifying, open_stores
from tests.builders import HOST, NOW, PLACING, UNIT, event, finished, trigger
from tests.contracts.test_acting_stores import Story, by_chat, judged, looked_into, opened, over, proposed

LATER = NOW + timedelta(minutes=1)


@pytest.fixture
def story(stores):
    return Story(stores)


async def occasions(stores, now=LATER):
    return [notice.occasion for notice in await stores.notifications.waiting(now)]


async def tell(stores, at=LATER):
    """Deliver what waits, as one message; return what it was about."""
    notices = await stores.notifications.waiting(at)
    await stores.notifications.delivered([notice.id for notice in notices], at)
    return [notice.occasion for notice in notices]


async def needing(stores):
    """Return an incident that is left to a person."""
    held = await opened(stores)
    await judged(stores, verdict=Verdict.ESCALATE)
    await looked_into(stores)
    return held


async def test_that_a_person_is_needed_is_told_with_host_unit_kind_and_id_only(stores):
    held = await needing(stores)
    (notice,) = await stores.notifications.waiting(LATER)
    assert notice.model_dump(exclude={"id", "at"}) == {
        "host": HOST,
        "occasion": "needs_person",
        "incident_id": held.id,
        "unit": UNIT,
        "kind": "unit_failed",
        "attempts": 0,
    }


async def test_what_is_watched_or_ends_unseen_is_not_told(stores):
    held = await opened(stores)
    await judged(stores, verdict=Verdict.WATCH)
    await over(stores, held.id)
    assert await occasions(stores) == []


async def test_a_question_is_told_once_however_often_it_is_asked(stores, story):
    wanted = await proposed(stores)
    await story(wanted, ExecutorEventKind.ASKED)
    assert await tell(stores) == ["needs_person"]
    await stores.proposals.propose(by_chat(wanted.incident_id, unit="other.service"))
    await story(wanted, ExecutorEventKind.ASKED)
    assert await occasions(stores) == []


async def test_that_a_proposal_expired_is_told_once(stores, story):
    wanted = await proposed(stores)
    for told in (["needs_person", "needs_person"], []):
        await story(wanted, ExecutorEventKind.ASKED)
        await story(wanted, ExecutorEventKind.EXPIRED)
        assert await tell(stores) == told


async def test_what_is_over_before_anybody_heard_of_it_is_not_told(stores, story):
    wanted = await proposed(stores)
    await story(wanted, ExecutorEventKind.ASKED)
    await over(stores, wanted.incident_id)
    assert await occasions(stores) == []


async def test_what_is_being_acted_on_needs_nobody_until_it_does_again(stores, story):
    wanted = await proposed(stores)
    await story(wanted, ExecutorEventKind.ASKED)
    await story(wanted, ExecutorEventKind.STARTED)
    assert await occasions(stores) == []
    await story(wanted, ExecutorEventKind.ASKED)  # of an action, while another one runs: nobody is needed
    assert await occasions(stores) == []
    await story.ends(wanted, OutcomeKind.FAILED)
    await looked_into(stores)
    assert await occasions(stores) == ["needs_person"]


async def test_a_question_that_was_taken_back_untold_may_be_asked_again(stores, story):
    wanted = await proposed(stores)
    await story(wanted, ExecutorEventKind.ASKED)
    await story(wanted, ExecutorEventKind.STARTED)
    await story.ends(wanted, OutcomeKind.FAILED)
    again = by_chat(wanted.incident_id)
    await stores.proposals.propose(again)
    await story(again, ExecutorEventKind.ASKED)
    assert await occasions(stores) == ["needs_person"]


async def test_the_end_of_what_a_person_was_told_of_is_told(stores):
    held = await needing(stores)
    await tell(stores)
    await over(stores, held.id)
    assert await tell(stores) == ["resolved"]


async def test_the_end_is_told_also_where_the_message_was_on_its_way(stores):
    held = await needing(stores)
    on_its_way = [notice.id for notice in await stores.notifications.waiting(LATER)]
    await over(stores, held.id)
    assert await occasions(stores) == []
    await stores.notifications.delivered(on_its_way, LATER)
    assert await occasions(stores) == ["resolved"]


async def test_a_dismissal_is_no_good_news(stores):
    held = await needing(stores)
    await tell(stores)
    await stores.decisions.decide(held.id, Decided("dismiss", "alice", LATER))
    assert await occasions(stores) == []


async def test_an_action_that_helped_is_told_in_place_of_the_end(stores, story):
    wanted = await proposed(stores)
    await story(wanted, ExecutorEventKind.ASKED)
    await tell(stores)
    await story(wanted, ExecutorEventKind.STARTED)
    await story.ends(wanted, OutcomeKind.SUCCEEDED, passed=True)
    assert await tell(stores) == ["acted"]


async def test_an_action_that_was_taken_back_is_told(stores, story):
    wanted = await proposed(stores)
    await story(wanted, ExecutorEventKind.STARTED)
    await story.ends(wanted, OutcomeKind.REVERTED, passed=False)
    assert await tell(stores) == ["reverted"]
    await over(stores, wanted.incident_id)
    assert await tell(stores) == ["resolved"]


async def test_what_comes_back_is_told_anew_and_its_end_is_taken_back(stores):
    held = await needing(stores)
    await tell(stores)
    await over(stores, held.id)
    fault = trigger(details={"invocation": "bb"}, template="again", at=LATER)
    await stores.notices.commit(Noticed(None, triggers=[fault]), PLACING)
    assert await occasions(stores) == []
    later = LATER + timedelta(minutes=1)
    await judged(stores, verdict=Verdict.ESCALATE, now=later)
    await looked_into(stores, now=later)
    assert await tell(stores, later) == ["needs_person"]


async def test_what_an_event_tells_is_told_once_though_it_is_applied_again(stores):
    wanted = await proposed(stores)
    told = [event(wanted, ExecutorEventKind.STARTED, 1), finished(wanted, OutcomeKind.SUCCEEDED, 2, passed=True)]
    for _ in range(2):
        await stores.outbox.apply(told)
    assert await occasions(stores) == ["acted"]


async def test_nothing_is_told_of_what_was_not_committed(stores, monkeypatch):
    wanted = await proposed(stores)
    asked = event(wanted, ExecutorEventKind.ASKED, 1)
    monkeypatch.setattr("ai_sysadmin.stores.relational.outbox.tell", None)  # the power goes after the row was written
    with pytest.raises(TypeError):
        await stores.outbox.apply([asked])
    monkeypatch.undo()
    assert await occasions(stores) == []
    await stores.outbox.apply([asked])
    assert await occasions(stores) == ["needs_person"]


# --- telling


async def test_what_could_not_be_told_is_due_again_later(stores):
    await needing(stores)
    (notice,) = await stores.notifications.waiting(LATER)
    retry_at = LATER + timedelta(minutes=5)
    await stores.notifications.failed([notice.id], retry_at)
    assert await stores.notifications.waiting(retry_at - timedelta(seconds=1)) == ()
    (again,) = await stores.notifications.waiting(retry_at)
    assert (again.id, again.attempts) == (notice.id, 1)


async def test_what_nobody_wants_to_hear_of_is_withdrawn_and_counts_as_no_message(stores):
    store = stores.notifications
    for number in range(3):
        await store.raise_trouble(f"s{number}", "is away", NOW)
    ids = [notice.id for notice in await store.waiting(LATER)]
    await store.delivered(ids[:1], LATER)
    await store.withdraw(ids[:2])
    assert [notice.unit for notice in await store.waiting(LATER)] == ["s2"]
    assert await store.delivered_since(NOW) == 1


async def test_messages_are_counted_not_what_is_in_them(stores):
    store = stores.notifications
    for number in range(5):
        await store.raise_trouble(f"s{number}", "is away", NOW)
    ids = [notice.id for notice in await store.waiting(LATER)]
    await store.delivered(ids[:1], LATER)
    await store.delivered(ids[1:], LATER + timedelta(minutes=1))
    await store.delivered(ids, LATER + timedelta(minutes=2))  # the answer was lost: they were told already
    assert await store.delivered_since(LATER) == 2
    assert await store.delivered_since(LATER + timedelta(seconds=1)) == 1
    assert await store.waiting(LATER) == ()


async def test_the_oldest_come_first_and_so_many(stores):
    for number in range(4):
        await stores.notifications.raise_trouble(f"s{number}", "is away", NOW)
    assert [notice.unit for notice in await stores.notifications.waiting(LATER, 3)] == ["s0", "s1", "s2"]


async def test_trouble_is_told_once_until_it_is_over(stores):
    store = stores.notifications
    for _ in range(3):
        await store.raise_trouble("review-model", "does not answer", NOW)
    (notice,) = await store.waiting(LATER)
    assert (notice.occasion, notice.unit, notice.kind) == ("suite_trouble", "review-model", "does not answer")
    assert notice.incident_id == ""
    await tell(stores)
    await store.raise_trouble("review-model", "does not answer", LATER)
    assert await occasions(stores) == []
    await store.clear_trouble("review-model")
    await store.raise_trouble("review-model", "does not answer", LATER)
    assert await occasions(stores) == ["suite_trouble"]
    await store.clear_trouble("review-model")
    assert await occasions(stores) == []


async def test_what_was_told_is_forgotten_after_a_week(stores):
    store = stores.notifications
    await store.raise_trouble("first", "is away", NOW)
    await tell(stores)
    await store.raise_trouble("second", "is away", NOW)
    await store.raise_trouble("third", "is away", NOW + timedelta(days=8))
    assert await store.delivered_since(NOW) == 0
    assert [each.unit for each in await store.waiting(NOW + timedelta(days=8))] == ["second", "third"]


async def test_what_nobody_tells_does_not_pile_up(stores, monkeypatch):
    monkeypatch.setattr(notifying, "MOST_WAITING", 2)
    for number in range(4):
        await stores.notifications.raise_trouble(f"s{number}", "is away", NOW)
    assert [notice.unit for notice in await stores.notifications.waiting(LATER)] == ["s2", "s3"]
    await needing(stores)
    assert [notice.unit for notice in await stores.notifications.waiting(LATER)] == ["s3", UNIT]


async def test_another_hosts_notices_are_not_ours(tmp_path):
    path = tmp_path / "state.db"
    async with open_stores(path, HOST) as ours, open_stores(path, "host2") as theirs:
        await theirs.notifications.raise_trouble("s", "is away", NOW)
        (foreign,) = await theirs.notifications.waiting(LATER)
        await ours.notifications.delivered([foreign.id], LATER)
        await ours.notifications.failed([foreign.id], LATER)
        assert await ours.notifications.waiting(LATER) == ()
        assert await theirs.notifications.waiting(LATER) == (foreign,)
