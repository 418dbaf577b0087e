"""The trigger monitor with its spool on real databases that go away: nothing it reads or measures meanwhile is lost."""

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import count

import pytest

from ai_sysadmin.core.errors import StoreUnavailable
from ai_sysadmin.core.noticing_settings import TriggerMonitor as Settings
from ai_sysadmin.core.records import Sample
from ai_sysadmin.runtime.service import Heartbeat, troubles
from ai_sysadmin.stores.relational import open_stores
from ai_sysadmin.testing.host import FakeClock, FakeUnits, ScriptedJournal
from ai_sysadmin.trigger_monitor import condition
from ai_sysadmin.trigger_monitor.condition import Condition
from ai_sysadmin.trigger_monitor.daemon import Stores, TriggerMonitor
from ai_sysadmin.trigger_monitor.host.look_ups import Quick
from ai_sysadmin.trigger_monitor.lines import listening
from ai_sysadmin.trigger_monitor.spool import Spool, SpoolingMetrics, SpoolingNotices
from tests.builders import HOST
from tests.contracts import test_notice_stores
from tests.noticing import Writer
from tests.postgres_server import postgres_server
from tests.spooling import NO_STORMS, Switched, a_fault, a_spool, noticed

SETTINGS = Settings(debounce_seconds=0.05, sample_seconds=0.1, storm_incidents=0)


# --- while the store is there, the spool is as the store: the same assertions through it


@pytest.fixture
def place(tmp_path):
    return tmp_path / "state.db"


@pytest.fixture
async def stores(place, tmp_path):
    async with open_stores(place, HOST) as opened:
        spool = a_spool(tmp_path / "spool")
        notices, metrics = SpoolingNotices(opened.notices, spool), SpoolingMetrics(opened.metrics, spool)
        yield replace(opened, notices=notices, metrics=metrics)
        spool.close()


globals().update(
    {
        name: test
        for name, test in vars(test_notice_stores).items()
        if name.startswith("test_") and name != "test_ten_thousand_different_alerts_are_one_storm_in_seconds"
    }
)


# --- the whole monitor


@dataclass
class Host:
    """A host with a monitor, whose store can be switched off as a whole."""

    stores: object
    spool: Spool
    journal: ScriptedJournal = field(default_factory=ScriptedJournal)
    units: FakeUnits = field(default_factory=FakeUnits)
    clock: FakeClock = field(default_factory=FakeClock)
    write: Writer = field(default_factory=lambda: Writer(at=FakeClock().now()))
    numbers: count = field(default_factory=count)

    def __post_init__(self):
        names = ("notices", "templates", "metrics", "notes", "health")
        self.doors = {name: Switched(getattr(self.stores, name)) for name in names}

    def away(self, is_away=True, but_commits=False):
        for door in self.doors.values():
            door.is_away = is_away
        self.doors["notices"].but_commits = but_commits

    def measure(self):
        return [Sample("load", float(next(self.numbers)))]

    @asynccontextmanager
    async def monitor(self):
        monitor = TriggerMonitor(
            HOST,
            Stores(**self.doors, spool=self.spool),
            self.units,
            self.clock,
            Heartbeat(),
            SETTINGS,
            follow=self.journal.follow,
            look_ups=[Quick("load", self.measure)],
        )
        tasks = [asyncio.create_task(loop()) for loop in monitor.loops().values()]
        try:
            yield monitor
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task

    def fail(self, unit, lines=1):
        self.journal.write(self.write.lines(lines, unit=unit))
        self.units.put(unit, invocation=f"{abs(hash(unit)):032x}"[:32])
        self.journal.write([self.write.failed(unit)])

    async def until(self, true, seconds=10):
        async with asyncio.timeout(seconds):
            while not await true():
                await asyncio.sleep(0.02)

    async def read_all(self):
        with suppress(StoreUnavailable):
            position = await self.stores.notices.position()
            return position is not None and position.entries_read >= self.write.number
        return False

    async def counts(self):
        return {each.unit: each.count for each in await self.stores.reader.incidents(limit=500)}


@asynccontextmanager
async def a_host(place, tmp_path):
    async with open_stores(place, HOST, FakeClock()) as opened:
        host = Host(opened, a_spool(tmp_path / "spool"))
        yield host
        host.spool.close()


async def test_what_the_monitor_cannot_see_is_held_until_it_can_be_noted(stores, monkeypatch):
    notes = Switched(stores.notes, is_away=True)
    said = Condition(notes, FakeClock())
    monkeypatch.setattr(condition, "_PAUSE_SECONDS", 0)
    await said.say(journal="there is no journal")
    notes.is_away = False
    await said.say()
    (note,) = await stores.reader.notes()
    assert (note.state, note.text) == ("degraded", "there is no journal")


