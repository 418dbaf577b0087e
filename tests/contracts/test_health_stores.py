"""Reviews of the whole host, people's wishes for one, and what models were asked."""

from datetime import timedelta

import pytest

from ai_sysadmin.core.errors import NotFound
from ai_sysadmin.core.health import HealthReport
from ai_sysadmin.core.records import Verdict
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.stores import Noticed, Spent
from ai_sysadmin.stores.relational import health
from tests.builders import NOW, PLACING, pack, review, trigger

LATER = NOW + timedelta(minutes=1)


def report(at=NOW, **changes):
    given = {"at": at, "hash": "h", "pieces": (), "summary": "all is well", "judged_by": "rules"}
    return HealthReport(**(given | changes))


async def claim(stores, now=LATER):
    return await stores.reviews.claim_review(
        "r1", lease=timedelta(minutes=3), settle=timedelta(0), settle_at_most=timedelta(0), now=now
    )


# --- reports


async def test_reports_are_kept_and_the_newest_comes_first(stores):
    for minute in range(3):
        await stores.health.keep_report(report(NOW + timedelta(minutes=minute)))
    kept = await stores.health.reports(2)
    assert [each.at for each in kept] == [NOW + timedelta(minutes=2), NOW + timedelta(minutes=1)]


async def test_only_so_many_reports_are_kept(stores, monkeypatch):
    monkeypatch.setattr(health, "MOST_REPORTS", 3)
    for minute in range(5):
        await stores.health.keep_report(report(NOW + timedelta(minutes=minute)))
    assert len(await stores.health.reports(10)) == 3


# --- what models were asked


async def test_what_was_spent_is_counted_over_reviews_of_incidents_and_of_the_host(stores):
    await stores.notices.commit(Noticed(None, triggers=[trigger()]), PLACING)
    held = await claim(stores)
    judged = review(Verdict.WATCH, model_calls=2, prompt_tokens=900, completion_tokens=100, at=LATER)
    await stores.reviews.finish_review(held, pack(held.incident.id), judged, [])
    await stores.health.keep_report(report(LATER, model_calls=1, prompt_tokens=50, completion_tokens=5))
    assert await stores.reviews.spent(NOW) == Spent(3, 1055)
    assert await stores.reviews.spent(LATER) == Spent()


async def test_what_was_spent_on_an_incident_stands_on_its_next_claim(stores):
    await stores.notices.commit(Noticed(None, triggers=[trigger(SymptomKind.BURST)]), PLACING)
    held = await claim(stores)
    judged = review(Verdict.WATCH, model_calls=1, prompt_tokens=70, completion_tokens=7)
    await stores.reviews.finish_review(held, pack(held.incident.id), judged, [])
    await stores.notices.commit(Noticed(None, triggers=[trigger(at=LATER)]), PLACING)
    again = await claim(stores, LATER + timedelta(seconds=1))
    assert (again.model_calls, again.model_tokens) == (1, 77)


async def test_what_a_worker_spent_counts_although_it_lost_its_claim(stores):
    await stores.notices.commit(Noticed(None, triggers=[trigger()]), PLACING)
    lost = await claim(stores)
    held = await claim(stores)
    judged = review(Verdict.BENIGN, model_calls=1, prompt_tokens=70, at=LATER)
    unchanged = await stores.reviews.finish_review(lost, pack(held.incident.id), judged, [])
    assert not unchanged.ended
    assert await stores.reviews.spent(NOW) == Spent(1, 70)


async def test_what_a_judgement_without_a_model_costs_is_nothing(stores):
    await stores.health.keep_report(report())
    assert await stores.reviews.spent(NOW - timedelta(days=1)) == Spent()


# --- checks


async def test_a_check_goes_from_asked_to_looked_to_done_with_its_report(stores):
    asked = await stores.health.ask_check("alice", NOW)
    assert await stores.health.waiting_check("asked") == asked
    looked = asked.model_copy(update={"state": "looked", "looked_at": LATER})
    await stores.health.keep_check(looked)
    assert await stores.health.waiting_check("asked") is None
    assert await stores.health.waiting_check("looked") == looked
    done = looked.model_copy(update={"state": "done", "done_at": LATER, "report": report()})
    await stores.health.keep_check(done)
    assert await stores.health.check(asked.id) == done
    assert await stores.health.waiting_check("looked") is None


async def test_two_who_ask_share_one_check_until_it_is_done(stores):
    one = await stores.health.ask_check("alice", NOW)
    assert (await stores.health.ask_check("bob", LATER)).id == one.id
    await stores.health.keep_check(one.model_copy(update={"state": "done"}))
    assert (await stores.health.ask_check("bob", LATER)).id != one.id


async def test_who_comes_late_does_not_take_a_check_back(stores):
    asked = await stores.health.ask_check("alice", NOW)
    done = asked.model_copy(update={"state": "done", "text": "went on without the monitor"})
    await stores.health.keep_check(done)
    await stores.health.keep_check(asked.model_copy(update={"state": "looked"}))
    assert await stores.health.check(asked.id) == done


async def test_a_check_that_nobody_took_up_is_given_up_and_asked_anew(stores):
    old = await stores.health.ask_check("alice", NOW)
    new = await stores.health.ask_check("bob", NOW + timedelta(hours=1))
    assert new.id != old.id
    ended = await stores.health.check(old.id)
    assert (ended.state, ended.report) == ("done", None)
    assert "no service" in ended.text


async def test_an_unknown_check_is_named(stores):
    with pytest.raises(NotFound, match="nothing"):
        await stores.health.check("nothing")
