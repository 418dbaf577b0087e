"""trigger_monitor/recoveries.py: incidents end when all their faults are over, and not before."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ai_sysadmin.core.incident import Incident, State
from ai_sysadmin.core.noticing_settings import TriggerMonitor as Settings
from ai_sysadmin.core.records import Symptom, Trigger
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.runtime.service import Heartbeat
from ai_sysadmin.sources.units import UnitStatus
from ai_sysadmin.stores import Live, Noticed
from ai_sysadmin.stores.relational import SqlStores, open_stores
from ai_sysadmin.testing.host import FakeClock, FakeUnits
from ai_sysadmin.trigger_monitor.ledger import Ledger
from ai_sysadmin.trigger_monitor.recoveries import (
    HOLDS_AFTER,
    HOLDS_AT_MOST,
    Recoveries,
    UnitClearer,
    holds_after,
    why_over,
)
from tests.builders import HOST, NOW, UNIT, incident, trigger

DB = "db.service"


def fault(kind: SymptomKind = SymptomKind.UNIT_FAILED, unit: str = UNIT, **changes: Any) -> Symptom:
    given: dict[str, Any] = {"host": HOST, "unit": unit, "kind": kind, "opens": True, "count": 1, "priority": 3}
    moments = {"fingerprint": "f1", "first_at": NOW, "last_at": NOW, "text": "", "why": ""}
    return Symptom(**(given | moments | changes))


def status(active_state: str = "failed", **changes: object) -> UnitStatus:
    result = "exit-code" if active_state == "failed" else "success"
    given = UnitStatus(name=UNIT, load_state="loaded", active_state=active_state, result=result)
    return given.model_copy(update={"state_changed_at": NOW, **changes})


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


HELD = later(13)
ACTIVE = status("active", active_enter_at=NOW)


@pytest.mark.parametrize(
    ("kind", "found", "now", "over"),
    [
        (SymptomKind.UNIT_FAILED, ACTIVE, HELD, True),
        (SymptomKind.UNIT_FAILED, ACTIVE, later(6), False),
        (SymptomKind.UNIT_FAILED, status(), HELD, False),
        (SymptomKind.UNIT_FAILED, status("activating"), HELD, False),
        (SymptomKind.UNIT_FAILED, status("inactive"), HELD, True),
        (SymptomKind.UNIT_FAILED, status("inactive", state_changed_at=None), HELD, True),
        (SymptomKind.UNIT_FAILED, status("inactive", state_changed_at=None), later(6), False),
        (SymptomKind.UNIT_FAILED, status("inactive", result="exit-code"), HELD, False),
        (SymptomKind.UNIT_FAILED, status("inactive", load_state="not-found"), NOW, True),
        (SymptomKind.DEPENDENCY_FAILED, ACTIVE, HELD, True),
        (SymptomKind.DEPENDENCY_FAILED, status("inactive"), HELD, False),  # it is still not started
        (SymptomKind.DEPENDENCY_FAILED, status("inactive", inactive_exit_at=later(1)), HELD, True),  # it ran since
    ],
)
def test_a_unit_s_fault_is_over_when_the_unit_holds(
    kind: SymptomKind, found: UnitStatus, now: datetime, over: bool
) -> None:
    why = why_over(fault(kind), found, HOLDS_AFTER, now)
    assert (why is not None) is over


def test_it_says_since_when_and_that_it_was_not_us() -> None:
    why = why_over(fault(), ACTIVE, HOLDS_AFTER, HELD) or ""
    assert why.startswith("active again since ")
    assert why.endswith("not by an action of this suite")


def test_what_a_unit_did_while_the_machine_slept_proves_nothing() -> None:
    now = later(3600)
    assert why_over(fault(), ACTIVE, HOLDS_AFTER, now, awake_since=later(3595)) is None
    assert why_over(fault(), ACTIVE, HOLDS_AFTER, now, awake_since=later(3580)) is not None


def test_a_target_may_rest_when_what_it_lacked_is_there() -> None:
    target = fault(SymptomKind.DEPENDENCY_FAILED, "multi-user.target")
    assert why_over(target, status("inactive"), HOLDS_AFTER, HELD) is not None


def test_the_oftener_it_came_back_the_longer_it_must_hold() -> None:
    holds = [holds_after(incident(reopened=number)) for number in range(30)]
    assert holds[:3] == [HOLDS_AFTER, HOLDS_AFTER * 2, HOLDS_AFTER * 4]
    assert holds == sorted(holds)
    assert holds[-1] == HOLDS_AT_MOST


@pytest.mark.parametrize("kind", [SymptomKind.FLAPPING, SymptomKind.STUCK])
async def test_what_flapped_or_hung_must_hold_for_long(kind: SymptomKind) -> None:
    units = FakeUnits()
    units.put(UNIT, "active", active_enter_at=NOW, state_changed_at=NOW)
    clearer = UnitClearer(units, Settings(flap_seconds=600))
    assert await clearer.over(fault(kind), incident(), later(299)) is None
    assert await clearer.over(fault(kind), incident(), later(301)) is not None


async def test_a_reload_that_hung_is_over_when_it_came_to_an_end() -> None:
    units = FakeUnits()
    units.put(UNIT, "active", active_enter_at=later(-9999), state_changed_at=NOW)
    clearer = UnitClearer(units, Settings(flap_seconds=600))
    assert await clearer.over(fault(SymptomKind.STUCK), incident(), later(299)) is None
    assert await clearer.over(fault(SymptomKind.STUCK), incident(), later(301)) is not None


async def test_not_to_know_is_not_to_clear() -> None:
    units = FakeUnits(is_away=True)
    assert await UnitClearer(units, Settings()).over(fault(), incident(), later(9999)) is None


# --- the loop, on a real store


class Scene:
    """A host whose incidents are watched; its clock runs fast while a test wants it to."""

    def __init__(self, stores: SqlStores) -> None:
        self.stores = stores
        self.units = FakeUnits()
        self.clock = FakeClock(NOW)
        self.ledger = Ledger(HOST, stores.notices, Settings())
        clearer = UnitClearer(self.units, Settings())
        self.story: list[str] = []
        self.ledger.on_commit(lambda: self.story.append("committed"))
        self.recoveries = Recoveries(
            self.ledger, dict.fromkeys(clearer.kinds, clearer), self.clock, Heartbeat(), self.outlives
        )

    def outlives(self) -> None:
        self.story.append("outlived")

    async def opens(self, *triggers: Trigger) -> Incident:
        began = await self.ledger.commit(Noticed(position=None, triggers=triggers))
        return began[0]

    def mend(self, unit: str) -> None:
        self.units.put(unit, "active", active_enter_at=self.clock.now())

    async def look(self) -> bool:
        """Look once; tell whether something is left to watch."""
        return await self.recoveries._clear_what_is_over()

    async def state(self, of: Incident) -> State:
        return (await self.stores.reader.incident(of.id)).incident.state


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with open_stores(tmp_path / "db", HOST, FakeClock()) as stores:
        yield Scene(stores)


async def test_an_incident_ends_when_its_unit_holds(scene: Scene) -> None:
    opened = await scene.opens(trigger())
    scene.units.put(UNIT)
    assert await scene.look()
    scene.mend(UNIT)
    assert await scene.look()
    scene.clock.advance(13)
    assert not await scene.look()
    found = (await scene.stores.reader.incident(opened.id)).incident
    assert (found.state, found.note[:12]) == (State.RESOLVED, "active again")
    assert not await scene.look()


async def test_what_a_root_took_down_and_is_not_mended_with_it_counts_for_itself(scene: Scene) -> None:
    opened = await scene.opens(trigger(unit=DB), trigger(joins=(DB,)))
    scene.units.put(DB)
    scene.units.put(UNIT)
    await scene.look()
    scene.mend(DB)
    scene.clock.advance(13)
    assert not await scene.look()
    found = (await scene.stores.reader.incident(opened.id)).incident
    assert found.state is State.RESOLVED
    assert "web.service is not, and counts for itself" in found.note
    assert scene.story[-2:] == ["committed", "outlived"]
    own = await scene.opens(trigger())
    assert (own.subject, own.id != opened.id) == (UNIT, True)


async def test_an_incident_of_many_is_over_with_the_last_of_them(scene: Scene) -> None:
    whole = trigger(SymptomKind.UNITS_FAILED, unit="", about="boot", why="2 units failed at boot")
    opened = await scene.opens(whole, trigger(unit=DB, joins=("boot",)))
    scene.units.put(DB)
    assert await scene.look()
    scene.mend(DB)
    scene.clock.advance(13)
    assert not await scene.look()
    assert await scene.state(opened) is State.RESOLVED


async def test_an_incident_of_many_with_nothing_left_in_it_is_over(scene: Scene) -> None:
    opened = await scene.opens(trigger(SymptomKind.UNITS_FAILED, unit="", about="boot"))
    assert not await scene.look()
    assert await scene.state(opened) is State.RESOLVED


async def test_a_fault_of_which_nobody_can_tell_keeps_its_incident(scene: Scene) -> None:
    opened = await scene.opens(trigger(), trigger(SymptomKind.DISK_FULL, joins=(UNIT,)))
    scene.mend(UNIT)
    scene.clock.advance(13)
    assert not await scene.look()
    assert await scene.state(opened) is State.OPEN


async def test_a_storm_of_faults_costs_one_question_while_something_is_wrong(scene: Scene) -> None:
    units = [f"u{number}.service" for number in range(50)]
    whole = trigger(SymptomKind.UNITS_FAILED, unit="", about="boot", why="50 units failed at boot")
    await scene.opens(whole, *(trigger(unit=unit, joins=("boot",)) for unit in units))
    for unit in units:
        scene.mend(unit)
    scene.units.put(units[-1])
    scene.clock.advance(13)
    await scene.look()
    asked = scene.units.asked
    await scene.look()
    assert scene.units.asked == asked + 1


async def test_while_we_act_the_executor_measures(scene: Scene) -> None:
    live = Live(incident(state=State.ACTING), (fault(),))
    assert not scene.recoveries._is_watched(live)
    assert scene.recoveries._is_watched(Live(incident(), (fault(),)))
    assert not scene.recoveries._is_watched(Live(incident(), ()))


@asynccontextmanager
async def running(scene: Scene) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(loop()) for loop in scene.recoveries.loops().values()]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def test_it_looks_when_it_is_told_that_something_was_committed(scene: Scene) -> None:
    async with running(scene):
        await asyncio.sleep(0.1)
        opened = await scene.opens(trigger())
        scene.mend(UNIT)
        scene.clock.advance(13)
        scene.recoveries.look()
        async with asyncio.timeout(1):
            while await scene.state(opened) is not State.RESOLVED:
                await asyncio.sleep(0.01)
