"""What was tried before, as evidence and as the prior of those who judge."""

from dataclasses import dataclass
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.context.evidence import gather
from ai_sysadmin.context.facts import citation, facts_of, spent_in
from ai_sysadmin.context.pieces.outcomes import sentence, worst
from ai_sysadmin.context.window import fit
from ai_sysadmin.core.acting import ExecutorEventKind, OutcomeKind
from ai_sysadmin.core.errors import StoreUnavailable
from ai_sysadmin.core.incident import State
from ai_sysadmin.core.policy_settings import Breakers
from ai_sysadmin.core.records import ProposedAction, Verdict
from ai_sysadmin.llm_backend import Completion
from ai_sysadmin.meta_model import decide as meta_decide
from ai_sysadmin.meta_model import rules as meta_rules
from ai_sysadmin.meta_model.daemon import requests_of as requests_of_investigation
from ai_sysadmin.review_model import decide, rules
from ai_sysadmin.review_model.daemon import requests_of
from ai_sysadmin.stores import Cleared
from ai_sysadmin.stores.outcome_store import Tried
from ai_sysadmin.stores.relational import open_stores
from ai_sysadmin.testing.scripted_model import ScriptedModel
from tests.builders import HOST, NOW, UNIT, event, finished, incident, investigation, review, trigger
from tests.judging import sources, symptom
from tests.reviewing import window_of
from tests.unit.test_meta import GOOD
from tests.unit.test_review_to_store import FOUND, JUDGED, Rig

RESTART = ProposedAction(name="restart_unit", arguments={"unit": UNIT})


def tried(**changes):
    known = {"fingerprint": "f1", "action": "restart_unit", "subject": UNIT, "last_at": NOW - timedelta(hours=2)}
    return Tried(**(known | changes))


@dataclass
class Remembered:
    """An ``OutcomeStore`` with these, or one that does not answer."""

    all: tuple[Tried, ...] | Exception = ()

    async def outcomes(self, fingerprints):
        if isinstance(self.all, Exception):
            raise self.all
        return [each for each in self.all if each.fingerprint in fingerprints]


async def packed(*known, failures=2, noticed=(), **changes):
    store = Remembered(changes.pop("fails", None) or known)
    where = sources(outcomes=store, breakers=Breakers(failures=failures), **changes)
    return await gather(incident(), noticed or [symptom()], where, NOW)


async def piece(*known, **changes):
    found = [each for each in (await packed(*known, **changes)).pieces if each.kind == "outcomes"]
    return found[0] if found else None


async def facts(*known, **changes):
    return facts_of(incident(), await packed(*known, **changes))


# --- the evidence


async def test_what_was_tried_is_told_in_a_sentence():
    told = await piece(tried(tried=3, helped=1, failed=2, last_text="it died after 3 s"))
    assert told.text == f"restart_unit {UNIT}: tried 3 times, helped 1, failed 2, last 2 h ago: it died after 3 s"
    once = tried(action="start_unit", tried=1, reverted=1)
    assert sentence(once, NOW) == f"start_unit {UNIT}: tried 1 time, helped 0, taken back 1, last 2 h ago"


async def test_nothing_is_told_where_nothing_was_tried_for_what_opened_the_incident():
    assert await piece() is None
    assert await piece(tried(fingerprint="other", tried=2, failed=2)) is None
    supporting = [symptom(), symptom(fingerprint="f2", opens=False)]
    assert await piece(tried(fingerprint="f2", tried=2, failed=2), noticed=supporting) is None


async def test_a_store_that_is_away_is_said_and_not_passed_over():
    pack = await packed(fails=StoreUnavailable("locked"))
    assert "what was tried before: not known: locked" in facts_of(incident(), pack).gaps


async def test_secrets_in_an_outcome_are_not_shown():
    told = await piece(tried(tried=1, failed=1, last_text="password=hunter2hunter2 was refused"))
    assert "hunter2" not in told.text
    assert told.redacted


async def test_only_a_failure_makes_the_evidence_another():
    none, helped, more = [
        (await packed(*each)).hash for each in ((), (tried(tried=1, helped=1),), (tried(tried=9, helped=9),))
    ]
    assert none == helped == more
    hashes = [(await packed(tried(tried=count, failed=count))).hash for count in range(5)]
    assert len(set(hashes)) == 4  # after the third failure there is no news in a further one
    assert hashes[3] == hashes[4]
    later = tried(tried=1, failed=1, last_at=NOW)
    assert (await packed(later)).hash == hashes[1]


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.integers(0, 5), st.integers(0, 5)), max_size=9)
)
def test_symptoms_are_not_added_up(rows):
    known = [
        tried(fingerprint=f"f{number}", action=action, subject=subject, tried=failed + helped, failed=failed)
        for number, (action, subject, failed, helped) in enumerate(rows)
    ]
    found = worst(known)
    assert len({(each.action, each.subject) for each in found}) == len(found)
    for each in found:
        same = [other.in_vain for other in known if (other.action, other.subject) == (each.action, each.subject)]
        assert each.in_vain == max(same)
    assert [each.in_vain for each in found] == sorted((each.in_vain for each in found), reverse=True)


