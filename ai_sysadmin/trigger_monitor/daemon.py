"""Layer 1 at work: follow the journal, confirm failures with systemd, commit what was noticed.

Four loops. The journal's position is committed together with what it came to, so a killed monitor reads on where it
had committed; a failure that was still being confirmed then is found again in systemd's own list.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Protocol

from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.errors import JournalUnavailable, NotFound, SystemdUnavailable, Unavailable
from ai_sysadmin.core.incident import Incident
from ai_sysadmin.core.records import JournalEntry, SymptomKind, Trigger
from ai_sysadmin.core.settings import TriggerMonitor as Settings
from ai_sysadmin.runtime.service import Heartbeat, Loop, backing_off, uninterrupted
from ai_sysadmin.sources import journal
from ai_sysadmin.sources.journal import lost_between, lost_within
from ai_sysadmin.sources.units import Units, UnitStatus
from ai_sysadmin.stores import Cleared, JournalPosition, NoteStore, Noticed, NoticeStore, ServiceNote
from ai_sysadmin.trigger_monitor import rules
from ai_sysadmin.trigger_monitor.bursts import Burst
from ai_sysadmin.trigger_monitor.decide import Window, decide
from ai_sysadmin.trigger_monitor.failures import (
    Candidate,
    confirmed,
    fell_quiet,
    is_overtaken,
    may_clear,
    mended,
    of_failed,
)

log = logging.getLogger(__name__)

SERVICE = "trigger-monitor"

COMMIT_SECONDS = 0.4
RECONCILE_SECONDS = 30.0
RECONCILE_BLIND_SECONDS = 5.0
RECOVERY_SECONDS = 2.0
OVERTAKEN_SECONDS = 0.5
CAUGHT_UP = timedelta(seconds=10)
_PROMISE_SECONDS = 60.0
_ASKED_AT_ONCE = 8


class Follow(Protocol):
    """How the journal is followed; ``sources.journal.follow`` is the real one."""

    def __call__(
        self, position: JournalPosition | None, *, history: timedelta
    ) -> AsyncGenerator[list[JournalEntry], None]: ...


@dataclass
class _Stretch:
    """What was read since the last commit."""

    position: JournalPosition | None = None
    read: int = 0
    lost: int = 0
    suppressed: int = 0
    triggers: list[Trigger] = field(default_factory=list)

    def noticed(self) -> Noticed:
        return Noticed(self.position, self.read, self.lost, self.suppressed, tuple(self.triggers))


class TriggerMonitor:
    """Reads, confirms, commits. All of it may be killed at any moment; nothing is lost and nothing counted twice."""

    def __init__(
        self, host: str, store: NoticeStore, units: Units, clock: Clock, heart: Heartbeat, settings: Settings
    ) -> None:
        self._host = host
        self._store = store
        self._units = units
        self._clock = clock
        self._heart = heart
        self._settings = settings
        self._burst = Burst(settings.burst_count, settings.burst_window_seconds)
        self._follow: Follow = journal.follow
        self._condition: _Condition | None = None
        self._window = Window()
        self._position: JournalPosition | None = None
        self._stretch = _Stretch()
        self._committed_at = 0.0
        self._caught_up = False
        self._candidates: dict[str, tuple[Candidate, float]] = {}
        self._has_candidates = asyncio.Event()
        self._reported: dict[str, str] = {}

    @classmethod
    def build(
        cls,
        *,
        host: str,
        store: NoticeStore,
        units: Units,
        clock: Clock,
        heart: Heartbeat,
        settings: Settings,
        notes: NoteStore | None = None,
        follow: Follow = journal.follow,
    ) -> "TriggerMonitor":
        """Return a monitor; ``notes`` is where it writes what it cannot see, for ``status``."""
        monitor = cls(host, store, units, clock, heart, settings)
        monitor._follow = follow
        monitor._condition = _Condition(notes, clock) if notes else None
        return monitor

    def loops(self) -> Mapping[str, Loop]:
        """Return what runs for ever, by name; each is backed off while what it needs is away."""
        return {
            "journal": partial(backing_off, "journal", self.read_forever),
            "failures": partial(backing_off, "failures", self.confirm_forever, most_seconds=5),
            "units": partial(backing_off, "units", self.reconcile_forever, most_seconds=RECONCILE_BLIND_SECONDS),
            "recoveries": partial(backing_off, "recoveries", self.watch_recoveries),
        }

    # --- the journal

    async def read_forever(self) -> None:
        """Follow the journal from the committed position. Raises: JournalUnavailable, StoreUnavailable."""
        self._stretch = _Stretch()
        self._position = await self._store.position()
        join_within = timedelta(seconds=self._settings.join_within_seconds)
        self._window = Window.seeded(await self._store.unattached(self._clock.now() - join_within), self._burst)
        history = timedelta(hours=self._settings.history_hours)
        try:
            async with aclosing(self._follow(self._position, history=history)) as batches:
                async for batch in batches:
                    with self._heart.within(_PROMISE_SECONDS, "recording what the journal said"):
                        await self._take(batch)
        except JournalUnavailable as error:
            await self._say(journal=str(error))
            raise
        except asyncio.CancelledError:
            with suppress(Unavailable):
                await self._flush()
            raise
        finally:
            self._caught_up = False

    async def _take(self, batch: Sequence[JournalEntry]) -> None:
        now = self._clock.now()
        self._caught_up = not batch or now - batch[-1].at < CAUGHT_UP
        await self._say(journal="")
        if batch:
            decided = decide(batch, self._window, self._host, self._burst, now)
            self._window = decided.window
            self._extend(batch, decided.triggers, decided.suppressed)
            for unit in decided.settled:
                self._candidates.pop(unit, None)
            self._await_confirmation(decided.candidates)
        if self._stretch.triggers or time.monotonic() - self._committed_at >= COMMIT_SECONDS:
            await self._flush()

    def _extend(self, batch: Sequence[JournalEntry], triggers: Sequence[Trigger], suppressed: int) -> None:
        last, stretch = batch[-1], self._stretch
        stretch.read += len(batch)
        stretch.lost += lost_between(self._position, batch[0]) + lost_within(batch)
        stretch.suppressed += suppressed
        stretch.triggers += triggers
        stretch.position = self._position = JournalPosition(
            cursor=last.cursor,
            sequence_id=last.sequence_id,
            sequence=last.sequence,
            updated_at=self._clock.now(),
        )

    async def _flush(self) -> None:
        """Commit what was read. A cancelled commit is waited for: done twice, it would count twice."""
        stretch, self._stretch = self._stretch, _Stretch()
        if stretch.position is not None:
            self._committed_at = time.monotonic()
            await uninterrupted(self._commit(stretch.noticed()))

    async def _commit(self, noticed: Noticed) -> None:
        settings = self._settings
        began = await self._store.commit(
            noticed,
            join_within=timedelta(seconds=settings.join_within_seconds),
            reopen_within=timedelta(seconds=settings.reopen_within_seconds),
        )
        for incident in began:
            _tell(incident)

    # --- units that fail

    def _await_confirmation(self, candidates: Sequence[Candidate]) -> None:
        """Have candidates confirmed once they have been failed for the debounce; it runs from the failure itself."""
        debounce, now = self._settings.debounce_seconds, self._clock.now()
        for candidate in candidates:
            rest = min(max(debounce - (now - candidate.at).total_seconds(), 0.0), debounce)
            self._candidates[candidate.unit] = (candidate, time.monotonic() + rest)
        if self._candidates:
            self._has_candidates.set()

    async def confirm_forever(self) -> None:
        """Ask systemd about each candidate when it has had its time. Raises: StoreUnavailable."""
        while True:
            await self._has_candidates.wait()
            if self._candidates:
                first = min(due for _, due in self._candidates.values())
                await asyncio.sleep(max(0.0, first - time.monotonic()))
                with self._heart.within(_PROMISE_SECONDS, "confirming failed units"):
                    await self._confirm_due()
            else:
                self._has_candidates.clear()

    async def _confirm_due(self) -> None:
        now = time.monotonic()
        due = [candidate for candidate, at in self._candidates.values() if at <= now][:_ASKED_AT_ONCE]
        states = await asyncio.gather(*(self._state(candidate.unit) for candidate in due))
        triggers: list[Trigger] = []
        later: list[Candidate] = []
        for candidate, status in zip(due, states, strict=True):
            if status is not None and is_overtaken(candidate, status):
                later.append(candidate)
            else:
                triggers += confirmed(candidate, status, self._host)
        if triggers:
            await uninterrupted(self._commit(Noticed(position=None, triggers=triggers)))
        self._reported |= {trigger.unit: trigger.details.get("invocation", "") for trigger in triggers}
        for candidate in due:
            if self._candidates.get(candidate.unit, (None, 0))[0] is candidate:
                del self._candidates[candidate.unit]
                if candidate in later:
                    self._candidates[candidate.unit] = (replace(candidate, is_last_word=True), now + OVERTAKEN_SECONDS)

    async def _state(self, unit: str) -> UnitStatus | None:
        """Return a unit's state; none while systemd does not answer."""
        try:
            return await self._units.status(unit)
        except NotFound:
            return UnitStatus(name=unit, load_state="not-found", active_state="inactive")
        except SystemdUnavailable:
            return None

    async def reconcile_forever(self) -> None:
        """Take up what systemd lists as failed and the journal did not tell. Raises: SystemdUnavailable."""
        while True:
            try:
                with self._heart.within(_PROMISE_SECONDS, "listing failed units"):
                    failed = await self._units.failed()
            except SystemdUnavailable as error:
                await self._say(systemd=str(error))
                raise
            await self._say(systemd="")
            self._await_confirmation([each for status in failed for each in self._unreported(status)])
            await asyncio.sleep(RECONCILE_SECONDS if self._caught_up else RECONCILE_BLIND_SECONDS)

    def _unreported(self, status: UnitStatus) -> Sequence[Candidate]:
        if not rules.is_watched(status.name) or status.name in self._candidates:
            return ()
        candidate = of_failed(status, self._clock.now())
        is_known = bool(candidate.invocation) and self._reported.get(status.name) == candidate.invocation
        return () if is_known else (candidate,)

    # --- faults that are gone

    async def watch_recoveries(self) -> None:
        """Clear the incidents whose fault is measured gone. Raises: StoreUnavailable."""
        while True:
            with self._heart.within(_PROMISE_SECONDS, "looking for recoveries"):
                gone = [
                    (incident, each) for incident in await self._store.live() for each in await self._gone(incident)
                ]
                if gone:
                    cleared = tuple(each for _, each in gone)
                    await uninterrupted(self._commit(Noticed(position=None, cleared=cleared)))
            for incident, each in gone:
                fields = {"event": "fault_cleared", "incident_id": incident.id, "unit": each.unit}
                log.info("%s: %s", each.unit, each.why, extra=fields)
            await asyncio.sleep(RECOVERY_SECONDS)

    async def _gone(self, incident: Incident) -> Sequence[Cleared]:
        if may_clear(incident):
            status = await self._state(incident.unit)
            return mended(incident, status, self._clock.now()) if status else ()
        return fell_quiet(incident, self._clock.now()) if self._caught_up else ()

    async def _say(self, **troubles: str) -> None:
        if self._condition is not None:
            await self._condition.say(troubles)


class _Condition:
    """Notes for ``status`` what the monitor cannot see, when that changes."""

    def __init__(self, notes: NoteStore, clock: Clock) -> None:
        self._notes = notes
        self._clock = clock
        self._troubles: dict[str, str] = {}
        self._said: str | None = None

    async def say(self, troubles: Mapping[str, str]) -> None:
        self._troubles |= troubles
        text = "; ".join(filter(None, self._troubles.values()))
        if text == self._said:
            return
        state, words = ("degraded", text) if text else ("ok", "reads the journal and knows the units' states")
        await self._notes.note(ServiceNote(service=SERVICE, state=state, text=words, at=self._clock.now()))
        self._said = text


def _tell(incident: Incident) -> None:
    verb = "reopened" if incident.reopened else "opened"
    level = logging.WARNING if incident.kind is not SymptomKind.SEVERE_LOG else logging.INFO
    fields = {"event": f"incident_{verb}", "incident_id": incident.id, "unit": incident.unit}
    log.log(level, "incident %s: %s", verb, incident.title, extra=fields)
