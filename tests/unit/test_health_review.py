"""The review of the whole host: when a model is asked, what becomes of what it says, checks."""

from dataclasses import replace
from datetime import timedelta

import pytest

from ai_sysadmin.context.condition import Condition
from ai_sysadmin.context.window import Window
from ai_sysadmin.core.errors import BackendUnavailable, SystemdUnavailable
from ai_sysadmin.core.health import HealthReport
from ai_sysadmin.core.incident import State
from ai_sysadmin.core.records import Sample
from ai_sysadmin.core.settings import ReviewModel
from ai_sysadmin.llm_backend import Completion
from ai_sysadmin.llm_backend.structured import schema_of
from ai_sysadmin.review_model import health
from ai_sysadmin.review_model.host_look import HostLook
from ai_sysadmin.review_model.host_review import MONITOR_ANSWERS_WITHIN, HostReviews
from ai_sysadmin.review_model.host_seen import Notable
from ai_sysadmin.runtime.service import Heartbeat
from ai_sysadmin.stores import Noticed
from ai_sysadmin.stores.relational import open_stores
from ai_sysadmin.testing.scripted_model import ScriptedModel
from ai_sysadmin.trigger_monitor.checks import Checks
from tests.builders import HOST, NOW, PLACING, pack, review, trigger
from tests.hosts_seen import DOWN, HOUR, seen
from tests.judging import FixedClock, FixedUnits

WHOLE = Window(text="", tokens=0, exact=True, kept=(), left_out=())
GOOD = {"findings": [{"evidence": ["e1"], "text": "web.service is down", "severity": 70}], "summary": "One is down."}


# --- reports


def test_rules_report_all_that_stands_out_the_worst_first():
    report = health.by_rules(seen(Notable("a", "small", 20), DOWN, gap="no bus"))
    assert [(finding.text, finding.evidence) for finding in report.findings] == [
        ("web.service failed", ("e1",)),
        ("small", ("e1",)),
    ]
    assert report.judged_by == "rules"
    assert "2 things stand out" in report.summary
    assert any("no bus" in note for note in report.notes)


def test_not_knowing_is_never_all_well():
    assert health.by_rules(seen()).summary == "Nothing stands out."
    assert "not everything could be looked at" in health.by_rules(seen(gap="no bus")).summary


def judged(*findings, of=None, summary="Fine. Really. Truly."):
    host = of or seen()
    reply = health.reply_model(host).model_validate({"findings": findings, "summary": summary})
    tokens = Completion(text="", model="m", prompt_tokens=10, completion_tokens=3)
    return health.judged(host, reply, tokens, 2, WHOLE, NOW)


def test_findings_that_cite_nothing_that_there_is_are_dropped_and_counted():
    good = {"evidence": ["e1"], "text": "a", "severity": 10}
    report = judged(good, good | {"evidence": []}, good | {"evidence": ["e1", "e9"]}, good | {"text": " "})
    assert [finding.text for finding in report.findings] == ["a"]
    assert report.notes == ("2 findings were dropped: they cite no evidence",)
    assert (report.judged_by, report.model_calls, report.prompt_tokens, report.completion_tokens) == ("m", 2, 10, 3)
    assert report.summary == "Fine. Really."


def test_a_model_does_not_wave_through_what_is_measured_and_grave():
    report = judged(of=seen(DOWN, Notable("a", "small", 20)))
    assert [finding.text for finding in report.findings] == ["web.service failed"]
    assert "1 findings are the rules'" in report.notes[0]


def test_the_reply_has_a_closed_list_of_pieces_and_bounds_on_everything():
    finding = schema_of(health.reply_model(seen(DOWN)))["properties"]["findings"]
    assert finding["maxItems"] == health.MOST_FINDINGS
    assert finding["items"]["properties"]["evidence"]["items"]["enum"] == ["e1", "e2"]
    assert finding["items"]["properties"]["text"]["maxLength"] == 250
    example = health.SYSTEM_PROMPT.rpartition("\n{")[2]
    health.Reply.model_validate_json("{" + " ".join(example.split()))


def test_an_unchanged_host_keeps_its_report_with_a_new_date():
    first = health.by_rules(seen(DOWN, at=NOW)).model_copy(update={"model_calls": 1, "prompt_tokens": 9})
    second = health.unchanged(seen(DOWN, at=NOW + HOUR), first)
    third = health.unchanged(seen(DOWN, at=NOW + 2 * HOUR), second)
    assert (third.at, third.findings, third.model_calls, third.prompt_tokens) == (NOW + 2 * HOUR, first.findings, 0, 0)
    assert third.notes == second.notes
    assert third.notes[-1].startswith("unchanged since 2026-11-20")
    assert health.unchanged(seen(), first) is None


# --- on the real store


class Rig:
    def __init__(self, stores, **settings):
        self.stores = stores
        self.clock = FixedClock(NOW)
        self.units = FixedUnits()
        self.model = ScriptedModel()
        look = HostLook(stores.reader, self.units, stores.metrics, stores.templates, self.clock)
        self.reviews = HostReviews.build(
            store=stores.health,
            look=look,
            spent=stores.reviews.spent,
            model=self.model,
            condition=Condition("review-model", stores.notes, self.clock),
            clock=self.clock,
            heart=Heartbeat(),
            settings=ReviewModel(**settings),
        )

    async def fails(self, **changes):
        await self.stores.notices.commit(Noticed(None, triggers=[trigger(**changes)]), PLACING)


