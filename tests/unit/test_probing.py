"""Declared probes at work, with made-up results and a real store."""

import asyncio
from datetime import timedelta

import pytest

from ai_sysadmin.core.incident import State
from ai_sysadmin.core.noticing_settings import Maintenance, Silence, TriggerMonitor
from ai_sysadmin.core.probe_settings import CertificateProbe, TcpProbe
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.runtime.service import Heartbeat
from ai_sysadmin.sources.probes import ProbeResult
from ai_sysadmin.stores.relational import open_stores
from ai_sysadmin.testing.host import FakeClock
from ai_sysadmin.trigger_monitor.host.probing import AT_ONCE, Probing, clearers
from ai_sysadmin.trigger_monitor.ledger import Ledger
from tests.builders import HOST, NOW, incident

WEB = TcpProbe(name="web", type="tcp", host="127.0.0.1", port=80, failures=2, of=3)
CERTIFICATE = CertificateProbe(name="cert", type="certificate", host="a", failures=1, of=1)


@pytest.fixture
async def stores(tmp_path):
    async with open_stores(tmp_path / "state.db", HOST) as opened:
        yield opened


class Bench:
    """Probing whose checks come out as told."""

    def __init__(self, stores, *probes, **settings) -> None:
        self.stores, self.clock, self.seconds = stores, FakeClock(NOW), 1000.0
        self.settings = TriggerMonitor(probes=probes or (WEB,), **settings)
        self.result = ProbeResult(ok=True, why="it answers", seconds=0.1, observed={})
        self.probing = self.made()

    def made(self) -> Probing:
        ledger = Ledger(HOST, self.stores.notices, self.settings)
        metrics = self.stores.metrics
        return Probing(self.settings, ledger, metrics, self.clock, Heartbeat(), self.check, lambda: self.seconds)

    async def check(self, probe, clock) -> ProbeResult:
        return self.result

    async def see(self, ok: bool, times: int = 1, name: str = "web", passed: float = 30, **observed: str) -> None:
        self.result = ProbeResult(ok=ok, why="it answers" if ok else "nobody listens", seconds=0.2, observed=observed)
        for _ in range(times):
            self.clock.advance(passed)
            self.seconds += passed
            await self.probing.probe_once(name)

    async def live(self):
        return await self.stores.notices.live()

    async def over(self, fault):
        return await self.probing.over(fault, incident(), self.clock.now())


async def test_a_probe_that_fails_often_enough_opens_one_incident(stores):
    bench = Bench(stores)
    await bench.see(True)
    await bench.see(False)
    assert await bench.live() == ()
    await bench.see(False, times=5, status="refused")
    (live,) = await bench.live()
    assert (live.incident.kind, live.incident.subject) == (SymptomKind.PROBE_FAILED, "probe web")
    assert live.incident.title == "probe web fails: nobody listens"
    (fault,) = live.faults
    assert fault.details == {"observed_status": "refused", "probe": "web", "type": "tcp", "severity": "60"}
    assert fault.count == 1


async def test_single_failures_far_apart_open_nothing(stores):
    bench = Bench(stores)
    for _ in range(5):
        await bench.see(False)
        await bench.see(True, times=2)
    await bench.see(False)
    await bench.see(False, passed=3600)  # the host slept between
    assert await bench.live() == ()


async def test_a_fault_is_over_after_two_successes(stores):
    bench = Bench(stores)
    await bench.see(False, times=2)
    ((fault,),) = [live.faults for live in await bench.live()]
    assert await bench.over(fault) is None
    await bench.see(True)
    assert await bench.over(fault) is None
    await bench.see(True)
    assert (await bench.over(fault)).startswith("probe web succeeds again since ")
    await bench.see(False)
    assert await bench.over(fault) is None


async def test_one_success_ends_nothing(stores):
    bench = Bench(stores)
    await bench.see(False, times=2)
    await bench.see(True)
    await bench.see(False, times=3)
    ((fault,),) = [live.faults for live in await bench.live()]
    assert fault.count == 1


async def test_a_restart_neither_repeats_a_failure_nor_takes_it_for_over(stores):
    bench = Bench(stores)
    await bench.see(False, times=2)
    ((fault,),) = [live.faults for live in await bench.live()]
    bench.probing = bench.made()
    await bench.probing.recall()
    assert await bench.over(fault) is None
    await bench.see(False, times=5)
    ((again,),) = [live.faults for live in await bench.live()]
    assert again.count == 1
    await bench.see(True, times=2)
    assert await bench.over(fault) is not None
    await bench.see(False, times=2)
    assert (await bench.live())[0].faults[0].count == 2


