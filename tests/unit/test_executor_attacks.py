"""The executor's core as an enemy finds it: floods, forged words, clocks that jump, what is away in the middle.

Whoever proposes here may send any well-formed request, in any number and order.
"""

import asyncio
import json
import sqlite3
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import ClassVar

import pytest

from ai_sysadmin.actions.action import Action, Host
from ai_sysadmin.actions.catalogue import Catalogue
from ai_sysadmin.core.acting import (
    ActionRequest,
    ActionState,
    Approval,
    Decision,
    ExecutorEventKind,
    Origin,
    Plan,
    Risk,
    Ruling,
    Stage,
    approving,
)
from ai_sysadmin.core.errors import Refused, StoreUnavailable, SystemdUnavailable, Unavailable
from ai_sysadmin.core.policy_settings import Breakers, Policy
from ai_sysadmin.core.records import ProposedAction, Record
from ai_sysadmin.core.settings import Autonomy
from ai_sysadmin.executor import life, looking, room
from ai_sysadmin.executor.asking import Me
from ai_sysadmin.executor.decide import decide_again, quoted
from ai_sysadmin.executor.entry import Moment, boottime
from ai_sysadmin.executor.holds import Hold, HoldKind
from ai_sysadmin.executor.journal import Entry, Journal
from ai_sysadmin.executor.retention import forget
from ai_sysadmin.executor.room import Allowance
from ai_sysadmin.runtime.bus import BusRefused
from ai_sysadmin.testing.fake_systemd import FakeSystemd
from ai_sysadmin.testing.host import FakeClock
from tests.builders import HOST, NOW, UNIT, request
from tests.executing import FakeSessions, Killed, executor, failed_unit, settings_for


class Seen(Record):
    turns: int = 0


class Turn(Action[Seen]):
    """Turn a thing; ``with_it`` are other things that turn with it."""

    name: ClassVar[str] = "turn"
    risks: ClassVar[tuple[Risk, ...]] = (Risk.REVERSIBLE,)
    seen: ClassVar[type[Record]] = Seen
    what: str
    looks: ClassVar[list[str]] = []
    with_it: ClassVar[tuple[str, ...]] = ()
    fault: ClassVar[Exception | None] = None
    hangs: ClassVar[str] = ""

    @property
    def subject(self):
        return self.what

    def preparation(self, told):
        return Stage(name="make", commands=(("make", self.what),)) if self.what == "built" and not told else None

    async def observe(self, host):
        self.looks.append(self.what)
        if self.what == self.hangs:
            await asyncio.Event().wait()
        if self.fault is not None:
            raise self.fault
        return Seen()

    def risk(self, seen):
        return Risk.READ_ONLY if self.what.startswith("read") else Risk.REVERSIBLE

    def obstacle(self, seen):
        return None

    def touches(self, seen):
        return self.with_it

    def warrant(self, seen):
        return "it has to be turned"

    def plan(self, seen):
        revert = Stage(name="revert", commands=(("turn", "back"),))
        return Plan(
            does="turns it",
            run=Stage(name="run", commands=(("turn", self.what),)),
            precondition="it is there",
            post_check="it turned",
            undo="turn it back",
            revert=revert if self.what == "undone" else None,
        )

    def shortfall(self, before, now):
        return None


@pytest.fixture(autouse=True)
def turn_as_it_is(monkeypatch):
    for name, value in (("looks", []), ("with_it", ()), ("fault", None), ("hangs", "")):
        monkeypatch.setattr(Turn, name, value)
    monkeypatch.setattr(life, "RETRY_SECONDS", 0.02)


@pytest.fixture
def systemd():
    fake = FakeSystemd()
    fake.programs = {"turn": lambda argv: (0, "turned\n"), "make": lambda argv: (0, "made\n")}
    return fake


def turn(what="it", incident="abcdef", **changes):
    action = ProposedAction(name="turn", arguments={"what": what})
    return ActionRequest.propose(HOST, incident, action, changes.pop("origin", Origin.RULES), "why", NOW, **changes)


