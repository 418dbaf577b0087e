"""The host sampled: made-up look-ups, a real store, a clock that is told the time."""

import asyncio
from datetime import timedelta

import pytest

from ai_sysadmin.core.errors import StoreUnavailable
from ai_sysadmin.core.noticing_settings import Maintenance, Silence, Threshold, TriggerMonitor
from ai_sysadmin.core.records import Sample
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.runtime.service import Heartbeat
from ai_sysadmin.sources.host import HostUnreadable
from ai_sysadmin.stores import Noticed
from ai_sysadmin.stores.relational import open_stores
from ai_sysadmin.testing.host import FakeClock
from ai_sysadmin.trigger_monitor.host.look_ups import Quick, Slow
from ai_sysadmin.trigger_monitor.host.sampling import Sampling
from ai_sysadmin.trigger_monitor.ledger import Ledger
from tests.builders import HOST, NOW, incident, trigger

LONG_AGO = NOW - timedelta(days=1)


@pytest.fixture
async def stores(tmp_path):
    async with open_stores(tmp_path / "state.db", HOST) as opened:
        yield opened


def disk(used: float, about: str = "/var", total: float = 100e9) -> list[Sample]:
    return [
        Sample("file_system_used_percent", used, about, "percent"),
        Sample("file_system_free_bytes", total * (100 - used) / 100, about, "bytes"),
        Sample("file_system_total_bytes", total, about, "bytes"),
    ]


class Bench:
    """A sampling whose one quick look-up says what it is told."""

    def __init__(self, stores, *slow: Slow, **settings) -> None:
        self.stores, self.slow, self.clock, self.seconds = stores, slow, FakeClock(NOW), 5000.0
        self.settings = TriggerMonitor(**settings)
        self.says: list[Sample] | Exception = []
        self.looks = 0
        self.notices = stores.notices
        self.sampling = self.made()

    def made(self) -> Sampling:
        look_ups = (Quick("made up", self.look), *self.slow)
        ledger = Ledger(HOST, self.notices, self.settings)
        metrics, heart = self.stores.metrics, Heartbeat()
        return Sampling(self.settings, ledger, metrics, self.clock, heart, look_ups, lambda: self.seconds)

    def look(self) -> list[Sample]:
        self.looks += 1
        if isinstance(self.says, Exception):
            raise self.says
        return self.says

    def passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.seconds += seconds

    async def tick(self, *says: Sample, times: int = 1, every: float = 15) -> None:
        for _ in range(times):
            self.says = list(says)
            self.passes(every)
            await self.sampling.tick()

    async def live(self):
        return [live.incident for live in await self.stores.notices.live()]

    async def fault(self):
        ((fault,),) = [live.faults for live in await self.stores.notices.live()]
        return fault

    async def over(self, fault):
        return await self.sampling.over(fault, incident(), self.clock.now())

    async def restart(self) -> None:
        await self.sampling.remember()
        self.sampling = self.made()


# --- ticks


async def test_a_full_disk_is_an_incident_after_one_sample_and_over_when_there_is_room(stores):
    bench = Bench(stores)
    await bench.tick(*disk(50))
    await bench.tick(*disk(100))
    (opened,) = await bench.live()
    assert (opened.kind, opened.subject, opened.unit) == (SymptomKind.DISK_FULL, "/var", "var.mount")
    assert opened.title == "/var is full (100.0 %), 0 bytes are left"
    fault = await bench.fault()
    assert await bench.over(fault) is None
    assert bench.sampling.wrong(SymptomKind.DISK_FULL) == ("/var",)
    await bench.tick(*disk(40), times=3)
    assert (await bench.over(fault)).startswith("/var is back at 40.0 % since ")
    assert bench.sampling.wrong(SymptomKind.DISK_FULL) == ()


async def test_figures_are_kept_and_those_that_do_not_move_only_now_and_then(stores):
    bench = Bench(stores)
    await bench.tick(Sample("load_per_processor", 1.0, "", "ratio"), Sample("up", 1, "", "bool"), times=25)
    await bench.tick(Sample("load_per_processor", 2.0, "", "ratio"), Sample("up", 0, "", "bool"))
    for name, values in (("load_per_processor", [1, 1, 2]), ("up", [1, 1, 0])):
        assert [point.value for point in await stores.metrics.points(name, "", LONG_AGO)] == values


