"""Preparing, checking, confirming, taking back, waiting, halting: what becomes of an action beside its run."""

import asyncio
import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import ClassVar

import pytest

from ai_sysadmin.actions.action import Action
from ai_sysadmin.actions.catalogue import Catalogue
from ai_sysadmin.actions.protocol import Explain
from ai_sysadmin.core.acting import ActionRequest, Origin, Plan, Risk, Stage
from ai_sysadmin.core.errors import Refused
from ai_sysadmin.core.policy_settings import Breakers, Policy
from ai_sysadmin.core.records import ProposedAction, Record
from ai_sysadmin.core.settings import Autonomy
from ai_sysadmin.executor.asking import Me
from ai_sysadmin.executor.holds import Hold, HoldKind
from ai_sysadmin.executor.journal import Journal
from ai_sysadmin.executor.life import HELD_SECONDS
from tests.builders import HOST, NOW, UNIT, request
from tests.executing import Killed, executor, failed_unit, settings_for


class Seen(Record):
    broken: bool = False


class Turn(Action[Seen]):
    """Turn something, with everything that an action may have."""

    name: ClassVar[str] = "turn"
    risks: ClassVar[tuple[Risk, ...]] = (Risk.REVERSIBLE,)
    seen: ClassVar[type[Record]] = Seen
    what: str
    world: ClassVar[set[str]] = set()

    @property
    def subject(self):
        return self.what

    def preparation(self, told):
        if self.what != "built" or len(told) == 2:
            return None
        return Stage(name=f"make-{len(told)}", commands=(("make", str(len(told))),))

    def bind(self, told):
        if told and not told[0].startswith("{"):
            raise Refused("what was built is no JSON")
        return self

    async def observe(self, host):
        return Seen(broken="broken" in self.world)

    def risk(self, seen):
        return Risk.REVERSIBLE

    def obstacle(self, seen):
        return "it cannot turn" if "stuck" in self.world else None

    def warrant(self, seen):
        return "it has to be turned"

    def plan(self, seen):
        return Plan(
            does="turns it",
            run=Stage(name="run", commands=(("turn", "on"),)),
            precondition="it is there",
            post_check="it is not broken",
            undo="turn it back",
            checks=(Stage(name="probe", commands=(("probe", self.what),)),),
            confirm=Stage(name="confirm", commands=(("turn", "for-good"),)) if self.what != "plain" else None,
            revert=Stage(name="revert", commands=(("turn", "back"),)) if self.what != "plain" else None,
        )

    def shortfall(self, before, now):
        return "it is broken" if now.broken else None


CATALOGUE = Catalogue({"turn": Turn})


@pytest.fixture(autouse=True)
def world():
    Turn.world.clear()
    return Turn.world


@pytest.fixture
def systemd():
    fake = failed_unit()
    fake.programs = {
        "turn": lambda argv: (0, f"turned {argv[1]}\n"),
        "probe": lambda argv: (0, ""),
        "make": lambda argv: (0, json.dumps({"made": argv[1]})),
    }
    return fake


def turn(what="it", **changes):
    action = ProposedAction(name="turn", arguments={"what": what})
    return ActionRequest.propose(HOST, "abcdef", action, changes.pop("origin", Origin.RULES), "why", NOW, **changes)


def running(tmp_path, systemd, autonomy=Autonomy.AUTO_SAFE, policy=None, **changes):
    settings = settings_for(autonomy, **changes)
    if policy:
        settings = settings.model_copy(update={"policy": policy})
    return executor(tmp_path, systemd, settings, catalogue=CATALOGUE)


async def kinds(it):
    return [event.kind.value for event in await it.journal.events("", 0, 100, 0)]