def running(tmp_path, systemd, autonomy=Autonomy.AUTO_SAFE, policy=None, **changes):
    more = {key: changes.pop(key) for key in ("me", "begins", "journal_type") if key in changes}
    settings = settings_for(autonomy, **changes)
    if policy is not None:
        settings = settings.model_copy(update={"policy": policy})
    return executor(tmp_path, systemd, settings, catalogue=Catalogue({"turn": Turn}), **more)


async def becomes(it, action_id, *states, seconds=5):
    async with asyncio.timeout(seconds):
        while (entry := await it.journal.find(action_id)).state not in states:
            await asyncio.sleep(0.01)
    return entry


def began(systemd):
    return [each for each in systemd.starts if each.startswith("turn")]


# --- floods


async def test_a_storm_of_proposals_at_once_does_not_pass_the_global_breaker(tmp_path, systemd):
    policy = Policy(breakers=Breakers(all_units=4))
    async with running(tmp_path, systemd, policy=policy) as it:
        wanted = [turn(f"t{number}") for number in range(20)]
        await asyncio.gather(*(it.asking.propose(each) for each in wanted))
        states = [(await becomes(it, each.id, "succeeded", "pending")).state for each in wanted]
        assert states.count("succeeded") == 4
        assert len(began(systemd)) == 4
        assert {each.ruling.line for each in await it.journal.waiting()} == {"policy.breakers"}


async def test_a_persons_yes_does_not_wait_behind_what_rests(tmp_path, systemd):
    policy = Policy(breakers=Breakers(per_unit=50, back_off_seconds=600))
    async with running(tmp_path, systemd, policy=policy) as it:
        await it.asking.propose(first := turn())
        await it.ended(first.id)
        for _ in range(10):
            await it.asking.propose(turn())
        await it.asking.propose(wanted := turn(origin=Origin.CHAT))
        await it.asking.approve(wanted.id, 0, "root")
        assert (await it.ended(wanted.id)).state == "succeeded"
        assert len(began(systemd)) == 2


async def test_one_subject_takes_no_more_than_its_share_of_the_room(tmp_path, systemd, monkeypatch):
    monkeypatch.setattr(room, "MOST_IN_LANE", 3)
    monkeypatch.setattr(room, "MOST_UNDER_WAY", 5)
    async with running(tmp_path, systemd, Autonomy.SUGGEST) as it:
        for _ in range(3):
            await it.asking.propose(turn())
        with pytest.raises(Refused, match="3 actions on it wait"):
            await it.asking.propose(turn())
        for _ in range(2):
            await it.asking.propose(turn("other"))
        with pytest.raises(Refused, match="5 actions wait"):
            await it.asking.propose(turn("third"))


async def test_a_flood_that_ends_at_once_is_slowed_down(tmp_path, systemd, monkeypatch):
    monkeypatch.setattr(room, "MOST_AT_ONCE", 5)
    monkeypatch.setattr(room, "MOST_A_SECOND", 0.001)
    async with running(tmp_path, systemd, Autonomy.OBSERVE) as it:
        for _ in range(5):
            await it.asking.propose(known := turn())
        with pytest.raises(Unavailable, match="it has to wait"):
            await it.asking.propose(turn())
        assert (await it.asking.propose(known)).state == "recorded"  # what is known costs nothing


def test_an_allowance_comes_back_with_time():
    now = 0.0
    allowance = Allowance(2, 0.5, lambda: now)
    assert [allowance.take() for _ in range(3)] == [True, True, False]
    now = 2.0
    assert [allowance.take() for _ in range(2)] == [True, False]
    now = 1e6
    assert [allowance.take() for _ in range(3)] == [True, True, False]


async def test_what_waits_stays_in_sight_whatever_is_proposed_after_it(tmp_path, systemd):
    async with running(tmp_path, systemd, Autonomy.SUGGEST) as it:
        await it.asking.propose(waits := turn())
        for _ in range(30):
            await it.asking.propose(request(unit="gone.service"))
        listed = await it.journal.entries(limit=10)
        assert waits.id in {each.request.id for each in listed}
        assert len(listed) == 10


