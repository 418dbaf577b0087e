"""trigger_monitor/daemon.py on a real SQLite store: a scripted journal, units in memory, kills at every moment."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ai_sysadmin.core.errors import StoreUnavailable
from ai_sysadmin.core.incident import Incident, State
from ai_sysadmin.core.noticing_settings import TriggerMonitor as Settings
from ai_sysadmin.core.noticing_settings import WatchedFile
from ai_sysadmin.core.records import JournalEntry
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.runtime.service import Heartbeat
from ai_sysadmin.stores import JournalPosition, Noticed, NoticeStore, Placing
from ai_sysadmin.stores.relational import SqlStores, open_stores
from ai_sysadmin.testing.host import FakeClock, FakeUnits, ScriptedJournal
from ai_sysadmin.trigger_monitor.daemon import Stores, TriggerMonitor
from tests.builders import HOST
from tests.noticing import Writer

SETTINGS = Settings(debounce_seconds=0.05)


@dataclass
class FlakyStore:
    """A store in front of the real one; ``is_away``: its next commits fail."""

    real: NoticeStore
    is_away: bool = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    async def commit(self, noticed: Noticed, placing: Placing) -> Sequence[Incident]:
        if self.is_away:
            raise StoreUnavailable("the database is locked")
        return await self.real.commit(noticed, placing)


@dataclass
class Scene:
    """A host with a monitor that can be started, stopped and killed."""

    stores: SqlStores
    store: FlakyStore
    journal: ScriptedJournal = field(default_factory=ScriptedJournal)
    units: FakeUnits = field(default_factory=FakeUnits)
    clock: FakeClock = field(default_factory=FakeClock)
    settings: Settings = SETTINGS
    write: Writer = field(default_factory=lambda: Writer(at=FakeClock().now()))

    @asynccontextmanager
    async def monitor(self) -> AsyncIterator[None]:
        stores = Stores(self.store, self.stores.templates, self.stores.metrics, self.stores.notes)
        monitor = TriggerMonitor(
            HOST, stores, self.units, self.clock, Heartbeat(), self.settings, follow=self.journal.follow, look_ups=()
        )
        tasks = [asyncio.create_task(loop()) for loop in monitor.loops().values()]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task

    async def incidents(self) -> dict[str, Incident]:
        return {each.unit: each for each in await self.stores.reader.incidents()}

    async def until(self, unit: str, **wanted: object) -> Incident:
        """Wait until a unit's incident is as wanted."""
        async with asyncio.timeout(5):
            while True:
                found = (await self.incidents()).get(unit)
                if found and all(getattr(found, name) == value for name, value in wanted.items()):
                    return found
                await asyncio.sleep(0.01)

    async def until_read(self, count: int) -> JournalPosition:
        async with asyncio.timeout(5):
            while True:
                position = await self.stores.notices.position()
                if position and position.entries_read >= count:
                    return position
                await asyncio.sleep(0.01)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with open_stores(tmp_path / "db", HOST, FakeClock()) as stores:
        yield Scene(stores, FlakyStore(stores.notices))


async def test_a_failing_unit_is_an_incident_well_within_a_second(scene: Scene) -> None:
    async with scene.monitor():
        await asyncio.sleep(0.1)
        began = asyncio.get_running_loop().time()
        scene.units.put("web.service")
        scene.journal.write([scene.write.line("no port"), scene.write.failed()])
        found = await scene.until("web.service")
        assert asyncio.get_running_loop().time() - began < 0.5
    assert (found.kind, found.count) == (SymptomKind.UNIT_FAILED, 2)


