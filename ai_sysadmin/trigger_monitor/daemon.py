"""Layer 1 at work: what reads, what samples, what confirms and what clears, put together.

Every part commits through one ledger; what must survive a restart is in the store. So the whole may be killed at any
moment: nothing is lost and nothing counted twice.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from ai_sysadmin.context.redact import Redactor
from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.noticing_settings import TriggerMonitor as Settings
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.runtime.service import Heartbeat, Loop, backing_off
from ai_sysadmin.sources import journal
from ai_sysadmin.sources.journal import SkippedFile
from ai_sysadmin.sources.units import WatchedUnits
from ai_sysadmin.stores import NoteStore, NoticeStore, TemplateStore
from ai_sysadmin.stores.health_store import HealthStore
from ai_sysadmin.stores.metric_store import MetricStore
from ai_sysadmin.trigger_monitor.alerts import Alerts
from ai_sysadmin.trigger_monitor.checks import Checks
from ai_sysadmin.trigger_monitor.condition import Condition
from ai_sysadmin.trigger_monitor.host.no_space import NoSpace
from ai_sysadmin.trigger_monitor.host.probing import Probing, clearers
from ai_sysadmin.trigger_monitor.host.sampling import LookUp, Sampling
from ai_sysadmin.trigger_monitor.ledger import Ledger
from ai_sysadmin.trigger_monitor.lines.decide import Decided
from ai_sysadmin.trigger_monitor.lines.listening import Follow, Listening
from ai_sysadmin.trigger_monitor.lines.recovery import QuietClearer, by_origin
from ai_sysadmin.trigger_monitor.recoveries import Clearer, Recoveries, UnitClearer
from ai_sysadmin.trigger_monitor.spool import Spool, Spooling
from ai_sysadmin.trigger_monitor.units.watch import UnitWatch

_CONFIRMING_SECONDS = 1.0


@dataclass(frozen=True)
class Stores:
    """What the monitor writes and reads.

    ``notes`` is where it says what it cannot see, ``health`` who wants a look; what is noticed while the store is away
    waits in ``spool``, and without one it waits where it came from.
    """

    notices: NoticeStore
    templates: TemplateStore
    metrics: MetricStore
    notes: NoteStore | None = None
    health: HealthStore | None = None
    spool: Spool | None = None


class TriggerMonitor:
    """All parts of layer 1 on one host; ``look_ups`` are the host's own where they are not given.

    ``redactor`` takes the secrets out of all that is kept; without one, it is the one without rules of the operator's.
    """

    def __init__(
        self,
        host: str,
        stores: Stores,
        units: WatchedUnits,
        clock: Clock,
        heart: Heartbeat,
        settings: Settings,
        follow: Follow | None = None,
        look_ups: Sequence[LookUp] | None = None,
        redactor: Redactor | None = None,
    ) -> None:
        self._condition = Condition(stores.notes, clock)
        notices, metrics = stores.notices, stores.metrics
        self._spooling = Spooling(notices, metrics, stores.spool) if stores.spool is not None else None
        if self._spooling is not None:
            notices, metrics = self._spooling.notices, self._spooling.metrics
        self._ledger = ledger = Ledger(host, notices, settings, redactor)
        self._sampling = Sampling(settings, ledger, metrics, clock, heart, look_ups, trouble=self._about_declared)
        self._no_space = NoSpace(clock, self._sampling.wrong)
        ledger.relate(self._no_space.related)
        self._probing = Probing(settings, ledger, metrics, clock, heart)
        self._alerts = Alerts(ledger, clock, heart)
        self._units = UnitWatch(
            ledger,
            units,
            clock,
            heart,
            settings,
            switching=self._sampling.switching,
            generation=self._sampling.generation,
            more_joins=self._no_space.joins,
            trouble=self._about_systemd,
        )
        self._listening = Listening(
            ledger,
            stores.templates,
            clock,
            heart,
            settings,
            self._condition,
            self._heard,
            self._units.read_until,
            follow or partial(journal.follow, on_skip=self._skipped),
        )
        awake_since = self._units.unrest.awake_since
        measured: dict[SymptomKind, Clearer] = {
            **clearers(self._sampling, self._probing),
            **dict.fromkeys(UnitClearer.kinds, UnitClearer(units, settings, awake_since)),
            SymptomKind.ALERT: self._alerts,
        }
        lines = QuietClearer(lambda: self._listening.is_caught_up, awake_since)
        self._probes = tuple(probe.name for probe in settings.probes)
        self._confirmed_within = settings.debounce_seconds + _CONFIRMING_SECONDS
        looks = {"units": self._look_at_units, "the host": self._sampling.tick, "probes": self._look_at_probes}
        self._checks = Checks(stores.health, looks, clock, heart) if stores.health is not None else None
        self._recoveries = Recoveries(ledger, by_origin(lines, measured), clock, heart, self._units.tell_again)
        ledger.on_commit(self._recoveries.look)

    def loops(self) -> Mapping[str, Loop]:
        """Return what runs for ever, by name; each is backed off while what it needs is away."""
        return {
            **{name: partial(backing_off, name, loop) for name, loop in self._listening.loops().items()},
            **self._units.loops(),
            **self._sampling.loops(),
            **self._probing.loops(),
            **self._alerts.loops(),
            **self._recoveries.loops(),
            **(self._checks.loops() if self._checks is not None else {}),
            **(self._spooling.loops(self._ledger.committed_late) if self._spooling is not None else {}),
        }

    async def _look_at_units(self) -> None:
        """Have the units listed, and wait until what is found has been confirmed."""
        self._units.look()
        await asyncio.sleep(self._confirmed_within)

    async def _look_at_probes(self) -> None:
        """Carry out all probes now. Raises: StoreUnavailable."""
        await asyncio.gather(*map(self._probing.probe_once, self._probes))

    def _heard(self, decided: Decided) -> None:
        self._no_space.heard(decided.triggers)
        self._units.heard(decided.said, decided.candidates)

    def _skipped(self, file: SkippedFile) -> None:
        many = "an unknown number of" if file.entries is None else f"up to {file.entries}"
        self._condition.hold(**{f"file {file.path}": f"{file.path} is skipped, with {many} entries: {file.why}"})

    async def _about_declared(self, trouble: str) -> None:
        await self._condition.say(declared=trouble)

    async def _about_systemd(self, trouble: str) -> None:
        await self._condition.say(systemd=trouble)
