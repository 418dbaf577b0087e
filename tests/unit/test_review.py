"""Judging: the model within its budgets, else rules; the loop around it; the service's condition."""

import json
import logging
from datetime import timedelta

import pytest

from ai_sysadmin.context.condition import Condition, watch
from ai_sysadmin.core.acting import Origin
from ai_sysadmin.core.clock import local
from ai_sysadmin.core.errors import BackendUnavailable, StoreUnavailable
from ai_sysadmin.core.records import Verdict
from ai_sysadmin.core.settings import ReviewModel
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.llm_backend import PromptTooLong
from ai_sysadmin.review_model import decide
from ai_sysadmin.review_model.budget import nothing_spent
from ai_sysadmin.review_model.daemon import Judge, Reviewer
from ai_sysadmin.runtime.service import Heartbeat
from ai_sysadmin.stores import Spent
from ai_sysadmin.testing.scripted_model import ScriptedModel
from tests.builders import HOST, NOW, UNIT, review
from tests.judging import RUNNING, FixedClock, FixedUnits, Notes, OneClaim, claim, facts, gathering
from tests.reviewing import (
    AWAY,
    GOOD,
    RESTART,
    with_log,
)

# --- the judge


def judge_with(model, notes=None, spent=nothing_spent, **changes):
    clock = FixedClock()
    return Judge.of(model, Condition("review-model", notes or Notes(), clock), clock, ReviewModel(**changes), spent)


async def test_the_model_is_asked_once():
    model = ScriptedModel(json.dumps(GOOD))
    judged = await judge_with(model).judge(await facts(), claim())
    assert (judged.judged_by, judged.model_calls, len(model.asked)) == ("scripted", 1, 1)


async def test_an_unusable_reply_on_a_measured_failure_escalates_with_what_the_rules_know():
    judged = await judge_with(ScriptedModel("no", "no")).judge(await facts(), claim())
    assert (judged.verdict, judged.action, judged.judged_by) == (Verdict.ESCALATE, None, "rules")
    assert "exit status 1" in judged.cause
    assert (judged.model_calls, "model reply unusable" in judged.notes[-1]) == (2, True)


@pytest.mark.parametrize("kind", [SymptomKind.BURST, SymptomKind.UNIT_FAILED])
async def test_an_unusable_reply_otherwise_escalates(kind):
    judged = await judge_with(ScriptedModel("no", "no")).judge(await facts(RUNNING, kind), claim())
    assert (judged.verdict, judged.action, judged.confidence) == (Verdict.ESCALATE, None, 0)


async def test_benign_is_unusable_for_a_failed_unit_even_from_a_server_without_schemas():
    benign = json.dumps(GOOD | {"verdict": "benign", "action": "none"})
    judged = await judge_with(ScriptedModel(benign, benign)).judge(await facts(), claim())
    assert judged.verdict is Verdict.ESCALATE


async def test_a_cause_without_words_leaves_the_rules_judgement():
    judged = await judge_with(ScriptedModel(json.dumps(GOOD | {"cause": ",}} e"}))).judge(await facts(), claim())
    assert (judged.verdict, judged.action, judged.judged_by, judged.confidence) == (Verdict.ACT, RESTART, "rules", 0)
    assert "it names no cause" in judged.notes[-1]


async def test_with_the_model_away_rules_judge_and_the_service_is_degraded():
    notes = Notes()
    model = ScriptedModel(BackendUnavailable("review model at x is loading, 40 s so far"), json.dumps(GOOD))
    judge = judge_with(model, notes)
    judged = await judge.judge(await facts(), claim())
    assert (judged.verdict, judged.judged_by) == (Verdict.ACT, "rules")
    assert judged.notes == ("review model away: review model at x is loading, 40 s so far",)
    assert [(note.state, note.service) for note in notes.said] == [("degraded", "review-model")]
    assert "judged by rules" in notes.said[0].text
    await judge.judge(await facts(), claim())
    assert [note.state for note in notes.said] == ["degraded", "ok"]


async def test_unchanged_evidence_asks_no_model():
    model = ScriptedModel()
    seen = await facts()
    same = await facts(reviewed_hash=seen.pack.hash)
    before = review(evidence_hash=seen.pack.hash, model_calls=1, at=NOW.replace(year=2025), action=RESTART)
    judged = await judge_with(model).judge(same, claim(reviews=(before,)))
    assert judged == before.model_copy(update={"at": NOW, "model_calls": 0})
    assert model.asked == []


