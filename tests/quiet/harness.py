"""Layer 1 on simulated days: its own loops, in simulated time, on a real store.

The journal's reader is handed the entries when their time has come; systemd's answers are those of the simulated week.
A boot ends the monitor and starts it anew from what it had committed.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Final

from ai_sysadmin.core.incident import Incident
from ai_sysadmin.core.noticing_settings import TriggerMonitor as Settings
from ai_sysadmin.core.records import JournalEntry, Symptom
from ai_sysadmin.runtime.service import Heartbeat
from ai_sysadmin.stores import JournalPosition, Live, Noticed, NoticeStore, Placing
from ai_sysadmin.stores.opinion_store import Alert
from ai_sysadmin.stores.relational import SqlStores, open_stores
from ai_sysadmin.trigger_monitor import recoveries
from ai_sysadmin.trigger_monitor.condition import Condition
from ai_sysadmin.trigger_monitor.ledger import Ledger
from ai_sysadmin.trigger_monitor.lines import listening
from ai_sysadmin.trigger_monitor.lines.decide import Decided
from ai_sysadmin.trigger_monitor.lines.listening import Listening
from ai_sysadmin.trigger_monitor.lines.recovery import QuietClearer, by_origin
from ai_sysadmin.trigger_monitor.recoveries import Recoveries, UnitClearer
from ai_sysadmin.trigger_monitor.units.watch import UnitWatch
from tests.quiet.days import Fault, days
from tests.quiet.plan import START, Profile
from tests.quiet.simulated_time import SimulatedClock, run_simulated
from tests.quiet.units import FROZEN, SimulatedUnits, states

HOST: Final = "myhost"
SETTINGS: Final = Settings()
SLOT: Final = timedelta(seconds=0.5)
"""Entries within so long come as one batch."""

QUIET_SECONDS: Final = 9.0
"""A journal that says nothing is heard of so often."""


@dataclass
class Counts:
    """A store in front of the real one that counts what is committed, by day."""

    store: NoticeStore
    triggers: dict[date, Counter[str]] = field(default_factory=dict)
    templates: Counter[date] = field(default_factory=Counter)
    _known: set[str] = field(default_factory=set)

    async def commit(self, noticed: Noticed, placing: Placing) -> Sequence[Incident]:
        for trigger in noticed.triggers:
            kind = f"{trigger.kind.value}{'' if trigger.opens else ' (supports)'}"
            self.triggers.setdefault(trigger.at.date(), Counter())[kind] += 1
        for template in noticed.templates:
            if template.id not in self._known:
                self.templates[template.first_at.date()] += 1
                self._known.add(template.id)
        return await self.store.commit(noticed, placing)

    async def position(self) -> JournalPosition | None:
        return await self.store.position()

    async def unattached(self, since: datetime) -> Sequence[Symptom]:
        return await self.store.unattached(since)

    async def live(self) -> Sequence[Live]:
        return await self.store.live()

    async def memory(self) -> Mapping[str, str]:
        return await self.store.memory()

    async def alerts(self) -> Sequence[tuple[int, Alert]]:
        return await self.store.alerts()


@dataclass
class Week:
    """What simulated days came to, by day. ``incidents`` are the oldest first, those merged into others left out."""

    entries: Counter[date] = field(default_factory=Counter)
    templates: Mapping[date, int] = field(default_factory=dict)
    triggers: Mapping[date, Counter[str]] = field(default_factory=dict)
    incidents: tuple[Incident, ...] = ()
    unrests: tuple[tuple[str, datetime, datetime], ...] = ()

    def opened(self) -> Counter[date]:
        return Counter(each.opened_at.date() for each in self.incidents)

    def of_unrest(self) -> list[tuple[str, str]]:
        """Return the incidents that opened in a boot, a resume or a switch, or before it had settled."""
        settle = timedelta(seconds=SETTINGS.settle_seconds + 10)
        return [
            (kind, each.title)
            for each in self.incidents
            for kind, begin, end in self.unrests
            if begin <= each.opened_at <= end + settle
        ]


@dataclass
class SimulatedJournal:
    """The journal of a simulated week, boot after boot; its ``follow`` is as ``sources.journal.follow``."""

    clock: SimulatedClock
    units: SimulatedUnits
    batches: Iterator[list[JournalEntry]]
    read: Counter[date] = field(default_factory=Counter)
    is_switching: bool = False
    is_over: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set at the end of a boot."""
    _next: list[JournalEntry] = field(default_factory=list)

    def begin_boot(self) -> None:
        """Switch the machine on, if it is not; the first batch of the boot is next."""
        self.ended.clear()
        self.is_switching = False
        self.clock.slept = 0.0 if not self._next else self.clock.slept
        if self._next:
            self.clock.off += max(0.0, (self._next[0].at - self.clock.now()).total_seconds())

    async def follow(
        self, position: JournalPosition | None, *, history: timedelta
    ) -> AsyncGenerator[list[JournalEntry], None]:
        """Yield one boot's entries as their time comes, then nothing for ever."""
        del position, history
        boot = ""
        while batch := self._next or next(self.batches, []):
            self._next = []
            if boot and batch[0].boot_id != boot:
                self._next = batch
                break
            boot = batch[0].boot_id
            while (rest := self._rest_until(batch)) > 0:
                await asyncio.sleep(min(rest, QUIET_SECONDS))
                if rest > QUIET_SECONDS:
                    yield []
            self._passed(batch)
            yield batch
        self.is_over = not self._next
        await asyncio.sleep(60)
        self.ended.set()
        await asyncio.Event().wait()

    def _rest_until(self, batch: Sequence[JournalEntry]) -> float:
        for entry in batch:
            if entry.transport == "kernel" and entry.message == FROZEN:
                fell, woke = next(each for each in self.units.timeline.sleeps if each[1] == entry.at)
                if self.clock.now() < woke:
                    self.clock.slept += max(0.0, (woke - max(fell, self.clock.now())).total_seconds())
        return (batch[-1].at - self.clock.now()).total_seconds()

    def _passed(self, batch: Sequence[JournalEntry]) -> None:
        self.read[batch[-1].at.date()] += len(batch)
        for entry in batch:
            if entry.identifier == "nixos":
                self.is_switching = entry.message.startswith("switching")