async def test_it_is_in_the_window_and_may_be_cited():
    pack = await packed(tried(tried=1, failed=1))
    window = await fit(pack, 4000, ScriptedModel().count_tokens)
    assert "outcomes: what was tried for these symptoms before" in window.text
    (known,) = [each.id for each in pack.pieces if each.kind == "outcomes"]
    said = [*GOOD["findings"], {"claim": "A restart did not help.", "evidence": known}]
    reply = meta_decide.reply_model(facts_of(incident(), pack)).model_validate(GOOD | {"findings": said})
    assert known in meta_decide.investigated(facts_of(incident(), pack), reply, "m", 1, NOW).evidence


async def test_a_judgement_does_not_rest_on_what_was_tried_alone():
    pack = await packed(tried(tried=1, failed=1))
    (known,) = [each.id for each in pack.pieces if each.kind == "outcomes"]
    assert "only" in citation(pack, [known]).fault
    assert citation(pack, ["e1", known]).fault == ""


# --- what follows from it


@pytest.mark.parametrize(
    ("failed", "reverted", "failures", "why"),
    [
        (0, 0, 2, ""),
        (1, 0, 2, ""),
        (2, 0, 2, "it failed twice for this symptom"),
        (1, 1, 2, "it failed twice for this symptom"),
        (3, 1, 2, "it failed 4 times for this symptom"),
        (1, 0, 1, "it failed once for this symptom"),
        (2, 0, 3, ""),
    ],
)
async def test_what_failed_as_often_as_is_set_needs_a_person(failed, reverted, failures, why):
    seen = await facts(tried(tried=9, helped=3, failed=failed, reverted=reverted), failures=failures)
    assert seen.spent == seen.reason_to_ask(RESTART) == why
    other = ProposedAction(name="restart_unit", arguments={"unit": "other.service"})
    assert seen.reason_to_ask(other) == ""


async def test_what_another_version_wrote_of_it_counts_for_nothing():
    pack = await packed(tried(tried=2, failed=2))
    pieces = [
        each.model_copy(update={"facts": {"spent": "{"}}) if each.kind == "outcomes" else each for each in pack.pieces
    ]
    assert spent_in(pack.model_copy(update={"pieces": tuple(pieces)})) == {}


async def test_rules_hand_on_what_failed_twice_and_try_once_more_what_failed_once():
    once, twice = await facts(tried(tried=1, failed=1)), await facts(tried(tried=2, failed=2))
    assert rules.judge(once, NOW).verdict is Verdict.ACT
    judged = rules.judge(twice, NOW)
    assert (judged.verdict, judged.action) == (Verdict.ESCALATE, None)
    assert "it failed twice for this symptom" in judged.why
    found = meta_rules.investigate(twice, "away", NOW)
    assert found.action is None
    assert "restart_unit is not proposed again: it failed twice for this symptom" in found.diagnosis
    assert meta_rules.investigate(once, "away", NOW).action == RESTART


def replied(seen, **changes):
    said = JUDGED | {"evidence": ["e1"]} | changes
    reply = decide.reply_model(seen).model_validate(said)
    return decide.judged(seen, reply, Completion(text="", model="m"), 1, NOW, window_of("all"))


async def test_a_model_that_wants_it_a_third_time_has_a_person_asked():
    seen = await facts(tried(tried=2, failed=2))
    (wanted,) = requests_of(HOST, replied(seen), NOW, seen)
    assert (wanted.name, wanted.ask) == ("restart_unit", "it failed twice for this symptom")
    found = meta_decide.investigated(seen, meta_decide.reply_model(seen).model_validate(GOOD), "m", 1, NOW)
    (wanted,) = requests_of_investigation(HOST, found, seen)
    assert wanted.ask == "it failed twice for this symptom"
    fresh = await facts(tried(tried=2, failed=1, helped=1))
    assert requests_of(HOST, replied(fresh), NOW, fresh)[0].ask == ""


async def test_code_does_not_put_it_in_a_models_mouth():
    seen = await facts(tried(tried=2, failed=2))
    assert replied(seen, action="none").verdict is Verdict.ESCALATE
    reply = meta_decide.reply_model(seen).model_validate(GOOD | {"action": "none"})
    assert meta_decide.investigated(seen, reply, "m", 1, NOW).action is None


# --- what is not different is not looked into again


