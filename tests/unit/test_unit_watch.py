"""trigger_monitor/units/watch.py on a real SQLite store: units in memory, signals, a journal's words, restarts."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ai_sysadmin.core.errors import StoreUnavailable
from ai_sysadmin.core.incident import Incident
from ai_sysadmin.core.noticing_settings import Maintenance, Silence
from ai_sysadmin.core.noticing_settings import TriggerMonitor as Settings
from ai_sysadmin.core.records import Symptom
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.runtime.service import Heartbeat
from ai_sysadmin.sources.units import Dependencies, ManagerState, Unsettled
from ai_sysadmin.stores import Noticed, Placing
from ai_sysadmin.stores.relational import SqlStores, open_stores
from ai_sysadmin.testing.host import FakeClock, FakeUnits
from ai_sysadmin.trigger_monitor.ledger import Ledger
from ai_sysadmin.trigger_monitor.rules import Said, Says
from ai_sysadmin.trigger_monitor.units.failures import Candidate
from ai_sysadmin.trigger_monitor.units.watch import UnitWatch
from tests.builders import HOST

SETTINGS = Settings(debounce_seconds=0.03)
WEB, DB, APP = "web.service", "db.service", "app.service"
RUNS = {name: number * 16 for name, number in ((WEB, "a1"), (DB, "b2"), (APP, "c3"))}


class Counting(Ledger):
    """Counts every commit for its scene, also those that only keep the memory."""

    def __init__(self, scene: "Scene") -> None:
        super().__init__(HOST, scene.stores.notices, scene.settings)
        self._scene = scene

    async def commit(self, noticed: Noticed) -> Sequence[Incident]:
        began = await super().commit(noticed)
        self._scene.commits += 1
        return began


@dataclass
class Scene:
    """A host whose units are watched; ``now`` passes as it does outside."""

    stores: SqlStores
    settings: Settings = SETTINGS
    units: FakeUnits = field(default_factory=FakeUnits)
    clock: FakeClock = field(default_factory=FakeClock)
    switching: bool = False
    commits: int = 0
    troubles: list[str] = field(default_factory=list)
    more_joins: Callable[[str], Sequence[str]] = lambda _: ()

    @asynccontextmanager
    async def watch(self, *, follows: bool = True, read_until: datetime | None = None) -> AsyncIterator[UnitWatch]:
        async def trouble(text: str) -> None:
            self.troubles.append(text)

        watch = UnitWatch(
            Counting(self),
            self.units,
            self.clock,
            Heartbeat(),
            self.settings,
            switching=lambda: self.switching,
            generation=lambda: "42",
            more_joins=self.more_joins,
            trouble=trouble,
        )
        watch.read_until(read_until or self.clock.now())
        tasks = [asyncio.create_task(loop()) for loop in watch.loops().values()]
        try:
            if follows:
                await self.eventually(lambda: self.units.is_followed)
            yield watch
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task

    def fail(self, unit: str = WEB, **changes: Any) -> None:
        """Have a unit fail that ran for an hour."""
        now = self.clock.now()
        given = {"invocation": RUNS.get(unit, "d4" * 16), "state_changed_at": now}
        self.units.put(unit, **(given | {"inactive_exit_at": now - timedelta(hours=1)} | changes))

    async def eventually(self, true: Callable[[], Any]) -> None:
        async with asyncio.timeout(5):
            while not true():
                await asyncio.sleep(0.005)

    async def incidents(self) -> dict[str, Incident]:
        return {each.subject: each for each in await self.stores.reader.incidents() if not each.merged_into}

    async def faults(self, subject: str) -> dict[str, Symptom]:
        """Return the faults of a subject's incident, by unit."""
        found = (await self.incidents())[subject]
        detail = await self.stores.reader.incident(found.id)
        return {each.unit: each for each in detail.symptoms if each.opens}

    async def until(self, subject: str, **wanted: object) -> Incident:
        async with asyncio.timeout(5):
            while True:
                found = (await self.incidents()).get(subject)
                if found and all(getattr(found, name) == value for name, value in wanted.items()):
                    return found
                await asyncio.sleep(0.005)

    async def nothing_but(self, *subjects: str, seconds: float = 0.12) -> None:
        await asyncio.sleep(seconds)
        assert set(await self.incidents()) == set(subjects)

    async def nothing(self, seconds: float = 0.12) -> None:
        await asyncio.sleep(seconds)
        assert await self.incidents() == {}


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with open_stores(tmp_path / "db", HOST, FakeClock()) as stores:
        yield Scene(stores)


