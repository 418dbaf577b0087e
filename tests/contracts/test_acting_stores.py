"""What acting leaves behind: an incident that goes on, one proposal for one thing, and a memory of what helped."""

from datetime import timedelta
from importlib.resources import files

import pytest

from ai_sysadmin.core.acting import (
    ActionRequest,
    ActionState,
    Decision,
    ExecutorEventKind,
    Origin,
    Outcome,
    OutcomeKind,
    Plan,
    Risk,
    Ruling,
    Stage,
)
from ai_sysadmin.core.incident import State
from ai_sysadmin.core.records import Evidence, EvidencePack, ProposedAction, Verdict
from ai_sysadmin.runtime.sqlite import Database, SqliteRelational
from ai_sysadmin.stores import Action, Cleared, Noticed
from ai_sysadmin.stores import relational as stored
from ai_sysadmin.stores.relational import open_stores
from ai_sysadmin.stores.relational.rows import insert_incident
from tests.builders import (
    HOST,
    NOW,
    PLACING,
    UNIT,
    event,
    finished,
    incident,
    investigation,
    pack,
    request,
    review,
    trigger,
)

LATER = NOW + timedelta(minutes=1)
LEASE = timedelta(minutes=3)
PLAN = Plan(
    does="restarts it", run=Stage(name="run", commands=(("true",),)), precondition="p", post_check="c", undo="u"
)
RULING = Ruling(decision=Decision.ASK, risk=Risk.REVERSIBLE, reason="a person decides")


class Story:
    """An executor that tells one numbered thing after the other."""

    def __init__(self, stores):
        self.stores = stores
        self.number = 0

    async def __call__(self, asked, kind, **changes):
        self.number += 1
        return await self.stores.outbox.apply([event(asked, kind, self.number, **changes)])

    async def ends(self, asked, kind, **changes):
        self.number += 1
        told = finished(asked, kind, self.number, passed=changes.pop("passed", None))
        return await self.stores.outbox.apply([told.model_copy(update=changes)])


@pytest.fixture
def story(stores):
    return Story(stores)


async def opened(stores, at=NOW, unit=UNIT, **changes):
    return (await stores.notices.commit(Noticed(None, triggers=[trigger(at=at, unit=unit, **changes)]), PLACING))[0]


async def over(stores, incident_id, at=LATER):
    await stores.notices.commit(Noticed(None, cleared=[Cleared(incident_id, at, "active again")]), PLACING)


async def claimed(stores, now=LATER):
    return await stores.reviews.claim_review(
        "r", lease=LEASE, settle=timedelta(0), settle_at_most=timedelta(0), now=now
    )


async def judged(stores, *requests, now=LATER, verdict=Verdict.ACT, claim=None):
    """Have the next incident judged, with these requests."""
    held = claim or await claimed(stores, now)
    said = review(verdict, incident_id=held.incident.id, at=now)
    return await stores.reviews.finish_review(held, pack(held.incident.id), said, requests)


async def looked_into(stores, *requests, now=LATER, **changes):
    held = await stores.investigations.claim_investigation("m", lease=LEASE, now=now)
    assert held is not None
    found = investigation(incident_id=held.incident.id, at=now, **changes)
    return await stores.investigations.finish_investigation(held, pack(held.incident.id), found, requests)


async def proposed(stores, **changes):
    """Open an incident whose judgement proposes a restart."""
    held = await opened(stores, **changes)
    wanted = request(held.id, unit=changes.get("unit", UNIT))
    await judged(stores, wanted)
    return wanted


async def state_of(stores, incident_id):
    return (await stores.reader.incident(incident_id)).incident.state


def by_chat(incident_id="", unit=UNIT):
    action = ProposedAction(name="restart_unit", arguments={"unit": unit})
    return ActionRequest.propose(HOST, incident_id, action, Origin.CHAT, "someone asked", NOW)


# --- what is known of an action


async def test_an_action_keeps_what_the_executor_said_of_it_last(stores, story):
    wanted = await proposed(stores)
    assert (await stores.reader.action(wanted.id)).digest == wanted.digest
    await story(wanted, ExecutorEventKind.PREPARING, digest="b" * 64)
    await story(wanted, ExecutorEventKind.ASKED, plan=PLAN, ruling=RULING, digest="c" * 64)
    await story(wanted, ExecutorEventKind.STARTED)
    outcome = Outcome(kind=OutcomeKind.REVERTED, text="taken back", output="line 1")
    await story(wanted, ExecutorEventKind.FINISHED, outcome=outcome)
    action = await stores.reader.action(wanted.id)
    assert (action.plan, action.ruling, action.digest) == (PLAN, RULING, "c" * 64)
    assert (action.output, action.state, action.risk) == ("line 1", ActionState.REVERTED, "reversible")


