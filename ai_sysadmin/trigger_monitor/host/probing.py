"""Declared probes at work: each in its own time, a few at once; one that fails often enough opens an incident."""

import asyncio
import json
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final, Protocol

from ai_sysadmin.core.clock import Clock, local
from ai_sysadmin.core.errors import Unavailable
from ai_sysadmin.core.incident import Incident
from ai_sysadmin.core.noticing_settings import TriggerMonitor as Settings
from ai_sysadmin.core.probe_settings import CertificateProbe, ProbeSettings
from ai_sysadmin.core.records import Sample, Symptom, Trigger
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.runtime.service import Heartbeat, Loop, backing_off
from ai_sysadmin.sources import probes
from ai_sysadmin.sources.probes import ProbeResult
from ai_sysadmin.stores import Noticed
from ai_sysadmin.stores.metric_store import MetricStore
from ai_sysadmin.trigger_monitor.host import sampling
from ai_sysadmin.trigger_monitor.host.figures import priority_of
from ai_sysadmin.trigger_monitor.ledger import Ledger
from ai_sysadmin.trigger_monitor.quiet import in_maintenance, is_silenced

log = logging.getLogger(__name__)

AT_ONCE: Final = 8
OVER_AFTER: Final = 2
_MEMORY: Final = "probes"
_FIRST_WITHIN_SECONDS: Final = 5.0
_JITTER: Final = 0.05
_PROMISE_SECONDS: Final = 60.0

Check = Callable[[ProbeSettings, Clock], Awaitable[ProbeResult]]


class Clearer(Protocol):
    """Tells when a fault is over."""

    async def over(self, fault: Symptom, incident: Incident, now: datetime) -> str | None: ...


@dataclass
class Standing:
    """How a probe stands. ``bits`` are its last failures, the newest lowest; ``good`` counts successes in a row."""

    probe: ProbeSettings
    bits: int = 0
    good: int = 0
    is_failing: bool = False
    is_told: bool = False
    since: datetime | None = None
    counted_at: float = 0.0

    @property
    def subject(self) -> str:
        return f"probe {self.probe.name}"

    def count(self, ok: bool, now: datetime, ticks: float) -> None:
        """Count one result in; after a gap (the host slept) counting begins again."""
        if ticks - self.counted_at > 3 * self.probe.every_seconds + self.probe.timeout_seconds:
            self.bits = self.good = 0
        self.counted_at = ticks
        self.bits = (self.bits << 1 | (not ok)) & ((1 << self.probe.of) - 1)
        self.good = self.good + 1 if ok else 0
        if self.is_failing and self.good >= OVER_AFTER:
            self.is_failing, self.is_told, self.bits, self.since = False, False, 0, now
        elif not self.is_failing and not ok and self.bits.bit_count() >= self.probe.failures:
            self.is_failing, self.since = True, now


def trigger_of(standing: Standing, result: ProbeResult, host: str, now: datetime) -> Trigger:
    """Return the trigger of a probe that fails."""
    probe = standing.probe
    return Trigger(
        host=host,
        unit=unit_behind(probe),
        about=standing.subject,
        kind=_kind(probe, result),
        template="",
        opens=True,
        at=now,
        priority=priority_of(probe.severity),
        text=result.why,
        why=f"{standing.subject} fails: {result.why}",
        details={
            **{f"observed_{key}": value for key, value in result.observed.items()},
            "probe": probe.name,
            "type": probe.type,
            "severity": str(probe.severity),
        },
    )


def unit_behind(probe: ProbeSettings) -> str:
    """Return the one unit that a probe is of; empty: it names none, several, or a pattern."""
    unit = probe.units[0] if len(probe.units) == 1 else ""
    return "" if any(each in unit for each in "*?[") else unit


def _kind(probe: ProbeSettings, result: ProbeResult) -> SymptomKind:
    """Return how a failure is called: a certificate that was seen has expired, or is about to."""
    try:
        days_left = float(result.observed["days_left"])
    except (KeyError, ValueError):
        return SymptomKind.PROBE_FAILED
    if not isinstance(probe, CertificateProbe):
        return SymptomKind.PROBE_FAILED
    if days_left < 0:
        return SymptomKind.CERTIFICATE_EXPIRED
    return SymptomKind.CERTIFICATE_EXPIRING if days_left < probe.warn_days else SymptomKind.PROBE_FAILED


