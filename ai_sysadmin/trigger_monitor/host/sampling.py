"""The host sampled: every look-up in its own time, its figures kept, faults among them committed.

Quick look-ups run at every tick. Slow ones run apart, each in a task of its own, and are taken in with the next tick;
one that hangs holds up nobody. What this host cannot say is tried again from time to time, and ``unreadable`` says why.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from ai_sysadmin.core.clock import Clock, local
from ai_sysadmin.core.errors import AiSysadminError, Unavailable
from ai_sysadmin.core.incident import Incident
from ai_sysadmin.core.noticing_settings import TriggerMonitor as Settings
from ai_sysadmin.core.records import Sample, Symptom, Trigger
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.runtime.service import Heartbeat, Loop, backing_off
from ai_sysadmin.sources.host import Generations, HostUnreadable, generations
from ai_sysadmin.stores import Noticed
from ai_sysadmin.stores.metric_store import MetricStore
from ai_sysadmin.trigger_monitor.host import baselines, forecast
from ai_sysadmin.trigger_monitor.host.baselines import Baselines
from ai_sysadmin.trigger_monitor.host.forecast import Forecasts
from ai_sysadmin.trigger_monitor.host.look_ups import LookUp, Quick, Slow, of_this_host
from ai_sysadmin.trigger_monitor.host.threshold_table import table
from ai_sysadmin.trigger_monitor.host.thresholds import Thresholds
from ai_sysadmin.trigger_monitor.host.unchanged import Unchanged
from ai_sysadmin.trigger_monitor.ledger import Ledger
from ai_sysadmin.trigger_monitor.quiet import in_maintenance, is_silenced

__all__ = ["LookUp", "Sampling"]

log = logging.getLogger(__name__)

KINDS: Final = frozenset(
    {SymptomKind.DISK_FULL, SymptomKind.INODES_FULL, SymptomKind.DISK_FILLING, SymptomKind.READ_ONLY}
    | {SymptomKind.MEMORY_SHORT, SymptomKind.THRESHOLD, SymptomKind.BACKUP_OVERDUE}
    | {SymptomKind.CERTIFICATE_EXPIRED, SymptomKind.CERTIFICATE_EXPIRING}
)
"""The faults whose end is measured here."""

RETRY_SECONDS: Final = 600.0
REMEMBER_SECONDS: Final = 300.0
REMEMBER_LEARNT_SECONDS: Final = 3600.0
TIDY_SECONDS: Final = 3600.0
BUCKET_SECONDS: Final = 300
COARSE_BUCKET_SECONDS: Final = 3600
SAID_NO_MORE_AFTER: Final = timedelta(minutes=15)
_JUMP_SECONDS: Final = 900.0
_PROMISE_SECONDS: Final = 60.0


def boot_seconds() -> float:
    """Return the seconds since the host started, those asleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


async def _quietly(_: str) -> None:
    return