async def test_each_step_of_an_action_is_its_state(stores, story):
    wanted = await proposed(stores)
    steps = ["preparing", "approved", "started", "ran", "confirming", "reverting"]
    for step in steps:
        await story(wanted, ExecutorEventKind(step))
        assert (await stores.reader.action(wanted.id)).state.value == step
        assert await stores.proposals.propose(by_chat(wanted.incident_id)) == wanted  # it is under way


# --- a remedy that did not help


async def test_a_failure_is_investigated_and_a_second_one_left_to_a_person(stores, story):
    first = await proposed(stores)
    await story(first, ExecutorEventKind.STARTED)
    assert (await story.ends(first, OutcomeKind.FAILED))[0].state is State.INVESTIGATING
    second = request(first.incident_id, name="start_unit")
    assert (await looked_into(stores, second)).state is State.INVESTIGATING
    assert await stores.investigations.claim_investigation("m", lease=LEASE, now=LATER) is None  # it is under way
    await story(second, ExecutorEventKind.STARTED)
    assert (await story.ends(second, OutcomeKind.REVERTED))[0].state is State.NEEDS_PERSON


async def test_a_claim_brings_what_was_found_before(stores, story):
    first = await proposed(stores)
    await story.ends(first, OutcomeKind.FAILED)
    await looked_into(stores, request(first.incident_id, name="start_unit"), evidence_hash="h1", investigated_by="m1")
    (second,) = await stores.outbox.unsubmitted()
    await story(second, ExecutorEventKind.EXPIRED)
    detail = await stores.reader.incident(first.incident_id)
    held = await claimed(stores, now=detail.incident.waits_until)
    assert [(each.investigated_by, each.evidence_hash) for each in held.investigations] == [("m1", "h1")]


async def test_the_same_evidence_does_not_take_the_place_of_what_was_looked_up(stores):
    held = await opened(stores)
    pieces = [Evidence(id=f"e{n}", kind="looked_up", title="t", text="x", at=NOW) for n in range(3)]
    whole = EvidencePack(incident_id=held.id, pieces=tuple(pieces), hash="h1")
    for given, kept in ((whole, 3), (pack(held.id), 3), (pack(held.id, "h2"), 0)):
        claim = await claimed(stores)
        await stores.reviews.finish_review(claim, given, review(Verdict.WATCH, incident_id=held.id), [])
        assert len((await stores.reader.incident(held.id)).evidence.pieces) == kept
        again = trigger(template=f"{given.hash} {len(given.pieces)}", details={})
        await stores.notices.commit(Noticed(None, triggers=[again]), PLACING)


# --- nobody decided


async def test_what_expired_is_proposed_again_after_a_while_and_not_for_ever(stores, story):
    wanted = await proposed(stores)
    at = NOW
    for time in range(4):
        await story(wanted, ExecutorEventKind.ASKED, at=at)
        (held,) = await story(wanted, ExecutorEventKind.EXPIRED, at=at + timedelta(hours=1))
        if time == 3:
            break
        assert held.state is State.OPEN
        assert await claimed(stores, now=held.waits_until - timedelta(seconds=1)) is None
        at = held.waits_until
        wanted = request(held.id)
        await judged(stores, wanted, now=at)
        assert [each.id for each in await stores.outbox.unsubmitted()] == [wanted.id]
    assert held.state is State.NEEDS_PERSON
    assert await claimed(stores, now=at + timedelta(days=9)) is None


@pytest.mark.parametrize("kind", ["expired", "refused", "recorded", "withdrawn"])
async def test_what_becomes_of_one_action_says_nothing_while_another_goes_on(stores, story, kind):
    wanted = await proposed(stores)
    other = request(wanted.incident_id, name="start_unit")
    await stores.proposals.propose(other)
    await story(wanted, ExecutorEventKind.ASKED)
    await story(other, ExecutorEventKind.ASKED)
    assert (await story(other, ExecutorEventKind(kind)))[0].state is State.AWAITING_APPROVAL
    assert (await stores.reader.action(other.id)).state.value == kind


async def test_a_persons_no_counts_though_something_else_was_asked_for_in_chat(stores, story):
    wanted = await proposed(stores)
    asked = by_chat(wanted.incident_id, unit="other.service")
    await stores.proposals.propose(asked)
    await story(wanted, ExecutorEventKind.ASKED)
    await story(asked, ExecutorEventKind.ASKED)
    assert (await story(asked, ExecutorEventKind.REJECTED))[0].state is State.AWAITING_APPROVAL
    again = by_chat(wanted.incident_id, unit="third.service")
    await stores.proposals.propose(again)
    assert (await story(wanted, ExecutorEventKind.REJECTED))[0].state is State.NEEDS_PERSON
    assert (await story(again, ExecutorEventKind.EXPIRED))[0].state is State.NEEDS_PERSON


