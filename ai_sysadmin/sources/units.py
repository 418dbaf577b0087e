"""What systemd says of its units, over D-Bus."""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from pydantic import AwareDatetime

from ai_sysadmin.core.errors import NotFound, SystemdUnavailable
from ai_sysadmin.core.records import Record
from ai_sysadmin.runtime.bus import MANAGER, MANAGER_PATH, BusRefused, SystemBus
from ai_sysadmin.sources.unit_changes import RULES, SUBSCRIBE, Gathered, UnitChanges, moment
from ai_sysadmin.sources.unit_changes import UNIT as _UNIT
from ai_sysadmin.sources.unit_setup import SETUP_PROPERTIES, UnitSetup, setup_of

_TAKING_ALONG = ("RequiredBy", "RequisiteOf", "BoundBy", "ConsistsOf")
_UNIT_PROPERTIES = (
    "Id",
    "Description",
    "LoadState",
    "ActiveState",
    "SubState",
    "FragmentPath",
    "StartLimitBurst",
    "InvocationID",
    "InactiveExitTimestamp",
    "ActiveEnterTimestamp",
    "StateChangeTimestamp",
    "CanReload",
    "UnitFileState",
    "Conflicts",
    *_TAKING_ALONG,
)
_OWN_PROPERTIES = {
    "service": ("Result", "ExecMainStatus", "Type", "NRestarts", "Restart"),
    "socket": ("Result",),
    "mount": ("Result",),
    "automount": ("Result",),
    "swap": ("Result",),
    "timer": ("Result",),
    "path": ("Result",),
    "scope": ("Result",),
}
_DEPENDENCIES = ("Requires", "Requisite", "BindsTo", "PartOf", "Wants", "After", "TriggeredBy", "Triggers")
_MANAGER_PROPERTIES = ("SystemState", "FinishTimestamp", "UserspaceTimestamp", "NJobs")
UNSETTLED = ("activating", "deactivating", "reloading")
_BEGINNINGS = dict(
    zip(UNSETTLED, (f"{each}TimestampMonotonic" for each in ("InactiveExit", "ActiveExit", "StateChange")), strict=True)
)
_LIMITS = {
    ("service", "deactivating"): "TimeoutStopUSec",
    ("service", "activating"): "TimeoutStartUSec",
    ("service", "reloading"): "TimeoutStartUSec",
    **{(kind, state): "TimeoutUSec" for kind in ("mount", "socket", "swap") for state in _BEGINNINGS},
}
_INFINITY = 2**64 - 1
_AT_ONCE = 8
_GATHER_SECONDS = 0.02


class UnitStatus(Record):
    """A unit's state. ``name`` is its true name where it was asked for by an alias.

    ``exit_status`` is the main process's exit status, or the number of the signal that ended it. ``invocation``
    (hex) names one run of the unit: it changes when the unit starts again, not when it fails. ``inactive_exit_at`` is
    when that run began. ``unit_file_state`` is such as ``enabled`` or ``static``; ``takes_along`` are the units that
    systemd stops, or restarts, together with this one, ``conflicts`` those that it stops where this one starts.
    """

    name: str
    description: str = ""
    load_state: str = ""
    active_state: str = ""
    sub_state: str = ""
    result: str = ""
    exit_status: int = 0
    type: str = ""
    n_restarts: int = 0
    restart: str = ""
    start_limit_burst: int = 0
    invocation: str = ""
    fragment_path: str = ""
    inactive_exit_at: AwareDatetime | None = None
    active_enter_at: AwareDatetime | None = None
    state_changed_at: AwareDatetime | None = None
    can_reload: bool = False
    unit_file_state: str = ""
    takes_along: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()


class UnitState(NamedTuple):
    """One line of systemd's list of units."""

    name: str
    description: str
    load_state: str
    active_state: str
    sub_state: str


class Dependencies(Record):
    """What a unit has to do with others, as systemd holds it after its unit files and its own additions."""

    requires: tuple[str, ...] = ()
    requisite: tuple[str, ...] = ()
    binds_to: tuple[str, ...] = ()
    part_of: tuple[str, ...] = ()
    wants: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    triggered_by: tuple[str, ...] = ()
    triggers: tuple[str, ...] = ()

    @property
    def needed(self) -> tuple[str, ...]:
        """The units whose failure takes this one with it."""
        return tuple(dict.fromkeys((*self.requires, *self.binds_to, *self.requisite)))


class ManagerState(Record):
    """systemd as a whole. ``finished_at``: when the boot was done; none: it is not yet."""

    system_state: str = ""
    userspace_at: AwareDatetime | None = None
    finished_at: AwareDatetime | None = None
    jobs: int = 0


