"""Judging and investigating on the real embedded store: what is claimed, recorded and proposed."""

from datetime import timedelta

import pytest

from ai_sysadmin.context.condition import Condition
from ai_sysadmin.core.errors import BackendUnavailable
from ai_sysadmin.core.incident import State
from ai_sysadmin.core.settings import MetaModel, ReviewModel
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.meta_model.daemon import Investigations
from ai_sysadmin.review_model.daemon import Reviewer
from ai_sysadmin.runtime.service import Heartbeat
from ai_sysadmin.stores import Cleared, Noticed
from ai_sysadmin.stores.relational import open_stores
from ai_sysadmin.testing.scripted_model import ScriptedModel
from tests.builders import HOST, NOW, PLACING, UNIT, trigger
from tests.judging import FAILED, RUNNING, FixedClock, FixedUnits, gathering, investigator

JUDGED = {"evidence": ["e1"], "cause": "a file is gone", "why": "w", "verdict": "act", "action": "restart_unit"}
JUDGED |= {"severity": 50, "confidence": 50}
FOUND = {
    "findings": [{"claim": "it looks for a file", "evidence": "e1"}],
    "cause": "a file is gone",
    "ruled_out": [],
    "next": "",
    "action": "none",
    "confidence": 50,
}


class Rig:
    """Both layers on one store, with models that say what they are told to."""

    def __init__(self, stores) -> None:
        self.stores = stores
        self.clock = FixedClock(NOW + timedelta(minutes=1))
        self.units = FixedUnits()
        self.review_model = ScriptedModel()
        self.meta_model = ScriptedModel(name="meta")
        evidence = gathering(units=self.units, clock=self.clock, outcomes=stores.outcomes)
        shared = {"host": HOST, "gathering": evidence, "clock": self.clock}
        self.reviewer = Reviewer.build(
            **shared,
            store=stores.reviews,
            model=self.review_model,
            condition=Condition("review-model", stores.notes, self.clock),
            heart=Heartbeat(),
            settings=ReviewModel(),
        )
        condition = Condition("meta-model", stores.notes, self.clock)
        self.investigations = Investigations(
            **shared,
            store=stores.investigations,
            investigator=investigator(self.meta_model, clock=self.clock, condition=condition),
            heart=Heartbeat(),
            settings=MetaModel(),
        )

    async def notice(self, *triggers, **changes):
        await self.stores.notices.commit(Noticed(None, triggers=triggers, **changes), PLACING)

    async def incident(self):
        (found,) = await self.stores.reader.incidents()
        return await self.stores.reader.incident(found.id)


@pytest.fixture
async def rig(tmp_path):
    async with open_stores(tmp_path / "state.db", HOST) as stores:
        yield Rig(stores)


async def test_a_failed_unit_is_judged_and_its_restart_proposed(rig):
    rig.review_model.enqueue(JUDGED)
    await rig.notice(trigger())
    assert await rig.reviewer.review_next()
    assert not await rig.reviewer.review_next()
    (wanted,) = await rig.stores.outbox.unsubmitted()
    assert (wanted.name, wanted.arguments) == ("restart_unit", {"unit": UNIT})
    detail = await rig.incident()
    assert [review.judged_by for review in detail.reviews] == ["scripted"]
    assert detail.evidence.hash == detail.incident.reviewed_hash


async def escalated(rig):
    """Bring a failed unit to the point where the review model hands it on."""
    rig.review_model.enqueue(JUDGED | {"verdict": "escalate", "action": "none"})
    await rig.notice(trigger())
    await rig.reviewer.review_next()
    assert (await rig.incident()).incident.state is State.INVESTIGATING


async def test_an_escalated_failure_ends_with_the_known_remedy(rig):
    await escalated(rig)
    rig.units.answer = FAILED.model_copy(update={"exit_status": 9})  # there is more to see than the review saw
    rig.meta_model.enqueue(FOUND)
    assert await rig.investigations.investigate_next()
    assert not await rig.investigations.investigate_next()
    (wanted,) = await rig.stores.outbox.unsubmitted()
    assert (wanted.name, wanted.origin.value) == ("restart_unit", "investigation")


async def test_no_second_model_is_asked_about_the_same_evidence(rig):
    await escalated(rig)
    assert await rig.investigations.investigate_next()
    assert rig.meta_model.asked == []
    (wanted,) = await rig.stores.outbox.unsubmitted()
    assert (wanted.name, wanted.origin.value) == ("restart_unit", "rules")


async def test_without_any_model_a_failed_unit_is_judged_and_proposed_all_the_same(rig):
    rig.review_model.enqueue(BackendUnavailable("review model at x is away"))
    await rig.notice(trigger())
    await rig.reviewer.review_next()
    assert [wanted.origin.value for wanted in await rig.stores.outbox.unsubmitted()] == ["rules"]
    (note,) = await rig.stores.reader.notes()
    assert (note.service, note.state) == ("review-model", "degraded")


async def test_without_any_model_a_burst_ends_with_a_person(rig):
    rig.units.answer = RUNNING
    rig.review_model.state = rig.meta_model.state = "away"
    await rig.notice(trigger(SymptomKind.BURST, opens=True))
    await rig.reviewer.review_next()
    await rig.investigations.investigate_next()
    detail = await rig.incident()
    assert detail.incident.state is State.NEEDS_PERSON
    assert "By rules: meta model" in detail.incident.note


async def test_a_unit_that_fails_the_same_way_again_asks_no_model_again(rig):
    rig.review_model.enqueue(JUDGED)
    await rig.notice(trigger())
    await rig.reviewer.review_next()
    found = (await rig.incident()).incident
    await rig.notice(cleared=[Cleared(found.id, NOW + timedelta(minutes=2), "it runs")])
    assert (await rig.incident()).incident.state is State.RESOLVED
    rig.units.answer = FAILED.model_copy(update={"invocation": "bb", "n_restarts": 3})
    again = {"result": "exit-code", "invocation": "bb"}
    await rig.notice(trigger(at=NOW + timedelta(minutes=3), details=again))
    rig.clock.at = NOW + timedelta(minutes=4)
    assert await rig.reviewer.review_next()
    assert len(rig.review_model.asked) == 1
    detail = await rig.incident()
    assert len(detail.reviews) == 2
    assert detail.reviews[-1].at == rig.clock.at
