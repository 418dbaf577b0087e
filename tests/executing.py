"""An executor in this process, on a systemd in memory: for tests of what becomes of an action."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ai_sysadmin.actions.action import Host, Session
from ai_sysadmin.actions.catalogue import Catalogue, catalogue_of
from ai_sysadmin.core.clock import SystemClock
from ai_sysadmin.core.settings import Autonomy, Executor, Settings
from ai_sysadmin.executor.asking import Asking, Me
from ai_sysadmin.executor.audit import Audit
from ai_sysadmin.executor.daemon import bind
from ai_sysadmin.executor.halt import HaltSwitch
from ai_sysadmin.executor.holds import Hold
from ai_sysadmin.executor.journal import Entry, Journal
from ai_sysadmin.executor.life import Life
from ai_sysadmin.executor.looking import Looking
from ai_sysadmin.executor.server import Server
from ai_sysadmin.executor.stages import Stages
from ai_sysadmin.runtime.service import Heartbeat
from ai_sysadmin.testing.fake_systemd import FakeSystemd
from tests.builders import HOST, UNIT

ROOT = Me(0, "root", "boot1")


class Killed(BaseException):
    """The executor is killed at this point."""


@dataclass
class FakeHolds:
    """Whatever ``hold`` says is in the way of every action."""

    hold: Hold | None = None

    async def look(self, units: Sequence[str], hands_off_seconds: float) -> Hold | None:
        return self.hold


@dataclass
class FakeSessions:
    """``sessions`` are logged in."""

    sessions: tuple[Session, ...] = ()

    async def live(self) -> Sequence[Session]:
        return self.sessions


@dataclass
class FakeInhibitor:
    """Notes for what sleep was held off."""

    reasons: list[str] = field(default_factory=list)
    held_now: int = 0

    @asynccontextmanager
    async def held(self, why: str) -> AsyncIterator[None]:
        self.reasons.append(why)
        self.held_now += 1
        try:
            yield
        finally:
            self.held_now -= 1


def settings_for(autonomy: Autonomy = Autonomy.SUGGEST, **executor: object) -> Settings:
    """Settings whose post-check is short."""
    timing = {"post_check_seconds": 0.05, **executor}
    return Settings(host_name=HOST, autonomy_level=autonomy, executor=Executor(**timing))


@dataclass
class Running:
    """The parts of an executor that runs."""

    asking: Asking
    life: Life
    journal: Journal
    halt: HaltSwitch
    audit: Audit
    server: Server
    holds: FakeHolds
    inhibitor: FakeInhibitor
    tasks: list["asyncio.Task[None]"] = field(default_factory=list)

    def begin(self) -> None:
        """Let what may go on go on."""
        self.tasks += [asyncio.create_task(self.life.run(self.asking)), asyncio.create_task(self.asking.expire())]

    async def ended(self, action_id: str, seconds: float = 5) -> Entry:
        """Wait for an action to end."""
        async with asyncio.timeout(seconds):
            while not (entry := await self.journal.find(action_id)).state.ended:
                await asyncio.sleep(0.01)
            # the end is written to the audit after it can be seen in the journal
            last = max(each.sequence for each in await self.journal.events(self.journal.epoch, 0, 1_000_000, 0))
            while self.audit.told(self.journal.epoch) < last:
                await asyncio.sleep(0.01)
        return entry


@asynccontextmanager
async def executor(
    directory: Path,
    systemd: FakeSystemd,
    settings: Settings | None = None,
    *,
    me: Me = ROOT,
    journal_type: type[Journal] = Journal,
    catalogue: Catalogue | None = None,
    host: Host | None = None,
    sessions: FakeSessions | None = None,
    begins: bool = True,
) -> AsyncIterator[Running]:
    """Run an executor whose journal, audit and kill switch are in a directory; with ``begins`` nothing waits for it."""
    settings = settings or settings_for()
    clock, audit, halt = SystemClock(), Audit(directory), HaltSwitch(directory)
    holds, inhibitor = FakeHolds(), FakeInhibitor()
    journal = journal_type(directory, audit)
    await journal.open()
    stages = Stages(systemd, settings.executor.action_timeout_seconds, settings.executor.output_kilobytes * 1024)
    host = host or Host(settings, systemd, sessions or FakeSessions(), clock)
    looking = Looking(catalogue or catalogue_of(settings), host, holds, journal, halt, me.boot_id)
    life = Life(journal, looking, stages, inhibitor, me.boot_id, Heartbeat())
    asking = Asking(journal, looking, me, life.due)
    server = Server(asking, journal, halt, audit, settings, clock)
    running = Running(asking, life, journal, halt, audit, server, holds, inhibitor)
    if begins:
        running.begin()
    try:
        yield running
    finally:
        for task in running.tasks:
            task.cancel()
        for task in running.tasks:
            with suppress(asyncio.CancelledError, Killed, BaseExceptionGroup):
                await task
        await journal.close()


def failed_unit(**changes: object) -> FakeSystemd:
    """A machine whose one unit has failed."""
    systemd = FakeSystemd(**changes)
    systemd.add(UNIT, active="failed", result="exit-code")
    return systemd


@asynccontextmanager
async def serving(settings: Settings, systemd: FakeSystemd, **changes: object) -> AsyncIterator[Running]:
    """Run an executor on its two sockets."""
    settings.executor.state_dir.mkdir(exist_ok=True)
    async with executor(settings.executor.state_dir, systemd, settings, **changes) as running:
        servers = await running.server.listen(bind(settings, -1))
        try:
            yield running
        finally:
            for server in servers:
                server.close()