class Unsettled(Record):
    """A unit on its way from one state to another.

    ``seconds`` is for how long, the time that the machine slept not counted. ``limit_seconds`` is how long its own
    settings let that take; none: as long as it likes.
    """

    name: str
    active_state: str
    sub_state: str = ""
    type: str = ""
    invocation: str = ""
    seconds: float
    limit_seconds: float | None = None


class Units(Protocol):
    """How the units are asked after."""

    async def status(self, unit: str) -> UnitStatus:
        """Return a unit's state; a unit that does not exist has the load state ``not-found``.

        Raises:
            NotFound: this is not a unit's name.
            SystemdUnavailable: systemd does not answer.
        """
        ...

    async def failed(self) -> list[UnitStatus]:
        """Return the units that are failed now. Raises: SystemdUnavailable."""
        ...


class ExaminedUnits(Units, Protocol):
    """How the units are examined. Every method raises ``SystemdUnavailable`` when systemd does not answer."""

    async def dependencies(self, unit: str) -> Dependencies:
        """Return what a unit depends on; nothing for one that does not exist. Raises: NotFound."""
        ...

    async def states(self, units: Sequence[str]) -> list[UnitState]:
        """Return units' states, by one call for all of them; what is no unit's name is left out.

        A unit asked for by an alias comes under its true name; a unit that does not exist has the load state
        ``not-found``.
        """
        ...

    async def setup(self, unit: str) -> UnitSetup:
        """Return how a unit is set up; what this systemd does not tell is missing. Raises: NotFound."""
        ...

    async def manager(self) -> ManagerState: ...


class WatchedUnits(ExaminedUnits, Protocol):
    """How the units are watched. Every method raises ``SystemdUnavailable`` when systemd does not answer."""

    def changes(self) -> AsyncGenerator[UnitChanges, None]:
        """Yield what becomes of the units, for ever; the first batch says that what was before is not known.

        Raises:
            SystemdUnavailable: the connection broke; what happens until the next call is not told.
        """
        ...

    async def unsettled(self) -> list[Unsettled]:
        """Return the units that are starting, stopping or reloading now."""
        ...


