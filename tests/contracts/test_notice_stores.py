"""What every store must do with what is noticed: where triggers are placed, templates, mutes, alerts."""

import time
from datetime import timedelta

import pytest

from ai_sysadmin.core.errors import NotFound, StoreUnavailable
from ai_sysadmin.core.incident import State
from ai_sysadmin.core.records import Judgement, Label, Template, Verdict
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.stores import Cleared, Noticed, Placing
from ai_sysadmin.stores.opinion_store import Alert, Mute
from ai_sysadmin.stores.relational import open_stores
from tests.builders import HOST, NOW, PLACING, UNIT, pack, request, review, trigger


def at(seconds):
    return NOW + timedelta(seconds=seconds)


def fault(unit=UNIT, seconds=0, **changes):
    return trigger(unit=unit, at=at(seconds), details={}, **changes)


async def notice(stores, *triggers, **changes):
    return await stores.notices.commit(Noticed(None, triggers=triggers, **changes), PLACING)


async def clear(stores, incident_id, seconds=0):
    await notice(stores, cleared=[Cleared(incident_id, at(seconds), "it runs")])


async def one(stores, incident_id):
    return (await stores.reader.incident(incident_id)).incident


# --- where a trigger belongs


async def test_a_fault_joins_the_live_incident_of_the_likeliest_root(stores):
    (database,) = await notice(stores, fault("db.service"))
    await notice(stores, fault("cache.service"))
    joined = fault("web.service", joins=("gone.service", "db.service", "cache.service"))
    assert await notice(stores, joined) == ()
    (held,) = [live for live in await stores.notices.live() if live.incident.id == database.id]
    assert [symptom.unit for symptom in held.faults] == ["db.service", "web.service"]
    assert held.incident.title == "db.service failed"


async def test_what_follows_a_joined_fault_goes_where_the_fault_went(stores):
    (database,) = await notice(stores, fault("db.service"))
    await notice(stores, fault("web.service", joins=("db.service",)))
    line = trigger(SymptomKind.SEVERE_LOG, unit="web.service", template="boom", count=3)
    assert await notice(stores, line) == ()
    assert (await one(stores, database.id)).count == 5


async def test_a_root_found_later_takes_its_effects_in(stores):
    (web,) = await notice(stores, fault("web.service"))
    (database,) = await notice(stores, fault("db.service", 5, explains=("web.service", "other.service"), why="it died"))
    ended = await one(stores, web.id)
    assert (ended.state, ended.merged_into) == (State.DISMISSED, database.id)
    detail = await stores.reader.incident(database.id)
    assert {symptom.unit for symptom in detail.symptoms} == {"db.service", "web.service"}
    assert detail.incident.count == 2
    assert await notice(stores, fault("web.service", 9)) == ()
    assert (await one(stores, database.id)).count == 3


async def test_what_belongs_to_one_root_is_not_taken_by_another(stores):
    (small,) = await notice(stores, fault("small.mount"), fault("web.service", joins=("small.mount",)))
    (nodes,) = await notice(stores, fault("nodes.mount", explains=("web.service",)))
    assert {live.incident.id for live in await stores.notices.live()} == {small.id, nodes.id}


async def test_what_is_still_so_after_its_root_was_resolved_counts_for_itself(stores):
    (database,) = await notice(stores, fault("db.service"))
    effect = trigger(unit="web.service", joins=("db.service",))
    assert await notice(stores, effect) == ()
    assert await notice(stores, effect) == (), "it is known while its root lives"
    await clear(stores, database.id, 60)
    (own,) = await notice(stores, trigger(unit="web.service", at=at(120)))
    assert (own.unit, own.id == database.id) == ("web.service", False)


