"""What is forgotten, and what never is; the same on every database."""

import asyncio
import logging
from contextlib import suppress
from datetime import timedelta

import pytest

from ai_sysadmin.core.acting import ExecutorEventKind, OutcomeKind
from ai_sysadmin.core.errors import NotFound, Refused, StoreUnavailable
from ai_sysadmin.core.incident import Decided, State
from ai_sysadmin.core.knowledge import Document, DocumentKind
from ai_sysadmin.core.retention_settings import Retention
from ai_sysadmin.stores import Noticed
from ai_sysadmin.stores.opinion_store import Mute
from ai_sysadmin.stores.relational import open_stores
from ai_sysadmin.stores.relational.retention import FORGOTTEN_INCIDENTS, Kept, SqlRetention, long_over
from ai_sysadmin.stores.retention_store import Forgotten, Limits, forget_forever
from ai_sysadmin.testing.host import FakeClock
from tests.builders import HOST, NOW, PLACING, UNIT, request, trigger
from tests.contracts.test_acting_by_chance import Chance
from tests.contracts.test_acting_stores import Story, by_chat, judged, opened, over, proposed

LIMITS = Limits.of(Retention())
IN_A_YEAR = NOW + timedelta(days=365)
DAY = timedelta(days=1)
TABLES_OF_INCIDENTS = ("symptoms", "timeline", "evidence", "reviews", "investigations", "incident_actions")


def retention(stores, host=HOST):
    return SqlRetention(stores.reader._database, host)


async def forget(stores, now=IN_A_YEAR, **limits):
    return await retention(stores).forget(Limits(**(vars(LIMITS) | limits)), now)


async def rows(stores, statement, *values):
    async def work(tx):
        return [dict(row) for row in await tx.all(statement, values)]

    return await stores.reader._database.read(work)


async def held(stores, table):
    return (await rows(stores, f"SELECT count(*) AS held FROM {table}"))[0]["held"]


async def whole(stores):
    """Return all rows of all tables that a host's incidents are in, for comparison."""
    tables = ("incidents", *TABLES_OF_INCIDENTS, "actions", "outcomes", "notifications")
    return {table: sorted(map(repr, await rows(stores, f"SELECT * FROM {table}"))) for table in tables}


async def ended(stores, at=NOW, unit=UNIT, **changes):
    """Open an incident, have it judged with a remedy that helps, and end it."""
    wanted = request((await opened(stores, at=at, unit=unit, **changes)).id, unit=unit)
    await judged(stores, wanted, now=at + timedelta(minutes=1))
    story = Story(stores)
    story.number = (await stores.outbox.executor_position())[1]
    await story(wanted, ExecutorEventKind.STARTED, at=at)
    await story.ends(wanted, OutcomeKind.SUCCEEDED, at=at)
    return wanted


async def nothing_dangles(stores):
    for table in TABLES_OF_INCIDENTS:
        left = await rows(
            stores,
            f"SELECT incident_id FROM {table} WHERE incident_id IS NOT NULL"
            " AND incident_id NOT IN (SELECT id FROM incidents)",
        )
        assert not left, table
    for table in ("actions", "notifications"):
        left = await rows(
            stores,
            f"SELECT incident_id FROM {table}"
            " WHERE incident_id <> '' AND incident_id NOT IN (SELECT id FROM incidents)",
        )
        assert not left, table
    assert not await rows(
        stores, "SELECT action_id FROM incident_actions WHERE action_id NOT IN (SELECT id FROM actions)"
    )
    ids = {each.id for each in await stores.reader.incidents(limit=10_000)}
    for incident in await stores.reader.incidents(limit=10_000):
        assert not incident.merged_into or incident.merged_into in ids
    for action in await stores.reader.actions(limit=10_000):
        assert not action.request.incident_id or action.request.incident_id in ids


# --- incidents


async def test_an_incident_goes_with_all_of_it_when_it_is_long_over(stores):
    wanted = await ended(stores)
    forgotten = await forget(stores)
    assert forgotten.rows["incidents"] == 1
    assert forgotten.rows["actions"] == 1
    with pytest.raises(NotFound):
        await stores.reader.incident(wanted.incident_id)
    with pytest.raises(NotFound):
        await stores.reader.action(wanted.id)
    left = {table: await held(stores, table) for table in (*TABLES_OF_INCIDENTS, "incidents", "notifications")}
    assert not any(left.values()), left