async def test_what_this_host_cannot_say_is_noted_once_and_tried_again_seldom(stores, caplog):
    bench = Bench(stores)
    bench.says = HostUnreadable("this host has no such thing")
    with caplog.at_level("INFO"):
        for _ in range(30):
            bench.passes(15)
            await bench.sampling.tick()
    assert bench.sampling.unreadable == {"made up": "this host has no such thing"}
    assert bench.looks == 1
    assert [record.getMessage() for record in caplog.records] == ["made up: this host has no such thing"]
    bench.passes(300)
    await bench.tick(Sample("up", 1), times=2)
    assert bench.looks == 3
    assert bench.sampling.unreadable == {}


@pytest.mark.parametrize("error", [OSError("away"), ValueError("not a number")])
async def test_one_look_up_that_fails_does_not_end_the_others(stores, error):
    bench = Bench(stores)
    bench.says = error
    await bench.sampling.tick()
    assert bench.sampling.unreadable == {"made up": str(error)}


async def test_slow_look_ups_are_taken_in_with_the_next_tick_and_hold_nobody_up(stores):
    asked = 0

    async def hangs():
        await asyncio.Event().wait()

    async def quick():
        nonlocal asked
        asked += 1
        return [Sample("raid_degraded", 1, "md0", "bool")]

    async def fails():
        raise HostUnreadable("there is none")

    bench = Bench(stores, Slow("hangs", 60, hangs), Slow("RAID", 300, quick), Slow("fails", 60, fails))
    looking = asyncio.create_task(bench.sampling.look_forever())
    while "fails" not in bench.sampling.unreadable:
        await asyncio.sleep(0)
    await bench.tick(*disk(50))
    assert [each.subject for each in await bench.live()] == ["raid md0"]
    assert bench.sampling.unreadable == {"fails": "there is none"}
    assert asked == 1
    looking.cancel()


async def test_a_fault_found_while_the_store_is_away_is_told_when_it_is_back(stores):
    class Away:
        is_away = False

        def __getattr__(self, name):
            return getattr(stores.notices, name)

        async def commit(self, noticed, placing):
            if self.is_away:
                raise StoreUnavailable("the database is away")
            return await stores.notices.commit(noticed, placing)

    bench = Bench(stores)
    bench.notices = Away()
    bench.sampling = bench.made()
    await bench.tick(*disk(50))
    bench.notices.is_away = True
    with pytest.raises(StoreUnavailable):
        await bench.tick(*disk(100))
    bench.notices.is_away = False
    await bench.tick(*disk(100))
    assert len(await bench.live()) == 1


async def test_the_first_sample_comes_at_once_and_the_last_word_is_kept(stores):
    bench = Bench(stores)
    bench.says = [*disk(92), Sample("file_system_read_only", 0, "/var", "bool")]
    running = asyncio.create_task(bench.sampling.sample_forever())
    async with asyncio.timeout(1):
        while not await stores.metrics.list():
            await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    memory = await stores.notices.memory()
    assert set(memory) == {"thresholds", "forecast", "baselines"}
    assert "read_only" in memory["thresholds"]


# --- over a restart


async def test_a_restart_neither_repeats_nor_forgets(stores):
    bench = Bench(stores)
    await bench.tick(*disk(50), Sample("file_system_read_only", 0, "/var", "bool"))
    await bench.tick(*disk(100))
    fault = await bench.fault()
    await bench.restart()
    await bench.tick(*disk(100), times=5)
    assert (await bench.fault()).count == 1
    assert await bench.over(fault) is None
    await bench.restart()
    await bench.tick(*disk(50), times=2)
    assert await bench.over(fault) is not None
    await bench.tick(Sample("file_system_read_only", 1, "/var", "bool"))
    assert SymptomKind.READ_ONLY in {symptom.kind for live in await stores.notices.live() for symptom in live.faults}


async def test_a_memory_that_cannot_be_read_is_begun_anew(stores, caplog):
    bench = Bench(stores)
    broken = {"thresholds": "{", "baselines": "[1]", "forecast": "no JSON"}
    await Ledger(HOST, stores.notices, bench.settings).commit(Noticed(None, memory=broken))
    await bench.tick(*disk(100))
    assert len(await bench.live()) == 1
    assert len([record for record in caplog.records if "begins anew" in record.getMessage()]) == 3