class Sampling:
    """Samples the host for ever.

    Args:
        look_ups: what is looked up; none: what ``look_ups.of_this_host`` knows.
        ticks: a clock that only moves forward and also counts sleep.
        trouble: is told what of the declared cannot be watched, and an empty sentence when all can.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        metrics: MetricStore,
        clock: Clock,
        heart: Heartbeat,
        look_ups: Sequence[LookUp] | None = None,
        ticks: Callable[[], float] = boot_seconds,
        trouble: Callable[[str], Awaitable[None]] = _quietly,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._metrics = metrics
        self._clock = clock
        self._heart = heart
        self._ticks = ticks
        self._trouble = trouble
        asked = of_this_host(settings, clock) if look_ups is None else look_ups
        self._quick = [each for each in asked if isinstance(each, Quick)]
        self._slow = [each for each in asked if isinstance(each, Slow)]
        rows = table(settings.thresholds, settings.certificate_days)
        self._thresholds = Thresholds(ledger.host, rows, self._is_held_back, self._is_silenced)
        self._forecasts = Forecasts(ledger.host, self._is_quiet)
        self._baselines = Baselines(ledger.host)
        self._disabled = frozenset(each.name for each in settings.thresholds if not each.enabled)
        self._unchanged = Unchanged()
        self._unreadable: dict[str, str] = {}
        self._retry_at: dict[str, float] = {}
        self._arrived: dict[str, tuple[float, Sequence[Sample]]] = {}
        self._pending: list[Trigger] = []
        self._is_recalled = False
        self._remembered_at = self._learnt_at = float("-inf")
        self._generations: tuple[float, Generations | None] = (float("-inf"), None)

    def loops(self) -> Mapping[str, Loop]:
        """Return what runs for ever, by name; each is backed off while what it needs is away."""
        return {
            "samples": partial(backing_off, "samples", self.sample_forever),
            "look-ups": self.look_forever,
            "metrics": partial(backing_off, "metrics", self.tidy_forever),
        }

    @property
    def unreadable(self) -> Mapping[str, str]:
        """What this host cannot say, and why, by look-up."""
        return dict(self._unreadable)

    # --- ticks

    async def sample_forever(self) -> None:
        """Sample at once and then at every tick. Raises: StoreUnavailable."""
        try:
            while True:
                began = time.monotonic()
                with self._heart.within(_PROMISE_SECONDS, "sampling the host"):
                    await self.tick()
                await asyncio.sleep(max(0.1, self._settings.sample_seconds - (time.monotonic() - began)))
        except asyncio.CancelledError:
            with suppress(Unavailable):
                await self.remember()
            raise

    async def tick(self) -> None:
        """Read what is due, commit the faults in it, keep the figures. Raises: StoreUnavailable."""
        if not self._is_recalled:
            await self._recall()
        now, ticks = self._clock.now(), self._ticks()
        arrived, self._arrived = self._arrived, {}
        samples: list[Sample] = []
        for name, every_seconds, found in (*self._read(ticks), *((name, *each) for name, each in arrived.items())):
            samples += found
            self._pending += self._thresholds.take(found, now, ticks, look_up=name, every_seconds=every_seconds)
        if forecast.NAME not in self._disabled:
            self._pending += self._forecasts.take(samples, now)
        if baselines.NAME not in self._disabled:
            self._pending += self._baselines.take(samples, now)
        if self._pending or ticks - self._remembered_at >= REMEMBER_SECONDS:
            await self._commit(ticks)
        await self._metrics.write(self._unchanged.left_out(samples, ticks), now)

    def _read(self, ticks: float) -> Iterator[tuple[str, float, Sequence[Sample]]]:
        for name, look in self._quick:
            if ticks < self._retry_at.get(name, 0.0):
                continue
            try:
                found = look()
            except (AiSysadminError, OSError, ValueError) as error:
                self._retry_at[name] = ticks + RETRY_SECONDS
                self._note(name, str(error))
            else:
                self._note(name, "")
                yield name, self._settings.sample_seconds, found

    async def _commit(self, ticks: float) -> None:
        """Commit what was found together with what must be known of it after a restart."""
        pending, self._pending = self._pending, []
        try:
            await self._ledger.commit(Noticed(None, triggers=pending, memory=self._memory(ticks)))
        except Unavailable:
            self._pending = [*pending, *self._pending]
            raise
        self._remembered_at = ticks

    async def remember(self) -> None:
        """Commit all that the next start has to know. Raises: StoreUnavailable."""
        if self._is_recalled:
            self._learnt_at = float("-inf")
            await self._commit(self._ticks())

    def _memory(self, ticks: float) -> dict[str, str]:
        memory = {"thresholds": self._thresholds.remember(), "forecast": self._forecasts.remember()}
        if ticks - self._learnt_at >= REMEMBER_LEARNT_SECONDS:
            memory["baselines"] = self._baselines.remember()
            self._learnt_at = ticks
        return memory

    async def _recall(self) -> None:
        memory = await self._ledger.store.memory()
        parts = (("thresholds", self._thresholds), ("forecast", self._forecasts), ("baselines", self._baselines))
        for name, part in parts:
            try:
                if memory.get(name):
                    part.recall(memory[name])
            except ValueError as error:
                log.warning("%s; it begins anew", error, extra={"event": "memory_unreadable", "what": name})
        since = self._clock.now() - forecast.WINDOW
        for series in await self._metrics.list():
            if series.name == forecast.METRIC and series.at > since:
                points = await self._metrics.points(series.name, series.about, since, forecast.BUCKET_SECONDS)
                self._forecasts.restore(series.about, [(point.at, point.value) for point in points])
        self._learnt_at = self._ticks()
        self._is_recalled = True

    # --- slow look-ups

    async def look_forever(self) -> None:
        """Do each slow look-up in its own time; the results wait for the next tick."""
        async with asyncio.TaskGroup() as group:
            for each in self._slow:
                group.create_task(self._look_again_and_again(each), name=each.name)
            await asyncio.Event().wait()

    async def _look_again_and_again(self, each: Slow) -> None:
        declared = [slow.name for slow in self._slow if slow.is_declared]
        while True:
            pause = each.every_seconds
            try:
                self._arrived[each.name] = (each.every_seconds, await each.look())
            except (AiSysadminError, OSError, ValueError) as error:
                pause = each.every_seconds if each.is_declared else RETRY_SECONDS
                self._note(each.name, str(error))
            else:
                self._note(each.name, "")
            if each.is_declared:
                with suppress(Unavailable):
                    await self._trouble("; ".join(why for name, why in self._unreadable.items() if name in declared))
            await asyncio.sleep(pause)

    def _note(self, name: str, why: str) -> None:
        if why == self._unreadable.get(name, ""):
            return
        if why:
            fields = {"event": "look_up_unreadable", "what": name}
            log.log(logging.DEBUG if name in self._unreadable else logging.INFO, "%s: %s", name, why, extra=fields)
            self._unreadable[name] = why
        else:
            del self._unreadable[name]
            self._retry_at.pop(name, None)

    # --- figures of the past

    async def tidy_forever(self) -> None:
        """Roll up and forget old figures, once an hour. Raises: StoreUnavailable."""
        ahead, pause = self._ahead(), TIDY_SECONDS / 60
        while True:
            await asyncio.sleep(pause)
            pause = TIDY_SECONDS
            ahead, before = self._ahead(), ahead
            if abs(ahead - before) < _JUMP_SECONDS:  # a clock that has just jumped must not make everything old
                await self.tidy()

    async def tidy(self) -> None:
        """Roll up and forget the figures that are old now. Raises: StoreUnavailable."""
        now, settings = self._clock.now(), self._settings
        await self._metrics.roll_up(now - timedelta(hours=settings.keep_samples_hours), BUCKET_SECONDS)
        await self._metrics.roll_up(now - timedelta(days=settings.keep_five_minutes_days), COARSE_BUCKET_SECONDS)
        await self._metrics.drop(now - timedelta(days=settings.keep_metrics_days))

    def _ahead(self) -> float:
        return self._clock.now().timestamp() - self._ticks()

    # --- what others ask

    async def over(self, fault: Symptom, incident: Incident, now: datetime) -> str | None:
        """Return why a fault of the host is over, in words; none: it is not, or nothing is known of it."""
        del incident
        if fault.details.get("threshold") == forecast.NAME:
            if forecast.NAME in self._disabled:
                return f"the threshold {forecast.NAME} is not watched any more"
            return self._forecasts.over(fault, now)
        if "threshold" in fault.details:
            return self._thresholds.over(fault)
        if now - fault.last_at < SAID_NO_MORE_AFTER or any(self._thresholds.wrong(fault.kind)):
            return None
        return f"nothing more was said of it since {local(fault.last_at)}"

    def wrong(self, kind: SymptomKind) -> Sequence[str]:
        """Return the subjects that a threshold of that kind finds at fault now: the full disks."""
        return tuple(dict.fromkeys(self._thresholds.wrong(kind)))

    def switching(self) -> bool:
        """Tell whether NixOS is being switched to another generation now."""
        found = self._running()
        return found is not None and found.switching

    def generation(self) -> str:
        """Return the number of the NixOS generation that runs; empty: there is none."""
        found = self._running()
        return str(found.number) if found is not None and found.number is not None else ""

    def _running(self) -> Generations | None:
        at, found = self._generations
        if time.monotonic() - at > 1:
            try:
                found = generations()
            except HostUnreadable:
                found = None
            self._generations = (time.monotonic(), found)
        return found

    def _is_held_back(self, unit: str, subject: str, text: str, rule: str) -> bool:
        del text, rule
        windows, now = self._settings.maintenance, self._clock.now()
        return in_maintenance(windows, subject, now) or bool(unit and in_maintenance(windows, unit, now))

    def _is_silenced(self, unit: str, subject: str, text: str, rule: str) -> bool:
        silences = self._settings.silences
        return is_silenced(silences, subject, text, rule) or bool(unit and is_silenced(silences, unit, text, rule))

    def _is_quiet(self, unit: str, subject: str, text: str, rule: str) -> bool:
        return self._is_held_back(unit, subject, text, rule) or self._is_silenced(unit, subject, text, rule)