def layer1(
    stores: SqlStores, counts: Counts, units: SimulatedUnits, journal: SimulatedJournal, clock: SimulatedClock
) -> list[Awaitable[None]]:
    """Return layer 1's loops over a simulated machine, put together as the trigger monitor does it."""
    heart = Heartbeat()
    ledger = Ledger(HOST, counts, SETTINGS)
    watch = UnitWatch(ledger, units, clock, heart, SETTINGS, switching=lambda: journal.is_switching)
    watch.unrest.asleep = lambda: clock.slept

    def heard(decided: Decided) -> None:
        watch.heard(decided.said, decided.candidates)

    reader = Listening(
        ledger,
        stores.templates,
        clock,
        heart,
        SETTINGS,
        Condition(None, clock),
        heard,
        watch.read_until,
        journal.follow,
    )
    awake_since = watch.unrest.awake_since
    of_lines, of_units = QuietClearer(lambda: True, awake_since), UnitClearer(units, SETTINGS, awake_since)
    ends = Recoveries(ledger, by_origin(of_lines, dict.fromkeys(UnitClearer.kinds, of_units)), clock, heart)
    ledger.on_commit(ends.look)
    loops = {**reader.loops(), **watch.loops(), **ends.loops()}
    return [loop() for loop in loops.values()]


def week(
    path: Path, profile: Profile, seed: int, scale: float = 1.0, faults: Sequence[Fault] = (), number: int = 7
) -> Week:
    """Run layer 1 on a store in ``path`` through so many days, after one day of history that it learns from."""

    async def lived(clock: SimulatedClock) -> Week:
        units = states(profile, seed, clock, number + 1, scale, faults)
        journal = SimulatedJournal(clock, units, batched(days(profile, seed, number + 1, scale, faults)))
        async with open_stores(path, HOST, clock) as stores:
            counts = Counts(stores.notices)
            while not journal.is_over:
                journal.begin_boot()
                await _until_set(journal.ended, layer1(stores, counts, units, journal, clock))
            incidents = [each for each in await stores.reader.incidents(limit=1000) if not each.merged_into]
        incidents.sort(key=lambda each: each.opened_at)
        return Week(journal.read, counts.templates, counts.triggers, tuple(incidents), tuple(_unrests(units)))

    with _seldom():
        return run_simulated(START + timedelta(days=1), lived)


@contextmanager
def _seldom() -> Iterator[None]:
    """Have the loops look for nothing in particular less often: a commit wakes them anyway, and a week is long."""
    named = {
        listening: {"COMMIT_SECONDS": 120.0, "OPINION_SECONDS": 7200.0},
        recoveries: {"IDLE_SECONDS": 3600.0},
    }
    kept = {module: {name: vars(module)[name] for name in names} for module, names in named.items()}
    try:
        for module, names in named.items():
            vars(module).update(names)
        yield
    finally:
        for module, values in kept.items():
            vars(module).update(values)


async def _until_set(event: asyncio.Event, loops: Sequence[Awaitable[None]]) -> None:
    """Run loops until an event is set; what one of them raises is raised."""
    over = asyncio.create_task(event.wait())
    tasks = [asyncio.ensure_future(loop) for loop in loops]
    await asyncio.wait([over, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in (over, *tasks):
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task


def batched(entries: Iterable[JournalEntry]) -> Iterator[list[JournalEntry]]:
    """Yield entries in batches as the journal's reader would: what comes within a slot, never across a boot."""
    batch: list[JournalEntry] = []
    for entry in entries:
        if batch and (entry.at - batch[0].at > SLOT or entry.boot_id != batch[0].boot_id):
            yield batch
            batch = []
        batch.append(entry)
    if batch:
        yield batch


def _unrests(units: SimulatedUnits) -> Iterator[tuple[str, datetime, datetime]]:
    timeline = units.timeline
    for began, finished in timeline.boots:
        yield "boot", began, finished or began
    for _, woke in timeline.sleeps:
        yield "resume", woke, woke
    for began, ended in timeline.switches:
        yield "switch", began, ended