async def test_changed_evidence_is_judged_anew():
    model = ScriptedModel(json.dumps(GOOD))
    await judge_with(model).judge(await facts(reviewed_hash="h1"), claim(reviews=(review(),)))
    assert len(model.asked) == 1


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (claim(model_calls=3), "3 of 3 model calls were spent on this incident"),
        (claim(model_tokens=900), "900 of 900 tokens were spent on this incident"),
    ],
)
async def test_an_incident_has_a_budget_of_calls_and_of_tokens(held, said):
    model = ScriptedModel()
    judge = judge_with(model, max_model_calls_per_incident=3, max_tokens_per_incident=900)
    judged = await judge.judge(await facts(), held)
    assert (judged.judged_by, judged.verdict, judged.model_calls) == ("rules", Verdict.ACT, 0)
    assert said in judged.notes[0]
    assert model.asked == []


class Account:
    """What was spent, at which moments."""

    def __init__(self, *uses):
        self.uses = uses

    async def __call__(self, since):
        new = [use for at, use in self.uses if at > since]
        return Spent(sum(use.calls for use in new), sum(use.tokens for use in new))


@pytest.mark.parametrize(
    ("use", "said"), [(Spent(5, 10), "10 of 10 model calls"), (Spent(1, 500), "1000 of 1000 tokens")]
)
async def test_an_hour_has_budgets_and_rules_say_when_they_free_up(use, said):
    model = ScriptedModel(json.dumps(GOOD))
    account = Account((NOW - timedelta(minutes=50), use), (NOW - timedelta(minutes=20), use))
    judge = judge_with(model, spent=account, max_model_calls_per_hour=10, max_tokens_per_hour=1000)
    judged = await judge.judge(await facts(), claim())
    assert (judged.judged_by, model.asked) == ("rules", [])
    assert judged.notes[0].startswith(f"{said} were spent in the last hour: rules judge until ")
    frees = local(NOW + timedelta(minutes=10))[:16]
    assert f"until {frees}" in judged.notes[0]
    judge.clock.at = NOW + timedelta(minutes=10, seconds=2)
    assert (await judge.judge(await facts(), claim())).judged_by == "scripted"


async def test_what_a_judgement_cost_stands_on_it_also_where_the_reply_cannot_be_used():
    good = await judge_with(ScriptedModel(json.dumps(GOOD))).judge(await facts(), claim())
    assert good.prompt_tokens > 0
    assert good.completion_tokens > 0
    bad = await judge_with(ScriptedModel("no", "no")).judge(await facts(), claim())
    assert bad.prompt_tokens > good.prompt_tokens
    assert bad.completion_tokens > 0


async def test_a_small_context_gets_less_of_the_evidence_and_says_what_is_missing():
    model = ScriptedModel(json.dumps(GOOD), context_tokens=6000)
    seen = with_log(await facts(), *(f"line {number} of the log" for number in range(3000)))
    judged = await judge_with(model).judge(seen, claim())
    assert judged.judged_by == "scripted"
    assert any("did not see all of e" in note and "log" in note for note in judged.notes)
    assert "line 2999 of" in model.asked[0].messages[1].content
    assert "line 1 of" not in model.asked[0].messages[1].content
    assert "--evidence" in model.asked[0].messages[1].content  # it is told that there is more, and where


@pytest.mark.parametrize(("context", "is_brief"), [(4096, True), (16_384, False)])
async def test_a_small_context_gets_a_brief_prompt_rather_than_no_evidence(context, is_brief):
    model = ScriptedModel(json.dumps(GOOD), context_tokens=context)
    assert (await judge_with(model).judge(await facts(), claim())).judged_by == "scripted"
    system = model.asked[0].messages[0].content
    assert system == (decide.BRIEF_PROMPT if is_brief else decide.SYSTEM_PROMPT)


async def test_no_more_evidence_is_shown_than_the_settings_allow():
    seen = with_log(await facts(), *(f"line {number} of the log" for number in range(3000)))
    sizes = []
    for most in (300, 2500):
        model = ScriptedModel(json.dumps(GOOD), context_tokens=1_000_000)
        await judge_with(model, evidence_tokens=most).judge(seen, claim())
        sizes.append(len(model.asked[0].messages[1].content))
    assert sizes[0] < 3000 < sizes[1] < 14_000