async def test_a_disk_that_fills_up_is_foretold_also_across_a_restart(stores):
    bench = Bench(stores)

    async def hours(begin: float, end: float) -> None:
        for minute in range(int(begin * 60), int(end * 60)):
            await bench.tick(*disk(61 + 4 * minute / 60), every=60)

    await hours(0, 1.5)
    await bench.restart()
    assert await bench.live() == []
    await hours(1.5, 4)
    (opened,) = await bench.live()
    assert (opened.kind, opened.subject) == (SymptomKind.DISK_FILLING, "/var")
    fault = await bench.fault()
    assert await bench.over(fault) is None
    await bench.restart()
    await bench.tick(*disk(77), times=30, every=300)
    assert "does not fill up any more" in await bench.over(fault)
    assert (await bench.fault()).count == 1


# --- what is not told


async def test_in_maintenance_a_fault_waits_for_its_end(stores):
    local = NOW.astimezone()
    window = Maintenance(
        units=("var.mount",),
        start=f"{local:%H:%M}",
        end=f"{local + timedelta(minutes=10):%H:%M}",
    )
    bench = Bench(stores, maintenance=(window,))
    await bench.tick(*disk(100), times=20)
    assert await bench.live() == []
    await bench.tick(*disk(100), times=25)
    assert [each.subject for each in await bench.live()] == ["/var"]


@pytest.mark.parametrize(
    "settings",
    [
        {"silences": (Silence(unit="/var"),)},
        {"silences": (Silence(unit="var.mount"),)},
        {"silences": (Silence(rule="disk_full"), Silence(rule="disk_nearly_full"))},
        {
            "thresholds": tuple(
                Threshold(name=name, metric="file_system_used_percent", above=90, enabled=False)
                for name in ("disk_full", "disk_nearly_full")
            )
        },
    ],
)
async def test_what_is_silenced_or_disabled_is_never_told(stores, settings):
    bench = Bench(stores, **settings)
    await bench.tick(*disk(100), times=20)
    assert await bench.live() == []


async def test_a_forecast_that_is_disabled_is_not_made_and_its_fault_is_over(stores):
    off = Threshold(name="disk_filling", metric="file_system_free_bytes", below=1, enabled=False)
    bench = Bench(stores, thresholds=(off,))
    for minute in range(4 * 60):
        await bench.tick(*disk(61 + 4 * minute / 60), every=60)
    assert await bench.live() == []
    told = trigger(SymptomKind.DISK_FILLING, about="/var", details={"threshold": "disk_filling", "on": "/var"})
    await Ledger(HOST, stores.notices, bench.settings).commit(Noticed(None, triggers=(told,)))
    assert "not watched any more" in await bench.over(await bench.fault())


async def test_a_fault_that_only_a_line_told_of_is_over_when_no_more_is_said_and_nothing_measures_otherwise(stores):
    bench = Bench(stores)
    said = trigger(SymptomKind.DISK_FULL, text="No space left on device", details={"rule": "no_space"})
    await Ledger(HOST, stores.notices, bench.settings).commit(Noticed(None, triggers=(said,)))
    fault = await bench.fault()
    await bench.tick(*disk(100))
    assert await bench.over(fault) is None
    bench.passes(1200)
    assert await bench.over(fault) is None
    await bench.tick(*disk(50), times=3)
    assert (await bench.over(fault)).startswith("nothing more was said of it since ")


# --- figures of the past


async def test_old_figures_are_rolled_up_and_at_last_forgotten(stores):
    bench = Bench(stores, keep_samples_hours=1, keep_metrics_days=1)
    for value in (1.0, 2.0, 3.0):
        await bench.tick(Sample("load_per_processor", value, "", "ratio"), every=60)
    bench.passes(7200)
    await bench.sampling.tidy()
    (point,) = await stores.metrics.points("load_per_processor", "", LONG_AGO)
    assert (point.value, point.least, point.most) == (2, 1, 3)
    bench.passes(86400)
    await bench.sampling.tidy()
    assert await stores.metrics.list() == ()