async def test_what_holds_is_made_to_last(tmp_path, systemd):
    async with running(tmp_path, systemd) as it:
        await it.asking.propose(wanted := turn())
        entry = await it.ended(wanted.id)
        assert (entry.state, entry.outcome.output) == ("succeeded", "turned on\n")
        assert systemd.starts == ["turn on", "probe it", "probe it", "turn for-good"]
        assert await kinds(it) == ["approved", "started", "ran", "confirming", "finished"]
        assert it.inhibitor.reasons == ["turn it"]
        assert it.inhibitor.held_now == 0
    assert systemd.actions == {}


@pytest.mark.parametrize("at_fault", ["run", "probe", "observed", "confirm"])
async def test_what_does_not_hold_is_taken_back(tmp_path, systemd, at_fault, world):
    programs = systemd.programs
    if at_fault == "run":
        programs["turn"] = lambda argv: (3 if argv[1] == "on" else 0, "no\n")
    if at_fault == "confirm":
        programs["turn"] = lambda argv: (3 if argv[1] == "for-good" else 0, "no\n")
    if at_fault == "probe":
        programs["probe"] = lambda argv: (1, "nobody answers on 443\n")
    if at_fault == "observed":
        world.add("broken")
    async with running(tmp_path, systemd) as it:
        await it.asking.propose(wanted := turn())
        entry = await it.ended(wanted.id)
        assert entry.state == "reverted"
        assert systemd.starts[-1] == "turn back"
        assert "it was taken back" in entry.text
        assert (await kinds(it))[-2:] == ["reverting", "finished"]
        if at_fault == "probe":
            assert "nobody answers on 443" in entry.text


async def test_what_cannot_be_taken_back_has_failed(tmp_path, systemd, world):
    world.add("broken")
    async with running(tmp_path, systemd) as it:
        await it.asking.propose(wanted := turn("plain"))
        entry = await it.ended(wanted.id)
        assert (entry.state, entry.text) == ("failed", "post-check: it is broken")


async def test_a_way_back_that_fails_is_said(tmp_path, systemd, world):
    world.add("broken")
    systemd.programs["turn"] = lambda argv: (9 if argv[1] == "back" else 0, "")
    async with running(tmp_path, systemd) as it:
        await it.asking.propose(wanted := turn())
        entry = await it.ended(wanted.id)
        assert (entry.state, entry.text) == (
            "failed",
            "post-check: it is broken; taking it back failed: exit status 9",
        )


async def test_what_has_to_be_built_is_ruled_once_it_is(tmp_path, systemd):
    async with running(tmp_path, systemd, Autonomy.SUGGEST) as it:
        wanted = turn("built")
        assert (await it.asking.propose(wanted)).state == "preparing"
        async with asyncio.timeout(5):
            while (entry := await it.journal.find(wanted.id)).state != "pending":
                await asyncio.sleep(0.01)
        assert entry.told == ('{"made": "0"}', '{"made": "1"}')
        assert entry.digest != wanted.digest
        await it.asking.approve(wanted.id, 0, "root", entry.digest)
        assert (await it.ended(wanted.id)).approval.digest == entry.digest
        assert systemd.starts[:3] == ["make 0", "make 1", "turn on"]


@pytest.mark.parametrize(("status", "said"), [(1, "x"), (0, "no JSON")])
async def test_what_cannot_be_built_is_refused(tmp_path, systemd, status, said):
    systemd.programs["make"] = lambda argv: (status, said)
    async with running(tmp_path, systemd) as it:
        await it.asking.propose(wanted := turn("built"))
        assert (await it.ended(wanted.id)).state == "refused"
        assert "turn on" not in systemd.starts


async def test_at_observe_nothing_is_even_built(tmp_path, systemd):
    async with running(tmp_path, systemd, Autonomy.OBSERVE) as it:
        assert (await it.asking.propose(turn("built"))).state == "recorded"
        assert systemd.starts == []


