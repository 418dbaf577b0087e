"""A model server that is down, slow, loading or talks rubbish: what becomes of the incident that it should judge.

Real HTTP servers, the whole step from claim to record on a real store. Whatever the server does, the incident is
judged by the rules or handed on; it is never waved through, never lost, and its claim is given back.
"""

import asyncio
import json
import time
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from ai_sysadmin.context.condition import Condition
from ai_sysadmin.core.incident import State
from ai_sysadmin.core.records import Verdict
from ai_sysadmin.core.settings import Backend, ReviewModel
from ai_sysadmin.llm_backend.door import open_model
from ai_sysadmin.review_model.daemon import Reviewer
from ai_sysadmin.runtime.service import Heartbeat
from ai_sysadmin.stores import Noticed
from ai_sysadmin.stores.relational import open_stores
from ai_sysadmin.testing.memory_leases import MemoryLeases
from ai_sysadmin.testing.misbehaving_server import Fault, MisbehavingServer
from ai_sysadmin.testing.scripted_model import ScriptedModel
from tests.builders import HOST, NOW, PLACING, UNIT, trigger
from tests.judging import FixedClock, FixedUnits, gathering
from tests.serving import unused_port
from tests.warm import warm

__all__ = ["warm"]

TIMEOUT_SECONDS = 0.6
"""In life 60 and more."""
ASKED_BY_RULES = (
    (Fault.LOADING, "is loading"),
    (Fault.HTML, "answers, but not as a llama-server does"),
    (Fault.SERVER_ERROR, "HTTP 500: CUDA error: out of memory"),
    (Fault.FAULT_IN_STREAM, "failed: decode failed"),
    (Fault.NO_ANSWER, "did not finish its answer in 1 s"),
    (Fault.TRICKLE, "did not finish its answer in 1 s"),
    (Fault.DROPS_AT_ONCE, "is away"),
    (Fault.DROPS_IN_STREAM, "broke off its answer"),
    (Fault.ENDS_IN_STREAM, "broke off its answer"),
    (Fault.BINARY, "answers, but not as a llama-server does"),
    (Fault.REFUSES_KEY, "refuses the API key: set backends.review.api_key_file"),
)
UNUSABLE = (Fault.NOT_JSON, Fault.WRONG_JSON, Fault.ENDLESS)
JUDGED = {"evidence": ["e1"], "cause": "a lock was left", "why": "w", "verdict": "act", "action": "restart_unit"}
JUDGED |= {"severity": 50, "confidence": 50}


class Rig:
    """The review layer on a real store, asking a server."""

    def __init__(self, stores, url: str) -> None:
        self.stores = stores
        self.clock = FixedClock(NOW + timedelta(minutes=1))
        backend = Backend(url=url, timeout_seconds=TIMEOUT_SECONDS)
        self.model = open_model("review", backend, leases=MemoryLeases(), turn="background")
        self.reviewer = self.worker("review-model")

    def worker(self, name: str) -> Reviewer:
        reviewer = Reviewer.build(
            host=HOST,
            store=self.stores.reviews,
            gathering=gathering(units=FixedUnits(), clock=self.clock),
            model=self.model,
            condition=Condition(name, self.stores.notes, self.clock),
            clock=self.clock,
            heart=Heartbeat(),
            settings=ReviewModel(),
        )
        object.__setattr__(reviewer, "worker", name)
        return reviewer

    async def notice(self, unit: str = UNIT) -> None:
        found = trigger(unit=unit, details={"result": "exit-code", "invocation": unit})
        await self.stores.notices.commit(Noticed(None, triggers=[found]), PLACING)

    async def detail(self, unit: str = UNIT):
        found = next(each for each in await self.stores.reader.incidents() if each.unit == unit)
        return await self.stores.reader.incident(found.id)


@asynccontextmanager
async def rig_at(tmp_path, url: str):
    async with open_stores(tmp_path / "state.db", HOST) as stores:
        rig = Rig(stores, url)
        yield rig
        await rig.model.close()