# --- one proposal for one thing


async def test_what_was_asked_for_in_chat_becomes_the_incidents(stores, story):
    asked = by_chat()
    await stores.proposals.propose(asked)
    await story(asked, ExecutorEventKind.ASKED)
    held = await opened(stores)
    after = await judged(stores, request(held.id))
    assert after.state is State.AWAITING_APPROVAL
    (action,) = await stores.reader.actions()
    assert (action.request.id, action.request.incident_id, action.digest) == (asked.id, held.id, asked.digest)
    detail = await stores.reader.incident(held.id)
    assert [line.event for line in detail.timeline][-1] == "action_adopted"
    assert [each.request.id for each in detail.actions] == [asked.id]
    await story(asked, ExecutorEventKind.STARTED)  # the executor's own label still says: of no incident
    assert await state_of(stores, held.id) is State.ACTING
    await story.ends(asked, OutcomeKind.SUCCEEDED, passed=True)
    assert await state_of(stores, held.id) is State.RESOLVED


async def test_what_one_incident_waits_for_moves_every_incident_that_wants_it(stores, story):
    wanted = await proposed(stores)
    other = await opened(stores, unit="db.service", details={"invocation": "bb"})
    same = request(other.id)
    assert (await judged(stores, same)).state is State.OPEN
    assert [each.id for each in await stores.outbox.unsubmitted()] == [wanted.id]
    await story(wanted, ExecutorEventKind.STARTED)
    await over(stores, wanted.incident_id)
    moved = await story.ends(wanted, OutcomeKind.FAILED)
    assert {each.id: each.state for each in moved} == {
        wanted.incident_id: State.INVESTIGATING,
        other.id: State.INVESTIGATING,
    }


async def test_what_another_live_incident_wants_is_not_taken_back(stores, story):
    wanted = await proposed(stores)
    other = await opened(stores, unit="db.service", details={"invocation": "bb"})
    await judged(stores, request(other.id))
    await over(stores, wanted.incident_id)
    assert [each.id for each in await stores.outbox.unsubmitted()] == [wanted.id]
    await story(wanted, ExecutorEventKind.ASKED)
    assert await stores.outbox.unneeded() == ()
    assert await state_of(stores, other.id) is State.AWAITING_APPROVAL
    await over(stores, other.id)
    assert [each.id for each, _ in await stores.outbox.unneeded()] == [wanted.id]


async def test_an_action_that_waits_for_an_ended_incident_is_taken_over(stores, story):
    wanted = await proposed(stores)
    await story(wanted, ExecutorEventKind.ASKED)
    await over(stores, wanted.incident_id)
    again = await opened(stores, at=NOW + timedelta(hours=3), details={"invocation": "cc"})
    after = await judged(stores, request(again.id), now=NOW + timedelta(hours=3, minutes=1))
    assert after.state is State.AWAITING_APPROVAL
    assert await stores.outbox.unneeded() == ()
    await story(wanted, ExecutorEventKind.WITHDRAWN)  # it was on its way back already
    assert await state_of(stores, again.id) is State.OPEN


async def renewed(stores, incident_id):
    """Bring a new fault to an incident, so that it is judged again."""
    fault = trigger(template="another", details={"invocation": "dd"}, at=NOW + timedelta(seconds=9))
    await stores.notices.commit(Noticed(None, triggers=[fault]), PLACING)
    assert await state_of(stores, incident_id) is State.OPEN


async def test_another_proposal_takes_the_place_of_one_that_is_on_its_way(stores):
    wanted = await proposed(stores)
    await renewed(stores, wanted.incident_id)
    better = request(wanted.incident_id, name="start_unit")
    await judged(stores, better)
    assert [each.id for each in await stores.outbox.unsubmitted()] == [better.id]
    former = await stores.reader.action(wanted.id)
    assert (former.state, former.text) == (ActionState.WITHDRAWN, f"superseded by {better.id}")