async def test_a_probe_that_is_not_declared_any_more_is_over(stores):
    bench = Bench(stores)
    await bench.see(False, times=2)
    ((fault,),) = [live.faults for live in await bench.live()]
    without = Bench(stores, WEB.model_copy(update={"name": "other"}))
    assert await without.over(fault) == "there is no probe web any more"


@pytest.mark.parametrize(
    ("days", "kind"),
    [
        ("-2.0", SymptomKind.CERTIFICATE_EXPIRED),
        ("3.0", SymptomKind.CERTIFICATE_EXPIRING),
        ("90.0", SymptomKind.PROBE_FAILED),  # it does not verify
        ("", SymptomKind.PROBE_FAILED),  # nobody answers
    ],
)
async def test_a_certificate_probe_says_what_is_wrong(stores, days, kind):
    bench = Bench(stores, CERTIFICATE)
    await bench.see(False, name="cert", **({"days_left": days} if days else {}))
    (live,) = await bench.live()
    assert (live.incident.kind, live.incident.subject) == (kind, "probe cert")


async def test_results_are_kept_as_figures(stores):
    bench = Bench(stores)
    await bench.see(True)
    await bench.see(False)
    points = {
        name: [point.value for point in await stores.metrics.points(name, "web", NOW)]
        for name in ("probe_up", "probe_seconds")
    }
    assert points == {"probe_up": [1, 0], "probe_seconds": [0.2, 0.2]}


async def test_in_maintenance_a_failure_waits_for_its_end(stores):
    local = NOW.astimezone()
    window = Maintenance(
        units=("probe web",),
        start=f"{local:%H:%M}",
        end=f"{local + timedelta(minutes=10):%H:%M}",
    )
    bench = Bench(stores, maintenance=(window,))
    await bench.see(False, times=10)
    assert await bench.live() == ()
    bench.clock.advance(600)
    await bench.see(False)
    assert len(await bench.live()) == 1


@pytest.mark.parametrize("silence", [Silence(unit="probe web"), Silence(rule="web"), Silence(pattern="nobody")])
async def test_a_silenced_failure_is_never_told(stores, silence):
    bench = Bench(stores, silences=(silence,))
    await bench.see(False, times=10)
    assert await bench.live() == ()
    assert [point.value for point in await stores.metrics.points("probe_up", "web", NOW)] == [0] * 10


async def test_at_most_so_many_run_at_once_and_each_again_in_its_time(stores):
    many = [WEB.model_copy(update={"name": f"p{number}", "every_seconds": 0.05}) for number in range(3 * AT_ONCE)]
    bench = Bench(stores, *many)
    running = most = 0
    counted: dict[str, int] = {}
    gate = asyncio.Event()

    async def check(probe, clock):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await gate.wait()
        counted[probe.name] = counted.get(probe.name, 0) + 1
        running -= 1
        return bench.result

    bench.check = check
    bench.probing = bench.made()
    (loop,) = bench.probing.loops().values()
    task = asyncio.create_task(loop())
    async with asyncio.timeout(10):
        while running < AT_ONCE:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)  # by now all of them are due
        gate.set()
        while len(counted) < len(many) or min(counted.values()) < 2:
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert most == AT_ONCE


async def test_a_certificates_end_is_told_by_whoever_saw_it(stores):
    class Sampled:
        async def over(self, fault, incident, now):
            return "by sampling"

    bench = Bench(stores, CERTIFICATE)
    await bench.see(False, name="cert", days_left="-1")
    ((fault,),) = [live.faults for live in await bench.live()]
    asked = clearers(Sampled(), bench.probing)
    assert {SymptomKind.PROBE_FAILED, SymptomKind.DISK_FULL, SymptomKind.CERTIFICATE_EXPIRED} <= set(asked)
    clearer = asked[SymptomKind.CERTIFICATE_EXPIRED]
    of_file = fault.model_copy(update={"about": "certificate /c.pem"})
    assert await clearer.over(fault, incident(state=State.OPEN), NOW) is None
    assert await clearer.over(of_file, incident(), NOW) == "by sampling"