async def test_a_fault_that_both_incidents_hold_is_one_afterwards(stores):
    (database,) = await notice(stores, fault("db.service"))
    await notice(stores, fault("web.service", joins=("db.service",)))
    await clear(stores, database.id, 10)
    (web,) = await notice(stores, fault("web.service", 20))
    (database,) = await notice(stores, fault("db.service", 30, explains=("web.service",)))
    assert (await one(stores, web.id)).merged_into == database.id
    detail = await stores.reader.incident(database.id)
    assert {symptom.unit: symptom.count for symptom in detail.symptoms} == {"db.service": 2, "web.service": 2}
    assert detail.incident.count == 4


async def test_a_merged_incidents_proposals_are_taken_back(stores):
    (web,) = await notice(stores, fault("web.service"))
    claim = await stores.reviews.claim_review(
        "r", lease=timedelta(minutes=3), settle=timedelta(0), settle_at_most=timedelta(0), now=at(1)
    )
    wanted = request(web.id)
    await stores.reviews.finish_review(claim, pack(web.id), review(Verdict.ACT, incident_id=web.id), [wanted])
    assert [waiting.id for waiting in await stores.outbox.unsubmitted()] == [wanted.id]
    await notice(stores, fault("db.service", 5, explains=("web.service",)))
    assert await stores.outbox.unsubmitted() == ()
    assert (await stores.reader.action(wanted.id)).state == "withdrawn"


async def test_what_comes_back_after_a_merge_reopens_on_its_own(stores):
    (web,) = await notice(stores, fault("web.service"))
    (database,) = await notice(stores, fault("db.service", 5, explains=("web.service",)))
    await clear(stores, database.id, 10)
    (again,) = await notice(stores, fault("web.service", 60))
    assert (again.id, again.state, again.merged_into) == (web.id, State.OPEN, "")


async def test_one_incident_holds_so_many_fingerprints_and_counts_the_rest(stores):
    (opened,) = await notice(stores, fault())
    lines = [trigger(SymptomKind.SEVERE_LOG, template=f"t{number}") for number in range(600)]
    await notice(stores, *lines)
    detail = await stores.reader.incident(opened.id)
    assert len(detail.symptoms) == 500
    assert detail.incident.count == 601


async def test_what_waits_for_an_incident_is_bounded_and_the_newest_stay(stores):
    lines = [
        trigger(SymptomKind.SEVERE_LOG, unit=f"u{number}.service", template="t", at=at(number / 100))
        for number in range(2100)
    ]
    await notice(stores, *lines)
    waiting = await stores.notices.unattached(NOW - timedelta(hours=1))
    assert len(waiting) == 2000
    assert min(symptom.last_at for symptom in waiting) == at(1)


# --- storms


async def test_eleven_in_five_minutes_are_one_storm(stores):
    ten = [await notice(stores, fault(f"u{number}.service", number)) for number in range(10)]
    assert all(len(began) == 1 for began in ten)
    (storm,) = await notice(stores, fault("u10.service", 10))
    assert (storm.kind, storm.subject) == (SymptomKind.STORM, "storm")
    live = await stores.notices.live()
    assert [each.incident.id for each in live] == [storm.id]
    assert {symptom.subject for symptom in live[0].faults} == {"storm", *(f"u{n}.service" for n in range(11))}
    members = [each for each in await stores.reader.incidents() if each.id != storm.id]
    assert {member.merged_into for member in members} == {storm.id}
    assert (await one(stores, storm.id)).count == 11


async def test_one_commit_that_makes_a_storm_tells_of_the_storm_only(stores):
    (began,) = await notice(stores, *(fault(f"u{number}.service") for number in range(25)))
    assert began.kind is SymptomKind.STORM
    assert began.merged_into == ""
    assert len(await stores.notices.live()) == 1


async def test_ten_are_no_storm_nor_are_eleven_over_an_hour(stores):
    await notice(stores, *(fault(f"u{number}.service", number * 360) for number in range(15)))
    assert len(await stores.notices.live()) == 15
    await notice(stores, *(fault(f"v{number}.service", 90_000) for number in range(10)))
    assert len(await stores.notices.live()) == 25