def said(what: Says, at: datetime, unit: str = WEB, **fields: str) -> Said:
    return Said(unit, what, at, "", fields, f"{unit}: {what.name}")


# --- who says it first


async def test_a_failure_that_systemd_signals_is_told_after_the_debounce(scene: Scene) -> None:
    async with scene.watch():
        began = time.monotonic()
        scene.fail(result="core-dump")
        found = await scene.until(WEB)
        assert 0.03 <= time.monotonic() - began < 0.5
    assert (found.kind, found.count) == (SymptomKind.CRASHED, 1)


async def test_a_failure_that_only_the_journal_tells_is_told_too(scene: Scene) -> None:
    scene.units.is_mute = True
    async with scene.watch() as watch:
        scene.fail()
        watch.heard([], [Candidate(WEB, scene.clock.now(), "it failed", "exit-code", RUNS[WEB])])
        await scene.until(WEB)
    assert (await scene.faults(WEB))[WEB].text == "it failed"


async def test_journal_and_signals_tell_of_one_failure(scene: Scene) -> None:
    async with scene.watch() as watch:
        scene.fail()
        candidate = Candidate(WEB, scene.clock.now(), "it failed", "exit-code", RUNS[WEB])
        await scene.eventually(lambda: scene.commits)
        asked = scene.units.asked
        watch.heard([], [candidate])
        await asyncio.sleep(0.15)
        assert scene.units.asked == asked, "what has been told is not asked again"
    assert (await scene.until(WEB)).count == 1


async def test_a_journal_that_is_far_behind_takes_nothing_back(scene: Scene) -> None:
    async with scene.watch() as watch:
        scene.fail()
        watch.heard([said(Says.STARTED, scene.clock.now() - timedelta(minutes=5))])
        await scene.until(WEB)


async def test_without_systemd_the_journal_s_word_counts(scene: Scene) -> None:
    scene.units.is_away = True
    async with scene.watch(follows=False) as watch:
        now = scene.clock.now()
        watch.heard([], [Candidate(WEB, now, result="oom-kill"), Candidate(DB, now)])
        watch.heard([said(Says.RESTART_SCHEDULED, now, DB)])
        found = await scene.until(WEB)
        await scene.eventually(lambda: "systemd does not answer" in scene.troubles)
    assert found.kind is SymptomKind.OOM_KILL
    assert set(await scene.incidents()) == {WEB}


async def test_what_nobody_told_is_found_in_the_list(scene: Scene) -> None:
    scene.fail()
    async with scene.watch():
        assert (await scene.until(WEB)).count == 1


async def test_a_broken_connection_is_taken_up_again_and_nothing_is_missed(scene: Scene) -> None:
    async with scene.watch():
        scene.units.hang_up()
        await scene.eventually(lambda: not scene.units.is_followed)
        scene.fail()
        await scene.until(WEB)
        await scene.eventually(lambda: scene.units.is_followed)
        scene.fail(DB)
        await scene.until(DB)


async def test_a_failure_is_told_once_however_often_it_is_seen(scene: Scene) -> None:
    scene.fail()
    for each in range(1, 4):
        async with scene.watch() as watch:
            await scene.eventually(lambda each=each: scene.commits == each)
            watch.look()
            await asyncio.sleep(0.15)
            assert scene.commits == each
    assert (await scene.until(WEB)).count == 1
    async with scene.watch():
        scene.fail(invocation="e5" * 16)
        await scene.until(WEB, count=2)


class Locked:
    """A store that does not answer."""

    def __init__(self, real: Any) -> None:
        self.real = real

    async def memory(self) -> Any:
        return await self.real.memory()

    async def commit(self, noticed: Noticed, placing: Placing) -> Any:
        raise StoreUnavailable("the database is locked")