async def test_what_helped_is_remembered_beyond_the_incident(stores):
    await ended(stores)
    await forget(stores)
    (kept,) = await rows(stores, "SELECT tried, helped FROM outcomes")
    assert kept == {"tried": 1, "helped": 1}


async def test_an_incident_stays_whole_until_its_days_are_over(stores):
    await ended(stores)
    before = await whole(stores)
    assert await forget(stores, NOW + timedelta(days=6)) == Forgotten()
    assert await whole(stores) == before
    assert (await forget(stores, NOW + timedelta(days=91))).rows["incidents"] == 1


async def test_it_is_its_end_that_counts_not_its_beginning(stores):
    old = await opened(stores)
    await over(stores, old.id, at=NOW + timedelta(days=300))
    assert "incidents" not in (await forget(stores)).rows


async def test_what_is_live_is_never_forgotten(stores):
    wanted = await proposed(stores)
    await opened(stores, unit="db.service", details={"invocation": "bb"})
    before = await whole(stores)
    await forget(stores, most_incidents=1)
    assert await whole(stores) == before
    assert (await stores.reader.incident(wanted.incident_id)).incident.state is State.OPEN


async def test_beyond_their_number_those_that_ended_first_go(stores):
    ids = []
    for number in range(10):
        at = NOW + number * DAY
        wanted = await ended(stores, at=at, unit=f"u{number}.service", details={"invocation": str(number)})
        ids.append(wanted.incident_id)
    forgotten = await forget(stores, NOW + 20 * DAY, most_incidents=4)
    assert forgotten.rows["incidents"] == 6
    assert {each.id for each in await stores.reader.incidents()} == set(ids[6:])
    await nothing_dangles(stores)


async def test_what_has_just_ended_stays_whatever_its_number(stores):
    for number in range(5):
        await ended(stores, unit=f"u{number}.service", details={"invocation": str(number)})
    assert "incidents" not in (await forget(stores, NOW + timedelta(hours=20), most_incidents=1)).rows
    assert (await forget(stores, NOW + timedelta(hours=25), most_incidents=1)).rows["incidents"] == 4


@pytest.mark.parametrize("kind", [ExecutorEventKind.ASKED, ExecutorEventKind.STARTED])
async def test_an_incident_of_which_an_action_is_under_way_stays(stores, kind):
    wanted = await proposed(stores)
    await Story(stores)(wanted, kind)
    if kind is ExecutorEventKind.ASKED:
        await stores.decisions.decide(wanted.incident_id, Decided("dismiss", "ann", NOW))
    else:  # what acts ends by its own action
        await end_by_hand(stores, wanted.incident_id)
    before = await whole(stores)
    await forget(stores)
    assert (await whole(stores))["actions"] == before["actions"]
    assert await stores.reader.incident(wanted.incident_id)


async def end_by_hand(stores, incident_id):
    await stores.reader._database.write(
        lambda tx: tx.run("UPDATE incidents SET state = 'dismissed' WHERE id = ?", (incident_id,))
    )


async def test_an_action_that_another_incident_needs_stays_and_belongs_to_that_one(stores):
    wanted = await proposed(stores)
    other = await opened(stores, unit="db.service", at=NOW + DAY, details={"invocation": "bb"})
    shared = request(other.id)
    await judged(stores, shared, now=NOW + DAY)
    await Story(stores)(wanted, ExecutorEventKind.REJECTED)
    await stores.decisions.decide(wanted.incident_id, Decided("dismiss", "ann", NOW))
    assert (await forget(stores)).rows["incidents"] == 1
    action = await stores.reader.action(wanted.id)
    assert action.request.incident_id == other.id
    assert [each.request.id for each in (await stores.reader.incident(other.id)).actions] == [wanted.id]
    await nothing_dangles(stores)


async def test_parts_of_a_live_incident_stay_and_a_root_goes_only_after_its_parts(stores):
    part = await opened(stores, unit="web.service")
    root = await opened(
        stores, unit="net.service", at=NOW + DAY, details={"invocation": "bb"}, explains=("web.service",)
    )
    assert (await stores.reader.incident(part.id)).incident.merged_into == root.id
    assert "incidents" not in (await forget(stores)).rows
    await over(stores, root.id, at=NOW + 2 * DAY)
    assert (await forget(stores, most_incidents=1, incidents=timedelta(days=3650))).rows["incidents"] == 1
    assert [each.id for each in await stores.reader.incidents()] == [root.id]
    assert (await forget(stores)).rows["incidents"] == 1


