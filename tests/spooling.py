"""A store behind a switch, and a spool of its own, for tests of what happens while the store is away."""

from collections.abc import Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ai_sysadmin.core.errors import StoreUnavailable
from ai_sysadmin.core.incident import Incident
from ai_sysadmin.core.records import Sample, Template
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.stores import JournalPosition, Noticed, Placing
from ai_sysadmin.stores.relational import SqlStores, open_stores
from ai_sysadmin.testing.host import FakeClock
from ai_sysadmin.trigger_monitor.spool import Spool, Spooling
from tests.builders import HOST, NOW, UNIT, trigger

NO_STORMS = Placing(timedelta(minutes=5), timedelta(hours=1), storm_count=0, storm_within=timedelta(minutes=5))
MEBIBYTE = 1 << 20


@dataclass
class Switched:
    """A store that is away while it is told so; with ``but_commits`` a commit is made and its reply lost."""

    real: Any
    is_away: bool = False
    but_commits: bool = False
    commits: int = 0

    def __getattr__(self, name: str) -> Any:
        if self.is_away:
            raise StoreUnavailable("the database does not answer")
        return getattr(self.real, name)

    async def commit(self, noticed: Noticed, placing: Placing) -> Sequence[Incident]:
        self.commits += 1
        if not self.is_away or self.but_commits:
            began: Sequence[Incident] = await self.real.commit(noticed, placing)
        if self.is_away:
            raise StoreUnavailable("the database does not answer")
        return began

    async def write(self, samples: Sequence[Sample], at: datetime) -> None:
        if self.is_away:
            raise StoreUnavailable("the database does not answer")
        await self.real.write(samples, at)


def a_spool(directory: Path, most_bytes: int = 64 * MEBIBYTE, age: timedelta = timedelta(days=7)) -> Spool:
    return Spool(directory, most_bytes, age, FakeClock())


def spooling(stores: SqlStores, spool: Spool) -> tuple[Spooling, Switched, Switched]:
    notices, metrics = Switched(stores.notices), Switched(stores.metrics)
    return Spooling(notices, metrics, spool), notices, metrics


def position(number: int) -> JournalPosition:
    return JournalPosition(cursor=f"c{number}", sequence_id="aa", sequence=number, updated_at=NOW)


def a_fault(number: int, **changes: Any) -> Any:
    at = NOW + timedelta(seconds=number)
    return trigger(unit=f"u{number}.service", details={}, at=at, why="it failed", **changes)


def noticed(number: int, *triggers: Any, **changes: Any) -> Noticed:
    return Noticed(position(number), read=1, triggers=triggers, **changes)


async def standing(stores: SqlStores) -> Mapping[str, Any]:
    """Return all that must be the same however it came about, by what it is of."""
    incidents = await stores.reader.incidents(limit=500)
    told = {}
    for each in incidents:
        detail = await stores.reader.incident(each.id)
        told[each.subject] = (
            each.state,
            each.count,
            each.reopened,
            [(one.fingerprint, one.count, one.first_at, one.last_at) for one in detail.symptoms],
            [(line.event, line.at, line.text) for line in detail.timeline],
        )
    waiting = {one.fingerprint: one.count for one in await stores.notices.unattached(NOW - timedelta(days=9))}
    templates = {each.id: each.count for each in await stores.templates.templates()}
    memory = {name: text for name, text in (await stores.notices.memory()).items() if name != "spool"}
    return {
        **told,
        "order": sorted((each.opened_at, each.subject) for each in incidents),
        "position": await stores.notices.position(),
        "waiting": waiting,
        "templates": templates,
        "memory": memory,
    }


class Place:
    """A store that can be switched off, and a spool that can be left and opened again."""

    def __init__(self, stores, directory, **limits):
        self.stores, self.directory, self._limits = stores, directory, limits
        self.told = []
        self.start()

    def start(self):
        self.spool = a_spool(self.directory, **self._limits)
        self.both, self.notices, self.metrics = spooling(self.stores, self.spool)

    def restart(self, between=lambda: None):
        self.spool.close()
        between()
        self.start()

    def away(self, is_away=True, but_commits=False):
        self.notices.is_away = self.metrics.is_away = is_away
        self.notices.but_commits = but_commits

    async def commit(self, *given):
        return await self.both.notices.commit(*given, NO_STORMS)

    async def drain(self):
        await self.both.drain(self.told.extend)

    async def back(self):
        self.away(False)
        await self.drain()

    def lines(self, name="notices"):
        return [line for path in self.files(name) for line in path.read_bytes().splitlines(keepends=True)]

    def files(self, name="notices"):
        return sorted(self.directory.glob(f"{name}-*.jsonl"))


@asynccontextmanager
async def placed(tmp_path, **limits):
    async with open_stores(tmp_path / "state.db", HOST) as stores:
        place = Place(stores, tmp_path / "spool", **limits)
        yield place
        place.spool.close()


def a_line(number, count=1, unit=UNIT, **changes):
    at = NOW + timedelta(seconds=number)
    return trigger(SymptomKind.SEVERE_LOG, unit=unit, template="t", count=count, at=at, **changes)


def a_template(name, count):
    return Template(
        id=name, source=UNIT, text="t", example="t", priority=3, count=count, first_at=NOW, last_at=NOW, known=True
    )