async def test_halted_nothing_begins_until_an_operator_lets_it(tmp_path, systemd):
    async with running(tmp_path, systemd) as it:
        it.halt.halt("ada", "I am looking", datetime.now(UTC))
        for number in range(5):
            await it.asking.propose(turn(f"t{number}"))
        await asyncio.sleep(3 * HELD_SECONDS)
        assert systemd.starts == []
        it.halt.resume()
        async with asyncio.timeout(5):
            while "turn on" not in systemd.starts:
                await asyncio.sleep(0.01)


async def test_a_file_that_anybody_with_root_made_halts_as_well(tmp_path, systemd):
    (tmp_path / "halt").touch()
    async with running(tmp_path, systemd) as it:
        await it.asking.propose(turn())
        await asyncio.sleep(2 * HELD_SECONDS)
        assert systemd.starts == []
        assert it.halt.halted().by == "whoever made the file"
        assert (
            "halted by whoever made the file"
            in (await it.asking.explain(Explain(name="turn", arguments={"what": "x"}))).hold
        )


async def test_it_waits_for_a_switch_and_gives_up_when_its_time_is_over(tmp_path, systemd):
    async with running(tmp_path, systemd, approval_expires_seconds=0.6) as it:
        it.holds.hold = Hold(kind=HoldKind.PASSES, why="the NixOS configuration is being switched")
        await it.asking.propose(wanted := turn())
        await asyncio.sleep(0.3)
        assert (await it.journal.find(wanted.id)).state == "approved"
        entry = await it.ended(wanted.id)
        assert (entry.state, systemd.starts) == ("expired", [])
        assert "being switched" in entry.text


async def test_a_person_at_work_is_asked_and_their_yes_counts(tmp_path, systemd):
    async with running(tmp_path, systemd) as it:
        it.holds.hold = Hold(kind=HoldKind.PERSON, why="somebody runs vim on it at a terminal")
        entry = await it.asking.propose(wanted := turn())
        assert (entry.state, entry.ruling.line) == ("pending", "policy.hands_off_seconds")
        await it.asking.approve(wanted.id, 0, "root")
        assert (await it.ended(wanted.id)).state == "succeeded"


async def test_what_was_to_run_alone_asks_when_that_is_no_longer_so(tmp_path, systemd):
    async with running(tmp_path, systemd) as it:
        it.holds.hold = Hold(kind=HoldKind.PASSES, why="a job of systemd's own")
        await it.asking.propose(wanted := turn())
        await asyncio.sleep(0.05)
        it.holds.hold = Hold(kind=HoldKind.PERSON, why="somebody is at it")
        async with asyncio.timeout(5):
            while (await it.journal.find(wanted.id)).state != "pending":
                await asyncio.sleep(0.01)
        assert systemd.starts == []


async def test_the_proposer_may_want_a_person_asked(tmp_path, systemd):
    async with running(tmp_path, systemd, Autonomy.AUTO_FULL) as it:
        entry = await it.asking.propose(turn(ask="it failed twice for this symptom"))
        assert (entry.state, entry.ruling.line) == ("pending", "the proposer asks")
        assert entry.ruling.reason.endswith('in its own words: "it failed twice for this symptom"')


async def test_a_unit_that_never_comes_up_is_tried_so_often_and_then_a_person_is_asked(tmp_path):
    systemd = failed_unit(stubborn={UNIT})
    policy = Policy(breakers=Breakers(per_unit=3, back_off_seconds=0.001))
    async with running(tmp_path, systemd, policy=policy) as it:
        for number in range(3):
            asked = request(f"incid{number}")
            await it.asking.propose(asked)
            assert (await it.ended(asked.id)).state == "failed"
        entry = await it.asking.propose(request("incid9"))
        assert (entry.state, entry.ruling.line) == ("pending", "policy.breakers")
        assert systemd.starts.count(f"restart {UNIT}") == 3


class Stamped(Turn):
    """Turn something, by a command that follows from more than the request."""

    binds_commands: ClassVar[bool] = True
    command: ClassVar[list[str]] = ["on"]

    def plan(self, seen):
        return super().plan(seen).model_copy(update={"run": Stage(name="run", commands=(("turn", self.command[0]),))})