def test_parts_that_stay_keep_their_root():
    now = NOW
    root = Kept("root", 1, NOW - 100 * DAY)
    part = Kept("part", 1, NOW - 101 * DAY, merged_into="root")
    assert long_over([root, part], LIMITS, now) == [part, root]
    acting = Kept("part", 1, NOW - 101 * DAY, merged_into="root", acts=True)
    assert long_over([root, acting], LIMITS, now) == []
    later = Kept("part", 1, NOW - 5 * DAY, merged_into="root")
    assert long_over([root, later], LIMITS, now) == []
    assert long_over([Kept("part", 1, NOW - 101 * DAY, merged_into="gone")], LIMITS, now) != []


async def test_other_hosts_are_left_alone(place):
    async with open_stores(place, HOST) as stores, open_stores(place, "host2") as others:
        mine = await ended(stores)
        before = await whole(stores)
        await retention(others, "host2").forget(LIMITS, IN_A_YEAR)
        assert await whole(stores) == before
        assert (await stores.reader.incident(mine.incident_id)).incident.ended


async def test_an_incident_that_comes_back_meanwhile_is_not_forgotten(stores):
    wanted = await ended(stores)
    keeper = retention(stores)
    find = keeper._sizes

    async def and_it_comes_back(some):
        keeper._sizes = find
        await stores.decisions.decide(wanted.incident_id, Decided("reopen", "ann", NOW + DAY))
        return await find(some)

    keeper._sizes = and_it_comes_back
    assert "incidents" not in (await keeper.forget(LIMITS, IN_A_YEAR)).rows
    detail = await stores.reader.incident(wanted.incident_id)
    assert detail.incident.state is State.OPEN
    assert detail.evidence and detail.symptoms and detail.timeline


async def test_a_fault_that_returns_after_all_is_forgotten_is_a_new_incident(stores):
    first = await ended(stores)
    await forget(stores)
    again = await opened(stores, at=IN_A_YEAR)
    assert again.id != first.incident_id


async def test_what_was_learned_stays_as_knowledge_within_its_number(stores):
    documents = []
    for number in range(5):
        at = NOW + number * DAY
        wanted = await ended(stores, at=at, unit=f"u{number}.service", details={"invocation": str(number)})
        documents.append(
            Document(
                kind=DocumentKind.INCIDENT,
                name=wanted.incident_id,
                title=f"u{number} failed",
                text=f"the zebra{number} was missing",
                source="incidents",
                updated_at=at,
            )
        )
    await stores.knowledge.replace(DocumentKind.INCIDENT, "incidents", documents)
    forgotten = await forget(stores, most_past_documents=3)
    assert forgotten.rows["documents"] == 2
    await stores.knowledge.replace(DocumentKind.INCIDENT, "incidents", ())  # as the gatherer does: none is on record
    kept = await stores.knowledge.list()
    assert {each.title for each in kept} == {"u2 failed", "u3 failed", "u4 failed"}
    assert {each.source for each in kept} == {FORGOTTEN_INCIDENTS}
    ((found, _),) = await stores.knowledge.search_text("zebra3")
    assert found.title == "u3 failed"


# --- what one incident holds


async def test_an_incident_that_goes_on_for_ever_keeps_its_beginning_and_its_latest(stores):
    held_open = await opened(stores)
    for number in range(1, 300):
        at = NOW + timedelta(minutes=number)
        await stores.decisions.decide(held_open.id, Decided("dismiss", "ann", at, f"no {number}"))
        await stores.decisions.decide(held_open.id, Decided("reopen", "ann", at, f"yes {number}"))
    before = (await stores.reader.incident(held_open.id)).timeline
    forgotten = await forget(stores, most_lines=100)
    after = (await stores.reader.incident(held_open.id)).timeline
    assert forgotten.rows["timeline"] == len(before) - 100
    assert after == (*before[:20], *before[-80:])


