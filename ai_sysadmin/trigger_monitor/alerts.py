"""What other systems' alerts come to: a fault that opens when an alert fires, and is over when it is resolved.

alerts that wait in the store → triggers and the set of those that fire → one commit, which takes them off
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final, TypeVar

from pydantic import AwareDatetime, Field, TypeAdapter, ValidationError

from ai_sysadmin.context.defuse import one_line
from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.incident import Incident
from ai_sysadmin.core.records import Record, Symptom, Trigger, UnitName
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.runtime.service import Heartbeat, Loop, backing_off
from ai_sysadmin.stores import Noticed
from ai_sysadmin.stores.opinion_store import Alert
from ai_sysadmin.trigger_monitor.ledger import Ledger

log = logging.getLogger(__name__)

T = TypeVar("T")

MEMORY: Final = "alerts"
POLL_SECONDS: Final = 2.0
MOST_REMEMBERED: Final = 1000
"""So many alerts are remembered as firing, and as many as ended: the ones heard of last."""
AFTER_ITS_END: Final = timedelta(minutes=5)
FORGOTTEN_AFTER: Final = timedelta(days=7)
"""An alert that is neither repeated nor resolved for so long is over: whoever sent it does not say when it ends."""
OPENS_AGAIN_AFTER: Final = timedelta(days=1)
"""A repeated alert only counts; one that fires for so long is told again, should nothing be open for it."""

_PRIORITIES: Final[Mapping[str, int]] = {
    "emergency": 2, "disaster": 2, "critical": 2, "crit": 2, "page": 2, "fatal": 2,
    "high": 3, "error": 3, "major": 3, "severe": 3,
    "warning": 4, "warn": 4, "minor": 4, "average": 4,
    "low": 5, "notice": 5, "info": 6, "information": 6, "informational": 6, "none": 7, "debug": 7,
}  # fmt: skip
_UNSAID: Final = 4
_TELLS_ONLY: Final = 6
_SUMMARIES: Final = ("summary", "message", "title", "description")
_UNIT_LABELS: Final = ("unit", "systemd_unit", "name")
_HERE: Final = frozenset({"", "localhost", "127.0.0.1", "::1", "[::1]"})
_UNIT: Final[TypeAdapter[str]] = TypeAdapter(UnitName)
_CLEARED_BY_RESOLUTION: Final = "whoever sent the alert says that it is resolved"


class Firing(Record):
    """An alert that fires: since when, when it last opened something, when it was last heard of."""

    starts_at: AwareDatetime
    opened_at: AwareDatetime
    heard_at: AwareDatetime
    ends_at: AwareDatetime | None = None


class Known(Record):
    """The alerts that fire, and the moments at which others were resolved, by their sender's fingerprint."""

    firing: dict[str, Firing] = Field(default_factory=dict)
    resolved: dict[str, AwareDatetime] = Field(default_factory=dict)


# --- decided. Pure


def take(known: Known, host: str, alerts: Sequence[Alert], now: datetime) -> tuple[Known, tuple[Trigger, ...]]:
    """Return what is known after alerts came in, and the triggers that they make."""
    firing, resolved, triggers = dict(known.firing), dict(known.resolved), []
    for alert in alerts:
        before = firing.pop(alert.fingerprint, None)
        if alert.status == "resolved":
            resolved.pop(alert.fingerprint, None)
            resolved[alert.fingerprint] = now
            continue
        resolved.pop(alert.fingerprint, None)
        repeated = before if before is not None and _is_repeated(before, alert, now) else None
        opened_at = repeated.opened_at if repeated else now
        firing[alert.fingerprint] = Firing(
            starts_at=alert.starts_at, opened_at=opened_at, heard_at=now, ends_at=alert.ends_at
        )
        triggers.append(trigger_of(alert, host, now, is_new=repeated is None))
    return Known(firing=_newest(firing), resolved=_newest(resolved)), tuple(triggers)


def _is_repeated(before: Firing, alert: Alert, now: datetime) -> bool:
    return (
        before.starts_at == alert.starts_at
        and not _has_lapsed(before, now)
        and now - before.opened_at < OPENS_AGAIN_AFTER
    )


def _has_lapsed(firing: Firing, now: datetime) -> bool:
    return firing.ends_at is not None and now - firing.ends_at > AFTER_ITS_END


def _newest(entries: dict[str, T]) -> dict[str, T]:
    return dict(list(entries.items())[-MOST_REMEMBERED:])


