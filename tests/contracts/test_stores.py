"""What every store must do; the same assertions on every implementation."""

import asyncio
import sqlite3
from dataclasses import replace
from datetime import timedelta

import pytest

from ai_sysadmin.core.acting import ExecutorEventKind, OutcomeKind
from ai_sysadmin.core.errors import NotFound, StoreUnavailable
from ai_sysadmin.core.incident import State
from ai_sysadmin.core.records import Verdict
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.stores import Cleared, JournalPosition, Noticed, ServiceNote
from ai_sysadmin.stores.relational import open_stores
from tests.builders import HOST, NOW, PLACING, UNIT, event, finished, investigation, pack, request, review, trigger

LATER = NOW + timedelta(minutes=1)


def position(cursor: str = "c1") -> JournalPosition:
    return JournalPosition(cursor=cursor, sequence_id="s", sequence=7, updated_at=NOW)


async def noticed(stores, *triggers, **changes):
    return await stores.notices.commit(Noticed(None, triggers=triggers, **changes), PLACING)


async def over(stores, at=NOW, unit=UNIT):
    """Say that all faults of a unit's incident are over."""
    ended = [live.incident.id for live in await stores.notices.live() if live.incident.unit == unit]
    await noticed(stores, cleared=[Cleared(incident_id, at, "active again") for incident_id in ended])


async def claim(stores, worker="r1", now=LATER, lease=timedelta(minutes=3), settle=timedelta(seconds=1)):
    return await stores.reviews.claim_review(
        worker, lease=lease, settle=settle, settle_at_most=timedelta(seconds=5), now=now
    )


async def asked(stores):
    """Bring an incident to the point where the executor has asked a person."""
    await noticed(stores, trigger())
    held = await claim(stores)
    wanted = request(held.incident.id)
    await stores.reviews.finish_review(held, pack(held.incident.id), review(incident_id=held.incident.id), [wanted])
    await stores.outbox.apply([event(wanted, ExecutorEventKind.ASKED, 1)])
    return wanted


# --- noticing


async def test_the_position_and_its_account_are_kept(stores):
    assert await stores.notices.position() is None
    await stores.notices.commit(Noticed(position(), read=10, lost=2), PLACING)
    await stores.notices.commit(Noticed(position("c2"), read=5, suppressed=3), PLACING)
    kept = await stores.notices.position()
    assert (kept.cursor, kept.entries_read, kept.entries_lost, kept.entries_suppressed) == ("c2", 15, 2, 3)


async def test_an_opening_trigger_opens_one_incident(stores):
    (opened,) = await noticed(stores, trigger())
    assert (opened.unit, opened.state, opened.title) == (UNIT, State.OPEN, "web.service failed (exit-code)")
    assert [live.incident.id for live in await stores.notices.live()] == [opened.id]


async def test_the_same_invocation_is_one_failure_however_often_it_is_seen(stores):
    (opened,) = await noticed(stores, trigger())
    assert await noticed(stores, trigger(), trigger()) == ()
    detail = await stores.reader.incident(opened.id)
    assert detail.incident.count == 1


async def test_a_failure_seen_again_after_its_incident_ended_opens_nothing(stores):
    await noticed(stores, trigger())
    await over(stores)
    assert await noticed(stores, trigger()) == ()


async def test_a_supporting_trigger_alone_opens_nothing_and_waits(stores):
    assert await noticed(stores, trigger(SymptomKind.SEVERE_LOG, count=30)) == ()
    (waiting,) = await stores.notices.unattached(NOW - timedelta(minutes=1))
    assert waiting.count == 30


async def test_an_incident_takes_up_what_was_waiting_for_it(stores):
    for _ in range(3):
        await noticed(stores, trigger(SymptomKind.SEVERE_LOG, count=30, template="boom"))
    (opened,) = await noticed(stores, trigger(at=NOW + timedelta(seconds=2)))
    detail = await stores.reader.incident(opened.id)
    assert {symptom.kind: symptom.count for symptom in detail.symptoms} == {"severe_log": 90, "unit_failed": 1}
    assert detail.incident.count == 91
    assert await stores.notices.unattached(NOW - timedelta(hours=1)) == ()


async def test_what_waited_too_long_does_not_belong(stores):
    await noticed(stores, trigger(SymptomKind.SEVERE_LOG, count=30))
    (opened,) = await noticed(stores, trigger(at=NOW + timedelta(minutes=10)))
    assert opened.count == 1


async def test_a_burst_and_the_failure_that_follows_are_one_incident(stores):
    lines = trigger(SymptomKind.SEVERE_LOG, count=10_000, template="boom")
    (opened,) = await noticed(stores, lines, trigger(SymptomKind.BURST, count=0, template="boom"))
    assert opened.count == 10_000
    assert await noticed(stores, trigger()) == ()
    (incident,) = await stores.reader.incidents()
    assert (incident.kind, incident.count) == (SymptomKind.UNIT_FAILED, 10_001)