async def test_of_one_incident_the_latest_actions_are_kept_and_those_under_way(stores):
    first = await opened(stores)
    for number in range(12):
        at = NOW + timedelta(hours=number)
        wanted = by_chat(first.id).model_copy(
            update={"id": f"aaaaa{'23456789abcd'[number]}-aaaaaa", "arguments": {"unit": f"u{number}.service"}}
        )
        await stores.proposals.propose(wanted)
        if number != 3:
            story = Story(stores)
            story.number = (await stores.outbox.executor_position())[1]
            await story(wanted, ExecutorEventKind.REFUSED, at=at)
    await forget(stores, most_rounds=5)
    left = {each.request.arguments["unit"] for each in (await stores.reader.incident(first.id)).actions}
    assert left == {"u3.service", *(f"u{number}.service" for number in range(7, 12))}
    await nothing_dangles(stores)


# --- what belongs to no incident


async def chatted(stores, number, at=NOW, ends=True):
    wanted = by_chat("").model_copy(
        update={"id": f"bbbbb{'23456789abcd'[number]}-aaaaaa", "arguments": {"unit": f"u{number}.service"}}
    )
    await stores.proposals.propose(wanted)
    if ends:
        story = Story(stores)
        story.number = (await stores.outbox.executor_position())[1]
        await story(wanted, ExecutorEventKind.REFUSED, at=at)
    return wanted


async def test_actions_of_no_incident_go_by_their_age_and_their_number_and_never_under_way(stores):
    old = await chatted(stores, 0)
    waiting = await chatted(stores, 1, ends=False)
    later = [await chatted(stores, number, at=NOW + (80 + number) * DAY) for number in range(2, 8)]
    assert (await forget(stores, NOW + 91 * DAY)).rows == {"actions": 1}
    left = {each.request.id for each in await stores.reader.actions()}
    assert left == {waiting.id, *(each.id for each in later)}
    assert old.id not in left
    assert (await forget(stores, NOW + 91 * DAY, most_actions=2)).rows == {"actions": 4}
    left = {each.request.id for each in await stores.reader.actions()}
    assert left == {waiting.id, *(each.id for each in later[-2:])}


async def test_mutes_that_ended_go_and_others_stay(stores):
    for name, until in (("a", NOW + DAY), ("b", IN_A_YEAR + DAY), ("c", IN_A_YEAR - DAY)):
        await stores.mutes.mute(Mute(fingerprint=name, until=until, by="ann", at=NOW))
    assert (await forget(stores)).rows == {"mutes": 1}
    assert [row["fingerprint"] for row in await rows(stores, "SELECT fingerprint FROM mutes ORDER BY 1")] == ["b", "c"]


async def test_turns_that_ended_go_and_the_latest_health_report_stays(stores):
    from tests.contracts.test_health_stores import report

    await stores.leases.renew("meta", NOW)
    await stores.leases.renew("review", IN_A_YEAR)
    for day in range(3):
        await stores.health.keep_report(report(at=NOW + day * DAY))
    assert (await forget(stores)).rows == {"health_reports": 2, "turns": 1}
    assert await stores.leases.leased("review", IN_A_YEAR - DAY)
    (kept,) = await stores.health.reports(10)
    assert kept.at == NOW + 2 * DAY


async def test_notices_that_wait_to_be_told_stay_and_told_ones_go(stores):
    await stores.notifications.raise_trouble("api", "it is down", NOW)
    await stores.notifications.raise_trouble("executor", "it is down", NOW)
    first, second = await stores.notifications.waiting(NOW)
    await stores.notifications.delivered([first.id], NOW)
    assert (await forget(stores)).rows == {"notifications": 1}
    assert await stores.notifications.waiting(IN_A_YEAR) == (second,)


# --- whatever happens