async def test_what_the_executor_knows_already_is_taken_back_when_it_asks(stores, story):
    wanted = await proposed(stores)
    await stores.outbox.submitted(wanted.id)
    await renewed(stores, wanted.incident_id)
    better = request(wanted.incident_id, name="start_unit")
    await judged(stores, better)
    await story(wanted, ExecutorEventKind.ASKED)
    assert await state_of(stores, wanted.incident_id) is State.OPEN  # nobody is asked about that one any more
    ((taken_back, why),) = await stores.outbox.unneeded()
    assert (taken_back.id, why) == (wanted.id, f"superseded by {better.id}")
    await story(better, ExecutorEventKind.ASKED)
    await story(wanted, ExecutorEventKind.WITHDRAWN)
    assert await state_of(stores, wanted.incident_id) is State.AWAITING_APPROVAL
    assert await stores.outbox.unneeded() == ()


async def test_how_a_superseded_proposal_ends_says_nothing_of_the_incident(stores, story):
    wanted = await proposed(stores)
    await stores.outbox.submitted(wanted.id)
    await renewed(stores, wanted.incident_id)
    better = request(wanted.incident_id, name="start_unit")
    await judged(stores, better)
    await story(better, ExecutorEventKind.ASKED)
    await story(better, ExecutorEventKind.EXPIRED)
    assert (await story(wanted, ExecutorEventKind.REFUSED))[0].state is State.OPEN


async def test_a_proposal_that_is_made_again_takes_its_place_back(stores, story):
    wanted = await proposed(stores)
    await stores.outbox.submitted(wanted.id)
    await renewed(stores, wanted.incident_id)
    better = request(wanted.incident_id, name="start_unit")
    await judged(stores, better)
    fault = trigger(template="a third", details={"invocation": "ee"})
    await stores.notices.commit(Noticed(None, triggers=[fault]), PLACING)
    await judged(stores, request(wanted.incident_id))
    assert (await stores.reader.action(wanted.id)).superseded_by == ""
    assert (await stores.reader.action(better.id)).state is ActionState.WITHDRAWN
    await story(wanted, ExecutorEventKind.ASKED)
    assert await state_of(stores, wanted.incident_id) is State.AWAITING_APPROVAL


async def test_what_a_person_asked_for_or_what_runs_is_not_superseded(stores, story):
    wanted = await proposed(stores)
    asked = by_chat(wanted.incident_id, unit="other.service")
    await stores.proposals.propose(asked)
    await story(wanted, ExecutorEventKind.APPROVED)
    await renewed(stores, wanted.incident_id)
    await judged(stores, request(wanted.incident_id, name="start_unit"))
    for kept in (wanted, asked):
        assert (await stores.reader.action(kept.id)).superseded_by == ""


async def test_what_is_still_in_the_outbox_goes_with_an_incident_that_an_action_ended(stores, story):
    wanted = await proposed(stores)
    other = request(wanted.incident_id, name="start_unit")
    await stores.proposals.propose(other)
    await story.ends(wanted, OutcomeKind.SUCCEEDED, passed=True)
    assert (await stores.reader.action(other.id)).state is ActionState.WITHDRAWN


# --- what there was before


async def test_actions_from_before_this_schema_go_on(tmp_path):
    for script in (files(stored) / "migrations" / "sqlite").iterdir():
        if script.name < "0007":
            (tmp_path / script.name).write_text(script.read_text())
    older = Database(tmp_path / "state.db", tmp_path)
    await older.open()
    wanted, asked = request("abcdef"), by_chat(unit="other.service")

    async def fill(tx):
        held = incident(id="abcdef", state=State.AWAITING_APPROVAL)
        forgotten = {"asked_at", "expiries", "waits_until", "failures", "failures_investigated"}
        await insert_incident(tx, held)
        body = held.model_dump_json(exclude=forgotten)
        await tx.run("UPDATE incidents SET body = ?", (body,))
        for each in (wanted, asked):
            action = Action(request=each, state=ActionState.PENDING, updated_at=NOW)
            body = action.model_dump_json(exclude={"plan", "ruling", "digest", "output", "superseded_by"})
            await tx.run(
                "INSERT INTO actions (id, host, digest, incident_id, state, updated_at, body)"
                " VALUES (?, ?, 'a digest of before', ?, 'pending', ?, ?)",
                (each.id, HOST, each.incident_id, NOW.isoformat(), body),
            )

    await SqliteRelational(older).write(fill)
    await older.close()
    async with open_stores(tmp_path / "state.db", HOST) as stores:
        assert {each.digest for each in await stores.reader.actions()} == {wanted.digest, asked.digest}
        assert [each.request for each in (await stores.reader.incident("abcdef")).actions] == [wanted]
        assert (await stores.proposals.propose(by_chat(unit="other.service"))).id == asked.id
        assert (await Story(stores).ends(wanted, OutcomeKind.FAILED))[0].state is State.INVESTIGATING
        assert await stores.notifications.waiting(LATER) == ()