async def judged(rig: Rig):
    """Have one incident judged; it takes no longer than the model may, and nothing is left to do."""
    await rig.notice()
    began = time.monotonic()
    assert await rig.reviewer.review_next()
    assert time.monotonic() - began < TIMEOUT_SECONDS + 2
    assert not await rig.reviewer.review_next()
    detail = await rig.detail()
    (review,) = detail.reviews
    assert review.verdict in {Verdict.ACT, Verdict.ESCALATE}
    assert not detail.incident.ended
    assert detail.incident.reviewed_hash == review.evidence_hash
    return detail, review


async def is_judged_by_rules(rig: Rig, why: str) -> None:
    _, review = await judged(rig)
    assert review.judged_by == "rules"
    assert why in " ".join(review.notes)
    assert [wanted.origin.value for wanted in await rig.stores.outbox.unsubmitted()] == ["rules"]
    (note,) = await rig.stores.reader.notes()
    assert note.state == "degraded"
    assert why in note.text


@pytest.mark.parametrize(("fault", "why"), ASKED_BY_RULES)
async def test_without_an_answer_the_rules_judge_and_say_why(tmp_path, fault, why):
    async with MisbehavingServer(fault).serving() as url, rig_at(tmp_path, url) as rig:
        await is_judged_by_rules(rig, why)


async def test_with_nobody_there_the_rules_judge_and_say_what_to_start(tmp_path):
    async with rig_at(tmp_path, f"http://127.0.0.1:{await unused_port()}") as rig:
        await is_judged_by_rules(rig, "start a llama-server there")


@pytest.mark.parametrize("fault", UNUSABLE)
async def test_rubbish_is_said_to_be_and_never_taken_for_good_news(tmp_path, fault):
    server = MisbehavingServer(fault)
    async with server.serving() as url, rig_at(tmp_path, url) as rig:
        detail, review = await judged(rig)
        assert "unusable" in " ".join((review.why, *review.notes))
        assert review.model_calls == 2  # once more, with what was wrong
        assert review.tokens > 0
        wanted = [each.origin.value for each in await rig.stores.outbox.unsubmitted()]
        assert wanted == ([] if review.verdict is Verdict.ESCALATE else ["rules"])
        assert detail.incident.state in {State.INVESTIGATING, State.ACTING, State.AWAITING_APPROVAL, State.OPEN}


async def test_a_server_that_comes_back_judges_the_next_incident(tmp_path):
    server = MisbehavingServer(Fault.LOADING, ScriptedModel())
    async with server.serving() as url, rig_at(tmp_path, url) as rig:
        await is_judged_by_rules(rig, "is loading")
        server.fault = Fault.NONE
        server.openai.script.enqueue(json.dumps({"word": "r7k2"}), JUDGED)
        await rig.notice("db.service")
        assert await rig.reviewer.review_next()
        (review,) = (await rig.detail("db.service")).reviews
        assert review.judged_by == "default"
        assert review.model_calls == 1


async def test_a_reviewer_that_is_stopped_in_the_middle_gives_its_claim_back(tmp_path):
    server = MisbehavingServer(Fault.NO_ANSWER)
    async with server.serving() as url, rig_at(tmp_path, url) as rig:
        await rig.notice()
        reviewing = asyncio.create_task(rig.reviewer.review_next())
        while not server.asked:
            await asyncio.sleep(0.01)
        reviewing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reviewing
        server.fault = Fault.LOADING
        assert await rig.worker("another").review_next()
        assert len((await rig.detail()).reviews) == 1


async def test_a_storm_of_incidents_does_not_ask_a_dead_server_again_and_again(tmp_path):
    server = MisbehavingServer(Fault.SERVER_ERROR)
    async with server.serving() as url, rig_at(tmp_path, url) as rig:
        for number in range(8):
            await rig.notice(f"unit{number}.service")
            assert await rig.reviewer.review_next()
        assert server.asked == 3
        assert len({each.id for each in await rig.stores.reader.incidents()}) == 8
        (review,) = (await rig.detail("unit7.service")).reviews
        assert "it will be tried again in" in " ".join(review.notes)
