"""Other systems' alerts: what a firing one opens, when it is over, what is remembered of it."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.core.incident import State
from ai_sysadmin.core.settings import TriggerMonitor
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.runtime.service import Heartbeat
from ai_sysadmin.stores import Cleared, Noticed
from ai_sysadmin.stores.opinion_store import Alert
from ai_sysadmin.stores.relational import open_stores
from ai_sysadmin.stores.relational.placing import merged
from ai_sysadmin.trigger_monitor.alerts import (
    MEMORY,
    MOST_REMEMBERED,
    Alerts,
    Known,
    is_here,
    remembered,
    take,
    trigger_of,
    unit_of,
    why_over,
)
from ai_sysadmin.trigger_monitor.ledger import Ledger
from tests.builders import HOST, NOW
from tests.judging import FixedClock

DAY = timedelta(days=1)


def an_alert(fingerprint="f1", status="firing", labels=None, annotations=None, **changes):
    given = {"fingerprint": fingerprint, "status": status, "starts_at": NOW, "group_key": '{}:{alertname="Down"}'}
    given["labels"] = {"alertname": "Down", "instance": "db:9100", "severity": "critical"} | (labels or {})
    given["annotations"] = annotations if annotations is not None else {"summary": "db is down"}
    return Alert(**(given | changes))


# --- what it opens


def test_a_firing_alert_is_a_trigger_with_all_that_it_says():
    made = trigger_of(an_alert(annotations={"summary": "db is down", "description": "for 5 min"}), HOST, NOW)
    assert (made.kind, made.opens, made.about, made.unit) == (SymptomKind.ALERT, True, "alert Down on db:9100", "")
    assert (made.why, made.text, made.priority, made.template) == ("db is down", "for 5 min", 2, "f1")
    assert made.details["group_key"] == '{}:{alertname="Down"}'
    assert made.details["alert"] == "f1"


def test_the_fingerprint_is_stable_for_one_alert_and_differs_from_anothers():
    one = trigger_of(an_alert(), HOST, NOW)
    later = trigger_of(an_alert(annotations={"summary": "still"}, starts_at=NOW + DAY), HOST, NOW + DAY)
    other = trigger_of(an_alert("f2"), HOST, NOW)
    assert one.fingerprint == later.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("severity", "priority", "opens"),
    [
        ("critical", 2, True),
        ("page", 2, True),
        ("Error", 3, True),
        ("warning", 4, True),
        ("odd", 4, True),
        ("", 4, True),
        ("info", 6, False),
        ("none", 7, False),
    ],
)
def test_the_severity_label_is_the_priority_and_a_mere_word_opens_nothing(severity, priority, opens):
    made = trigger_of(an_alert(labels={"severity": severity}), HOST, NOW)
    assert (made.priority, made.opens) == (priority, opens)


@pytest.mark.parametrize(
    ("annotations", "why"),
    [
        ({"message": "m", "description": "d"}, "m"),
        ({"description": "d\n\x1b[2Je"}, "d e"),
        ({}, "the alert Down fires"),
    ],
)
def test_why_is_the_best_annotation_on_one_line(annotations, why):
    assert trigger_of(an_alert(annotations=annotations), HOST, NOW).why == why


@pytest.mark.parametrize(
    ("labels", "unit"),
    [
        ({"unit": "web.service"}, "web.service"),
        ({"instance": "HOST1:9100", "systemd_unit": "web.service"}, "web.service"),
        ({"instance": "host1.lan:9100", "name": "web.service"}, "web.service"),
        ({"instance": "[::1]:9100", "name": "web.service"}, "web.service"),
        ({"instance": "db:9100", "name": "web.service"}, ""),
        ({"unit": "var.mount", "name": "web.service"}, "web.service"),
        ({"name": "web"}, ""),
        ({"name": "-web; rm.service"}, ""),
        ({"name": "a b.service"}, ""),
    ],
)
def test_a_unit_is_one_of_this_host_only(labels, unit):
    assert unit_of(labels, HOST) == unit


def test_an_alert_about_a_unit_joins_what_is_open_for_it():
    made = trigger_of(an_alert(labels={"instance": "", "unit": "web.service"}), HOST, NOW)
    assert (made.unit, made.joins, made.subject) == ("web.service", ("web.service",), "alert Down")


@pytest.mark.parametrize(
    ("instance", "here"),
    [
        *((name, True) for name in ("", "localhost:1", "127.0.0.1", "::1", "[::1]:9100", "host1", "HOST1.lan:9100")),
        *((name, False) for name in ("host12", "http://host1:80/", "10.0.0.1:9100", "fe80::1", "lan.host1")),
    ],
)
def test_an_instance_is_this_host_by_its_name(instance, here):
    assert is_here(instance, HOST) is here


# --- while it fires


def told(known, *alerts, now=NOW):
    known, triggers = take(known, HOST, alerts, now)
    return known, [trigger.opens for trigger in triggers]


def test_a_repeated_alert_only_counts_and_is_told_again_after_a_day():
    known, opens = told(Known(), an_alert(), an_alert())
    assert opens == [True, False]
    known, opens = told(known, an_alert(), now=NOW + DAY - timedelta(seconds=1))
    assert opens == [False]
    known, opens = told(known, an_alert(), now=NOW + DAY)
    assert opens == [True]
    known, opens = told(known, an_alert(), now=NOW + DAY * 1.5)
    assert opens == [False]


def test_an_alert_that_lapsed_and_is_renewed_opens_again():
    known, _ = told(Known(), an_alert(ends_at=NOW + timedelta(minutes=1)))
    assert told(known, an_alert(), now=NOW + timedelta(minutes=3))[1] == [False]
    assert told(known, an_alert(), now=NOW + timedelta(minutes=7))[1] == [True]


def test_an_alert_that_was_resolved_or_begins_anew_opens_again():
    known, _ = told(Known(), an_alert())
    again = an_alert(starts_at=NOW + timedelta(minutes=3))
    assert told(known, again)[1] == [True]
    assert told(known, an_alert(status="resolved"), an_alert())[1] == [True]
    assert told(Known(), an_alert(status="resolved"))[1] == []


def fault_of(alert, now=NOW):
    return merged(None, trigger_of(alert, HOST, now))


def test_a_resolved_alert_is_over_and_one_that_fires_is_not():
    known, _ = told(Known(), an_alert(), an_alert("f2"))
    assert why_over(known, fault_of(an_alert()), NOW) is None
    known, _ = told(known, an_alert(status="resolved"))
    assert "resolved" in why_over(known, fault_of(an_alert()), NOW)
    assert why_over(known, fault_of(an_alert("f2")), NOW) is None


@pytest.mark.parametrize(("minutes", "over"), [(10, False), (15, False), (16, True)])
def test_an_alert_that_nobody_renews_is_over_five_minutes_after_its_end(minutes, over):
    known, _ = told(Known(), an_alert(ends_at=NOW + timedelta(minutes=10)))
    assert bool(why_over(known, fault_of(an_alert()), NOW + timedelta(minutes=minutes))) is over


def test_not_knowing_of_an_alert_is_not_its_end_until_a_week_has_passed():
    fault = fault_of(an_alert("unknown"))
    assert why_over(Known(), fault, NOW + DAY * 6) is None
    assert "7 days" in why_over(Known(), fault, NOW + DAY * 8)


def test_what_is_remembered_is_bounded_and_the_newest_stays():
    many = [an_alert(f"f{number}") for number in range(MOST_REMEMBERED + 500)]
    known, _ = told(Known(), *many)
    assert len(known.firing) == MOST_REMEMBERED
    assert "f1499" in known.firing
    known, _ = told(known, *(alert.model_copy(update={"status": "resolved"}) for alert in many))
    assert (len(known.firing), len(known.resolved)) == (0, MOST_REMEMBERED)
    assert len(known.model_dump_json()) < 200_000


def test_memory_survives_and_what_cannot_be_read_is_nothing():
    known, _ = told(Known(), an_alert(), an_alert("f2", "resolved"))
    assert remembered(known.model_dump_json()) == known
    assert remembered("") == remembered("{") == remembered('{"odd": 1}') == Known()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=30))
def test_what_fires_is_what_fired_last(story):
    alerts = [an_alert(name, "firing" if fires else "resolved") for name, fires in story]
    known, triggers = take(Known(), HOST, alerts, NOW)
    last = dict(story)
    assert set(known.firing) == {name for name, fires in last.items() if fires}
    assert set(known.resolved) == {name for name, fires in last.items() if not fires}
    assert len(triggers) == sum(fires for _, fires in story)


# --- with a store


@pytest.fixture
async def stores(tmp_path):
    async with open_stores(tmp_path / "state.db", HOST) as opened:
        yield opened


def monitor(stores, clock):
    return Alerts(Ledger(HOST, stores.notices, TriggerMonitor()), clock, Heartbeat())


async def test_an_alert_opens_an_incident_and_its_end_is_known_after_a_restart(stores):
    clock = FixedClock()
    assert not await monitor(stores, clock).take_next()
    await stores.alerts.receive([an_alert(), an_alert()])
    assert await monitor(stores, clock).take_next()
    (live,) = await stores.notices.live()
    assert (live.incident.title, live.incident.count, len(live.faults)) == ("db is down", 2, 1)
    assert await stores.notices.alerts() == ()
    again = monitor(stores, clock)
    assert await again.over(live.faults[0], live.incident, NOW) is None
    await stores.alerts.receive([an_alert(status="resolved")])
    await again.take_next()
    why = await monitor(stores, clock).over(live.faults[0], live.incident, NOW)
    assert "resolved" in why
    assert MEMORY in await stores.notices.memory()


async def test_a_repetition_does_not_reopen_what_a_person_has_dismissed(stores):
    clock = FixedClock()
    taking = monitor(stores, clock)
    await stores.alerts.receive([an_alert()])
    await taking.take_next()
    (live,) = await stores.notices.live()
    await taking._ledger.commit(Noticed(None, cleared=[Cleared(live.incident.id, NOW, "seen to")]))
    await stores.alerts.receive([an_alert()])
    await taking.take_next()
    assert (await stores.reader.incident(live.incident.id)).incident.state is State.RESOLVED
    assert await stores.notices.live() == ()


async def test_ten_thousand_alerts_are_one_storm(stores):
    taking = monitor(stores, FixedClock())
    await stores.alerts.receive([an_alert(f"f{n}", labels={"alertname": f"A{n}"}) for n in range(10_000)])
    while await taking.take_next():
        pass
    (live,) = await stores.notices.live()
    assert (live.incident.kind, live.incident.count) == (SymptomKind.STORM, 10_000)
