"""What systemd says of its units, over D-Bus."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from pydantic import AwareDatetime

from ai_sysadmin.core.errors import NotFound
from ai_sysadmin.core.records import Record
from ai_sysadmin.runtime.bus import MANAGER, MANAGER_PATH, BusRefused, SystemBus

_UNIT = "org.freedesktop.systemd1.Unit"
_UNIT_PROPERTIES = (
    "Id",
    "Description",
    "LoadState",
    "ActiveState",
    "SubState",
    "FragmentPath",
    "InvocationID",
    "ActiveEnterTimestamp",
    "StateChangeTimestamp",
)
_OWN_PROPERTIES = {
    "service": ("Result", "ExecMainStatus", "Type", "NRestarts"),
    "socket": ("Result",),
    "mount": ("Result",),
    "automount": ("Result",),
    "swap": ("Result",),
    "timer": ("Result",),
    "path": ("Result",),
    "scope": ("Result",),
}
_AT_ONCE = 8


class UnitStatus(Record):
    """A unit's state. ``name`` is its true name where it was asked for by an alias.

    ``exit_status`` is the main process's exit status, or the number of the signal that ended it. ``invocation``
    (hex) names one run of the unit: it changes when the unit starts again, not when it fails.
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
    invocation: str = ""
    fragment_path: str = ""
    active_enter_at: AwareDatetime | None = None
    state_changed_at: AwareDatetime | None = None


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


class SystemdUnits:
    """The units of the system manager on this host."""

    def __init__(self, bus: SystemBus) -> None:
        self._bus = bus

    async def status(self, unit: str) -> UnitStatus:
        try:
            (path,) = await self._bus.call(MANAGER_PATH, MANAGER, "LoadUnit", "s", (unit,))
            common, own = await asyncio.gather(
                self._properties(path, _UNIT, _UNIT_PROPERTIES),
                self._properties(path, _interface(unit), _OWN_PROPERTIES.get(_suffix(unit), ())),
            )
        except BusRefused as error:
            raise NotFound(f"systemd knows no unit {unit!r}: {error}") from error
        return status_of(unit, common | own)

    async def failed(self) -> list[UnitStatus]:
        (rows,) = await self._bus.call(MANAGER_PATH, MANAGER, "ListUnitsByPatterns", "asas", (["failed"], []))
        found: list[UnitStatus] = []
        for start in range(0, len(rows), _AT_ONCE):
            found += await asyncio.gather(*(self._listed(row) for row in rows[start : start + _AT_ONCE]))
        return found

    async def _listed(self, row: Sequence[Any]) -> UnitStatus:
        try:
            return await self.status(row[0])
        except NotFound:  # it went while we looked; the list knew this much
            return UnitStatus(name=row[0], description=row[1], load_state=row[2], active_state=row[3], sub_state=row[4])

    async def _properties(self, path: str, interface: str, names: Sequence[str]) -> dict[str, Any]:
        values = await asyncio.gather(*(self._bus.property(path, interface, name) for name in names))
        return dict(zip(names, values, strict=True))


def status_of(asked: str, properties: dict[str, Any]) -> UnitStatus:
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
        invocation=bytes(properties.get("InvocationID", b"")).hex(),
        fragment_path=properties.get("FragmentPath", ""),
        active_enter_at=_moment(properties.get("ActiveEnterTimestamp", 0)),
        state_changed_at=_moment(properties.get("StateChangeTimestamp", 0)),
    )


def _moment(microseconds: int) -> datetime | None:
    return datetime.fromtimestamp(microseconds / 1e6, UTC) if microseconds else None


def _suffix(unit: str) -> str:
    return unit.rpartition(".")[2]


def _interface(unit: str) -> str:
    return f"org.freedesktop.systemd1.{_suffix(unit).capitalize()}"