def trigger_of(alert: Alert, host: str, now: datetime, *, is_new: bool = True) -> Trigger:
    """Return the trigger that a firing alert makes; one that is only informative, or repeated, opens nothing."""
    priority = _PRIORITIES.get(alert.labels.get("severity", "").strip().lower(), _UNSAID)
    name = one_line(alert.labels.get("alertname", ""), 100) or "without a name"
    instance = one_line(alert.labels.get("instance", ""), 100)
    unit = unit_of(alert.labels, host)
    said = (one_line(alert.annotations.get(key, ""), 300) for key in _SUMMARIES)
    return Trigger(
        host=host,
        unit=unit,
        about=f"alert {name} on {instance}" if instance else f"alert {name}",
        kind=SymptomKind.ALERT,
        template=alert.fingerprint,
        opens=is_new and priority < _TELLS_ONLY,
        at=now,
        priority=priority,
        text=one_line(alert.annotations.get("description", ""), 500),
        why=next(filter(None, said), f"the alert {name} fires"),
        details=_details(alert),
        joins=(unit,) if unit else (),
    )


def _details(alert: Alert) -> dict[str, str]:
    said = {
        "alert": alert.fingerprint,
        "group_key": one_line(alert.group_key, 200),
        "severity": one_line(alert.labels.get("severity", ""), 40),
        "instance": one_line(alert.labels.get("instance", ""), 100),
        "job": one_line(alert.labels.get("job", ""), 100),
        "starts_at": alert.starts_at.isoformat(timespec="seconds"),
    }
    return {name: value for name, value in said.items() if value}


def unit_of(labels: Mapping[str, str], host: str) -> str:
    """Return the service of this host that an alert is about; empty: it names none, or another host's."""
    if not is_here(labels.get("instance", ""), host):
        return ""
    named = (labels.get(label, "") for label in _UNIT_LABELS)
    return next((name for name in named if name.endswith(".service") and _is_unit(name)), "")


def is_here(instance: str, host: str) -> bool:
    """Tell whether an ``instance`` label (a name or address, with or without a port) is this host, or says nothing."""
    name = instance.strip().lower()
    head, colon, port = name.rpartition(":")
    if colon and port.isdecimal() and (":" not in head or head.endswith("]")):
        name = head
    return name in _HERE or name == host.lower() or name.split(".")[0] == host.lower().split(".")[0]


def _is_unit(name: str) -> bool:
    try:
        _UNIT.validate_python(name)
    except ValidationError:
        return False
    return True


def why_over(known: Known, fault: Symptom, now: datetime) -> str | None:
    """Say why an alert's fault is over; none: it is not, as far as is known."""
    name = fault.details.get("alert", "")
    firing = known.firing.get(name)
    if firing is None and name in known.resolved:
        return _CLEARED_BY_RESOLUTION
    if firing is not None and firing.ends_at is not None and _has_lapsed(firing, now):
        return f"the alert was to last until {firing.ends_at.isoformat(timespec='seconds')}, and was not renewed"
    heard_at = firing.heard_at if firing is not None else fault.last_at
    if now - heard_at > FORGOTTEN_AFTER:
        return f"the alert was not repeated for {FORGOTTEN_AFTER.days} days"
    return None


def remembered(text: str) -> Known:
    """Read what was known before a restart; what another version wrote counts as nothing."""
    try:
        return Known.model_validate_json(text) if text else Known()
    except ValidationError:
        log.warning("the alerts that fired before are not known any more", extra={"event": "memory_lost"})
        return Known()


# --- done


class Alerts:
    """Takes in the alerts that wait in the store; a ``Clearer`` of their faults."""

    def __init__(self, ledger: Ledger, clock: Clock, heart: Heartbeat) -> None:
        self._ledger = ledger
        self._clock = clock
        self._heart = heart
        self._known: Known | None = None

    def loops(self) -> Mapping[str, Loop]:
        return {"alerts": partial(backing_off, "alerts", self.take_forever)}

    async def take_forever(self) -> None:
        """Take alerts in as they come. Raises: StoreUnavailable."""
        while True:
            if not await self.take_next():
                await asyncio.sleep(POLL_SECONDS)

    async def take_next(self) -> bool:
        """Take in what waits; tell whether there was anything. Raises: StoreUnavailable."""
        with self._heart.within(60, "taking alerts in"):
            waiting = await self._ledger.store.alerts()
            if not waiting:
                return False
            before = await self._read()
            alerts = [alert for _, alert in waiting]
            known, triggers = take(before, self._ledger.host, alerts, self._clock.now())
            memory = {MEMORY: known.model_dump_json()}
            taken = [number for number, _ in waiting]
            await self._ledger.commit(Noticed(None, triggers=triggers, memory=memory, alerts=taken))
            self._known = known
        log.info("took in %d alerts", len(taken), extra={"event": "alerts_taken", "alerts": len(taken)})
        return True

    async def over(self, fault: Symptom, _incident: Incident, now: datetime) -> str | None:
        """Say why an alert's fault is over; none: it is not. Raises: StoreUnavailable."""
        return why_over(await self._read(), fault, now)

    async def _read(self) -> Known:
        if self._known is None:
            self._known = remembered((await self._ledger.store.memory()).get(MEMORY, ""))
        return self._known
