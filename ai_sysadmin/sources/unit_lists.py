"""All units at a glance, the timers, the jobs that wait, and what of a unit only a close look needs."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, Protocol

from pydantic import AwareDatetime

from ai_sysadmin.core.errors import NotFound
from ai_sysadmin.core.records import Record
from ai_sysadmin.runtime.bus import MANAGER, MANAGER_PATH, BusRefused, SystemBus
from ai_sysadmin.sources.unit_changes import UNIT, moment
from ai_sysadmin.sources.units import UnitState

_SERVICE: Final = "org.freedesktop.systemd1.Service"
_TIMER: Final = "org.freedesktop.systemd1.Timer"
_INFINITY: Final = 2**64 - 1
_AT_ONCE: Final = 8
_EXITED, _KILLED, _DUMPED = 1, 2, 3
_ENDS: Final = {_EXITED: "exited", _KILLED: "killed", _DUMPED: "dumped"}


class Job(NamedTuple):
    """A job of systemd's queue: ``state`` is ``waiting`` or ``running``."""

    unit: str
    type: str
    state: str


class TimerState(NamedTuple):
    """A timer: what it starts, when it last did and when it next will; none: never, or that is not known."""

    name: str
    active_state: str
    result: str
    starts: str
    last_at: datetime | None
    next_at: datetime | None


class UnitDetails(Record):
    """What a close look at a unit shows beside its state and its setup.

    ``ended`` is how the main process ended: ``exited``, ``killed``, ``dumped`` (core); empty: it has not. A limit of 0
    is none. ``is_outdated``: its file changed since systemd read it.
    """

    enabled: str = ""
    load_error: str = ""
    main_pid: int = 0
    ended: str = ""
    status_text: str = ""
    start_limit_burst: int = 0
    start_limit_seconds: float = 0.0
    restart_seconds: float = 0.0
    condition_failed_at: AwareDatetime | None = None
    is_outdated: bool = False


class UnitLists(Protocol):
    """How units are listed. Every method raises ``SystemdUnavailable`` when systemd does not answer."""

    async def loaded(self) -> list[UnitState]:
        """Return the units that systemd has in memory."""
        ...

    async def names(self) -> set[str]:
        """Return the names of all units that are in memory or have a file."""
        ...

    async def jobs(self) -> list[Job]: ...

    async def timers(self) -> list[TimerState]:
        """Return the timers that are in memory."""
        ...

    async def details(self, unit: str) -> UnitDetails:
        """Raises: NotFound."""
        ...


class SystemdUnitLists:
    """The lists of the system manager on this host."""

    def __init__(self, bus: SystemBus) -> None:
        self._bus = bus

    async def loaded(self) -> list[UnitState]:
        (rows,) = await self._bus.call(MANAGER_PATH, MANAGER, "ListUnits")
        return [UnitState(*row[:5]) for row in rows]

    async def names(self) -> set[str]:
        loaded = {unit.name for unit in await self.loaded() if unit.load_state != "not-found"}
        (files,) = await self._bus.call(MANAGER_PATH, MANAGER, "ListUnitFiles")
        return loaded | {path.rpartition("/")[2] for path, _ in files}

    async def jobs(self) -> list[Job]:
        (rows,) = await self._bus.call(MANAGER_PATH, MANAGER, "ListJobs")
        return [Job(unit, kind, state) for _, unit, kind, state, *_ in rows]

    async def timers(self) -> list[TimerState]:
        (rows,) = await self._bus.call(MANAGER_PATH, MANAGER, "ListUnitsByPatterns", "asas", ([], ["*.timer"]))
        found: list[TimerState] = []
        for start in range(0, len(rows), _AT_ONCE):
            asked = await asyncio.gather(*(self._timer(row) for row in rows[start : start + _AT_ONCE]))
            found += [timer for timer in asked if timer is not None]
        return found

    async def _timer(self, row: Sequence[Any]) -> TimerState | None:
        try:
            properties = await self._bus.properties(row[6], _TIMER)
        except BusRefused:  # it went while we looked
            return None
        return timer_of(row[0], row[3], properties, datetime.now(UTC), time.monotonic())

    async def details(self, unit: str) -> UnitDetails:
        try:
            (path,) = await self._bus.call(MANAGER_PATH, MANAGER, "LoadUnit", "s", (unit,))
            common = await self._bus.properties(path, UNIT)
            own = await self._bus.properties(path, _SERVICE) if unit.endswith(".service") else {}
        except BusRefused as error:
            raise NotFound(f"systemd knows no unit {unit!r}: {error}") from error
        return details_of({**own, **common})


def timer_of(
    name: str, active_state: str, properties: Mapping[str, Any], now: datetime, monotonic_seconds: float
) -> TimerState:
    """Return a timer's state from its D-Bus properties; it may be due by the clock, by the time since boot, or both."""
    due = (
        [moment(properties.get("NextElapseUSecRealtime") or 0)] if _is_set(properties, "NextElapseUSecRealtime") else []
    )
    if _is_set(properties, "NextElapseUSecMonotonic"):
        ahead = properties["NextElapseUSecMonotonic"] / 1e6 - monotonic_seconds
        due.append(datetime.fromtimestamp(now.timestamp() + ahead, UTC))
    return TimerState(
        name=name,
        active_state=active_state,
        result=properties.get("Result") or "",
        starts=properties.get("Unit") or "",
        last_at=moment(properties.get("LastTriggerUSec") or 0),
        next_at=min((each for each in due if each), default=None),
    )


def details_of(properties: Mapping[str, Any]) -> UnitDetails:
    """Return a unit's details from its D-Bus properties; what this systemd does not tell is missing."""
    get = properties.get
    _, error = get("LoadError") or ("", "")
    return UnitDetails(
        enabled=get("UnitFileState") or "",
        load_error=error,
        main_pid=get("MainPID") or 0,
        ended=_ENDS.get(get("ExecMainCode") or 0, ""),
        status_text=get("StatusText") or "",
        start_limit_burst=get("StartLimitBurst") or 0,
        start_limit_seconds=_seconds(get("StartLimitIntervalUSec")),
        restart_seconds=_seconds(get("RestartUSec")),
        condition_failed_at=None if get("ConditionResult", True) else moment(get("ConditionTimestamp") or 0),
        is_outdated=bool(get("NeedDaemonReload")),
    )


def _is_set(properties: Mapping[str, Any], name: str) -> bool:
    return 0 < (properties.get(name) or 0) < _INFINITY


def _seconds(usec: int | None) -> float:
    return usec / 1e6 if usec and usec < _INFINITY else 0.0
