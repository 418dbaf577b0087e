"""systemd asked about units, with what to make of it when it does not answer."""

import asyncio
from collections.abc import Sequence

from ai_sysadmin.core.errors import NotFound, SystemdUnavailable
from ai_sysadmin.sources.units import Dependencies, UnitStatus, WatchedUnits
from ai_sysadmin.trigger_monitor.units.memory import MOST_UNITS

_AT_ONCE = 8
_MOST_SOCKETS = 4


class Asking:
    """Asks systemd. ``needs`` holds the dependencies that were asked for, until systemd reads its unit files anew."""

    def __init__(self, units: WatchedUnits) -> None:
        self._units = units
        self.needs: dict[str, Dependencies] = {}

    async def status(self, unit: str) -> UnitStatus | None:
        """Return a unit's state; none while systemd does not answer."""
        try:
            return await self._units.status(unit)
        except NotFound:
            return UnitStatus(name=unit, load_state="not-found", active_state="inactive")
        except SystemdUnavailable:
            return None

    async def statuses(self, units: Sequence[str]) -> list[UnitStatus | None]:
        """Return units' states, in order."""
        found: list[UnitStatus | None] = []
        for start in range(0, len(units), _AT_ONCE):
            found += await asyncio.gather(*(self.status(unit) for unit in units[start : start + _AT_ONCE]))
        return found

    async def is_stopping(self) -> bool:
        """Tell whether the host shuts down: whatever fails then is no fault."""
        try:
            return (await self._units.manager()).system_state == "stopping"
        except SystemdUnavailable:
            return False

    async def learn_needs(self, unit: str) -> Dependencies:
        """Return a unit's dependencies, and know those of the sockets that it needs."""
        if len(self.needs) > MOST_UNITS:
            self.needs.clear()
        own = await self._needs_of(unit)
        for socket in [each for each in own.needed if each.endswith(".socket")][:_MOST_SOCKETS]:
            await self._needs_of(socket)
        return own

    async def _needs_of(self, unit: str) -> Dependencies:
        if unit not in self.needs:
            try:
                self.needs[unit] = await self._units.dependencies(unit)
            except (NotFound, SystemdUnavailable):
                return Dependencies()
        return self.needs[unit]
