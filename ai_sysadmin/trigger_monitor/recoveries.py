"""Incidents end when all their faults are measured gone. Each kind has its own way to tell; units' are here."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import ClassVar, Final, Protocol

from ai_sysadmin.core.clock import Clock, local
from ai_sysadmin.core.errors import NotFound, SystemdUnavailable
from ai_sysadmin.core.incident import Incident, State
from ai_sysadmin.core.noticing_settings import TriggerMonitor as Settings
from ai_sysadmin.core.records import Symptom
from ai_sysadmin.core.symptom_kinds import UNIT_STATE_KINDS, SymptomKind
from ai_sysadmin.runtime.service import Heartbeat, Loop, backing_off
from ai_sysadmin.sources.units import Units, UnitStatus
from ai_sysadmin.stores import Cleared, Live, Noticed
from ai_sysadmin.trigger_monitor.ledger import Ledger

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 2.0
"""Between looks while there is anything to watch."""
IDLE_SECONDS: Final = 10.0
"""Between looks at the store while there is nothing."""

HOLDS_AFTER: Final = timedelta(seconds=12)
"""A unit that holds for so long without our doing is mended; longer than the executor's own post-check."""
HOLDS_AT_MOST: Final = timedelta(hours=1)

OF_MANY: Final = frozenset({SymptomKind.UNITS_FAILED, SymptomKind.STORM})
"""They are over when all else is."""

_PROMISE_SECONDS = 60.0


class Clearer(Protocol):
    """Tells of its kinds of faults when they are over."""

    async def over(self, fault: Symptom, incident: Incident, now: datetime) -> str | None:
        """Return why a fault is over, in words; none: it is not, or cannot be told. Raises: Unavailable."""
        ...


def _nothing() -> None:
    return


class Recoveries:
    """Clears incidents whose faults are over. ``look`` after a commit has it look at once.

    Args:
        outlived: is called when an incident ends and a unit that its root took down is still at fault.
    """

    def __init__(
        self,
        ledger: Ledger,
        clearers: Mapping[SymptomKind, Clearer],
        clock: Clock,
        heart: Heartbeat,
        outlived: Callable[[], None] = _nothing,
    ) -> None:
        self._ledger = ledger
        self._clearers = clearers
        self._clock = clock
        self._heart = heart
        self._look = asyncio.Event()
        self._last: dict[str, str] = {}
        self._outlived = outlived
        self._is_outlived = False

    def loops(self) -> Mapping[str, Loop]:
        """Return what runs for ever, by name; it is backed off while the store is away."""
        return {"recoveries": partial(backing_off, "recoveries", self.watch_forever)}

    def look(self) -> None:
        """Have the store looked at now: something was committed."""
        self._look.set()

    async def watch_forever(self) -> None:
        """Look for faults that are over, for ever. Raises: StoreUnavailable."""
        while True:
            self._look.clear()
            with self._heart.within(_PROMISE_SECONDS, "looking for recoveries"):
                is_watching = await self._clear_what_is_over()
            if is_watching:
                await asyncio.sleep(LOOK_SECONDS)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(IDLE_SECONDS):
                    await self._look.wait()

    async def _clear_what_is_over(self) -> bool:
        """Clear what is over; tell whether anything is left to watch."""
        live = [each for each in await self._ledger.store.live() if self._is_watched(each)]
        now = self._clock.now()
        whys = [(each, why) for each in live if (why := await self._why_over(each, now)) is not None]
        if whys:
            cleared = tuple(Cleared(each.incident.id, now, why) for each, why in whys)
            await self._ledger.commit(Noticed(position=None, cleared=cleared))
        if self._is_outlived:  # told now that it is on record: before, what is left would count as known
            self._is_outlived = False
            self._outlived()
        for each, why in whys:
            fields = {"event": "fault_cleared", "incident_id": each.incident.id, "unit": each.incident.unit}
            log.info("%s: %s", each.incident.subject, why, extra=fields)
        ids = {each.incident.id for each in live}
        self._last = {key: value for key, value in self._last.items() if key in ids}
        return len(live) > len(whys)

    def _is_watched(self, live: Live) -> bool:
        """Tell whether an incident can end by itself; while the executor acts, it measures that."""
        return (
            live.incident.state is not State.ACTING
            and bool(live.faults)
            and all(fault.kind in self._clearers for fault in _own(live.faults))
        )

    async def _why_over(self, live: Live, now: datetime) -> str | None:
        """Return why all of an incident's faults are over, asking first the one that was not the last time."""
        incident, whys = live.incident, dict[str, str]()
        last = self._last.get(incident.id, "")
        for fault in sorted(_own(live.faults), key=lambda fault: fault.fingerprint != last):
            why = await self._clearers[fault.kind].over(fault, incident, now)
            if why is None:
                self._last[incident.id] = fault.fingerprint
                return await self._why_outlived(live, fault, now)
            whys[fault.subject] = why
        if not whys:
            return "nothing of it is left"
        if len(whys) == 1:
            return next(iter(whys.values()))
        return "; ".join(f"{subject}: {why}" for subject, why in whys.items())[:1000]

    async def _why_outlived(self, live: Live, fault: Symptom, now: datetime) -> str | None:
        """Return why an incident is over although something that its root took down is not: that counts for itself."""
        incident = live.incident
        own = [each for each in _own(live.faults) if each.subject == incident.subject]
        if fault in own or fault.kind not in UNIT_STATE_KINDS or not own:
            return None
        whys = [await self._clearers[each.kind].over(each, incident, now) for each in own]
        if not all(whys):
            return None
        self._is_outlived = True
        return f"{whys[0]}; {fault.subject} is not, and counts for itself"


