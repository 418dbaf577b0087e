"""Real, schema-constrained judgements by a model that says nonsense: what code guarantees whatever it says."""

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest

from ai_sysadmin.context.condition import Condition
from ai_sysadmin.core.records import SymptomKind, Verdict
from ai_sysadmin.core.settings import Backend, MetaModel, ReviewModel
from ai_sysadmin.llm_backend import Message
from ai_sysadmin.llm_backend.llama_cpp import LlamaCpp
from ai_sysadmin.meta_model.chat import Chat, LiveState
from ai_sysadmin.meta_model.daemon import Investigator
from ai_sysadmin.review_model.daemon import Judge
from tests.builders import HOST, NOW, incident
from tests.judging import FAILED, RUNNING, FixedClock, Notes, claim, facts

pytestmark = pytest.mark.llama

REVIEWS = 104
AT_ONCE = 2
CASES = (
    (FAILED, SymptomKind.UNIT_FAILED),
    (FAILED.model_copy(update={"result": "start-limit-hit"}), SymptomKind.START_LIMIT_HIT),
    (FAILED.model_copy(update={"load_state": "not-found"}), SymptomKind.UNIT_FAILED),
    (RUNNING, SymptomKind.BURST),
)


@pytest.fixture
async def server(llama):
    client = LlamaCpp("review", Backend(url=llama))
    yield client
    await client.close()


async def test_no_judgement_is_unusable_and_no_failure_is_waved_through(server):
    clock = FixedClock()
    judge = Judge.of(server, Condition("review-model", Notes(), clock), clock, ReviewModel())
    judge = replace(judge, temperature=1.0)
    at_once = asyncio.Semaphore(AT_ONCE)

    async def one(number: int):
        seen = await facts(*CASES[number % len(CASES)])
        async with at_once:
            return seen, await judge.judge(seen, claim())

    done = await asyncio.gather(*(one(number) for number in range(REVIEWS)))
    unusable = [review.notes for _, review in done if any("unusable" in note for note in review.notes)]
    assert unusable == []
    for seen, review in done:
        assert review.model_calls >= 1
        assert review.verdict is not Verdict.BENIGN or not seen.failed
        assert (review.action is None) == (review.verdict is not Verdict.ACT)
        assert review.action is None or review.action == seen.remedy


async def test_a_measured_failure_always_ends_with_its_remedy(server):
    clock = FixedClock()
    investigator = Investigator.of(server, Condition("meta-model", Notes(), clock), clock, MetaModel(), 6)
    investigator = replace(investigator, temperature=1.0)
    for _ in range(10):
        seen = await facts()
        found = await investigator.investigate(seen, claim())
        assert found.action == seen.remedy
        assert "unusable" not in found.diagnosis


async def test_the_chat_streams_an_answer(server):
    live = LiveState(host=HOST, incidents=(incident(),), actions=(), notes=(), now=NOW)
    question = [Message(role="user", content="What is wrong?")]
    async with aclosing(Chat(server, 200).answer(question, live)) as deltas:
        pieces = [delta async for delta in deltas]
    assert len(pieces) > 1
    assert "without a model" not in "".join(delta.text for delta in pieces)
    assert pieces[-1].completion.prompt_tokens > 0
