"""Units watched over a real systemd's bus: the source keeps its contract, and the watch is quick and right."""

import asyncio
import json
import os
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from ai_sysadmin.core.clock import SystemClock
from ai_sysadmin.core.incident import Incident
from ai_sysadmin.core.noticing_settings import TriggerMonitor as Settings
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.runtime.bus import SystemBus
from ai_sysadmin.runtime.service import Heartbeat
from ai_sysadmin.sources.units import SystemdUnits, WatchedUnits
from ai_sysadmin.stores.relational import SqlStores, open_stores
from ai_sysadmin.trigger_monitor.ledger import Ledger
from ai_sysadmin.trigger_monitor.recoveries import Recoveries, UnitClearer
from ai_sysadmin.trigger_monitor.units.watch import UnitWatch
from tests.builders import HOST
from tests.contracts.units_contract import (
    CONTRACT,
    FAILING,
    FLAPPING,
    HANGING,
    NEEDED,
    NEEDING,
    SOCKET,
    SOCKETED,
    STUBBORN,
    Stage,
    Told,
    following,
)
from tests.system.machine import Machine
from tests.system.suite import Suite

SUITE = Suite(start=())
UNITS = {
    FAILING: "[Service]\nExecStart=/bin/false\n",
    STUBBORN: "[Service]\nExecStart=/bin/sh -c 'trap \"exit 143\" TERM; while :; do sleep 0.1; done'\n",
    NEEDED: "[Service]\nType=oneshot\nExecStart=/bin/false\n",
    NEEDING: f"[Unit]\nRequires={NEEDED}\nAfter={NEEDED}\n[Service]\nExecStart=/bin/sleep infinity\n",
    FLAPPING: "[Unit]\nStartLimitBurst=3\nStartLimitIntervalSec=60\n"
    "[Service]\nExecStart=/bin/false\nRestart=always\nRestartSec=100ms\n",
    HANGING: "[Service]\nType=notify\nTimeoutStartSec=infinity\nExecStart=/bin/sleep infinity\n",
    SOCKET: "[Socket]\nListenStream=/run/t-sock\n",
    SOCKETED: "[Service]\nExecStart=/bin/sleep infinity\n",
    "t-fails@.service": "[Service]\nExecStart=/bin/sh -c 'exit 3'\n",
    "t-flaps.service": "[Unit]\nStartLimitIntervalSec=0\n"
    "[Service]\nExecStart=/bin/false\nRestart=always\nRestartSec=100ms\n",
    "t-recycled.service": "[Unit]\nStartLimitIntervalSec=0\n"
    "[Service]\nExecStart=/bin/true\nRestart=always\nRestartSec=100ms\n",
    "t-segv.service": "[Service]\nExecStart=/bin/sh -c 'kill -SEGV $$$$'\n",
}


class Systemd:
    """The machine's own units, driven by its systemctl."""

    def __init__(self, machine: Machine, bus: SystemBus) -> None:
        self.machine = machine
        self.units: WatchedUnits = SystemdUnits(bus)

    async def start(self, unit: str) -> None:
        await asyncio.to_thread(self.machine.systemctl, "start", "--no-block", unit)
        await asyncio.sleep(0.1)

    async def stop(self, unit: str) -> None:
        await asyncio.to_thread(self.machine.systemctl, "stop", unit)

    async def hang_up(self) -> None:
        await asyncio.to_thread(self.machine.run, ["pkill", "-KILL", "-x", "dbus-daemon"])


@pytest.fixture(scope="module")
def machine(suite_machine: Machine) -> Machine:
    for name, text in UNITS.items():
        suite_machine.put(text, f"/etc/systemd/system/{name}")
    suite_machine.systemctl("daemon-reload").ok()
    return suite_machine