async def test_what_is_part_of_a_root_does_not_count_towards_a_storm(stores):
    for number in range(10):
        await notice(stores, fault(f"u{number}.service", number))
    every = tuple(f"u{number}.service" for number in range(10))
    (root,) = await notice(stores, fault("db.service", 20, explains=every))
    assert [live.incident.id for live in await stores.notices.live()] == [root.id]


async def test_a_root_found_in_a_storm_takes_the_storm_in(stores):
    (storm,) = await notice(stores, *(fault(f"u{number}.service") for number in range(11)))
    (root,) = await notice(stores, fault("disk.mount", 20, explains=("u3.service",)))
    assert [live.incident.id for live in await stores.notices.live()] == [root.id]
    assert (await one(stores, storm.id)).merged_into == root.id


async def test_faults_that_come_back_all_at_once_are_a_storm_too(stores):
    for number in range(11):
        (opened,) = await notice(stores, fault(f"u{number}.service", number * 100))
        await clear(stores, opened.id, number * 100 + 50)
    assert await stores.notices.live() == ()
    await notice(stores, *(fault(f"u{number}.service", 2000 + number) for number in range(11)))
    (live,) = await stores.notices.live()
    assert live.incident.kind is SymptomKind.STORM


async def test_a_storm_that_fell_quiet_takes_no_single_fault_but_the_next_wave(stores):
    (storm,) = await notice(stores, *(fault(f"u{number}.service") for number in range(11)))
    (single,) = await notice(stores, fault("late.service", 4000))
    assert {live.incident.id for live in await stores.notices.live()} == {storm.id, single.id}
    assert await notice(stores, *(fault(f"v{number}.service", 4010) for number in range(10))) == ()
    assert [live.incident.id for live in await stores.notices.live()] == [storm.id]


async def test_nothing_is_carried_to_the_executor_while_a_storm_lasts(stores):
    (first,) = await notice(stores, fault("first.service", -3000))
    claim = await stores.reviews.claim_review(
        "r", lease=timedelta(minutes=3), settle=timedelta(0), settle_at_most=timedelta(0), now=NOW
    )
    wanted = request(first.id)
    await stores.reviews.finish_review(claim, pack(first.id), review(incident_id=first.id), [wanted])
    (storm,) = await notice(stores, *(fault(f"u{number}.service") for number in range(11)))
    assert await stores.outbox.unsubmitted() == ()
    await clear(stores, storm.id, 60)
    assert [waiting.id for waiting in await stores.outbox.unsubmitted()] == [wanted.id]


async def test_storms_can_be_switched_off(stores):
    never = Placing(PLACING.join_within, PLACING.reopen_within, 0, PLACING.storm_within)
    many = [fault(f"u{number}.service") for number in range(20)]
    began = await stores.notices.commit(Noticed(None, triggers=many), never)
    assert len(began) == 20


async def test_ten_thousand_different_alerts_are_one_storm_in_seconds(stores):
    began = time.process_time()
    for start in range(0, 10_000, 1000):
        many = [
            fault("", template=f"f{number}", about=f"alert A{number}", kind=SymptomKind.ALERT)
            for number in range(start, start + 1000)
        ]
        await notice(stores, *many)
    spent = time.process_time() - began
    (live,) = await stores.notices.live()
    assert live.incident.count == 10_000
    assert len(live.faults) == 500
    assert len(await stores.reader.incidents(limit=500)) == 12
    assert spent < 20, f"{spent:.1f} s"


# --- mutes


def a_mute(fingerprint, seconds=3600, since=0):
    return Mute(fingerprint=fingerprint, until=at(seconds), by="root", at=at(since))


async def test_a_muted_fault_opens_nothing_until_its_moment(stores):
    await stores.mutes.mute(a_mute(fault().fingerprint))
    assert await notice(stores, fault(), fault(seconds=3599)) == ()
    assert await stores.notices.live() == ()
    assert len(await notice(stores, fault(seconds=3601))) == 1


