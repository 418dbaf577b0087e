"""A whole host in this process for the matrix: an executor on a systemd in memory, the stores, the courier."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ai_sysadmin.actions.action import Host
from ai_sysadmin.actions.client import ExecutorClient
from ai_sysadmin.actions.courier import follow_forever, submit_forever
from ai_sysadmin.actions.protocol import ActionFacts
from ai_sysadmin.core.clock import SystemClock
from ai_sysadmin.core.errors import ExecutorUnavailable
from ai_sysadmin.core.policy_settings import Breakers, Policy
from ai_sysadmin.core.settings import Api, Autonomy, Executor, Settings, TriggerMonitor
from ai_sysadmin.runtime.service import Heartbeat
from ai_sysadmin.stores.relational import SqlStores, open_stores
from ai_sysadmin.testing.fake_systemd import FakeSystemd
from tests.builders import HOST
from tests.executing import FakeSessions, Running, serving
from tests.matrix.cells import ALONE, ASKED, FAILING, PROBES, RECORDED, TRUE, Cell, declared
from tests.services.api_harness import free_port

KEY = "sk-phone"
_BECAME = {"pending": ASKED, "recorded": RECORDED, "refused": "refused"}


@dataclass
class MatrixHost:
    """What a door needs to bring a proposal in, and what came of the proposals."""

    settings: Settings
    stores: SqlStores
    systemd: FakeSystemd
    running: Running
    propose: ExecutorClient
    operate: ExecutorClient

    async def settled(self, many: int, seconds: float = 20) -> dict[str, ActionFacts]:
        """Wait until so many actions have ended or wait for a person; return them by the unit that they are about."""
        async with asyncio.timeout(seconds):
            while True:
                actions = await self.operate.list()
                if len(actions) >= many and all(each.state == "pending" or each.state.ended for each in actions):
                    return {f"{each.arguments['unit'].removesuffix('.service')}.service": each for each in actions}
                await asyncio.sleep(0.05)

    async def became(self, facts: ActionFacts) -> str:
        """Say what became of a proposal without a person, as the table says it."""
        entry = await self.running.journal.find(facts.id)
        if entry.started_at is not None and entry.approval is None:
            return ALONE
        return _BECAME[entry.state.value]

    def ran(self, unit: str) -> list[str]:
        """Return what was done to a unit, as systemd saw it."""
        return [each for each in self.systemd.starts if each.endswith(f" {unit}")]


@asynccontextmanager
async def matrix_host(
    directory: Path, level: str, cells: Iterable[Cell], policy: Policy | None = None
) -> AsyncIterator[MatrixHost]:
    """Run a host on which every cell's unit is in its condition."""
    systemd = FakeSystemd(programs={TRUE: lambda _argv: (0, "")})
    for cell in cells:
        cell.prepare(systemd)
    settings = settings_for(directory, level)
    settings = settings.model_copy(update={"policy": policy}) if policy else settings
    began = {unit: status.invocation for unit, status in systemd.units.items()}

    async def probe(name: str) -> str | None:
        """A probe fails until its unit was started anew."""
        unit = f"{name}.service"
        untouched = unit in FAILING and systemd.units[unit].invocation == began[unit]
        return "connection refused" if untouched else None

    host = Host(settings, systemd, FakeSessions(), SystemClock(), probe=probe)
    async with (
        serving(settings, systemd, host=host) as running,
        open_stores(settings.store_place, HOST) as stores,
        _courier(stores, settings),
    ):
        propose, operate = ExecutorClient(settings.propose_socket), ExecutorClient(settings.operate_socket)
        await operate.register_key("k22222", "phone", hashlib.sha256(KEY.encode()).hexdigest())
        yield MatrixHost(settings, stores, systemd, running, propose, operate)


def settings_for(directory: Path, level: str) -> Settings:
    """Settings that let the table alone decide: breakers that never open, a short post-check."""
    return Settings(
        host_name=HOST,
        autonomy_level=Autonomy(level),
        state_dir=directory,
        runtime_dir=directory / "run",
        operators=("root",),
        executor=Executor(post_check_seconds=0.05, state_dir=directory / "executor"),
        policy=Policy(breakers=Breakers(per_unit=1000, all_units=1000, back_off_seconds=0.001)),
        trigger_monitor=TriggerMonitor(probes=PROBES),
        actions=declared(),
        api=Api(port=free_port(), requests_per_minute=100_000, concurrent_answers=1000),
    )


@asynccontextmanager
async def _courier(stores: SqlStores, settings: Settings) -> AsyncIterator[None]:
    client = ExecutorClient(settings.propose_socket)

    async def carry() -> None:
        while True:
            with suppress(ExecutorUnavailable):
                await submit_forever(stores.outbox, client, SystemClock(), Heartbeat())

    tasks = [
        asyncio.create_task(carry()),
        asyncio.create_task(follow_forever(stores.outbox, client, Heartbeat())),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
