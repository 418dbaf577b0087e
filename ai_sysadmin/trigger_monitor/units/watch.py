"""Watch the units: confirm what the journal, signals or systemd's own list call failed, and commit it with its roots.

Three loops. Whichever of journal and signals is first starts the debounce; at its end systemd itself is asked. Nothing
is polled while signals come, but for a list of failed units once a minute. All of it may be killed at any moment: a
failure that was still being confirmed then is found again in systemd's list, and one run's failure is one, however
often it is committed.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.errors import SystemdUnavailable
from ai_sysadmin.core.noticing_settings import TriggerMonitor as Settings
from ai_sysadmin.core.records import Trigger
from ai_sysadmin.runtime.service import Heartbeat, Loop, backing_off
from ai_sysadmin.sources.unit_changes import UnitChange, UnitChanges
from ai_sysadmin.sources.units import UNSETTLED, Unsettled, WatchedUnits
from ai_sysadmin.stores import Noticed
from ai_sysadmin.trigger_monitor import rules
from ai_sysadmin.trigger_monitor.ledger import Ledger
from ai_sysadmin.trigger_monitor.rules import Said, Says
from ai_sysadmin.trigger_monitor.units import failures
from ai_sysadmin.trigger_monitor.units.asking import Asking
from ai_sysadmin.trigger_monitor.units.confirm import LONG_AGO, Confirming
from ai_sysadmin.trigger_monitor.units.failures import Candidate
from ai_sysadmin.trigger_monitor.units.memory import MOST_UNITS, loaded
from ai_sysadmin.trigger_monitor.units.turbulence import Unrest

MEMORY: Final = "units"
TELL_AGAIN_SECONDS: Final = 180.0
"""Between times that failures are told anew; the store drops what it has."""
RECONCILE_SECONDS: Final = 60.0
RECONCILE_DEAF_SECONDS: Final = 30.0
"""Without signals."""
RECONCILE_BLIND_SECONDS: Final = 5.0
"""Without signals and without the journal."""
RESTLESS_SECONDS: Final = 2.0
"""While the host boots or switches."""

_JOURNAL_LAG = timedelta(seconds=10)
_MARGIN_SECONDS = 0.05
_KEEP_SECONDS = 0.3
_PROMISE_SECONDS = 60.0
_FAR_AHEAD = datetime.max.replace(tzinfo=UTC)


def _never() -> bool:
    return False


def _nothing() -> str:
    return ""


def _nobody(_: str) -> Sequence[str]:
    return ()


async def _quietly(_: str) -> None:
    return


class UnitWatch:
    """Watches, confirms, commits.

    Args:
        switching: whether a NixOS switch runs now; asked often.
        generation: the number of the system's generation, for people; empty: not known.
        more_joins: further subjects whose live incident a unit's failure belongs to.
        trouble: is told why systemd cannot be asked, and an empty sentence when it can.
    """

    def __init__(
        self,
        ledger: Ledger,
        units: WatchedUnits,
        clock: Clock,
        heart: Heartbeat,
        settings: Settings,
        *,
        switching: Callable[[], bool] = _never,
        generation: Callable[[], str] = _nothing,
        more_joins: Callable[[str], Sequence[str]] = _nobody,
        trouble: Callable[[str], Awaitable[None]] = _quietly,
    ) -> None:
        self._ledger = ledger
        self._units = units
        self._clock = clock
        self._heart = heart
        self._settings = settings
        self._trouble = trouble
        self.unrest = Unrest(timedelta(seconds=settings.settle_seconds), switching, generation)
        self._asking = Asking(units)
        self._confirming = Confirming(ledger.host, self._asking, settings, self.unrest, self._commit, more_joins)
        self._loading = asyncio.Lock()
        self._is_loaded = False
        self._broken: set[str] = set()
        self._flaps: dict[str, float] = {}
        self._flaps_told: dict[str, float] = {}
        self._unsettled: dict[str, float] = {}
        self._keep_at: float | None = None
        self._kept = ""
        self._wake = asyncio.Event()
        self._look = asyncio.Event()
        self._hears_signals = False
        self._told_again_at = time.monotonic()

    def loops(self) -> Mapping[str, Loop]:
        """Return what runs for ever, by name; each is backed off while what it needs is away."""
        return {
            "signals": partial(backing_off, "signals", self.follow_forever, most_seconds=RECONCILE_BLIND_SECONDS),
            "failures": partial(backing_off, "failures", self.confirm_forever, most_seconds=RECONCILE_BLIND_SECONDS),
            "units": partial(backing_off, "units", self.reconcile_forever, most_seconds=RECONCILE_BLIND_SECONDS),
        }

    # --- what is heard

    def heard(self, said: Iterable[Said], candidates: Iterable[Candidate] = ()) -> None:
        """Take in what the journal says of units, in order. It may be late: newer word from systemd stands."""
        now = self._clock.now()
        for each in said:
            self._heard(each, now)
        for candidate in candidates:
            self._await(candidate, now)

    def read_until(self, at: datetime | None) -> None:
        """Note how far the journal has been read; none: it cannot be read."""
        self._confirming.read_until = _FAR_AHEAD if at is None else at

    def look(self) -> None:
        """Have the units listed anew, at once."""
        self._look.set()

    def tell_again(self) -> None:
        """Have all that is failed told anew, at once: what it was a symptom of may have ended without it."""
        self._told_again_at = time.monotonic()
        self._confirming.forget()
        self.look()

    def _heard(self, said: Said, now: datetime) -> None:
        match said.what:
            case Says.STOPPING:
                self._confirming.memory.stopped(said.unit, said.at)
                self._keep()
            case Says.UNIT_FAILED:
                if len(self._broken) >= MOST_UNITS:
                    self._broken.clear()
                self._broken.add(said.unit)
            case Says.RESTART_SCHEDULED:
                self._confirming.pending.drop(said.unit, said.at)
                if said.unit in self._broken:  # what ends well and is restarted nevertheless does not flap
                    self._broken.discard(said.unit)
                    self._restarted(said.unit, said.at, told=1)
            case Says.STARTING | Says.STARTED:
                self._confirming.pending.drop(said.unit, said.at)
            case Says.DEPENDENCY:
                number = said.fields.get("JOB_ID") or f"at-{int(said.at.timestamp())}"
                self._await(Candidate(said.unit, said.at, said.text, job=self._job(number)), now)
            case _:
                pass

    async def follow_forever(self) -> None:
        """Follow systemd's signals. Raises: SystemdUnavailable, StoreUnavailable."""
        await self._load()
        try:
            async with aclosing(self._units.changes()) as batches:
                async for batch in batches:
                    self._hears_signals = True
                    self._changed(batch)
        finally:
            self._hears_signals = False
            self.look()

    def _changed(self, batch: UnitChanges) -> None:
        now = self._clock.now()
        if self.unrest.look(now) or batch.is_incomplete:
            self.look()
        if batch.reloaded:
            self._asking.needs.clear()
        for change in batch.units:
            if rules.is_watched(change.unit):
                self._moved(change, now)

    def _moved(self, change: UnitChange, now: datetime) -> None:
        unit, at = change.unit, change.changed_at or now
        if change.restarts:
            self._restarted(unit, at, seen=change.restarts)
        if change.stopped:
            self._confirming.memory.stopped(unit, at)
            self._keep()
        for job in change.jobs:
            if job.result == "dependency":
                self._await(Candidate(unit, now, job=self._job(str(job.id))), now)
        if change.active_state in UNSETTLED:
            self._unsettled.setdefault(unit, time.monotonic() + self._settings.stuck_seconds)
            self._wake.set()
        elif change.active_state:
            self._unsettled.pop(unit, None)
        if change.active_state == "failed":
            self._await(Candidate(unit, at, at_limit=change.failed_restarting), now)
        elif change.active_state:
            self._confirming.pending.drop(unit, at, but_jobs=change.active_state == "inactive")

    def _job(self, number: str) -> str:
        """Name a job so that no other boot's job has its name."""
        return f"{self.unrest.boot.key if self.unrest.boot else 'boot'}-job-{number}"

    def _restarted(self, unit: str, at: datetime, *, told: int = 0, seen: int = 0) -> None:
        restarts = self._confirming.memory.restarted(unit, at, told=told, seen=seen)
        self._keep()
        settings, ticks = self._settings, time.monotonic()
        if restarts.within(settings.flap_seconds, self._clock.now().timestamp()) < settings.flap_restarts:
            return
        if ticks - self._flaps_told.get(unit, -settings.flap_seconds) >= settings.flap_seconds / 2:
            self._flaps.setdefault(unit, ticks + settings.debounce_seconds)
            self._wake.set()

    def _await(self, candidate: Candidate, now: datetime) -> None:
        if self._confirming.add(candidate, now):
            self._wake.set()

    def _keep(self) -> None:
        """Have the memory committed soon."""
        if self._keep_at is None:
            self._keep_at = time.monotonic() + _KEEP_SECONDS
            self._wake.set()

    # --- what is confirmed

    async def confirm_forever(self) -> None:
        """Ask systemd about each candidate when it has had its time. Raises: StoreUnavailable."""
        await self._load()
        while True:
            self._wake.clear()
            with self._heart.within(_PROMISE_SECONDS, "confirming failed units"):
                await self._confirm_due()
            dues = [self._confirming.pending.first(), self._keep_at, *self._flaps.values(), *self._unsettled.values()]
            first = min((due for due in dues if due is not None), default=None)
            await _until(self._wake, None if first is None else first - time.monotonic())

    async def _confirm_due(self) -> None:
        ticks = time.monotonic()
        due = self._confirming.pending.due(ticks)
        if late := [unit for unit, at in self._unsettled.items() if at <= ticks]:
            self._unsettled = {unit: at for unit, at in self._unsettled.items() if unit not in late}
            self.look()
        flaps = [unit for unit, at in self._flaps.items() if at <= ticks]
        now = self._clock.now()
        triggers = [each for unit in flaps for each in await self._confirming.flapping(unit, now)]
        if due:
            triggers += await self._confirming.confirm(due, now)
        if triggers or (self._keep_at is not None and self._keep_at <= ticks):
            await self._commit(triggers)
        self._flaps_told |= dict.fromkeys(flaps, ticks)
        for unit in flaps:
            del self._flaps[unit]

    async def _commit(self, triggers: Sequence[Trigger]) -> None:
        text, keep_at = self._confirming.memory.dump(self.unrest.dump()), self._keep_at
        if triggers or text != self._kept:
            memory = {MEMORY: text} if text != self._kept else {}
            await self._ledger.commit(Noticed(position=None, triggers=triggers, memory=memory))
            self._kept = text
        if self._keep_at == keep_at:
            self._keep_at = None

    # --- what systemd lists

    async def reconcile_forever(self) -> None:
        """Take up what systemd lists and nobody told: failed units, stuck ones. Raises: SystemdUnavailable."""
        await self._load()
        while True:
            self._look.clear()
            try:
                with self._heart.within(_PROMISE_SECONDS, "listing failed units"):
                    await self._reconcile()
            except SystemdUnavailable as error:
                await self._trouble(str(error))
                raise
            await self._trouble("")
            await _until(self._look, self._rest())

    async def _reconcile(self) -> None:
        self.unrest.booted(await self._units.manager())
        failed = await self._units.failed()
        unsettled = await self._units.unsettled()
        now = self._clock.now()
        self.unrest.look(now)
        if time.monotonic() - self._told_again_at >= TELL_AGAIN_SECONDS:
            self._told_again_at = time.monotonic()
            self._confirming.forget()
        self._confirming.release({status.name for status in failed}, now)
        for status in failed:
            self._confirming.add_listed(status, now)
        await self._tell_stuck([each for each in unsettled if rules.is_watched(each.name)], now)

    async def _tell_stuck(self, unsettled: Sequence[Unsettled], now: datetime) -> None:
        if triggers := await self._confirming.stuck(unsettled, now):
            await self._commit(triggers)
            self._confirming.told_stuck(triggers)
        ticks, limit = time.monotonic() + _MARGIN_SECONDS, self._settings.stuck_seconds
        rests = {each.name: failures.first_stuck_in(each, limit) for each in unsettled}
        self._unsettled = {unit: ticks + rest for unit, rest in rests.items() if rest > 0}
        self._flaps_told = {
            unit: at for unit, at in self._flaps_told.items() if at > ticks - self._settings.flap_seconds
        }
        self._wake.set()

    def _rest(self) -> float:
        """Return after how many seconds to list the units again, if nothing calls for it earlier."""
        now = self._clock.now()
        is_blind = (
            not LONG_AGO < self._confirming.read_until < _FAR_AHEAD or now - self._confirming.read_until > _JOURNAL_LAG
        )
        rest = RECONCILE_BLIND_SECONDS if is_blind else RECONCILE_DEAF_SECONDS
        rests = [RECONCILE_SECONDS if self._hears_signals else rest]
        boot = self.unrest.boot
        if self.unrest.is_switching or (boot is not None and boot.ended is None):
            rests.append(RESTLESS_SECONDS)
        for each in self.unrest.all if self._confirming.held else ():
            end = each.settles_at(self.unrest.settle)
            rests += [(end - now).total_seconds()] if end is not None and end > now else []
        return max(0.05, min(rests))

    async def _load(self) -> None:
        """Read the memory of before the restart, once. Raises: StoreUnavailable."""
        async with self._loading:
            if not self._is_loaded:
                kept, unrest = loaded((await self._ledger.store.memory()).get(MEMORY, ""))
                for unit, at in self._confirming.memory.stops.items():  # heard before we came to this
                    kept.stopped(unit, at)
                self._confirming.memory = kept
                self.unrest.load([*unrest, *self.unrest.dump()])
                with suppress(SystemdUnavailable):
                    self.unrest.booted(await self._units.manager())
                self._is_loaded = True


async def _until(event: asyncio.Event, seconds: float | None) -> None:
    """Wait for an event, or until so many seconds have passed."""
    with suppress(TimeoutError):
        async with asyncio.timeout(None if seconds is None else max(0.0, seconds)):
            await event.wait()
