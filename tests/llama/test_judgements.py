"""Real, schema-constrained judgements by a model that says nonsense: what code guarantees whatever it says."""

import asyncio
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta

import pytest

from ai_sysadmin.context.condition import Condition
from ai_sysadmin.core.incident import State
from ai_sysadmin.core.records import Verdict
from ai_sysadmin.core.settings import Backend, MetaModel, ReviewModel
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.llm_backend import Message
from ai_sysadmin.llm_backend.llama_cpp import LlamaCpp
from ai_sysadmin.meta_model.chat import Chat, LiveState
from ai_sysadmin.meta_model.talk import Answered, Question, Words
from ai_sysadmin.review_model import decide
from ai_sysadmin.review_model.daemon import Reviewer
from ai_sysadmin.runtime.service import Heartbeat
from ai_sysadmin.stores import Noticed
from ai_sysadmin.stores.relational import open_stores
from ai_sysadmin.testing.scripted_model import ScriptedModel
from ai_sysadmin.testing.tools import fixed_tool
from tests.builders import HOST, NOW, PLACING, incident, trigger
from tests.judging import FAILED, RUNNING, FixedClock, FixedUnits, Notes, claim, facts, gathering, investigator, toolbox

pytestmark = pytest.mark.llama

REVIEWS = 200
WORKERS = 2
START_LIMIT = FAILED.model_copy(update={"result": "start-limit-hit"})
GONE = FAILED.model_copy(update={"load_state": "not-found"})
KILLED = FAILED.model_copy(update={"result": "oom-kill", "exit_status": 9})
SHAPES = (
    (FAILED, SymptomKind.UNIT_FAILED, {}),
    (START_LIMIT, SymptomKind.START_LIMIT_HIT, {}),
    (GONE, SymptomKind.UNIT_FAILED, {}),
    (KILLED, SymptomKind.OOM_KILL, {}),
    (RUNNING, SymptomKind.FLAPPING, {}),
    (None, SymptomKind.DISK_FULL, {"why": "/var is full (99 %), 1 GiB are left"}),
)
"""Measured faults all of them, so that none may be called benign."""


class ByNumber(FixedUnits):
    """Units whose number says what state they are in."""

    async def status(self, unit):
        found = SHAPES[int(unit.removesuffix(".service").removeprefix("u")) % len(SHAPES)][0] or RUNNING
        return found.model_copy(update={"name": unit})


@pytest.fixture
async def server(llama):
    client = LlamaCpp("review", Backend(url=llama))
    yield client
    await client.close()


@pytest.fixture
async def stores(tmp_path):
    async with open_stores(tmp_path / "state.db", HOST) as opened:
        for number in range(REVIEWS):
            _, kind, more = SHAPES[number % len(SHAPES)]
            where = {"unit": f"u{number}.service"}
            if kind is SymptomKind.DISK_FULL:
                where = {"unit": "", "about": f"/var/{number}"}
            fault = trigger(kind, details={"invocation": str(number)}, **where, **more)
            await opened.notices.commit(Noticed(None, triggers=[fault]), replace(PLACING, storm_count=0))
        yield opened


def reviewer(stores, server, worker, condition=None):
    clock = FixedClock(NOW + timedelta(minutes=1))
    settings = ReviewModel(evidence_tokens=300, max_model_calls_per_hour=10_000, max_tokens_per_hour=10**9)
    built = Reviewer.build(
        host=HOST,
        store=stores.reviews,
        gathering=gathering(units=ByNumber(), clock=clock),
        model=server,
        condition=condition or Condition("review-model", Notes(), clock),
        clock=clock,
        heart=Heartbeat(),
        settings=settings,
    )
    judge = replace(built.judge, asking=replace(built.judge.asking, temperature=1.0))
    return replace(built, judge=judge, worker=worker)


async def judge_all(reviewer):
    while await reviewer.review_next():
        pass


async def test_two_hundred_judgements_are_usable_and_no_fault_is_waved_through(server, stores, monkeypatch):
    # the model talks nonsense whatever it has read: without most of the head it does so several times faster
    monkeypatch.setattr(decide, "SYSTEM_PROMPT", decide.SYSTEM_PROMPT[:600])
    await asyncio.gather(*(judge_all(reviewer(stores, server, f"r{number}")) for number in range(WORKERS)))
    found = [await stores.reader.incident(each.id) for each in await stores.reader.incidents(limit=1000)]
    assert len(found) == REVIEWS
    for detail in found:
        (review,) = detail.reviews
        assert review.model_calls >= 1
        assert review.prompt_tokens > 0
        assert review.verdict is not Verdict.BENIGN
        assert detail.incident.state is not State.DISMISSED
        assert set(review.evidence) <= detail.evidence.ids()
        assert review.evidence
        assert (review.action is None) == (review.verdict is not Verdict.ACT)
        assert len(detail.actions) == (review.verdict is Verdict.ACT)
        if any("unusable" in note for note in review.notes):
            assert (review.verdict, review.judged_by) == (Verdict.ESCALATE, "rules")
    by_model = sum(detail.reviews[0].judged_by == "tiny" for detail in found)
    assert by_model >= 0.25 * REVIEWS, "about every second of its causes has words"
    spent = await stores.reviews.spent(NOW)
    assert spent.calls == sum(detail.reviews[0].model_calls for detail in found)


async def test_every_reply_that_cannot_be_used_escalates_explicitly(stores):
    """The same population with a model that never keeps to the shape."""
    model = ScriptedModel(*["not even JSON"] * (2 * REVIEWS))
    await judge_all(reviewer(stores, model, "r0"))
    for each in await stores.reader.incidents(limit=1000):
        (review,) = (await stores.reader.incident(each.id)).reviews
        assert any("unusable" in note for note in review.notes)
        assert review.judged_by == "rules"
        assert (review.verdict, review.action, each.state) == (Verdict.ESCALATE, None, State.INVESTIGATING)


async def test_a_measured_failure_always_ends_with_its_remedy(server):
    clock = FixedClock()
    asked = investigator(server, fixed_tool("web_log", text="bind: address in use"), clock=clock, temperature=1.0)
    for _ in range(10):
        seen = await facts()
        found = (await asked.investigate(seen, claim())).investigation
        assert found.action == seen.remedy
        assert "unusable" not in found.diagnosis


async def test_the_chat_streams_an_answer(server):
    live = LiveState(host=HOST, incidents=(incident(),), actions=(), notes=(), now=NOW)
    question = Question(messages=(Message(role="user", content="What is wrong?"),))
    box = toolbox(fixed_tool("web_log", text="bind: address in use"))
    chat = Chat(server, server, box, MetaModel(max_reply_tokens=200), output_tokens=500)
    async with aclosing(chat.answer(question, live)) as events:
        said = [event async for event in events]
    assert "without a model" not in "".join(event.text for event in said if isinstance(event, Words))
    assert isinstance(said[-1], Answered)
    assert said[-1].completion.prompt_tokens > 0