class Forgetful(Chance):
    """A host on which anything happens, roots are found late, and now and then is forgotten."""

    async def merge(self):
        self.faults += 1
        given = {
            "unit": "root.service",
            "at": self.now,
            "template": str(self.faults),
            "details": {"invocation": str(self.faults)},
            "explains": (self.dice.choice(["a.service", UNIT]),),
        }
        await self.stores.notices.commit(Noticed(None, triggers=[trigger(**given)]), PLACING)

    async def decide(self):
        every = [each.id for each in await self.stores.reader.incidents()]
        if every:
            verdict = self.dice.choice(["resolve", "dismiss", "reopen"])
            with suppress(Refused):
                await self.stores.decisions.decide(self.dice.choice(every), Decided(verdict, "ann", self.now))

    async def stories(self, live):
        """Return all there is to incidents, but to which of them an action belonged first."""
        found = [(await self.stores.reader.incident(each.incident.id)).model_dump() for each in live]
        for detail in found:
            for action in detail["actions"]:
                del action["request"]["incident_id"]
        return found

    async def forget(self):
        live = await self.stores.notices.live()
        details = await self.stories(live)
        actions = [each for each in await self.stores.reader.actions(limit=1000) if not each.state.ended]
        outcomes = await rows(self.stores, "SELECT * FROM outcomes ORDER BY fingerprint, action, subject")
        days = timedelta(days=self.dice.randint(1, 4))
        limits = {"incidents": days, "actions": days, "most_incidents": self.dice.randint(3, 20)}
        forgotten = await forget(self.stores, self.now, **limits)
        assert await self.stores.notices.live() == live
        assert await self.stories(live) == details
        left = [each for each in await self.stores.reader.actions(limit=1000) if not each.state.ended]
        assert [each.request.id for each in left] == [each.request.id for each in actions]
        assert await rows(self.stores, "SELECT * FROM outcomes ORDER BY fingerprint, action, subject") == outcomes
        await nothing_dangles(self.stores)
        return forgotten


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_happens_nothing_dangles_and_nothing_live_is_lost(stores, seed):
    chance, forgotten = Forgetful(stores, seed), Forgotten()
    for number in range(240):
        await chance.step()
        await chance.dice.choices([chance.merge, chance.decide, chance.step], weights=[1, 2, 2])[0]()
        if number % 12 == 11:
            forgotten += await chance.forget()
    assert forgotten.rows["incidents"] > 3
    assert forgotten.rows["actions"] > 3


async def test_while_it_forgets_others_write(stores):
    for number in range(60):
        at = NOW + number * timedelta(hours=1)
        await ended(stores, at=at, unit=f"u{number}.service", details={"invocation": str(number)})
    keeper = retention(stores)

    async def others():
        for number in range(100, 130):
            await opened(
                stores, at=IN_A_YEAR + number * DAY, unit=f"u{number}.service", details={"invocation": str(number)}
            )

    forgotten, _ = await asyncio.gather(keeper.forget(LIMITS, IN_A_YEAR), others())
    assert forgotten.rows["incidents"] == 60
    assert len(await stores.notices.live()) == 30
    await nothing_dangles(stores)


# --- the loop


class Hours:
    """Sleeps hours in no time, and ends the loop after so many."""

    def __init__(self, clock, count):
        self.clock, self.left, self.ticks = clock, count, 0.0

    async def __call__(self, seconds):
        if self.left == 0:
            raise asyncio.CancelledError
        self.left -= 1
        self.ticks += seconds
        self.clock.advance(seconds)


class Scripted:
    """A store that forgets one incident each time, or is away."""

    def __init__(self):
        self.calls = 0
        self.is_away = False

    async def forget(self, limits, now):
        self.calls += 1
        if self.is_away:
            raise StoreUnavailable("the database is away")
        return Forgotten({"incidents": 1})


async def run(store, hours, **changes):
    with pytest.raises(asyncio.CancelledError):
        await forget_forever(store, Retention(), hours.clock, hours, **({"ticks": lambda: hours.ticks} | changes))


async def test_it_forgets_every_hour_and_says_so_once_a_day(caplog):
    caplog.set_level(logging.INFO)
    store, hours = Scripted(), Hours(FakeClock(), 60)
    await run(store, hours)
    assert store.calls == 60
    told = [each for each in caplog.records if getattr(each, "event", "") == "store_forgot"]
    assert len(told) == 2
    assert told[0].getMessage().endswith(" incidents")
    assert 20 <= told[0].forgotten_incidents <= 28


async def test_a_store_that_is_away_is_told_once_and_waited_for(caplog):
    store, hours = Scripted(), Hours(FakeClock(), 5)
    store.is_away = True
    await run(store, hours)
    assert store.calls == 5
    assert [each.getMessage() for each in caplog.records] == ["nothing can be forgotten now: the database is away"]


async def test_when_the_clock_jumps_nothing_is_forgotten(caplog):
    store, hours = Scripted(), Hours(FakeClock(), 3)
    await run(store, hours, ticks=lambda: 0.0)
    assert store.calls == 0