async def test_a_prompt_that_the_server_finds_too_long_is_halved():
    model = ScriptedModel(PromptTooLong(9000, 8192), PromptTooLong(8500, 8192), json.dumps(GOOD))
    seen = with_log(await facts(), *(f"line {number} of the log" for number in range(3000)))
    judged = await judge_with(model, evidence_tokens=1600).judge(seen, claim())
    assert judged.judged_by == "scripted"
    sizes = [len(asked.messages[1].content) for asked in model.asked]
    assert sizes[0] > 1.5 * sizes[1] > 2 * sizes[2]


async def test_a_context_too_small_for_any_prompt_leaves_the_rules():
    judged = await judge_with(ScriptedModel(context_tokens=10)).judge(await facts(), claim())
    assert (judged.verdict, judged.judged_by, judged.model_calls) == (Verdict.ACT, "rules", 0)


# --- the loop


class Claiming(OneClaim):
    async def spent(self, _since):
        return Spent()


def reviewer(store, model=None, units=None):
    clock = FixedClock()
    return Reviewer.build(
        host=HOST,
        store=store,
        gathering=gathering(units=units or FixedUnits(), clock=clock),
        model=model or ScriptedModel(json.dumps(GOOD)),
        condition=Condition("review-model", Notes(), clock),
        clock=clock,
        heart=Heartbeat(),
        settings=ReviewModel(),
    )


async def test_a_judgement_is_stored_with_its_request(caplog):
    caplog.set_level(logging.INFO)
    store = Claiming(claim())
    assert await reviewer(store).review_next()
    (held, pack, judged, requests) = store.finished[0]
    assert judged.evidence_hash == pack.hash
    assert [(r.name, r.arguments, r.origin) for r in requests] == [
        ("restart_unit", {"unit": UNIT}, Origin.REVIEW),
    ]
    assert store.released == []
    events = {r.event: r for r in caplog.records if getattr(r, "incident_id", "") == held.incident.id}
    assert set(events) == {"review_started", "review_finished"}
    assert (events["review_finished"].verdict, events["review_finished"].judged_by) == ("act", "scripted")


async def test_what_rules_propose_is_said_to_be_theirs():
    store = Claiming(claim())
    await reviewer(store, ScriptedModel(BackendUnavailable())).review_next()
    assert store.finished[0][3][0].origin is Origin.RULES


@pytest.mark.parametrize("verdict", ["escalate"])
async def test_nothing_is_proposed_without_the_verdict_act(verdict):
    store = Claiming(claim())
    await reviewer(store, ScriptedModel(json.dumps(GOOD | {"verdict": verdict}))).review_next()
    assert store.finished[0][3] == ()


async def test_without_anything_due_there_is_nothing_to_do():
    assert not await reviewer(Claiming(None)).review_next()


@pytest.mark.parametrize("failure", [StoreUnavailable("locked"), RuntimeError("a bug")])
async def test_a_claim_is_given_back_when_the_work_fails(failure):
    store = Claiming(claim(), failure)
    with pytest.raises(type(failure)):
        await reviewer(store).review_next()
    assert len(store.released) == 1


async def test_a_unit_that_cannot_be_asked_after_does_not_stop_the_judgement():
    store = Claiming(claim())
    model = ScriptedModel(json.dumps(GOOD | {"verdict": "escalate", "action": "none", "evidence": ["e2"]}))
    await reviewer(store, model, FixedUnits(AWAY)).review_next()
    assert store.finished[0][2].verdict is Verdict.ESCALATE


# --- the service's condition


async def test_a_condition_is_noted_when_it_changes_and_not_before():
    notes = Notes()
    condition = Condition("review-model", notes, FixedClock())
    for text in ("loading, 2 s so far", "loading, 17 s so far"):
        await condition.is_degraded(text)
    await condition.is_degraded("away")
    await condition.is_ok("ready")
    await condition.is_ok("ready still")
    assert [(note.state, note.text) for note in notes.said] == [
        ("degraded", "loading, 2 s so far"),
        ("degraded", "away"),
        ("ok", "ready"),
    ]


async def test_a_server_that_is_away_is_noticed_without_any_incident():
    notes = NotesThatEnd()
    model = ScriptedModel()
    model.state = "away"
    with pytest.raises(StoreUnavailable):
        await watch(Condition("review-model", notes, FixedClock()), model, "incidents are judged by rules")
    assert notes.said[0].state == "degraded"
    assert notes.said[0].text.endswith("; incidents are judged by rules")
    assert model.asked == []


class NotesThatEnd(Notes):
    async def note(self, note):
        await super().note(note)
        raise StoreUnavailable