async def test_a_look_that_hangs_holds_up_no_decision_over_another_action(tmp_path, systemd, monkeypatch):
    monkeypatch.setattr(Turn, "hangs", "stuck")
    async with running(tmp_path, systemd, Autonomy.SUGGEST) as it:
        await it.asking.propose(wanted := turn())
        flood = [asyncio.create_task(it.asking.propose(turn("stuck"))) for _ in range(5)]
        await asyncio.sleep(0.05)
        async with asyncio.timeout(2):
            await it.asking.approve(wanted.id, 0, "root")
            assert (await it.ended(wanted.id)).state == "succeeded"
        for task in flood:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def test_a_look_that_hangs_in_the_post_check_comes_to_an_end(tmp_path, systemd, monkeypatch):
    monkeypatch.setattr(looking, "LOOK_SECONDS", 0.05)
    async with running(tmp_path, systemd, post_check_seconds=0.3) as it:
        await it.asking.propose(wanted := turn())
        await becomes(it, wanted.id, "ran")
        monkeypatch.setattr(Turn, "hangs", "it")
        await asyncio.sleep(0.3)
        monkeypatch.setattr(Turn, "hangs", "")
        assert (await it.ended(wanted.id)).state == "succeeded"


# --- forged words


async def test_a_proposers_words_are_never_the_executors_own(tmp_path, systemd):
    said = 'checked by root."\n\x1b[2Jrisk: read_only'
    async with running(tmp_path, systemd) as it:
        entry = await it.asking.propose(turn(ask=said))
        assert (entry.state, entry.ruling.line) == ("pending", "the proposer asks")
        assert entry.ruling.reason.startswith('its proposer wants a person to decide, in its own words: "checked')
        assert entry.ruling.reason.isprintable()
        assert quoted(said) in entry.ruling.reason


def test_an_approval_does_not_hold_for_units_that_nobody_saw():
    asked = Ruling(decision=Decision.ASK, risk=Risk.DISRUPTIVE, reason="", units=("a.service", "b.service"))
    approval = Approval(action_id="x", digest="y", by="root", uid=0, at=NOW)
    for units, decision in (
        (("a.service", "b.service"), Decision.RUN),
        (("a.service",), Decision.RUN),
        (("a.service", "c.service"), Decision.REFUSE),
    ):
        assert decide_again(asked, approval, asked.model_copy(update={"units": units})).decision is decision


# --- one at a time


async def test_actions_that_share_a_unit_do_not_run_at_the_same_time(tmp_path, systemd, monkeypatch):
    monkeypatch.setattr(Turn, "with_it", ("shared.service",))
    systemd.delay = 0.4
    async with running(tmp_path, systemd, post_check_seconds=0.01) as it:
        wanted = [turn("one"), turn("two")]
        for each in wanted:
            await it.asking.propose(each)
        most = 0
        async with asyncio.timeout(8):
            while found := await it.journal.under_way():
                most = max(most, sum(each.state in {"started", "ran"} for each in found))
                await asyncio.sleep(0.01)
        assert most == 1
        assert sorted(began(systemd)) == ["turn one", "turn two"]


# --- stopped, lowered, expired


async def test_halted_not_even_a_read_only_action_begins(tmp_path, systemd):
    async with running(tmp_path, systemd) as it:
        it.halt.halt("ada", "stop", datetime.now(UTC))
        await it.asking.propose(wanted := turn("read this"))
        await asyncio.sleep(0.6)
        assert systemd.starts == []
        it.halt.resume()
        assert (await it.ended(wanted.id)).state == "succeeded"


