"""Actions that a person asked for in a conversation: they belong to no incident, or to the live one of their unit."""

from dataclasses import replace
from datetime import timedelta
from importlib.resources import files

import pytest

from ai_sysadmin.core.acting import ActionRequest, ActionState, ExecutorEventKind, Origin, OutcomeKind
from ai_sysadmin.core.errors import NotFound, Refused
from ai_sysadmin.core.incident import State
from ai_sysadmin.core.records import ProposedAction
from ai_sysadmin.runtime.sqlite import Database, SqliteRelational
from ai_sysadmin.stores import Action, Cleared, Noticed
from ai_sysadmin.stores import relational as stored
from ai_sysadmin.stores.relational import open_stores
from ai_sysadmin.stores.relational.rows import insert_incident
from tests.builders import HOST, NOW, PLACING, UNIT, event, finished, incident, pack, request, review, trigger

LATER = NOW + timedelta(minutes=1)


def asked_for(incident_id="", unit=UNIT, host=HOST):
    action = ProposedAction(name="restart_unit", arguments={"unit": unit})
    return ActionRequest.propose(host, incident_id, action, Origin.CHAT, "someone asked", NOW)


async def opened(stores, at=NOW):
    noticed = Noticed(None, triggers=[trigger(at=at)])
    return (await stores.notices.commit(noticed, PLACING))[0]


async def storm(stores):
    """Bring more incidents at once than count one by one."""
    raging = replace(PLACING, storm_count=2)
    units = [trigger(unit=f"u{n}.service", details={"invocation": str(n)}) for n in range(6)]
    await stores.notices.commit(Noticed(None, triggers=units), raging)
    assert "storm" in {incident.subject for incident in await stores.reader.incidents()}


async def ids(stores):
    return {waiting.id for waiting in await stores.outbox.unsubmitted()}


async def test_what_was_asked_for_goes_out_at_once_and_is_read_like_any_other(stores):
    wanted = asked_for()
    assert await stores.proposals.propose(wanted) == wanted
    assert await stores.outbox.unsubmitted() == (wanted,)
    (listed,) = await stores.reader.actions()
    assert listed.request == (await stores.reader.action(wanted.id)).request == wanted
    assert await stores.reader.actions(["pending"]) == ()


async def test_the_same_again_is_the_one_that_is_under_way(stores):
    first, again = asked_for(), asked_for()
    await stores.proposals.propose(first)
    assert await stores.proposals.propose(again) == first
    assert await stores.outbox.unsubmitted() == (first,)
    await stores.outbox.apply([event(first, ExecutorEventKind.REJECTED)])
    assert await stores.proposals.propose(again) == again


async def test_a_proposal_of_a_review_is_not_proposed_twice(stores):
    held = await opened(stores)
    claim = await stores.reviews.claim_review(
        "r", lease=timedelta(minutes=3), settle=timedelta(0), settle_at_most=timedelta(0), now=LATER
    )
    reviewed = request(held.id)
    await stores.reviews.finish_review(claim, pack(held.id), review(incident_id=held.id), [reviewed])
    assert (await stores.proposals.propose(asked_for(held.id))).id == reviewed.id


async def test_it_lives_to_its_end_without_an_incident(stores):
    wanted = asked_for()
    await stores.proposals.propose(wanted)
    await stores.outbox.submitted(wanted.id)
    story = [
        event(wanted, ExecutorEventKind.ASKED, 1),
        event(wanted, ExecutorEventKind.STARTED, 2),
        finished(wanted, OutcomeKind.SUCCEEDED, 3, passed=True),
    ]
    for number, state in enumerate([ActionState.PENDING, ActionState.STARTED, ActionState.SUCCEEDED]):
        assert await stores.outbox.apply(story[: number + 1]) == ()
        assert (await stores.reader.action(wanted.id)).state is state
    assert await stores.outbox.executor_position() == ("e1", 3)
    assert await stores.outbox.unneeded() == ()


async def test_what_the_executor_will_not_take_is_refused_without_an_incident(stores):
    wanted = asked_for()
    await stores.proposals.propose(wanted)
    await stores.outbox.refused(wanted, "no such unit", NOW)
    assert (await stores.reader.action(wanted.id)).state is ActionState.REFUSED
    assert await ids(stores) == set()