async def test_a_muted_fault_is_no_fault_of_the_incident_that_it_supports(stores):
    await stores.mutes.mute(a_mute(fault(template="x").fingerprint))
    (opened,) = await notice(stores, fault())
    await notice(stores, fault(template="x", seconds=5))
    (live,) = await stores.notices.live()
    assert len(live.faults) == 1
    assert (await one(stores, opened.id)).count == 2


async def test_a_later_mute_replaces_an_earlier_and_one_that_has_passed_ends_it(stores):
    await stores.mutes.mute(a_mute("f1", 60))
    await stores.mutes.mute(a_mute("f1", 7200))
    await stores.mutes.mute(a_mute("f2", 3600))
    assert [mute.fingerprint for mute in await stores.mutes.mutes(NOW)] == ["f2", "f1"]
    assert [mute.fingerprint for mute in await stores.mutes.mutes(at(3600))] == ["f1"]
    await stores.mutes.mute(a_mute("f1", 10, since=10))
    assert [mute.fingerprint for mute in await stores.mutes.mutes(at(10))] == ["f2"]


async def test_what_incidents_hold_is_found_by_the_beginning_of_its_fingerprint(stores):
    (opened,) = await notice(stores, fault(), fault(template="x"))
    name = fault().fingerprint
    await clear(stores, opened.id, 10)
    await notice(stores, fault(seconds=90_000), trigger(SymptomKind.SEVERE_LOG, unit="other.service", template="t"))
    (found,) = await stores.mutes.held(name[:9])
    assert (found.fingerprint, found.last_at) == (name, at(90_000))
    assert await stores.mutes.held("") == await stores.mutes.held("%") == ()
    waiting = trigger(SymptomKind.SEVERE_LOG, unit="other.service", template="t")
    assert await stores.mutes.held(waiting.fingerprint) == ()


# --- templates


def a_template(name="aa11", **changes):
    given = {"id": name, "source": UNIT, "text": f"text {name}", "example": "text 1", "priority": 4, "count": 1}
    return Template(**(given | {"first_at": NOW, "last_at": NOW} | changes))


def a_label(version="v1", **changes):
    given = {"category": "network", "severity": 30, "matters": True, "summary": "it broke", "model": "tiny"}
    return Label(**(given | {"prompt_version": version, "at": NOW} | changes))


async def test_labels_and_judgements_survive_what_the_monitor_writes(stores):
    await notice(stores, templates=[a_template()])
    await stores.templates.label({"aa11": a_label(), "gone": a_label()})
    await stores.templates.judge("aa11", Judgement.BENIGN, "root")
    await notice(stores, templates=[a_template(count=7, known=True, last_at=at(60))])
    kept = await stores.templates.template("aa11")
    assert (kept.count, kept.known, kept.label.summary) == (7, True, "it broke")
    assert (kept.judgement, kept.judged_by) == (Judgement.BENIGN, "root")
    assert await stores.templates.opinions() == {"aa11": (a_label(), Judgement.BENIGN)}
    assert (await stores.templates.judge("aa11", None, "root")).judged_by == ""
    assert await stores.templates.opinions() == {"aa11": (a_label(), None)}


async def test_what_has_no_label_by_this_prompt_is_offered_the_most_urgent_and_newest_first(stores):
    await notice(
        stores,
        templates=[
            a_template("old3", priority=3),
            a_template("new3", priority=3, last_at=at(9)),
            a_template("info", priority=6, last_at=at(99)),
            a_template("judged", priority=0),
            a_template("done", priority=0),
            a_template("other", priority=5),
        ],
    )
    await stores.templates.judge("judged", Judgement.MATTERS, "root")
    await stores.templates.label({"done": a_label("v2"), "other": a_label("v1")})
    offered = await stores.templates.unlabelled(10, "v2")
    assert [each.id for each in offered] == ["new3", "old3", "other", "info"]
    assert len(await stores.templates.unlabelled(2, "v2")) == 2