class Probing:
    """Carries out all declared probes for ever.

    Args:
        check: how a probe is carried out.
        ticks: a clock that only moves forward and also counts sleep.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        metrics: MetricStore,
        clock: Clock,
        heart: Heartbeat,
        check: Check = probes.check,
        ticks: Callable[[], float] = sampling.boot_seconds,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._metrics = metrics
        self._clock = clock
        self._heart = heart
        self._check = check
        self._ticks = ticks
        self._standings = {probe.name: Standing(probe) for probe in settings.probes}
        self._few = asyncio.Semaphore(AT_ONCE)
        self._is_recalled = False

    def loops(self) -> Mapping[str, Loop]:
        """Return what runs for ever, by name; backed off while the store is away."""
        return {"probes": partial(backing_off, "probes", self.probe_forever)}

    async def probe_forever(self) -> None:
        """Carry out each probe in its own time. Raises: StoreUnavailable."""
        if not self._is_recalled:
            await self.recall()
        try:
            async with asyncio.TaskGroup() as group:
                for standing in self._standings.values():
                    group.create_task(self._again_and_again(standing), name=standing.subject)
                await asyncio.Event().wait()
        except BaseExceptionGroup as errors:
            raise _first(errors) from None

    async def recall(self) -> None:
        """Take up which probes were failing when the previous run ended. Raises: StoreUnavailable."""
        memory = await self._ledger.store.memory()
        with suppress(ValueError, TypeError):
            for name in json.loads(memory.get(_MEMORY, "[]")):
                if standing := self._standings.get(name):
                    standing.is_failing = standing.is_told = True
        self._is_recalled = True

    async def _again_and_again(self, standing: Standing) -> None:
        every = standing.probe.every_seconds
        await asyncio.sleep(random.uniform(0, min(every, _FIRST_WITHIN_SECONDS)))  # noqa: S311 — not all at once
        while True:
            began = asyncio.get_running_loop().time()
            await self.probe_once(standing.probe.name)
            took = asyncio.get_running_loop().time() - began
            pause = every * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311
            await asyncio.sleep(max(0.1, pause - took))

    async def probe_once(self, name: str) -> None:
        """Carry out one probe, keep its figures, and commit it when it has come to fail. Raises: StoreUnavailable."""
        standing = self._standings[name]
        async with self._few:
            with self._heart.within(standing.probe.timeout_seconds + _PROMISE_SECONDS, standing.subject):
                result = await self._check(standing.probe, self._clock)
        now = self._clock.now()
        was_failing = standing.is_failing
        standing.count(result.ok, now, self._ticks())
        if standing.is_failing and not standing.is_told and not result.ok:
            await self._tell(trigger_of(standing, result, self._ledger.host, now), standing)
        elif was_failing and not standing.is_failing:
            await self._ledger.commit(Noticed(None, memory=self._memory()))
        figures = [
            Sample("probe_up", float(result.ok), name, "bool"),
            Sample("probe_seconds", result.seconds, name, "seconds"),
        ]
        await self._metrics.write(figures, now)

    async def _tell(self, trigger: Trigger, standing: Standing) -> None:
        """Commit a failure; in maintenance it waits, silenced it is never told."""
        if in_maintenance(self._settings.maintenance, trigger.subject, trigger.at):
            return
        standing.is_told = True
        is_heard = not is_silenced(self._settings.silences, trigger.subject, trigger.why, standing.probe.name)
        try:
            triggers = (trigger,) if is_heard else ()
            await self._ledger.commit(Noticed(None, triggers=triggers, memory=self._memory()))
        except Unavailable:
            standing.is_told = False
            raise

    def _memory(self) -> dict[str, str]:
        return {_MEMORY: json.dumps(sorted(name for name, each in self._standings.items() if each.is_told))}

    async def over(self, fault: Symptom, incident: Incident, now: datetime) -> str | None:
        """Return why a probe's fault is over, in words; none: it still fails, or has not been carried out yet."""
        del incident, now
        name = fault.subject.removeprefix("probe ")
        standing = self._standings.get(name)
        if standing is None:
            return f"there is no probe {name} any more"
        if standing.is_failing or standing.good < OVER_AFTER:
            return None
        return f"{standing.subject} succeeds again" + (f" since {local(standing.since)}" if standing.since else "")


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@dataclass(frozen=True)
class _EitherClearer:
    """Asks whoever measures what the fault is about: certificates are seen by look-ups and by probes."""

    sampling: Clearer
    probing: Clearer

    async def over(self, fault: Symptom, incident: Incident, now: datetime) -> str | None:
        measures = self.probing if fault.subject.startswith("probe ") else self.sampling
        return await measures.over(fault, incident, now)


def clearers(of_sampling: Clearer, of_probing: Clearer) -> Mapping[SymptomKind, Clearer]:
    """Return who tells when a fault is over, for every kind that is found here or in ``sampling``."""
    either = _EitherClearer(of_sampling, of_probing)
    return dict.fromkeys((*sampling.KINDS, SymptomKind.PROBE_FAILED), either)