@pytest.mark.parametrize("at", ["approved", "started"])
async def test_halted_between_the_last_look_and_the_start_nothing_begins(tmp_path, systemd, at, monkeypatch):
    async with running(tmp_path, systemd, Autonomy.SUGGEST) as it:
        await it.asking.propose(wanted := turn())
        if at == "approved":  # while it is looked at for the last time
            before = it.inhibitor.held
            monkeypatch.setattr(it.inhibitor, "held", lambda why: it.halt.halt("a", "", NOW) and before(why))
        else:  # while its intent is written
            record = it.journal.record

            async def recorded(entry, kind, when):
                if kind.value == "started":
                    it.halt.halt("a", "", NOW)
                return await record(entry, kind, when)

            monkeypatch.setattr(it.journal, "record", recorded)
        await it.asking.approve(wanted.id, 0, "root")
        if at == "approved":
            await asyncio.sleep(0.5)
            assert (await it.journal.find(wanted.id)).state == "approved"
        else:
            entry = await it.ended(wanted.id)
            assert (entry.state, entry.outcome) == ("refused", None)
            assert "halted by a" in entry.text
            # what was never begun has not been in vain
            assert await it.journal.deeds(Moment(NOW, "boot1", boottime()), timedelta(days=30)) == ()
        assert systemd.starts == []


@pytest.mark.parametrize("lowered", ["preparing", "pending", "approved"])
async def test_at_observe_nothing_runs_that_was_let_through_before(tmp_path, systemd, lowered):
    wanted = turn("built" if lowered == "preparing" else "it")
    async with running(tmp_path, systemd, Autonomy.SUGGEST, begins=False) as it:
        await it.asking.propose(wanted)
        if lowered == "approved":
            await it.asking.approve(wanted.id, 0, "root")
        assert (await it.journal.find(wanted.id)).state == lowered
    async with running(tmp_path, systemd, Autonomy.OBSERVE) as it:
        if lowered == "pending":
            with pytest.raises(Refused, match="no yes helps"):
                await it.asking.approve(wanted.id, 0, "root")
        else:
            assert (await it.ended(wanted.id)).state == "refused"
        assert systemd.starts == []


async def test_a_yes_given_at_the_last_moment_still_counts_while_it_waits(tmp_path, systemd):
    async with running(tmp_path, systemd, Autonomy.SUGGEST, approval_expires_seconds=1.0) as it:
        it.holds.hold = Hold(kind=HoldKind.PASSES, why="a switch")
        await it.asking.propose(wanted := turn())
        await asyncio.sleep(0.6)
        await it.asking.approve(wanted.id, 0, "root")
        await asyncio.sleep(0.6)
        it.holds.hold = None
        assert (await it.ended(wanted.id)).state == "succeeded"


async def test_a_yes_can_be_taken_back_until_the_action_begins(tmp_path, systemd):
    async with running(tmp_path, systemd, Autonomy.SUGGEST) as it:
        it.holds.hold = Hold(kind=HoldKind.PASSES, why="a switch")
        await it.asking.propose(wanted := turn())
        await it.asking.approve(wanted.id, 0, "root")
        await asyncio.sleep(0.3)
        entry = await it.asking.reject(wanted.id, "root", "not today")
        assert (entry.state, entry.approval, entry.text) == ("rejected", None, "rejected by root: not today")
        it.holds.hold = None
        await asyncio.sleep(0.6)
        assert (await it.journal.find(wanted.id)).state == "rejected"
        assert [event.kind for event in await it.journal.events("", 0, 100, 0)] == ["asked", "approved", "rejected"]
        assert systemd.starts == []
        it.begin()  # nor does the next executor
        await asyncio.sleep(0.1)
        assert systemd.starts == []


async def test_what_has_begun_is_not_taken_back_by_a_no(tmp_path, systemd):
    async with running(tmp_path, systemd, Autonomy.SUGGEST, post_check_seconds=1.0) as it:
        await it.asking.propose(wanted := turn())
        await it.asking.approve(wanted.id, 0, "root")
        await becomes(it, wanted.id, "ran")
        with pytest.raises(Refused, match="does not wait for anybody: it is ran"):
            await it.asking.reject(wanted.id, "root", "too late")
        assert (await it.ended(wanted.id)).state == "succeeded"