async def test_a_symptom_that_returns_soon_reopens_and_later_opens_anew(stores):
    (first,) = await noticed(stores, trigger())
    await over(stores)
    (again,) = await noticed(stores, trigger(at=LATER, details={"invocation": "bb"}))
    assert (again.id, again.reopened, again.state) == (first.id, 1, State.OPEN)
    await over(stores, LATER)
    (third,) = await noticed(stores, trigger(at=NOW + timedelta(hours=3), details={"invocation": "cc"}))
    assert third.id != first.id


# --- judging


async def test_an_incident_is_claimed_by_one_worker_until_its_lease_ends(stores):
    await noticed(stores, trigger())
    assert (await claim(stores, "r1")).incident.unit == UNIT
    assert await claim(stores, "r2") is None
    assert await claim(stores, "r2", now=LATER + timedelta(minutes=4)) is not None


async def test_a_worker_that_died_takes_up_its_own_claim_at_once(stores):
    await noticed(stores, trigger())
    first = await claim(stores, "r1")
    second = await claim(stores, "r1")
    assert second.incident.id == first.incident.id
    unchanged = await stores.reviews.finish_review(first, pack(first.incident.id), review(Verdict.BENIGN), [])
    assert unchanged.state is State.OPEN  # the first claim is void


async def test_an_incident_is_not_judged_before_it_has_settled(stores):
    await noticed(stores, trigger())
    assert await claim(stores, now=NOW + timedelta(seconds=0.5)) is None
    assert await claim(stores, now=NOW + timedelta(seconds=1.5)) is not None


async def test_an_incident_that_never_falls_quiet_is_judged_all_the_same(stores):
    await noticed(stores, trigger(SymptomKind.BURST, template="x"))
    for seconds in range(1, 7):
        await noticed(stores, trigger(SymptomKind.BURST, template="x", at=NOW + timedelta(seconds=seconds)))
    assert await claim(stores, now=NOW + timedelta(seconds=4.5)) is None
    assert await claim(stores, now=NOW + timedelta(seconds=6.5)) is not None


async def test_a_judged_incident_is_judged_again_only_on_new_evidence(stores):
    await noticed(stores, trigger(SymptomKind.BURST, template="x"))
    held = await claim(stores)
    await stores.reviews.finish_review(held, pack(held.incident.id), review(Verdict.WATCH), [])
    await noticed(stores, trigger(SymptomKind.BURST, template="x", at=LATER))
    assert await claim(stores, now=LATER + timedelta(minutes=1)) is None
    await noticed(stores, trigger(at=LATER))
    again = await claim(stores, now=LATER + timedelta(minutes=1))
    assert [past.verdict for past in again.reviews] == [Verdict.WATCH]


async def test_evidence_that_comes_during_a_review_is_reviewed_after_it(stores):
    await noticed(stores, trigger(SymptomKind.BURST, template="x"))
    held = await claim(stores)
    await noticed(stores, trigger(at=LATER))
    await stores.reviews.finish_review(held, pack(held.incident.id), review(Verdict.WATCH), [])
    assert await claim(stores, now=LATER + timedelta(minutes=1)) is not None


async def test_model_calls_are_counted_over_reviews(stores):
    await noticed(stores, trigger(SymptomKind.BURST, template="x"))
    held = await claim(stores)
    judged = review(Verdict.WATCH, model_calls=2)
    await stores.reviews.finish_review(held, pack(held.incident.id), judged, [])
    await noticed(stores, trigger(at=LATER))
    assert (await claim(stores, now=LATER + timedelta(minutes=1))).model_calls == 2


async def test_a_released_claim_is_there_for_the_next(stores):
    await noticed(stores, trigger())
    await stores.reviews.release(await claim(stores, "r1"))
    assert await claim(stores, "r2") is not None


async def test_an_escalation_is_claimed_investigated_and_ends(stores):
    await noticed(stores, trigger())
    held = await claim(stores)
    await stores.reviews.finish_review(held, pack(held.incident.id), review(Verdict.ESCALATE), [])
    found = await stores.investigations.claim_investigation("m1", lease=timedelta(minutes=5), now=LATER)
    assert await stores.investigations.claim_investigation("m2", lease=timedelta(minutes=5), now=LATER) is None
    wanted = request(held.incident.id)
    await stores.investigations.finish_investigation(found, pack(held.incident.id), investigation(), [wanted])
    assert [waiting.id for waiting in await stores.outbox.unsubmitted()] == [wanted.id]
    later = LATER + timedelta(hours=1)
    assert await stores.investigations.claim_investigation("m1", lease=timedelta(minutes=5), now=later) is None


# --- acting


async def test_a_request_waits_in_the_outbox_until_it_is_submitted(stores):
    await noticed(stores, trigger())
    held = await claim(stores)
    wanted, same = request(held.incident.id), request(held.incident.id)
    await stores.reviews.finish_review(held, pack(held.incident.id), review(), [wanted, same])
    assert [waiting.id for waiting in await stores.outbox.unsubmitted()] == [wanted.id]
    await stores.outbox.submitted(wanted.id)
    assert await stores.outbox.unsubmitted() == ()
    assert (await stores.reader.action(wanted.id)).state == "submitted"