async def test_a_store_that_is_away_costs_no_failure(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene.watch() as watch:
        ledger = watch._ledger
        real, ledger.store = ledger.store, Locked(ledger.store)  # type: ignore[assignment]
        scene.fail()
        await asyncio.sleep(0.2)
        ledger.store = real
        await scene.until(WEB)


async def test_many_failures_at_once_are_all_told_in_time(scene: Scene) -> None:
    scene.settings = Settings(debounce_seconds=0.03, storm_incidents=1000)
    async with scene.watch():
        late = []
        for number in range(12):
            began = time.monotonic()
            unit = f"u{number}.service"
            scene.fail(unit, invocation=f"{number:032x}")
            await scene.until(unit)
            late.append(time.monotonic() - began - 0.03)
    assert statistics.median(late) < 0.05


# --- what is no failure


async def test_a_unit_that_is_restarted_opens_nothing(scene: Scene) -> None:
    async with scene.watch():
        scene.fail()
        scene.units.put(WEB, "activating", sub_state="auto-restart")
        await scene.nothing()
        scene.units.put(WEB, "failed", sub_state="failed-before-auto-restart")
        await scene.nothing()


async def test_a_stop_that_ends_in_failure_was_meant(scene: Scene) -> None:
    async with scene.watch() as watch:
        ran = {"inactive_exit_at": scene.clock.now() - timedelta(hours=1), "state_changed_at": scene.clock.now()}
        scene.units.stop(WEB, "failed", exit_status=143, **ran)
        watch.heard([said(Says.STOPPING, scene.clock.now(), DB)])
        scene.fail(DB)
        await scene.nothing()
        scene.fail(invocation="e5" * 16, inactive_exit_at=scene.clock.now())
        await scene.until(WEB)


async def test_a_stop_is_remembered_after_a_restart_of_the_monitor(scene: Scene) -> None:
    scene.units.is_mute = True
    async with scene.watch() as watch:
        watch.heard([said(Says.STOPPING, scene.clock.now())])
        await scene.eventually(lambda: scene.commits)
    scene.fail(exit_status=143)
    async with scene.watch():
        await scene.nothing(0.4)


async def test_what_looks_like_a_stop_waits_for_the_journal_to_tell(scene: Scene) -> None:
    stopped_at = scene.clock.now() - timedelta(minutes=1)
    scene.fail(exit_status=143, state_changed_at=stopped_at)
    scene.fail(DB, exit_status=143, state_changed_at=stopped_at)
    async with scene.watch(read_until=stopped_at - timedelta(minutes=1)) as watch:
        await scene.nothing(0.3)
        watch.heard([said(Says.STOPPING, stopped_at)])
        watch.read_until(scene.clock.now())
        await scene.until(DB)
    assert set(await scene.incidents()) == {DB}


async def test_a_stop_that_had_to_be_killed_supports_only(scene: Scene) -> None:
    async with scene.watch():
        scene.units.stop(WEB, "failed", result="timeout", state_changed_at=scene.clock.now())
        await scene.nothing()
    (symptom,) = await scene.stores.notices.unattached(scene.clock.now() - timedelta(minutes=1))
    assert (symptom.kind, symptom.opens) == (SymptomKind.TIMED_OUT, False)


async def test_what_fails_while_the_host_shuts_down_is_none(scene: Scene) -> None:
    scene.units.state = ManagerState(system_state="stopping")
    async with scene.watch():
        scene.fail()
        await scene.nothing()


async def test_units_that_are_not_watched_silenced_or_in_maintenance_open_nothing(scene: Scene) -> None:
    hours = {"start": "00:00", "end": "23:59"}
    scene.settings = Settings(
        debounce_seconds=0.05,
        silences=(Silence(unit="quiet*"),),
        maintenance=(
            Maintenance(units=("night*",), **hours),
            Maintenance(units=("night*",), start="23:58", end="00:01"),
        ),
    )
    async with scene.watch():
        for unit in ("run-u1.service", "sys-x.device", "quiet.service", "night.service", "ai-sysadmin-api.service"):
            scene.fail(unit)
        await scene.nothing()
        scene.fail()
        await scene.until(WEB)


# --- what kind it is


async def test_a_start_limit_shows_in_the_signals(scene: Scene) -> None:
    async with scene.watch():
        scene.units.put(WEB, "activating", sub_state="auto-restart")
        scene.fail()
        found = await scene.until(WEB)
    assert found.kind is SymptomKind.START_LIMIT_HIT
    assert (await scene.faults(WEB))[WEB].details["result"] == "exit-code"


def a_restart(scene: Scene) -> list[Said]:
    """Return what the journal says of a unit that fails and is started again."""
    return [said(what, scene.clock.now()) for what in (Says.UNIT_FAILED, Says.RESTART_SCHEDULED)]


async def test_a_unit_that_ends_well_and_is_restarted_opens_nothing(scene: Scene) -> None:
    async with scene.watch() as watch:
        for _ in range(3 * SETTINGS.flap_restarts):
            for active, sub in (("active", "running"), ("inactive", "dead"), ("activating", "auto-restart")):
                scene.units.put(WEB, active, sub_state=sub)
            watch.heard([said(Says.RESTART_SCHEDULED, scene.clock.now())])
            await asyncio.sleep(0)
        await scene.nothing()


@pytest.mark.parametrize("by_journal", [False, True])
async def test_a_unit_restarted_too_often_flaps(scene: Scene, by_journal: bool) -> None:
    async with scene.watch() as watch:
        for _ in range(SETTINGS.flap_restarts - 1):
            scene.units.put(WEB, "activating", sub_state="auto-restart")
            watch.heard(a_restart(scene) if by_journal else [])
            await asyncio.sleep(0.01)
            scene.units.put(WEB, "active", sub_state="running")
            await asyncio.sleep(0.01)
        await scene.nothing(0.1)
        scene.units.is_mute = by_journal
        scene.units.put(WEB, "activating", sub_state="auto-restart")
        watch.heard(a_restart(scene) if by_journal else [])
        found = await scene.until(WEB)
    assert (found.kind, found.count) == (SymptomKind.FLAPPING, 1)


async def test_restarts_are_counted_across_a_restart_of_the_monitor(scene: Scene) -> None:
    scene.units.put(WEB, "activating", sub_state="auto-restart")
    async with scene.watch() as watch:
        watch.heard(a_restart(scene) * 3)
        await scene.eventually(lambda: scene.commits)
    async with scene.watch() as watch:
        watch.heard(a_restart(scene) * 2)
        assert (await scene.until(WEB)).kind is SymptomKind.FLAPPING


async def test_a_unit_that_hangs_is_stuck_once(scene: Scene) -> None:
    scene.settings = Settings(debounce_seconds=0.03, stuck_seconds=0.2)
    async with scene.watch() as watch:
        scene.units.restless = [Unsettled(name=WEB, active_state="activating", invocation="a1", seconds=1)]
        scene.units.put(WEB, "activating", sub_state="start")
        await scene.nothing(0.1)
        found = await scene.until(WEB)
        assert found.kind is SymptomKind.STUCK
        for _ in range(3):
            watch.look()
            await asyncio.sleep(0.05)
        assert (await scene.until(WEB)).count == 1
        scene.units.restless = []
        scene.fail(result="timeout", invocation="a1")
        await scene.until(WEB, kind=SymptomKind.TIMED_OUT)


async def test_what_a_timer_starts_says_so(scene: Scene) -> None:
    scene.units.needs[WEB] = Dependencies(triggered_by=("web.path", "web.timer"))
    async with scene.watch():
        scene.fail()
        await scene.until(WEB)
    assert (await scene.faults(WEB))[WEB].details["triggered_by"] == "web.timer"


# --- roots

NEEDS_DB = Dependencies(requires=(DB,), after=(DB,))
WANTS_DB = Dependencies(wants=(DB,), after=(DB,))


async def test_a_root_and_what_it_takes_down_are_one_incident(scene: Scene) -> None:
    scene.units.needs = {WEB: NEEDS_DB, APP: WANTS_DB}
    async with scene.watch():
        scene.fail(DB)
        await scene.until(DB)
        scene.fail(WEB)
        await asyncio.sleep(0.1)
        scene.fail(APP)
        await scene.eventually(lambda: scene.commits >= 3)
    assert set(await scene.incidents()) == {DB}
    assert set(await scene.faults(DB)) == {DB, WEB, APP}


async def test_a_root_that_fails_a_moment_later_is_waited_for(scene: Scene) -> None:
    scene.units.needs = {WEB: NEEDS_DB}
    async with scene.watch():
        scene.fail(WEB)
        await asyncio.sleep(0.03)
        scene.fail(DB)
        await scene.until(DB)
    assert [each.unit for each in await scene.stores.reader.incidents()] == [DB]
    assert set(await scene.faults(DB)) == {DB, WEB}


async def test_a_root_that_is_found_later_takes_in_what_was_told(scene: Scene) -> None:
    scene.units.needs = {WEB: NEEDS_DB, APP: NEEDS_DB}
    async with scene.watch():
        scene.fail(WEB)
        scene.fail(APP)
        await scene.until(WEB)
        await scene.until(APP)
        scene.fail(DB)
        await scene.until(DB)
    assert set(await scene.incidents()) == {DB}
    assert set(await scene.faults(DB)) == {DB, WEB, APP}


@pytest.mark.parametrize("by_journal", [False, True])
async def test_a_unit_that_was_never_started_is_a_symptom_of_its_root(scene: Scene, by_journal: bool) -> None:
    scene.units.needs = {WEB: NEEDS_DB}
    async with scene.watch() as watch:
        scene.fail(DB)
        if by_journal:
            scene.units.put(WEB, "inactive")
            watch.heard([said(Says.DEPENDENCY, scene.clock.now(), JOB_ID="9")])
        else:
            scene.units.refuse(WEB)
        await scene.eventually(lambda: scene.commits)
        await scene.until(DB)
        await scene.nothing_but(DB)
    assert (await scene.faults(DB))[WEB].kind is SymptomKind.DEPENDENCY_FAILED


async def test_a_unit_that_was_stopped_and_then_could_not_be_started_is_told(scene: Scene) -> None:
    async with scene.watch():
        scene.units.stop(WEB, "failed", exit_status=143, state_changed_at=scene.clock.now())
        await scene.nothing()
        scene.units.refuse(WEB)
        assert (await scene.until(WEB)).kind is SymptomKind.DEPENDENCY_FAILED


async def test_without_a_root_it_is_an_incident_of_its_own(scene: Scene) -> None:
    async with scene.watch():
        scene.units.refuse("mnt-data.mount")
        assert (await scene.until("mnt-data.mount")).kind is SymptomKind.DEPENDENCY_FAILED


async def test_others_may_say_what_a_unit_s_failure_belongs_to(scene: Scene) -> None:
    scene.more_joins = lambda unit: ("var.mount",) if unit == WEB else ()
    async with scene.watch():
        scene.fail("var.mount")
        await scene.until("var.mount")
        scene.fail()
        await scene.eventually(lambda: scene.commits >= 2)
    assert set(await scene.faults("var.mount")) == {"var.mount", WEB}


# --- boots and switches


def booted(scene: Scene, ago: float) -> datetime:
    """Have the host's boot finished some seconds ago."""
    done = scene.clock.now() - timedelta(seconds=ago)
    began = done - timedelta(seconds=10)
    scene.units.state = ManagerState(system_state="running", userspace_at=began, finished_at=done)
    return done


def fail_at_boot(scene: Scene, unit: str, done: datetime) -> None:
    began = done - timedelta(seconds=3)
    scene.fail(unit, inactive_exit_at=began, state_changed_at=began + timedelta(seconds=1))


async def test_what_fails_at_boot_counts_when_things_have_settled(scene: Scene) -> None:
    scene.clock.at = scene.clock.now()
    done = booted(scene, 60)
    for unit in (WEB, DB, APP):
        fail_at_boot(scene, unit, done)
    async with scene.watch() as watch:
        await scene.nothing()
        scene.units.put(APP, "active")
        scene.clock.advance(SETTINGS.settle_seconds)
        watch.look()
        found = await scene.until("boot")
        await asyncio.sleep(0.1)
    assert found.title == "2 units failed at boot and still are"
    assert (found.kind, set(await scene.incidents())) == (SymptomKind.UNITS_FAILED, {"boot"})
    assert set(await scene.faults("boot")) == {"", WEB, DB}


async def test_one_unit_that_failed_at_boot_is_its_own_incident(scene: Scene) -> None:
    done = booted(scene, 3600)
    fail_at_boot(scene, WEB, done)
    async with scene.watch():
        assert (await scene.until(WEB)).kind is SymptomKind.UNIT_FAILED


async def test_what_has_one_root_at_boot_is_the_root_s_incident(scene: Scene) -> None:
    done = booted(scene, 3600)
    scene.units.needs = {WEB: NEEDS_DB}
    for unit in (WEB, DB):
        fail_at_boot(scene, unit, done)
    async with scene.watch():
        await scene.until(DB)
        await scene.eventually(lambda: scene.commits)
    assert set(await scene.incidents()) == {DB}


async def test_what_could_not_be_started_at_boot_is_part_of_it(scene: Scene) -> None:
    scene.clock.at = scene.clock.now()
    scene.units.state = ManagerState(system_state="starting", userspace_at=scene.clock.now() - timedelta(seconds=9))
    scene.units.needs = {WEB: NEEDS_DB}
    async with scene.watch() as watch:
        scene.fail(DB, inactive_exit_at=scene.clock.now())
        scene.units.refuse(WEB)
        await scene.nothing()
        scene.units.state = scene.units.state.model_copy(update={"finished_at": scene.clock.now()})
        scene.clock.advance(SETTINGS.settle_seconds)
        watch.look()
        await scene.until(DB)
        await scene.nothing_but(DB)
    assert set(await scene.faults(DB)) == {DB, WEB}


async def test_what_is_started_after_the_boot_is_told_at_once(scene: Scene) -> None:
    booted(scene, 5)
    async with scene.watch():
        scene.fail(WEB, inactive_exit_at=scene.clock.now() - timedelta(seconds=1))
        await scene.until(WEB)
        scene.fail(DB, inactive_exit_at=None)
        await scene.until(DB)


async def test_a_switch_s_failures_are_one_incident_named_after_its_generation(scene: Scene) -> None:
    scene.clock.at = scene.clock.now()
    booted(scene, 3600)
    async with scene.watch() as watch:
        scene.switching = True
        for unit in (WEB, DB):
            scene.fail(unit, inactive_exit_at=scene.clock.now())
        await scene.nothing()
    async with scene.watch() as watch:
        scene.switching = False
        scene.clock.advance(5)
        watch.look()
        await scene.nothing()
        scene.fail(APP)
        await scene.until(APP)
        scene.clock.advance(SETTINGS.settle_seconds)
        watch.look()
        await scene.until("switch to generation 42", kind=SymptomKind.UNITS_FAILED)
    assert set(await scene.incidents()) == {APP, "switch to generation 42"}


async def test_what_a_sleep_broke_waits_and_what_is_started_after_it_does_not(scene: Scene) -> None:
    scene.clock.at = scene.clock.now()
    booted(scene, 7200)
    async with scene.watch() as watch:
        slept = watch.unrest.asleep()
        scene.clock.advance(3600)
        watch.unrest.asleep = lambda: slept + 3590
        scene.fail(WEB)
        await scene.nothing()
        scene.fail(DB, inactive_exit_at=scene.clock.now())
        await scene.until(DB)
        assert watch.unrest.awake_since() is not None
        scene.clock.advance(SETTINGS.settle_seconds)
        watch.look()
        await scene.until(WEB)


# --- what it costs


async def test_while_signals_come_nothing_is_polled(scene: Scene) -> None:
    async with scene.watch():
        await asyncio.sleep(0.1)
        asked, commits = scene.units.asked, scene.commits
        for _ in range(20):
            scene.units.put(WEB, "active", sub_state="running")
            scene.units.put(WEB, "inactive", sub_state="dead")
            await asyncio.sleep(0.005)
        assert (scene.units.asked, scene.commits) == (asked, commits)