@pytest.fixture
async def stage(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    socket = machine.path("/run/dbus/system_bus_socket")
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={socket}")
    machine.systemctl("reset-failed")
    bus = SystemBus()
    yield Systemd(machine, bus)
    bus.close()
    await asyncio.sleep(0)


@pytest.mark.parametrize("part", CONTRACT, ids=lambda part: part.__name__)
async def test_the_real_systemd_keeps_the_contract(stage: Stage, part: Callable[[Stage, Told], Any]) -> None:
    try:
        await following(stage, part)
    finally:
        await asyncio.to_thread(stage.machine.systemctl, "start", "dbus.service")  # type: ignore[attr-defined]


@asynccontextmanager
async def watched(stage: Stage, directory: Path, settings: Settings) -> AsyncIterator[SqlStores]:
    clock, heart = SystemClock(), Heartbeat()
    async with open_stores(directory / "db", HOST, clock) as stores:
        ledger = Ledger(HOST, stores.notices, settings)
        watch = UnitWatch(ledger, stage.units, clock, heart, settings)
        watch.read_until(clock.now())
        clearer = UnitClearer(stage.units, settings, watch.unrest.awake_since)
        recoveries = Recoveries(ledger, dict.fromkeys(clearer.kinds, clearer), clock, heart)
        loops = {**watch.loops(), **recoveries.loops()}
        tasks = [asyncio.create_task(loop()) for loop in loops.values()]
        await asyncio.sleep(0.3)
        try:
            yield stores
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task


async def incident(stores: SqlStores, subject: str, within: float = 10) -> Incident:
    async with asyncio.timeout(within):
        while True:
            for each in await stores.reader.incidents():
                if each.subject == subject:
                    return each
            await asyncio.sleep(0.005)


async def test_a_failure_is_on_record_within_the_debounce_and_a_moment(stage: Systemd, tmp_path: Path) -> None:
    settings = Settings(storm_incidents=1000)
    taken = []
    async with watched(stage, tmp_path, settings) as stores:
        for number in range(12):
            unit = f"t-fails@{number}.service"
            await stage.start(unit)
            found = await incident(stores, unit)
            seen_at = time.time()
            assert found.opened_at == (await stage.units.status(unit)).state_changed_at
            taken.append(seen_at - found.opened_at.timestamp())
    median, most = statistics.median(taken), max(taken)
    print(f"from systemd's failure to the incident: median {median * 1e3:.0f} ms, most {most * 1e3:.0f} ms")
    assert median < settings.debounce_seconds + 0.05


async def test_what_is_wrong_is_told_and_what_was_meant_is_not(stage: Systemd, tmp_path: Path) -> None:
    settings = Settings(stuck_seconds=1, storm_incidents=1000, flap_seconds=60)
    async with watched(stage, tmp_path, settings) as stores:
        await stage.start(STUBBORN)
        await stage.stop(STUBBORN)
        for unit in (NEEDING, FLAPPING, HANGING, "t-segv.service", "t-flaps.service", "t-recycled.service"):
            await stage.start(unit)
        told = (NEEDED, FLAPPING, HANGING, "t-segv.service", "t-flaps.service")
        kinds = {each: (await incident(stores, each)).kind for each in told}
        await asyncio.sleep(1)
        all_told = [each for each in await stores.reader.incidents() if not each.merged_into]
        root = await stores.reader.incident(next(each.id for each in all_told if each.unit == NEEDED))
        for unit in (HANGING, "t-flaps.service", "t-recycled.service"):
            await stage.stop(unit)
    assert kinds == {
        NEEDED: SymptomKind.UNIT_FAILED,
        FLAPPING: SymptomKind.START_LIMIT_HIT,
        HANGING: SymptomKind.STUCK,
        "t-segv.service": SymptomKind.CRASHED,
        "t-flaps.service": SymptomKind.FLAPPING,
    }
    assert {each.unit for each in all_told} == set(kinds)
    assert {each.unit: each.kind for each in root.symptoms} == {
        NEEDED: SymptomKind.UNIT_FAILED,
        NEEDING: SymptomKind.DEPENDENCY_FAILED,
    }


async def test_a_flood_of_signals_is_gathered(stage: Systemd, tmp_path: Path) -> None:
    """Reload three times, with hundreds of units each: batches stay few, and a failure among them is told in time."""
    async with watched(stage, tmp_path, Settings()) as stores:
        before = time.process_time()
        for _ in range(3):
            await asyncio.to_thread(stage.machine.systemctl, "daemon-reload")
        await stage.start(FAILING)
        found = await incident(stores, FAILING)
        spent = time.process_time() - before
    late = time.time() - found.opened_at.timestamp()
    print(f"three reloads and a failure: {spent:.2f} s of CPU, told after {late:.2f} s")
    assert spent < 2


async def test_at_idle_next_to_nothing_is_spent(stage: Systemd, tmp_path: Path) -> None:
    async with watched(stage, tmp_path, Settings()):
        await asyncio.sleep(1)
        before = time.process_time()
        await asyncio.sleep(4)
        spent = (time.process_time() - before) / 4
    print(json.dumps({"idle": spent, "pid": os.getpid()}))
    assert spent < 0.01