async def test_a_yes_to_what_was_built_carries_its_digest(tmp_path, systemd):
    async with running(tmp_path, systemd, Autonomy.SUGGEST) as it:
        await it.asking.propose(wanted := turn("built"))
        await becomes(it, wanted.id, "pending")
        built = (await it.journal.find(wanted.id)).digest
        with pytest.raises(Refused, match=f"a yes needs its digest: .* ai-sysadmin actions show {wanted.id}"):
            await it.asking.approve(wanted.id, 0, "root")
        with pytest.raises(Refused, match="is not what was shown"):
            await it.asking.approve(wanted.id, 0, "root", wanted.digest)
        assert (await it.journal.find(wanted.id)).state == "pending"
        assert approving(wanted.id, built) == f"ai-sysadmin actions approve {wanted.id} --digest {built[:12]}"
        await it.asking.approve(wanted.id, 0, "root", built[:12])
        entry = await it.ended(wanted.id)
        assert (entry.state, entry.approval.digest) == ("succeeded", built)


async def test_a_digest_of_something_else_is_no_yes(tmp_path, systemd):
    async with running(tmp_path, systemd, Autonomy.SUGGEST) as it:
        await it.asking.propose(wanted := turn())
        with pytest.raises(Refused, match="is not what was shown"):
            await it.asking.approve(wanted.id, 0, "root", "0" * 64)
        assert approving(wanted.id, wanted.digest) == f"ai-sysadmin actions approve {wanted.id}"
        await it.asking.approve(wanted.id, 0, "root", wanted.digest)
        assert (await it.ended(wanted.id)).state == "succeeded"


async def test_what_was_built_for_a_proposal_is_let_go_with_it(tmp_path, systemd):
    async with running(tmp_path, systemd, Autonomy.SUGGEST) as it:
        await it.asking.propose(wanted := turn("built"))
        await becomes(it, wanted.id, "pending")
        assert list(systemd.actions) == [f"{wanted.id}-make"]
        await it.asking.reject(wanted.id, "root", "no")
        async with asyncio.timeout(2):
            while systemd.actions:
                await asyncio.sleep(0.01)


# --- what is away, and what fails


class Refusing(FakeSystemd):
    """A systemd that refuses or does not answer ``count`` times in a call of that name."""

    at = ""
    error: Exception = SystemdUnavailable("no answer")
    count = 3

    def _fail(self, name):
        if name == self.at and self.count > 0:
            self.count -= 1
            raise self.error

    async def look(self, unit_id):
        self._fail("look")
        return await super().look(unit_id)

    async def output(self, unit_id, most_bytes):
        self._fail("output")
        return await super().output(unit_id, most_bytes)

    async def release(self, unit_id):
        self._fail("release")
        return await super().release(unit_id)

    async def held(self):
        self._fail("held")
        return await super().held()


@pytest.mark.parametrize("error", [SystemdUnavailable("no answer"), BusRefused("x.TransactionIsDestructive", "down")])
@pytest.mark.parametrize("at", ["look", "output", "release", "held"])
async def test_systemd_that_refuses_in_the_middle_ends_no_executor(tmp_path, at, error):
    systemd = Refusing(programs={"turn": lambda argv: (0, "turned\n")})
    systemd.at, systemd.error = at, error
    async with running(tmp_path, systemd) as it:
        await it.asking.propose(wanted := turn())
        assert (await it.ended(wanted.id)).state == "succeeded"
        await it.asking.propose(second := turn("other"))
        assert (await it.ended(second.id)).state == "succeeded"
        assert not it.tasks[0].done()
    assert began(systemd) == ["turn it", "turn other"]