@pytest.mark.parametrize(
    ("changes", "held", "again"),
    [
        ({}, {}, True),
        ({"evidence_hash": "another"}, {}, False),
        ({"investigated_by": "rules"}, {}, False),
        ({}, {"failures": 1}, False),
        ({}, {"failures": 1, "failures_investigated": 1}, True),
    ],
)
async def test_an_investigation_is_repeated_while_nothing_is_different(changes, held, again):
    pack = await packed()
    seen = facts_of(incident(**held), pack)
    last = investigation(**({"evidence_hash": pack.hash, "investigated_by": "m", "model_calls": 3} | changes))
    found = meta_decide.repeated(seen, [investigation(), last], NOW + timedelta(hours=1))
    assert (found is not None) is again
    if found:
        assert (found.model_calls, found.at, found.cause) == (0, NOW + timedelta(hours=1), last.cause)


async def test_a_judgement_is_not_repeated_once_its_remedy_failed():
    pack = await packed()
    known = {"reviewed_hash": pack.hash}
    last = [review(evidence_hash=pack.hash)]
    assert decide.repeated(facts_of(incident(**known), pack), last, NOW) is not None
    assert decide.repeated(facts_of(incident(**known, failures=1), pack), last, NOW) is None


# --- the whole way, on the embedded store


@pytest.fixture
async def rig(tmp_path):
    async with open_stores(tmp_path / "state.db", HOST) as stores:
        yield Rig(stores)


class Executor:
    """Tells what becomes of the one request that is in the outbox."""

    def __init__(self, rig):
        self.rig = rig
        self.number = 0

    async def __call__(self, *kinds):
        (wanted,) = await self.rig.stores.outbox.unsubmitted()
        for kind in kinds:
            self.number += 1
            told = {"at": self.rig.clock.at}
            if isinstance(kind, OutcomeKind):
                await self.rig.stores.outbox.apply([finished(wanted, kind, self.number).model_copy(update=told)])
            else:
                await self.rig.stores.outbox.apply([event(wanted, kind, self.number, **told)])
        return wanted


async def test_two_failures_end_with_a_person_and_are_remembered(rig):
    executor = Executor(rig)
    rig.review_model.enqueue(JUDGED)
    await rig.notice(trigger())
    await rig.reviewer.review_next()
    await executor(ExecutorEventKind.STARTED, OutcomeKind.FAILED)
    rig.meta_model.enqueue(FOUND)
    assert await rig.investigations.investigate_next()
    prompt = "\n".join(message.content for message in rig.meta_model.asked[-1].messages)
    assert f"restart_unit {UNIT}: tried 1 time, helped 0, failed 1" in prompt
    assert (await executor(ExecutorEventKind.STARTED, OutcomeKind.REVERTED)).ask == ""
    found = (await rig.incident()).incident
    assert found.state is State.NEEDS_PERSON
    await rig.notice(cleared=[Cleared(found.id, rig.clock.at, "it runs")])
    rig.clock.at += timedelta(minutes=2)
    again = {"result": "exit-code", "invocation": "bb"}
    await rig.notice(trigger(at=rig.clock.at - timedelta(minutes=1), details=again))
    rig.review_model.enqueue(JUDGED)
    assert await rig.reviewer.review_next()
    (wanted,) = await rig.stores.outbox.unsubmitted()
    assert wanted.ask == "it failed twice for this symptom"


async def test_what_expired_is_proposed_again_without_a_model(rig):
    executor = Executor(rig)
    rig.review_model.enqueue(JUDGED)
    await rig.notice(trigger())
    await rig.reviewer.review_next()
    for _ in range(3):
        await executor(ExecutorEventKind.ASKED, ExecutorEventKind.EXPIRED)
        rig.clock.at += timedelta(seconds=30)
        assert not await rig.reviewer.review_next()
        rig.clock.at += timedelta(days=1)
        assert await rig.reviewer.review_next()
    await executor(ExecutorEventKind.ASKED, ExecutorEventKind.EXPIRED)
    assert (await rig.incident()).incident.state is State.NEEDS_PERSON
    assert len(rig.review_model.asked) == 1


async def test_what_was_investigated_and_expired_is_proposed_again_without_a_model(rig):
    executor = Executor(rig)
    rig.review_model.enqueue(JUDGED | {"verdict": "escalate", "action": "none"})
    await rig.notice(trigger())
    await rig.reviewer.review_next()
    rig.units.answer = rig.units.answer.model_copy(update={"exit_status": 9})  # more to see than the review saw
    rig.meta_model.enqueue(FOUND)
    await rig.investigations.investigate_next()
    await executor(ExecutorEventKind.ASKED, ExecutorEventKind.EXPIRED)
    rig.clock.at += timedelta(days=1)
    rig.review_model.enqueue(JUDGED | {"verdict": "escalate", "action": "none"})  # that is news to it
    assert await rig.reviewer.review_next()
    assert await rig.investigations.investigate_next()
    assert len(rig.meta_model.asked) == 1
    found = (await rig.incident()).investigations
    assert [(each.investigated_by, each.cause, each.model_calls) for each in found] == [
        ("scripted", "a file is gone", 1),
        ("scripted", "a file is gone", 0),
    ]
    again = await executor(ExecutorEventKind.ASKED)
    assert again.name == "restart_unit"