async def test_executor_events_are_applied_once_and_in_order(stores):
    wanted = await asked(stores)
    assert await stores.outbox.executor_position() == ("e1", 1)
    story = [event(wanted, ExecutorEventKind.STARTED, 2), finished(wanted, OutcomeKind.SUCCEEDED, 3, passed=True)]
    for _ in range(2):
        await stores.outbox.apply(story)
    detail = await stores.reader.incident(wanted.incident_id)
    assert detail.incident.state is State.RESOLVED
    assert [line.event for line in detail.timeline if line.by == "executor"] == [
        "action_asked",
        "action_started",
        "action_finished",
    ]
    assert detail.actions[0].state == "succeeded"


async def test_an_executor_that_lost_its_journal_begins_a_new_epoch(stores):
    wanted = await asked(stores)
    anew = event(wanted, ExecutorEventKind.STARTED, 1, epoch="e2")
    await stores.outbox.apply([anew])
    assert await stores.outbox.executor_position() == ("e2", 1)
    assert (await stores.reader.incident(wanted.incident_id)).incident.state is State.ACTING


async def test_a_request_that_the_executor_will_not_take_needs_a_person(stores):
    await noticed(stores, trigger())
    held = await claim(stores)
    wanted = request(held.incident.id)
    await stores.reviews.finish_review(held, pack(held.incident.id), review(), [wanted])
    await stores.outbox.refused(wanted, "no such unit", NOW)
    assert (await stores.reader.incident(held.incident.id)).incident.state is State.NEEDS_PERSON
    assert (await stores.reader.action(wanted.id)).state == "refused"
    assert await stores.outbox.executor_position() == ("", 0)


async def test_what_waits_for_a_person_though_its_incident_ended_is_named(stores):
    wanted = await asked(stores)
    assert await stores.outbox.unneeded() == ()
    await over(stores)
    assert await stores.outbox.unneeded() == ((wanted, "active again"),)
    await stores.outbox.apply([event(wanted, ExecutorEventKind.WITHDRAWN, 2)])
    assert await stores.outbox.unneeded() == ()
    assert (await stores.reader.action(wanted.id)).state == "withdrawn"
    assert (await stores.reader.incident(wanted.incident_id)).incident.state is State.RESOLVED


async def test_an_ended_incident_asks_for_nothing_any_more(stores):
    await noticed(stores, trigger())
    held = await claim(stores)
    await over(stores)
    await stores.reviews.finish_review(held, pack(held.incident.id), review(), [request(held.incident.id)])
    assert await stores.outbox.unsubmitted() == ()


# --- reading


async def test_an_id_may_be_shortened_to_a_unique_prefix(stores):
    (opened,) = await noticed(stores, trigger())
    assert (await stores.reader.incident(opened.id[:4])).incident.id == opened.id
    for wrong in ("", "0", "%", opened.id + "x"):
        with pytest.raises(NotFound):
            await stores.reader.incident(wrong)


async def test_incidents_are_listed_by_state_newest_first(stores):
    await noticed(stores, trigger())
    await noticed(stores, trigger(unit="db.service", at=LATER))
    await over(stores, LATER)
    assert [incident.unit for incident in await stores.reader.incidents()] == ["db.service", UNIT]
    assert [incident.unit for incident in await stores.reader.incidents([State.RESOLVED])] == [UNIT]


async def test_a_services_last_word_stands(stores):
    for state in ("ok", "degraded"):
        await stores.notes.note(ServiceNote(service="review-model", state=state, text="why", at=NOW))
    (kept,) = await stores.reader.notes()
    assert kept.state == "degraded"


# --- several at once


async def test_two_processes_share_one_database(tmp_path):
    path = tmp_path / "state.db"
    async with open_stores(path, HOST) as one, open_stores(path, HOST) as other:
        for number in range(20):
            unit = f"u{number}.service"
            fault = trigger(unit=unit, details={"invocation": str(number)})
            side = one if number % 2 else other
            await side.notices.commit(Noticed(None, triggers=[fault]), replace(PLACING, storm_count=0))
        held = await asyncio.gather(*(claim(side, f"w{n}") for n, side in enumerate([one, other] * 10)))
        ids = [one_claim.incident.id for one_claim in held if one_claim]
        assert len(ids) == len(set(ids)) == 20


async def test_a_database_that_cannot_be_opened_says_what_to_look_at(tmp_path):
    (tmp_path / "state.db").mkdir()
    with pytest.raises(StoreUnavailable, match=r"state\.db"):
        await open_stores(tmp_path / "state.db", HOST).__aenter__()


async def test_a_database_that_another_service_is_just_making_is_waited_for(tmp_path):
    path = tmp_path / "state.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")  # SQLite refuses the switch to a write-ahead log at once then
    asyncio.get_running_loop().call_later(0.3, other.close)
    async with open_stores(path, HOST) as opened:
        assert await opened.notices.position() is None