@pytest.mark.parametrize("but_commits", [False, True])
async def test_all_that_is_noticed_while_the_store_is_away_is_there_afterwards(
    place, tmp_path, but_commits, caplog, monkeypatch
):
    monkeypatch.setattr(listening, "OPINION_SECONDS", 0)  # they are asked for with every commit
    async with a_host(place, tmp_path) as host, host.monitor():
        host.fail("before.service", 3)
        await host.until(host.read_all)
        host.away(but_commits=but_commits)
        for number in range(20):
            host.fail(f"u{number}.service", number)
            await asyncio.sleep(0.02)
        await asyncio.sleep(1)
        assert host.journal.reads == 1, "the journal is read on"
        assert host.spool.has_notices
        assert host.spool.has_figures
        assert "wait" in caplog.text
        assert "does not answer" in troubles()["spool"]
        host.away(False)
        await host.until(host.read_all)
        host.fail("after.service", 2)
        await host.until(host.read_all)
        wanted = {"before.service": 4, "after.service": 3} | {f"u{n}.service": n + 1 for n in range(20)}

        async def is_counted():
            return await host.counts() == wanted

        await host.until(is_counted)
        position = await host.stores.notices.position()
        assert (position.entries_read, position.entries_lost) == (host.write.number, 0)
        opened = [each for each in caplog.records if getattr(each, "event", "") == "incident_opened"]
        assert but_commits or len(opened) == 22
        host.away()
        figures = next(host.numbers)
    async with open_stores(place, HOST) as again:
        points = await again.metrics.points("load", "", FakeClock().now() - timedelta(hours=1))
        told = [int(point.value) for point in points]
        assert told == list(range(told[0], told[-1] + 1)), "no figure is missing"
        assert told[-1] >= figures - 3


async def test_a_monitor_that_was_killed_while_the_store_was_away_goes_on_where_it_was(place, tmp_path):
    async with a_host(place, tmp_path) as host:
        async with host.monitor():
            host.fail("first.service", 2)
            await host.until(host.read_all)
            host.away()
            host.fail("second.service", 5)
            await asyncio.sleep(0.6)
        host.spool.close()
        host.spool = a_spool(tmp_path / "spool")
        assert host.spool.has_left_over
        async with host.monitor():
            await asyncio.sleep(0.3)
            assert (await host.stores.notices.position()).entries_read == 3
            host.away(False)
            await host.until(host.read_all)

            async def is_counted():
                return await host.counts() == {"first.service": 3, "second.service": 6}

            await host.until(is_counted)
        assert (await host.stores.notices.position()).entries_read == 9


async def test_a_recovery_is_seen_after_what_waits_was_written(place, tmp_path):
    async with a_host(place, tmp_path) as host, host.monitor():
        host.journal.write([host.write.line("hello", priority=6)])
        await host.until(host.read_all)
        host.away()
        host.fail("web.service")
        await asyncio.sleep(0.5)
        host.units.put("web.service", "active", active_enter_at=host.clock.now())
        host.clock.advance(60)
        host.away(False)

        async def is_over():
            return [each.state.value for each in await host.stores.reader.incidents()] == ["resolved"]

        await host.until(is_over, 30)


# --- PostgreSQL stopped and started


async def test_postgresql_stopped_twice_among_faults_every_fault_is_one_incident(tmp_path):
    with postgres_server("-c fsync=off") as server:  # a commit that was answered is there after a crash
        spool = a_spool(tmp_path / "spool")
        async with open_stores(server.url(), HOST) as opened:
            switch = Switched(opened.notices, but_commits=True)
            store = SpoolingNotices(switch, spool)
            for number in range(1, 201):
                switch.is_away = number in {10, 20}
                if number in {15, 25}:
                    await store.drain(lambda began: None)
                if number in {40, 120}:
                    await asyncio.to_thread(server.stop, "immediate" if number == 40 else "fast")
                if number in {80, 160}:
                    await asyncio.to_thread(server.start)
                await store.commit(noticed(number, a_fault(number), a_fault(0)), NO_STORMS)
            for _ in range(20):
                with suppress(StoreUnavailable):
                    await store.drain(lambda began: None)
                    break
                await asyncio.sleep(0.5)
            incidents = await opened.reader.incidents(limit=500)
            assert sorted(each.subject for each in incidents) == sorted(f"u{number}.service" for number in range(201))
            assert {each.subject: each.count for each in incidents}["u0.service"] == 200
            assert (await opened.notices.position()).entries_read == 200
        spool.close()