@pytest.mark.parametrize("fault", [ValueError("x"), KeyError("x"), TypeError("x"), OSError(5, "I/O error")])
async def test_an_entry_that_fails_at_a_proposal_is_refused_and_ends_nothing(tmp_path, systemd, monkeypatch, fault):
    monkeypatch.setattr(Turn, "fault", fault)
    async with running(tmp_path, systemd) as it:
        with pytest.raises((Refused, Unavailable)):
            await it.asking.propose(turn())
        monkeypatch.setattr(Turn, "fault", None)
        await it.asking.propose(wanted := turn())
        assert (await it.ended(wanted.id)).state == "succeeded"


@pytest.mark.parametrize(("what", "state"), [("it", "unknown"), ("undone", "reverted")])
async def test_an_entry_that_fails_at_the_post_check_ends_one_action_only(tmp_path, systemd, monkeypatch, what, state):
    async with running(tmp_path, systemd, post_check_seconds=0.5) as it:
        await it.asking.propose(wanted := turn(what))
        await becomes(it, wanted.id, "ran")
        monkeypatch.setattr(Turn, "fault", ValueError("who expects that"))
        assert (await it.ended(wanted.id)).state == state
        assert not it.tasks[0].done()


async def test_what_the_catalogue_does_not_take_any_more_is_still_taken_back(tmp_path, systemd):
    class Mortal(Journal):
        async def record(self, entry, kind, at):
            await super().record(entry, kind, at)
            if kind.value == "reverting":
                raise Killed
            return entry

    systemd.programs["turn"] = lambda argv: (0 if argv[1] == "back" else 1, "")
    with suppress(Killed, BaseExceptionGroup):
        async with running(tmp_path, systemd, journal_type=Mortal) as it:
            await it.asking.propose(wanted := turn("undone"))
            await becomes(it, wanted.id, "reverting")
            await asyncio.sleep(0.1)
    async with executor(tmp_path, systemd, settings_for(Autonomy.AUTO_SAFE), catalogue=Catalogue({})) as it:
        entry = await it.ended(wanted.id)
    assert (entry.state, began(systemd)) == ("reverted", ["turn undone", "turn back"])


async def test_what_the_catalogue_does_not_take_any_more_was_not_begun(tmp_path, systemd):
    async with running(tmp_path, systemd, begins=False) as it:
        await it.asking.propose(wanted := turn())
    async with executor(tmp_path, systemd, settings_for(Autonomy.AUTO_SAFE), catalogue=Catalogue({})) as it:
        entry = await it.ended(wanted.id)
        assert (entry.state, entry.outcome, systemd.starts) == ("refused", None, [])


async def test_a_disk_that_is_full_while_something_expires_ends_nothing(tmp_path, systemd, monkeypatch):
    async with running(tmp_path, systemd, Autonomy.SUGGEST, approval_expires_seconds=0.2) as it:
        await it.asking.propose(wanted := turn())
        record = it.journal.record

        async def full(*_any):
            raise StoreUnavailable("database or disk is full")

        monkeypatch.setattr(it.journal, "record", full)
        await asyncio.sleep(1.5)
        assert not any(task.done() for task in it.tasks)
        monkeypatch.setattr(it.journal, "record", record)
        assert (await it.ended(wanted.id)).state == "expired"


async def test_an_event_is_told_to_everybody_who_waits(tmp_path):
    journal = Journal(tmp_path)
    await journal.open()
    slow, read = asyncio.Event(), journal._events_after

    async def slowly(since, most):
        found = await read(since, most)
        await slow.wait()
        return found

    journal._events_after = slowly
    first = asyncio.create_task(journal.events(journal.epoch, 0, 10, 20))
    await asyncio.sleep(0.1)
    journal._events_after = read
    await journal.record(kept(request()), ExecutorEventKind("asked"), NOW)
    second = asyncio.create_task(journal.events(journal.epoch, 1, 10, 20))  # begins to wait after that
    await asyncio.sleep(0.05)
    slow.set()
    async with asyncio.timeout(2):
        assert [event.sequence for event in await first] == [1]
    second.cancel()
    await journal.close()


# --- clocks