@pytest.fixture
async def rig(tmp_path):
    async with open_stores(tmp_path / "state.db", HOST) as stores:
        yield Rig(stores)


class AllWell(FixedUnits):
    async def failed(self):
        return []


async def test_a_well_host_asks_no_model(rig):
    look = replace(rig.reviews.look, units=AllWell())
    report = await replace(rig.reviews, look=look).review()
    assert (report.summary, report.findings, rig.model.asked) == ("Nothing stands out.", (), [])


async def test_a_model_is_asked_once_while_nothing_changes(rig):
    await rig.fails()
    rig.model.enqueue(GOOD)
    first = await rig.reviews.review()
    rig.clock.at = NOW + HOUR
    await rig.stores.metrics.write([Sample("cpu_used_percent", 12.5)], rig.clock.at)
    again = await rig.reviews.review()
    assert (first.judged_by, again.judged_by, again.at) == ("scripted", "scripted", rig.clock.at)
    assert len(rig.model.asked) == 1
    assert len(await rig.stores.health.reports(5)) == 2
    rig.model.enqueue(GOOD)
    await rig.fails(unit="db.service", details={"invocation": "d"})
    await rig.reviews.review()
    assert len(rig.model.asked) == 2
    assert (await rig.stores.reader.incidents([State.OPEN]))[0].state is State.OPEN


async def test_what_it_cost_counts_against_the_hours_budget(tmp_path):
    async with open_stores(tmp_path / "state.db", HOST) as stores:
        rig = Rig(stores, max_model_calls_per_hour=1)
        await rig.fails()
        rig.model.enqueue(GOOD)
        await rig.reviews.review()
        await rig.fails(unit="db.service", details={"invocation": "d"})
        report = await rig.reviews.review()
        assert report.judged_by == "rules"
        assert "1 of 1 model calls were spent in the last hour" in report.notes[-1]


async def test_without_a_model_rules_report_and_the_model_is_asked_when_it_is_back(rig):
    await rig.fails()
    rig.model.enqueue(BackendUnavailable("review model at x is away"))
    report = await rig.reviews.review()
    assert report.judged_by == "rules"
    assert [finding.evidence for finding in report.findings]
    assert "review model away" in report.notes[-1]
    rig.model.state = "away"
    assert (await rig.reviews.review()).judged_by == "rules"
    rig.model.state = "ready"
    rig.model.enqueue(GOOD)
    assert (await rig.reviews.review()).judged_by == "scripted"


async def test_an_unusable_reply_leaves_the_rules_report_and_its_cost(rig):
    await rig.fails()
    rig.model.enqueue("no")
    rig.model.enqueue("no")
    report = await rig.reviews.review()
    assert (report.judged_by, report.model_calls) == ("rules", 2)
    assert report.prompt_tokens > 0
    assert "unusable" in report.notes[-1]


async def test_what_cannot_be_looked_at_is_a_gap(rig):
    rig.units.answer = SystemdUnavailable("no bus")
    report = await rig.reviews.review()
    assert any("failed units: no bus" in note for note in report.notes)
    assert [piece.kind for piece in report.pieces].count("unavailable") == 1


# --- checks


async def asked(rig, state="asked"):
    check = await rig.stores.health.ask_check("alice", NOW)
    if state == "looked":
        await rig.stores.health.keep_check(check.model_copy(update={"state": "looked", "looked_at": NOW}))
    return check.id


async def test_a_check_ends_with_a_report_once_the_monitor_has_looked(rig):
    assert not await rig.reviews.check_next()
    name = await asked(rig)
    assert not await rig.reviews.check_next()
    await asked(rig, "looked")
    rig.model.enqueue(GOOD)
    assert await rig.reviews.check_next()
    done = await rig.stores.health.check(name)
    assert (done.state, done.report.judged_by, done.text) == ("done", "scripted", "")


async def test_a_check_goes_on_without_a_monitor_that_does_not_answer_and_says_so(rig):
    name = await asked(rig)
    rig.clock.at = NOW + MONITOR_ANSWERS_WITHIN
    assert await rig.reviews.check_next()
    done = await rig.stores.health.check(name)
    assert done.state == "done"
    assert "did not look within 20 s" in done.text
    assert isinstance(done.report, HealthReport)


async def test_a_check_waits_for_the_incidents_that_are_due(rig):
    await rig.fails(at=NOW - HOUR)
    await asked(rig, "looked")
    assert await rig.reviews._is_anything_due()
    bounds = {"lease": HOUR, "settle": timedelta(0), "settle_at_most": timedelta(0), "now": NOW}
    held = await rig.stores.reviews.claim_review("r", **bounds)
    await rig.stores.reviews.finish_review(held, pack(held.incident.id), review(), [])
    assert not await rig.reviews._is_anything_due()


async def test_the_loops_of_one_service_do_not_take_the_place_of_anothers(rig):
    monitors = Checks(rig.stores.health, {}, rig.clock, Heartbeat()).loops()
    assert not set(rig.reviews.loops()) & set(monitors)