class SystemdUnits:
    """The units of the system manager on this host."""

    def __init__(self, bus: SystemBus) -> None:
        self._bus = bus

    async def status(self, unit: str) -> UnitStatus:
        path = await self._loaded(unit)
        try:
            common, own = await asyncio.gather(
                self._properties(path, _UNIT, _UNIT_PROPERTIES),
                self._properties(path, _interface(unit), _OWN_PROPERTIES.get(_suffix(unit), ())),
            )
        except BusRefused as error:
            raise NotFound(f"systemd does not know {unit!r} any more: {error}") from error
        return status_of(unit, common | own)

    async def failed(self) -> list[UnitStatus]:
        (rows,) = await self._bus.call(MANAGER_PATH, MANAGER, "ListUnitsByPatterns", "asas", (["failed"], []))
        found: list[UnitStatus] = []
        for start in range(0, len(rows), _AT_ONCE):
            found += await asyncio.gather(*(self._listed(row) for row in rows[start : start + _AT_ONCE]))
        return found

    async def changes(self) -> AsyncGenerator[UnitChanges, None]:
        gathered = Gathered()
        async with self._bus.listening(RULES, gathered.heard, SUBSCRIBE) as broken:
            broken.add_done_callback(lambda _: gathered.came.set())
            yield UnitChanges(is_incomplete=True)
            while True:
                await gathered.came.wait()
                if broken.done() or gathered.is_broken:
                    raise SystemdUnavailable("the connection to systemd broke")
                await asyncio.sleep(_GATHER_SECONDS)
                yield gathered.take()

    async def dependencies(self, unit: str) -> Dependencies:
        path = await self._loaded(unit)
        found = await self._properties(path, _UNIT, _DEPENDENCIES)
        return Dependencies(**{_snake(name): tuple(units) for name, units in found.items()})

    async def states(self, units: Sequence[str]) -> list[UnitState]:
        (rows,) = await self._bus.call(MANAGER_PATH, MANAGER, "ListUnitsByNames", "as", (list(units),))
        return [UnitState(*row[:5]) for row in rows]

    async def setup(self, unit: str) -> UnitSetup:
        path = await self._loaded(unit)
        own = SETUP_PROPERTIES.get(_suffix(unit), ())
        drop_ins, *values = await asyncio.gather(
            self._optional(path, _UNIT, "DropInPaths"),
            *(self._optional(path, _interface(unit), name) for name in own),
        )
        return setup_of({"DropInPaths": drop_ins, **dict(zip(own, values, strict=True))})

    async def _optional(self, path: str, interface: str, name: str) -> Any:
        try:
            return await self._bus.property(path, interface, name)
        except BusRefused:  # an older systemd does not know it
            return None

    async def manager(self) -> ManagerState:
        found = await self._properties(MANAGER_PATH, MANAGER, _MANAGER_PROPERTIES)
        return ManagerState(
            system_state=found["SystemState"],
            userspace_at=moment(found["UserspaceTimestamp"]),
            finished_at=moment(found["FinishTimestamp"]),
            jobs=found["NJobs"],
        )

    async def unsettled(self) -> list[Unsettled]:
        (rows,) = await self._bus.call(MANAGER_PATH, MANAGER, "ListUnitsByPatterns", "asas", (list(UNSETTLED), []))
        found: list[Unsettled] = []
        for start in range(0, len(rows), _AT_ONCE):
            found += await asyncio.gather(*(self._unsettled(row[0], row[3]) for row in rows[start : start + _AT_ONCE]))
        return found

    async def _unsettled(self, unit: str, state: str) -> Unsettled:
        limit, kind = _LIMITS.get((_suffix(unit), state)), _suffix(unit)
        own = (*(("Type",) if kind == "service" else ()), *((limit,) if limit else ()))
        path = await self._loaded(unit)
        common, special = await asyncio.gather(
            self._properties(path, _UNIT, ("SubState", "InvocationID", "JobRunningTimeoutUSec", _BEGINNINGS[state])),
            self._properties(path, _interface(unit), own),
        )
        limits = [common["JobRunningTimeoutUSec"], special[limit] if limit else _INFINITY]
        return Unsettled(
            name=unit,
            active_state=state,
            sub_state=common["SubState"],
            type=special.get("Type", ""),
            invocation=bytes(common["InvocationID"]).hex(),
            seconds=max(0.0, time.monotonic() - common[_BEGINNINGS[state]] / 1e6),
            limit_seconds=max((each / 1e6 for each in limits if each != _INFINITY), default=None),
        )

    async def _loaded(self, unit: str) -> str:
        try:
            (path,) = await self._bus.call(MANAGER_PATH, MANAGER, "LoadUnit", "s", (unit,))
        except BusRefused as error:
            raise NotFound(f"systemd knows no unit {unit!r}: {error}") from error
        return str(path)

    async def _listed(self, row: Sequence[Any]) -> UnitStatus:
        try:
            return await self.status(row[0])
        except NotFound:  # it went while we looked; the list knew this much
            return UnitStatus(name=row[0], description=row[1], load_state=row[2], active_state=row[3], sub_state=row[4])

    async def _properties(self, path: str, interface: str, names: Sequence[str]) -> dict[str, Any]:
        values = await asyncio.gather(*(self._bus.property(path, interface, name) for name in names))
        return dict(zip(names, values, strict=True))


def status_of(asked: str, properties: Mapping[str, Any]) -> UnitStatus:
    """Return a unit's state from its D-Bus properties."""
    return UnitStatus(
        name=properties.get("Id") or asked,
        description=properties.get("Description", ""),
        load_state=properties.get("LoadState", ""),
        active_state=properties.get("ActiveState", ""),
        sub_state=properties.get("SubState", ""),
        result=properties.get("Result", ""),
        exit_status=properties.get("ExecMainStatus", 0),
        type=properties.get("Type", ""),
        n_restarts=properties.get("NRestarts", 0),
        restart=properties.get("Restart", ""),
        start_limit_burst=properties.get("StartLimitBurst", 0),
        invocation=bytes(properties.get("InvocationID", b"")).hex(),
        fragment_path=properties.get("FragmentPath", ""),
        inactive_exit_at=moment(properties.get("InactiveExitTimestamp", 0)),
        active_enter_at=moment(properties.get("ActiveEnterTimestamp", 0)),
        state_changed_at=moment(properties.get("StateChangeTimestamp", 0)),
        can_reload=properties.get("CanReload", False),
        unit_file_state=properties.get("UnitFileState", ""),
        takes_along=tuple(sorted({unit for way in _TAKING_ALONG for unit in properties.get(way, ())})),
        conflicts=tuple(properties.get("Conflicts", ())),
    )


def _suffix(unit: str) -> str:
    return unit.rpartition(".")[2]


def _interface(unit: str) -> str:
    return f"org.freedesktop.systemd1.{_suffix(unit).capitalize()}"


def _snake(name: str) -> str:
    return "".join(f"_{each.lower()}" if each.isupper() else each for each in name).removeprefix("_")