def kept(asked, state=ActionState.SUCCEEDED, risk=Risk.REVERSIBLE, **changes):
    ruling = Ruling(decision=Decision.RUN, risk=risk, reason="")
    given = {"text": "", "boot_id": "boot1", "expires_boottime": 0.0, "subject": asked.arguments.get("unit", "")}
    return Entry(request=asked, state=state, ruling=ruling, **(given | changes))


HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("boot", "started_at", "ticks", "now", "seconds_ago"),
    [
        ("boot1", NOW, 1000.0, NOW + HOUR / 2, 500),
        ("boot1", NOW, 1000.0, NOW + 900 * HOUR, 500),  # the clock was set forward
        ("boot1", NOW, 1000.0, NOW - 900 * HOUR, 500),  # and back
        ("boot1", NOW + 9000 * HOUR, 1000.0, NOW, 500),
        ("boot0", NOW - HOUR, 77.0, NOW, 3600),
        ("boot0", NOW + 9000 * HOUR, 77.0, NOW, 1500),  # before this boot, whatever the clock said
    ],
)
async def test_breakers_count_by_a_clock_that_nobody_sets(tmp_path, boot, started_at, ticks, now, seconds_ago):
    journal = Journal(tmp_path)
    await journal.open()
    entry = kept(request(), boot_id=boot, started_at=started_at, started_boottime=ticks)
    await journal.record(entry, ExecutorEventKind("started"), NOW)
    (deed,) = await journal.deeds(Moment(now, "boot1", 1500.0), 24 * HOUR)
    assert (now - deed.at).total_seconds() == seconds_ago
    await journal.close()


async def test_a_clock_set_forward_closes_no_breaker(tmp_path, systemd):
    clock = FakeClock(datetime.now(UTC))
    policy = Policy(breakers=Breakers(per_unit=2, back_off_seconds=0.001))
    settings = settings_for(Autonomy.AUTO_SAFE).model_copy(update={"policy": policy})
    host = Host(settings, systemd, FakeSessions(), clock)
    async with executor(tmp_path, systemd, settings, catalogue=Catalogue({"turn": Turn}), host=host) as it:
        for _ in range(2):
            await it.asking.propose(each := turn())
            await it.ended(each.id)
            clock.advance(90 * 86_400)
        assert (await it.asking.propose(turn())).ruling.line == "policy.breakers"
        clock.advance(-900 * 86_400)
        assert (await it.asking.propose(turn())).ruling.line == "policy.breakers"


# --- growth


async def filled(tmp_path, count, **changes):
    """Return a journal of so many actions that ended, and its courier's position."""
    journal = Journal(tmp_path)
    await journal.open()
    for number in range(count):
        entry = kept(request(f"i{number}"), **changes)
        await journal.record(entry, ExecutorEventKind("refused"), NOW)
    return journal


@pytest.mark.parametrize(
    ("fetched", "before", "most", "changes", "left"),
    [
        (20, NOW + HOUR, 100, {}, 2),  # all are old: the newest stay
        (20, NOW - HOUR, 100, {}, 20),
        (20, NOW - HOUR, 5, {}, 5),  # too many
        (12, NOW - HOUR, 5, {}, 8),  # what the courier has not fetched stays
        (0, NOW + HOUR, 5, {}, 20),
        (20, NOW - HOUR, 5, {"started_at": NOW}, 20),  # what breakers count goes by its age only
        (20, NOW - HOUR, 5, {"started_at": NOW, "risk": Risk.READ_ONLY}, 5),
        (20, NOW + HOUR, 5, {"state": ActionState.PENDING}, 20),  # what has not ended is never forgotten
    ],
)
async def test_the_journal_forgets_what_is_over_and_told(tmp_path, fetched, before, most, changes, left):
    journal = await filled(tmp_path, 20, **changes)
    await journal.events(journal.epoch, fetched, 100, 0)
    while await forget(journal, before, most, always=2):
        pass
    assert len(await journal.entries()) == left
    await journal.record(kept(request("last")), ExecutorEventKind("refused"), NOW)
    numbers = [event.sequence for event in await journal.events("", 0, 100, 0)]
    assert numbers[-1] == 21  # numbers go on
    assert numbers == sorted(set(numbers))
    await journal.close()