def _own(faults: Sequence[Symptom]) -> list[Symptom]:
    return [fault for fault in faults if fault.kind not in OF_MANY]


# --- units


def _never() -> datetime | None:
    return None


class UnitClearer:
    """Tells when a unit's fault is over: it holds again, for longer the oftener it came back.

    Args:
        awake_since: when this machine last woke; what a unit did while everything slept proves nothing.
    """

    kinds: ClassVar = UNIT_STATE_KINDS - OF_MANY

    def __init__(self, units: Units, settings: Settings, awake_since: Callable[[], datetime | None] = _never) -> None:
        self._units = units
        self._restless = timedelta(seconds=settings.flap_seconds / 2)
        self._awake_since = awake_since

    async def over(self, fault: Symptom, incident: Incident, now: datetime) -> str | None:
        """Return why a unit's fault is over; none also while systemd does not answer."""
        try:
            status = await self._units.status(fault.unit)
        except NotFound:
            return "there is no such unit any more"
        except SystemdUnavailable:
            return None
        hold = self._restless if fault.kind in {SymptomKind.FLAPPING, SymptomKind.STUCK} else holds_after(incident)
        return why_over(fault, status, hold, now, self._awake_since())


def holds_after(incident: Incident) -> timedelta:
    """Return for how long a unit must hold: twice as long each time that it came back."""
    return min(HOLDS_AFTER * (1 << min(incident.reopened, 16)), HOLDS_AT_MOST)


def why_over(
    fault: Symptom, status: UnitStatus, hold: timedelta, now: datetime, awake_since: datetime | None = None
) -> str | None:
    """Return why a unit's fault is over, by its state; none: it is not."""
    if status.load_state == "not-found":
        return "there is no such unit any more"
    if status.active_state == "active":
        # a unit stays active through a reload, however long that was stuck
        is_stuck = fault.kind is SymptomKind.STUCK
        since, how = status.state_changed_at if is_stuck else status.active_enter_at, "active again"
    elif status.active_state == "inactive" and status.result in {"success", ""} and _may_rest(fault, status):
        since, how = status.state_changed_at, "not failed any more (inactive)"
    else:
        return None
    held_since = max(each for each in (since or fault.last_at, awake_since) if each is not None)
    if now - held_since < hold:
        return None
    moment = f" since {local(since)}" if since else ""
    return f"{how}{moment}, not by an action of this suite"


def _may_rest(fault: Symptom, status: UnitStatus) -> bool:
    """Tell whether being inactive is well: not for a service that was never started because another failed."""
    if fault.kind is not SymptomKind.DEPENDENCY_FAILED or not fault.unit.endswith((".service", ".mount", ".socket")):
        return True
    return status.inactive_exit_at is not None and status.inactive_exit_at > fault.last_at
