"""An executor that dies where a test says so, and a kind of action with every stage, for tests of what is left then."""

import asyncio
import json
from contextlib import suppress
from typing import ClassVar

from ai_sysadmin.actions.action import Action
from ai_sysadmin.actions.audit_chain import verify
from ai_sysadmin.actions.catalogue import Catalogue
from ai_sysadmin.core.acting import ActionRequest, Origin, Plan, Risk, Stage
from ai_sysadmin.core.records import ProposedAction, Record
from ai_sysadmin.core.settings import Autonomy
from ai_sysadmin.executor.asking import Me
from ai_sysadmin.executor.journal import Journal
from ai_sysadmin.testing.fake_systemd import FakeSystemd
from tests.builders import HOST, NOW
from tests.executing import ROOT, Killed, executor, settings_for

WHAT = ("plain", "kept", "broken", "built")
ENDS = {"plain": "succeeded", "kept": "succeeded", "broken": "reverted", "built": "succeeded"}
DONE = {
    "plain": ["turn on"],
    "kept": ["turn on", "turn for-good"],
    "broken": ["turn on", "turn back"],
    "built": ["turn on"],
}
SAID = {
    "plain": ["asked", "approved", "started", "ran", "finished"],
    "kept": ["asked", "approved", "started", "ran", "confirming", "finished"],
    "broken": ["asked", "approved", "started", "ran", "reverting", "finished"],
    "built": ["preparing", "asked", "approved", "started", "ran", "finished"],
}
STAGES = {
    "plain": ["run"],
    "kept": ["run", "probe-first", "probe-last", "confirm"],
    "broken": ["run", "probe-first", "revert"],
    "built": ["make-0", "make-1", "run"],
}
REBOOTED = Me(0, "root", "boot2")


class Seen(Record):
    pass


class Turn(Action[Seen]):
    """Turn something."""

    name: ClassVar[str] = "turn"
    risks: ClassVar[tuple[Risk, ...]] = (Risk.DISRUPTIVE,)
    seen: ClassVar[type[Record]] = Seen
    what: str

    @property
    def subject(self):
        return self.what

    def preparation(self, told):
        if self.what != "built" or len(told) == 2:
            return None
        return Stage(name=f"make-{len(told)}", commands=(("make", str(len(told))),))

    async def observe(self, host):
        return Seen()

    def risk(self, seen):
        return Risk.DISRUPTIVE

    def obstacle(self, seen):
        return None

    def warrant(self, seen):
        return "it has to be turned"

    def plan(self, seen):
        has_more = self.what in {"kept", "broken"}
        return Plan(
            does="turns it",
            run=Stage(name="run", commands=(("turn", "on"),)),
            precondition="it is there",
            post_check="the probe passes",
            undo="turn it back",
            checks=(Stage(name="probe", commands=(("probe", self.what),)),) if has_more else (),
            confirm=Stage(name="confirm", commands=(("turn", "for-good"),)) if has_more else None,
            revert=Stage(name="revert", commands=(("turn", "back"),)) if has_more else None,
        )

    def shortfall(self, before, now):
        return None


CATALOGUE = Catalogue({"turn": Turn})


class Point:
    """Where the process dies; once there it is dead, and whatever it still tries to write is not written."""

    def __init__(self, what="", when=""):
        self.at = (what, when)
        self.dead = False

    def reached(self, what, when):
        self.dead = self.dead or self.at == (what, when)
        if self.dead:
            raise Killed


def mortal(point):
    class Mortal(Journal):
        writes = ""

        async def record(self, entry, kind, at):
            point.reached(kind.value, "unwritten")
            self.writes = kind.value
            entry = await super().record(entry, kind, at)
            point.reached(kind.value, "told")
            return entry

        async def keep(self, entry):
            point.reached("kept", "unwritten")
            entry = await super().keep(entry)
            point.reached("kept", "told")
            return entry

        async def _write_missing_lines(self, audit):
            if not self.writes:
                return await super()._write_missing_lines(audit)
            point.reached(self.writes, "untold")
            await super()._write_missing_lines(audit)
            if point.at == (self.writes, "torn"):
                tear(audit.path)
            point.reached(self.writes, "torn")
            return None

    return Mortal


def tear(path):
    """Leave half of a file's last line."""
    whole = path.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    path.write_bytes(whole[: len(whole) - len(last) // 2])


class Systemd(FakeSystemd):
    """A systemd whose client may die before or after it starts a unit."""

    point = Point()

    async def start(self, unit_id, stage, about, calls=()):
        self.point.reached(stage.name, "unbegun")
        await super().start(unit_id, stage, about, calls)
        self.point.reached(stage.name, "begun")


def turn(what):
    action = ProposedAction(name="turn", arguments={"what": what})
    return ActionRequest.propose(HOST, "abcdef", action, Origin.RULES, "why", NOW)


def running(tmp_path, systemd, point=None, me=ROOT, autonomy=Autonomy.SUGGEST, begins=True, **limits):
    systemd.point = point = point or Point()
    settings = settings_for(autonomy, **{"post_check_seconds": 0.01, **limits})
    return executor(tmp_path, systemd, settings, catalogue=CATALOGUE, journal_type=mortal(point), me=me, begins=begins)


async def lived(it, wanted, systemd):
    """Propose and approve an action; return it once it has ended, and nothing of it is left to do."""
    async with asyncio.timeout(5):
        async for entry in steps(it, wanted):
            lines = await it.audit.read(0, 500)
            is_told = sum('"sequence"' in line for line in lines) == len(await events_of(it))
            if entry.state.ended and is_told and not systemd.actions:
                return entry
    raise AssertionError("never reached")


async def steps(it, wanted):
    """Propose an action and approve it as soon as it waits; look at it again and again."""
    await it.asking.propose(wanted)
    while True:
        entry = await it.journal.find(wanted.id)
        if entry.state == "pending" and entry.boot_id == it.life._boot_id:
            await it.asking.approve(wanted.id, 0, "root", entry.digest)
        yield entry
        await asyncio.sleep(0.005)


async def killed_at(tmp_path, systemd, wanted, point, **limits):
    with suppress(Killed, BaseExceptionGroup):
        async with running(tmp_path, systemd, point, **limits) as it, asyncio.timeout(5):
            async for _ in steps(it, wanted):
                if point.dead:
                    break
    assert point.dead


def deeds(systemd):
    return [each for each in systemd.starts if each.startswith("turn")]


async def events_of(it):
    return [event.kind.value for event in await it.journal.events("", 0, 500, 0)]


def lines_of(tmp_path):
    return (tmp_path / "audit.jsonl").read_bytes().splitlines(keepends=True)


def told(tmp_path):
    """Return the events that the audit tells; it is whole."""
    assert verify(lines_of(tmp_path)).fault == ""
    said = [json.loads(line) for line in lines_of(tmp_path)]
    assert [each["sequence"] for each in said if "sequence" in each] == list(
        range(1, 1 + sum("sequence" in each for each in said))
    )
    return [each["kind"] for each in said if "sequence" in each]


async def until(true):
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.005)


async def begun(it, wanted):
    """Propose and approve an action that its executor will not live to see."""
    async with asyncio.timeout(5):
        async for entry in steps(it, wanted):
            if entry.state not in {"preparing", "pending"}:
                return