async def test_a_storm_holds_back_only_what_nobody_asked_for(stores):
    held = await opened(stores, at=NOW - timedelta(hours=2))  # too long ago to be part of the storm
    claim = await stores.reviews.claim_review(
        "r", lease=timedelta(minutes=3), settle=timedelta(0), settle_at_most=timedelta(0), now=LATER
    )
    await stores.reviews.finish_review(claim, pack(held.id), review(incident_id=held.id), [request(held.id)])
    free = asked_for(unit="other.service")
    tied = asked_for(held.id, unit="third.service")
    for wanted in (free, tied):
        await stores.proposals.propose(wanted)
    assert len(await ids(stores)) == 3
    await storm(stores)
    assert await ids(stores) == {free.id, tied.id}


async def test_a_proposal_for_a_live_incident_is_told_there_and_withdrawn_with_it(stores):
    held = await opened(stores)
    wanted = asked_for(held.id)
    await stores.proposals.propose(wanted)
    detail = await stores.reader.incident(held.id)
    assert [line.event for line in detail.timeline if line.by == "chat"] == ["action_proposed"]
    await stores.outbox.apply([event(wanted, ExecutorEventKind.ASKED, 1)])
    assert (await stores.reader.incident(held.id)).incident.state is State.AWAITING_APPROVAL
    await stores.notices.commit(Noticed(None, cleared=[Cleared(held.id, LATER, "active again")]), PLACING)
    assert await stores.outbox.unneeded() == ((wanted, "active again"),)


async def test_nothing_is_proposed_for_an_incident_that_ended_or_another_host(stores):
    held = await opened(stores)
    await stores.notices.commit(Noticed(None, cleared=[Cleared(held.id, LATER, "active again")]), PLACING)
    for wrong, why in ((asked_for(held.id), "has ended"), (asked_for("nobody"), "has ended")):
        with pytest.raises(Refused, match=why):
            await stores.proposals.propose(wrong)
    with pytest.raises(Refused, match="is for host2"):
        await stores.proposals.propose(asked_for(host="host2"))
    assert await stores.reader.actions() == ()


async def test_so_many_proposals_wait_and_no_more(stores):
    for number in range(20):
        await stores.proposals.propose(asked_for(unit=f"u{number}.service"))
    with pytest.raises(Refused, match="decide on those first"):
        await stores.proposals.propose(asked_for(unit="one-more.service"))
    assert len(await stores.reader.actions()) == 20


async def test_another_hosts_actions_are_not_ours(tmp_path):
    path = tmp_path / "state.db"
    async with open_stores(path, HOST) as ours, open_stores(path, "host2") as theirs:
        await ours.proposals.propose(asked_for())
        foreign = asked_for(host="host2")
        await theirs.proposals.propose(foreign)
        assert await theirs.outbox.unsubmitted() == (foreign,)
        assert [action.request for action in await theirs.reader.actions()] == [foreign]
        with pytest.raises(NotFound):
            await ours.reader.action(foreign.id)


async def test_actions_from_before_they_knew_their_host_are_kept(tmp_path):
    scripts = sorted(entry for entry in (files(stored) / "migrations" / "sqlite").iterdir() if entry.name < "0006")
    for script in scripts:
        (tmp_path / script.name).write_text(script.read_text())
    older = Database(tmp_path / "state.db", tmp_path)
    await older.open()
    wanted = request("abcdef")
    action = Action(request=wanted, state=ActionState.PENDING, updated_at=NOW)

    async def fill(tx):
        await insert_incident(tx, incident(id="abcdef"))
        values = (wanted.id, wanted.digest, "abcdef", "pending", NOW.isoformat(), action.model_dump_json())
        await tx.run(
            "INSERT INTO actions (id, digest, incident_id, state, updated_at, body) VALUES (?, ?, ?, ?, ?, ?)", values
        )

    await SqliteRelational(older).write(fill)
    await older.close()
    async with open_stores(tmp_path / "state.db", HOST) as stores:
        assert await stores.reader.actions(["pending"]) == (action,)
        assert (await stores.reader.incident("abcdef")).actions == (action,)
