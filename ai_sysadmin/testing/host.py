"""A host in memory: a clock that is told the time, units told their state, a journal told its lines."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from ai_sysadmin.core.errors import JournalUnavailable, SystemdUnavailable
from ai_sysadmin.core.records import JournalEntry
from ai_sysadmin.runtime.bus import Signal, Variant
from ai_sysadmin.sources.journal import Position
from ai_sysadmin.sources.unit_changes import UNIT, Gathered, UnitChanges, escaped
from ai_sysadmin.sources.unit_setup import UnitSetup
from ai_sysadmin.sources.units import Dependencies, ManagerState, UnitState, UnitStatus, Unsettled


@dataclass
class FakeClock:
    """Says the time that it was told; none: the true one."""

    at: datetime | None = None

    def now(self) -> datetime:
        return self.at or datetime.now(UTC)

    def advance(self, seconds: float) -> None:
        self.at = self.now() + timedelta(seconds=seconds)


@dataclass
class FakeUnits:
    """Units by name. ``is_away``: systemd does not answer; ``asked`` is how often a unit's state was asked for.

    ``put`` tells a change only to those who follow ``changes`` already; ``is_mute``: to nobody.
    """

    units: dict[str, UnitStatus] = field(default_factory=dict)
    is_away: bool = False
    is_mute: bool = False
    asked: int = 0
    needs: dict[str, Dependencies] = field(default_factory=dict)
    state: ManagerState = field(default_factory=lambda: ManagerState(system_state="running"))
    setups: dict[str, UnitSetup] = field(default_factory=dict)
    restless: list[Unsettled] = field(default_factory=list)
    _followers: list[Gathered] = field(default_factory=list)

    def put(self, name: str, active_state: str = "failed", **changes: object) -> UnitStatus:
        """Put a unit into a state; a failed one by default."""
        result = "exit-code" if active_state == "failed" else "success"
        status = UnitStatus(name=name, load_state="loaded", active_state=active_state, result=result)
        self.units[name] = status.model_copy(update={"invocation": "a1" * 16, **changes})
        self._tell_state(self.units[name])
        return self.units[name]

    def stop(self, name: str, active_state: str = "inactive", **changes: object) -> UnitStatus:
        """Have a stop job put a unit into a state."""
        self._signal("JobNew", [1, "/job/1", name])
        status = self.put(name, active_state, **changes)
        self._signal("JobRemoved", [1, "/job/1", name, "done"])
        return status

    def refuse(self, name: str, job: int = 7) -> None:
        """Have a unit's start job end because a unit that it needs failed."""
        self.units.setdefault(name, UnitStatus(name=name, load_state="loaded", active_state="inactive"))
        self._signal("JobRemoved", [job, f"/job/{job}", name, "dependency"])

    @property
    def is_followed(self) -> bool:
        return bool(self._followers)

    def hang_up(self) -> None:
        """Break every follower's connection."""
        for each in self._followers:
            each.is_broken = True
            each.came.set()

    async def status(self, unit: str) -> UnitStatus:
        self.asked += 1
        self._answer()
        return self.units.get(unit) or _missing(unit)

    async def failed(self) -> list[UnitStatus]:
        self._answer()
        return [unit for unit in self.units.values() if unit.active_state == "failed"]

    async def changes(self) -> AsyncGenerator[UnitChanges, None]:
        self._answer()
        gathered = Gathered()
        self._followers.append(gathered)
        try:
            yield UnitChanges(is_incomplete=True)
            while True:
                await gathered.came.wait()
                if gathered.is_broken:
                    raise SystemdUnavailable("the connection to systemd broke")
                await asyncio.sleep(0)
                yield gathered.take()
        finally:
            self._followers.remove(gathered)

    async def dependencies(self, unit: str) -> Dependencies:
        self._answer()
        return self.needs.get(unit, Dependencies())

    async def states(self, units: Sequence[str]) -> list[UnitState]:
        self._answer()
        known = (self.units.get(name) or _missing(name) for name in units if "/" not in name)
        return [UnitState(u.name, u.description, u.load_state, u.active_state, u.sub_state) for u in known]

    async def setup(self, unit: str) -> UnitSetup:
        self._answer()
        return self.setups.get(unit, UnitSetup())

    async def manager(self) -> ManagerState:
        self._answer()
        return self.state

    async def unsettled(self) -> list[Unsettled]:
        self._answer()
        return list(self.restless)

    def _answer(self) -> None:
        if self.is_away:
            raise SystemdUnavailable("systemd does not answer")

    def _tell_state(self, status: UnitStatus) -> None:
        stamp = int(status.state_changed_at.timestamp() * 1e6) if status.state_changed_at else 0
        properties = {
            "ActiveState": Variant("s", status.active_state),
            "SubState": Variant("s", status.sub_state),
            "StateChangeTimestamp": Variant("t", stamp),
        }
        self._signal("PropertiesChanged", [UNIT, properties, []], f"/unit/{escaped(status.name)}")

    def _signal(self, member: str, body: list[object], path: str = "/") -> None:
        for each in () if self.is_mute else self._followers:
            each.heard(Signal(path, "", member, body))


def _missing(unit: str) -> UnitStatus:
    return UnitStatus(name=unit, load_state="not-found", active_state="inactive", sub_state="dead")


@dataclass
class ScriptedJournal:
    """A journal of entries, followed by its own numbers. Its ``follow`` has ``sources.journal.follow``'s signature.

    ``batch`` is how many entries come at once; ``is_away``: it cannot be read; ``reads`` is how often it was opened.
    """

    batch: int = 1000
    is_away: bool = False
    reads: int = 0
    entries: list[JournalEntry] = field(default_factory=list)
    _came: asyncio.Event = field(default_factory=asyncio.Event)

    def write(self, entries: Sequence[JournalEntry]) -> None:
        """Append entries; a reader that follows sees them at once."""
        self.entries += entries
        self._came.set()

    async def follow(
        self, position: Position | None, *, history: timedelta
    ) -> AsyncGenerator[list[JournalEntry], None]:
        """Yield the entries after ``position``, then wait for more; an empty batch says that time passes."""
        del history
        self.reads += 1
        at = self._after(position)
        while True:
            if self.is_away:
                raise JournalUnavailable("there is no systemd journal here")
            found = self.entries[at : at + self.batch]
            at += len(found)
            yield found
            if not found:
                await self._more()

    def _after(self, position: Position | None) -> int:
        if position is None:
            return 0
        cursors = [entry.cursor for entry in self.entries]
        return cursors.index(position.cursor) + 1 if position.cursor in cursors else 0

    async def _more(self) -> None:
        try:
            async with asyncio.timeout(0.05):
                await self._came.wait()
        except TimeoutError:
            return
        self._came.clear()