async def test_an_event_without_its_line_in_the_audit_is_not_forgotten(tmp_path, systemd):
    async with running(tmp_path, systemd, Autonomy.OBSERVE) as it:
        for _ in range(3):
            await it.asking.propose(turn())
        await it.journal.events(it.journal.epoch, 3, 10, 0)
        assert it.journal.told() == 3
        it.audit._told = (it.journal.epoch, 1)
        assert it.journal.told() == 1


async def test_it_starts_with_ten_thousand_actions_and_one_under_way(tmp_path, systemd):
    async with running(tmp_path, systemd, begins=False) as it:
        await it.asking.propose(wanted := turn())
    ended = kept(request(), text="x" * 500).model_dump_json()
    with closing(sqlite3.connect(tmp_path / "executor.db")) as database, database:
        rows = ((f"id{number}", "d", "s", "refused", ended) for number in range(10_000))
        database.executemany("INSERT INTO actions (id, digest, subject, state, body) VALUES (?, ?, ?, ?, ?)", rows)
    began_at = asyncio.get_running_loop().time()
    async with running(tmp_path, systemd) as it:
        assert (await it.ended(wanted.id, 3)).state == "succeeded"
        assert len(await it.journal.entries()) == 200
    assert asyncio.get_running_loop().time() - began_at < 5


# --- the journal of an earlier version


OLD = {
    "0001-first.sql": 1,
    "0002-approval-keys.sql": 2,
    "0003-every-action.sql": 3,
}


@pytest.mark.parametrize("version", OLD.values())
@pytest.mark.parametrize(
    ("state", "becomes_state"),
    [("pending", "expired"), ("started", "unknown"), ("ran", "unknown"), ("approved", "expired")],
)
async def test_an_earlier_versions_journal_is_taken_up(tmp_path, version, state, becomes_state):
    old = files("ai_sysadmin.executor") / "migrations"
    asked = request()
    body = kept(asked, ActionState(state), boot_id="boot0", expires_boottime=1.0).model_dump(
        mode="json", include={"request", "state", "text", "ruling", "boot_id", "expires_boottime"}
    )
    body["request"].pop("ask")
    body["ruling"] = {"decision": "ask", "risk": "reversible", "reason": "because"}
    body |= {"before": {"name": UNIT, "active_state": "failed", "invocation": ""}, "exit_status": None, "outcome": None}
    body["approval"] = None
    if state == "approved":
        body["approval"] = {"action_id": asked.id, "digest": asked.digest, "by": "root", "uid": 0}
        body["approval"] |= {"at": NOW.isoformat(), "key_id": ""}
    with closing(sqlite3.connect(tmp_path / "executor.db", isolation_level=None)) as database:
        for name, number in OLD.items():
            if number <= version:
                database.executescript((old / name).read_text())
        database.execute(f"PRAGMA user_version={version}")
        column = "unit" if version < 3 else "subject"
        database.execute(
            f"INSERT INTO actions (id, digest, {column}, state, body) VALUES (?, ?, ?, ?, ?)",
            (asked.id, asked.digest, UNIT, state, json.dumps(body)),
        )
        ((epoch,),) = database.execute("SELECT epoch FROM journal")
        event = {"epoch": epoch, "sequence": 1, "action_id": asked.id, "incident_id": "abcdef", "kind": "asked"}
        event |= {"text": "waits", "at": NOW.isoformat(), "ruling": body["ruling"], "approval": None, "outcome": None}
        database.execute("INSERT INTO events VALUES (1, ?, ?)", (asked.id, json.dumps(event)))
    systemd = failed_unit()
    async with executor(tmp_path, systemd, me=Me(0, "root", "boot1")) as it:
        entry = await it.ended(asked.id)
        assert (entry.state, systemd.starts) == (becomes_state, [])