async def test_what_gets_no_label_is_passed_over_by_that_version_only_and_keeps_an_earlier_one(stores):
    await notice(stores, templates=[a_template()])
    await stores.templates.label({"aa11": a_label("v1")})
    await stores.templates.pass_over(["aa11", "gone"], "v2")
    assert await stores.templates.unlabelled(10, "v2") == ()
    (again,) = await stores.templates.unlabelled(10, "v3")
    assert again.label == a_label("v1")


async def test_a_templates_id_may_be_shortened_to_a_unique_prefix(stores):
    await notice(stores, templates=[a_template("aa11")])
    with pytest.raises(NotFound):
        await stores.templates.judge("", Judgement.BENIGN, "root")
    await notice(stores, templates=[a_template("aa22"), a_template("aa"), a_template("bb")])
    assert (await stores.templates.template("aa1")).id == "aa11"
    assert (await stores.templates.template("aa")).id == "aa"
    assert (await stores.templates.judge("b", Judgement.MATTERS, "me")).id == "bb"
    for wrong in ("", "a", "aa3", "%", "_"):
        with pytest.raises(NotFound, match="template"):
            await stores.templates.template(wrong)


# --- alerts


def an_alert(fingerprint="f1", status="firing", **changes):
    given = {"fingerprint": fingerprint, "status": status, "labels": {"alertname": "Down"}, "annotations": {}}
    return Alert(**(given | {"starts_at": NOW} | changes))


async def test_alerts_wait_in_order_and_are_taken_once_with_what_they_came_to(stores, place):
    await stores.alerts.receive([an_alert("f1"), an_alert("f2")])
    await stores.alerts.receive([an_alert("f1", "resolved")])
    async with open_stores(place, HOST) as another:
        waiting = await another.notices.alerts()
    assert [(alert.fingerprint, alert.status) for _, alert in waiting] == [
        ("f1", "firing"),
        ("f2", "firing"),
        ("f1", "resolved"),
    ]
    await notice(stores, fault(), memory={"alerts": "kept"}, alerts=[number for number, _ in waiting[:2]])
    assert await stores.notices.alerts() == waiting[2:]
    assert (await stores.notices.memory())["alerts"] == "kept"


async def test_more_alerts_than_can_wait_are_refused_and_none_is_lost(stores):
    many = [an_alert(f"f{number}") for number in range(10_000)]
    for _ in range(2):
        await stores.alerts.receive(many)
    with pytest.raises(StoreUnavailable, match="20000 alerts wait"):
        await stores.alerts.receive([an_alert()])
    waiting = await stores.notices.alerts()
    assert len(waiting) == 1000
    await notice(stores, alerts=[number for number, _ in waiting])
    await stores.alerts.receive([an_alert()])


async def test_a_reviews_verdict_stands_above_the_trigger_models_label(stores):
    made = [a_template("aa"), a_template("bb")]
    line = trigger(SymptomKind.BURST, template="aa", details={"template": "aa"})
    (opened,) = await notice(stores, line, templates=made)
    await stores.templates.label({"aa": a_label(severity=90)})
    claim = await stores.reviews.claim_review(
        "r", lease=timedelta(minutes=1), settle=timedelta(0), settle_at_most=timedelta(0), now=at(60)
    )
    found = review(
        Verdict.BENIGN, incident_id=opened.id, judged_by="Qwen3-4B", model_calls=1, cause="a chatty cron job"
    )
    await stores.reviews.finish_review(claim, pack(opened.id), found, [])
    await stores.templates.label({"aa": a_label(severity=99), "bb": a_label(severity=98)})
    label, judgement = (await stores.templates.opinions())["aa"]
    assert (label.matters, label.model, label.summary, judgement) == (False, "Qwen3-4B", "a chatty cron job", None)
    assert (await stores.templates.template("bb")).label.severity == 98
    assert await stores.templates.unlabelled(10, "v9") != []
    assert "aa" not in {each.id for each in await stores.templates.unlabelled(10, "v9")}