async def test_an_approval_holds_for_the_commands_that_were_shown(tmp_path, systemd, monkeypatch):
    settings = settings_for(Autonomy.SUGGEST)
    async with executor(tmp_path, systemd, settings, catalogue=Catalogue({"turn": Stamped}), begins=False) as it:
        first = await it.asking.propose(wanted := turn())
        monkeypatch.setattr(Stamped, "command", ["off"])
        with pytest.raises(Refused, match="has changed since it was shown"):
            await it.asking.approve(wanted.id, 0, "root", first.digest)
        with pytest.raises(Refused, match="is not what was shown"):
            await it.asking.approve(wanted.id, 0, "root", first.digest)
        second = await it.journal.find(wanted.id)
        assert (second.state, second.plan.run.commands) == ("pending", (("turn", "off"),))
        assert len({wanted.digest, first.digest, second.digest}) == 3
        await it.asking.approve(wanted.id, 0, "root", second.digest)
        monkeypatch.setattr(Stamped, "command", ["away"])  # changed between the yes and the start
        it.begin()
        async with asyncio.timeout(5):
            while (third := await it.journal.find(wanted.id)).state != "pending":
                await asyncio.sleep(0.01)
        assert third.approval is None
        assert systemd.starts == []
        await it.asking.approve(wanted.id, 0, "root", third.digest)
        assert (await it.ended(wanted.id)).state == "succeeded"
        assert systemd.starts[0] == "turn away"


class Dying(Journal):
    """A journal whose process is killed before or after its n-th write."""

    dies_at: tuple[int, str] = (0, "")
    writes = 0

    async def record(self, entry, kind, at):
        Dying.writes += 1
        if (Dying.writes, "before") == Dying.dies_at:
            raise Killed
        entry = await super().record(entry, kind, at)
        if (Dying.writes, "after") == Dying.dies_at:
            raise Killed
        return entry


POINTS = [(write, when) for write in range(1, 7) for when in ("before", "after")]


@pytest.mark.parametrize("holds", [True, False], ids=["confirmed", "taken-back"])
@pytest.mark.parametrize("rebooted", [False, True], ids=["restart", "reboot"])
@pytest.mark.parametrize("point", POINTS, ids=lambda point: f"{point[1]}-write-{point[0]}")
async def test_killed_at_every_write_each_phase_runs_at_most_once(tmp_path, systemd, world, point, rebooted, holds):
    if not holds:
        world.add("broken")
    wanted = turn()
    Dying.dies_at, Dying.writes = point, 0
    settings = settings_for(Autonomy.AUTO_SAFE)
    with suppress(Killed, BaseExceptionGroup, TimeoutError):
        async with executor(tmp_path, systemd, settings, catalogue=CATALOGUE, journal_type=Dying) as it:
            await it.asking.propose(wanted)
            await it.ended(wanted.id, 0.5)
    me = Me(0, "root", "boot2" if rebooted else "boot1")
    if rebooted:
        systemd.reboot()
    async with executor(tmp_path, systemd, settings, catalogue=CATALOGUE, me=me) as it:
        await it.asking.propose(wanted)
        entry = await it.ended(wanted.id)
        for deed in ("turn on", "turn for-good", "turn back"):
            assert systemd.starts.count(deed) <= 1
        assert not {"turn for-good", "turn back"} <= set(systemd.starts)
        assert (await kinds(it)).count("finished") == 1
        if not rebooted:
            unproved = entry.state == "unknown"
            assert unproved or entry.state == ("succeeded" if holds else "reverted")
            assert unproved == ("turn on" not in systemd.starts)
        async with asyncio.timeout(2):  # the last line follows its event
            while len(await it.audit.read(0, 500)) != len(await kinds(it)):
                await asyncio.sleep(0.01)