async def test_each_step_is_logged_with_its_incident(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.units.put("web.service")
    async with scene.monitor():
        found = await scene.until("web.service")
    (record,) = [each for each in caplog.records if getattr(each, "event", "") == "incident_opened"]
    assert (record.incident_id, record.unit) == (found.id, "web.service")  # type: ignore[attr-defined]
    assert record.getMessage() == "incident opened: web.service failed (exit-code)"


async def test_a_unit_that_systemd_restarts_is_none(scene: Scene) -> None:
    scene.units.put("web.service", "activating")
    async with scene.monitor():
        scene.journal.write([scene.write.failed()])
        await asyncio.sleep(0.2)
        scene.journal.write([scene.write.failed(), scene.write.restart()])
        await asyncio.sleep(0.2)
    assert await scene.incidents() == {}


async def test_ten_thousand_lines_and_the_failure_after_them_are_one_incident(scene: Scene) -> None:
    async with scene.monitor():
        scene.journal.write(scene.write.lines(10_000))
        await scene.until("web.service", count=10_000)
        scene.units.put("web.service")
        scene.journal.write([scene.write.failed()])
        found = await scene.until("web.service", kind=SymptomKind.UNIT_FAILED)
    assert found.count == 10_001
    position = await scene.stores.notices.position()
    assert position is not None
    assert (position.entries_read, position.entries_lost, position.sequence) == (10_001, 0, 10_001)


@pytest.mark.parametrize("seed", range(4))
async def test_a_monitor_stopped_again_and_again_counts_each_line_once(scene: Scene, seed: int) -> None:
    chance = random.Random(seed)
    scene.journal.batch = 37
    entries = scene.write.lines(3000)
    scene.units.put("web.service")
    scene.journal.write([*entries, scene.write.failed()])
    for _ in range(6):
        async with scene.monitor():
            await asyncio.sleep(chance.random() * 0.05)
    async with scene.monitor():
        position = await scene.until_read(3001)
        await scene.until("web.service", count=3001)
    assert (position.entries_read, position.entries_lost) == (3001, 0)
    assert len(await scene.incidents()) == 1


async def test_a_failure_whose_debounce_was_cut_short_is_found_again(scene: Scene) -> None:
    scene.units.put("web.service")
    scene.journal.write([scene.write.failed()])
    async with scene.monitor():
        await scene.until_read(1)
    async with scene.monitor():
        found = await scene.until("web.service")
    assert found.count == 1


async def test_a_failure_is_told_once_however_often_it_is_seen(scene: Scene) -> None:
    scene.units.put("web.service")
    for _ in range(3):
        async with scene.monitor():
            scene.journal.write([scene.write.failed()])
            await scene.until("web.service")
            await asyncio.sleep(0.2)
    assert (await scene.until("web.service")).count == 1
    async with scene.monitor():
        scene.units.put("web.service", invocation="b2" * 16)
        scene.journal.write([scene.write.failed()])
        await scene.until("web.service", count=2)


async def test_lost_and_suppressed_entries_are_counted(scene: Scene) -> None:
    scene.journal.write(scene.write.lines(3))
    async with scene.monitor():
        await scene.until_read(3)
    scene.write.number += 5
    scene.journal.write(scene.write.lines(2))
    async with scene.monitor():
        position = await scene.until_read(5)
    assert (position.entries_lost, position.sequence) == (5, 10)


async def test_a_journal_that_is_away_is_said_and_units_are_still_watched(scene: Scene) -> None:
    scene.journal.is_away = True
    async with scene.monitor():
        await asyncio.sleep(0.1)
        scene.units.put("web.service")
    async with scene.monitor():
        await scene.until("web.service")
        (note,) = await scene.stores.reader.notes()
        assert (note.state, note.text) == ("degraded", "there is no systemd journal here")
        scene.journal.is_away = False
        scene.journal.write(scene.write.lines(1, unit="db.service"))
        await scene.until_read(1)
        (note,) = await scene.stores.reader.notes()
        assert note.state == "ok"


async def test_without_systemd_the_journal_s_word_counts(scene: Scene) -> None:
    scene.units.is_away = True
    async with scene.monitor():
        scene.journal.write([scene.write.failed("web.service"), scene.write.failed("db.service")])
        scene.journal.write([scene.write.restart("db.service")])
        await scene.until("web.service")
        await asyncio.sleep(0.1)
        (note,) = await scene.stores.reader.notes()
        assert "systemd does not answer" in note.text
    assert set(await scene.incidents()) == {"web.service"}


async def test_a_store_that_is_away_costs_no_entry_and_no_failure(scene: Scene) -> None:
    async with scene.monitor():
        scene.journal.write(scene.write.lines(50))
        await scene.until_read(50)
        scene.store.is_away = True
        scene.units.put("web.service")
        scene.journal.write([*scene.write.lines(70), scene.write.failed()])
        await asyncio.sleep(0.3)
        scene.store.is_away = False
        found = await scene.until("web.service", count=121)
        position = await scene.until_read(121)
    assert found.kind is SymptomKind.UNIT_FAILED
    assert (position.entries_read, position.entries_lost) == (121, 0)


async def test_a_unit_that_a_person_mended_is_resolved(scene: Scene) -> None:
    scene.units.put("web.service")
    async with scene.monitor():
        await scene.until("web.service")
        scene.units.put("web.service", "active", active_enter_at=scene.clock.now() - timedelta(minutes=1))
        found = await scene.until("web.service", state=State.RESOLVED)
    assert "not by an action of this suite" in found.note


async def test_a_burst_that_fell_quiet_is_resolved(scene: Scene) -> None:
    scene.journal.write(scene.write.lines(200))
    async with scene.monitor():
        await scene.until("web.service", kind=SymptomKind.BURST)
        scene.clock.advance(900)
        found = await scene.until("web.service", state=State.RESOLVED)
    assert found.note.startswith("no such line since")


def quiet(write: Writer, count: int) -> list[JournalEntry]:
    return [write.line(f"all well {n}", priority=6) for n in range(count)]


async def test_reading_on_is_recorded_even_when_nothing_is_wrong(scene: Scene) -> None:
    async with scene.monitor():
        scene.journal.write(quiet(scene.write, 10))
        await scene.until_read(10)
        scene.journal.write(quiet(scene.write, 5))
    position = await scene.stores.notices.position()
    assert position is not None
    assert position.entries_read >= 10
    async with scene.monitor():
        assert (await scene.until_read(15)).entries_read == 15
    assert await scene.incidents() == {}


async def test_a_log_file_is_followed_across_restarts_each_line_once(tmp_path: Path, scene: Scene) -> None:
    file = tmp_path / "app.log"
    file.write_text("")
    scene.settings = SETTINGS.model_copy(update={"files": (WatchedFile(path=file),)})

    def write(first: int, last: int) -> None:
        at = datetime.now().astimezone().isoformat(timespec="seconds")
        with file.open("a") as log:
            log.writelines(f"{at} ERROR upstream {number} refused the connection\n" for number in range(first, last))

    async with scene.monitor():
        await asyncio.sleep(0.2)
        write(0, 150)
        found = await until_count(scene, 150)
    assert (found.kind, found.about) == (SymptomKind.BURST, f"file {file}")
    write(150, 230)
    async with scene.monitor():
        await until_count(scene, 230)
        write(230, 250)
        await until_count(scene, 250)
    async with scene.monitor():
        await asyncio.sleep(0.3)
        assert (await until_count(scene, 250)).id == found.id


async def until_count(scene: Scene, count: int) -> Incident:
    async with asyncio.timeout(5):
        while True:
            for found in await scene.stores.reader.incidents():
                if found.count >= count:
                    assert found.count == count
                    return found
            await asyncio.sleep(0.02)
