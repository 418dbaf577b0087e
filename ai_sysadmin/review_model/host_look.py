"""Look at the whole host: what the stores hold and what systemd says, side by side; what fails is a gap."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.errors import AiSysadminError, StoreUnavailable
from ai_sysadmin.core.incident import ENDED, State
from ai_sysadmin.core.records import EvidenceKind
from ai_sysadmin.review_model import host_seen, trends
from ai_sysadmin.review_model.host_seen import HostSeen, Section
from ai_sysadmin.sources.units import Units
from ai_sysadmin.stores import ReadStore, TemplateStore
from ai_sysadmin.stores.metric_store import MetricStore

LOOK_SECONDS: Final = 20.0
MOST_SERIES: Final = 100
_MOST_INCIDENTS: Final = 500
_MOST_TEMPLATES: Final = 5000

Named = Sequence[tuple[str, str]]
HostFacts = Callable[[], Awaitable[Named]]


async def no_facts() -> Named:
    return ()


@dataclass(frozen=True)
class HostLook:
    """Where the state of the whole host is read. ``facts`` are the host's own, short and stable."""

    reader: ReadStore
    units: Units
    metrics: MetricStore
    templates: TemplateStore
    clock: Clock
    facts: HostFacts = no_facts

    async def look(self) -> HostSeen:
        """Return the host as it is now. Raises: StoreUnavailable."""
        sections = await asyncio.gather(
            _or_gap("symptoms", "open incidents", self._open_incidents()),
            _or_gap("unit_status", "failed units", self._failed_units()),
            _or_gap("metrics", "the host's figures over days", self._figures()),
            _or_gap("past_incidents", "what came back often", self._came_back()),
            _or_gap("unit_log", "new kinds of log line that matter", self._new_lines()),
            _or_gap("metrics", "restart, backups, certificates, probes", self._upkeep()),
            _or_gap("host", "this host", self._host()),
        )
        return HostSeen(tuple(sections), self.clock.now())

    async def _open_incidents(self) -> Section:
        live = [state for state in State if state not in ENDED]
        return host_seen.open_incidents(await self.reader.incidents(live, _MOST_INCIDENTS))

    async def _failed_units(self) -> Section:
        return host_seen.failed_units(await self.units.failed())

    async def _figures(self) -> Section:
        now = self.clock.now()
        watched = [series for series in await self.metrics.list() if series.name in trends.WATCHED][:MOST_SERIES]
        found = []
        for series in watched:
            points = await self.metrics.points(
                series.name, series.about, now - trends.WINDOW, bucket_seconds=trends.BUCKET_SECONDS
            )
            if (seen := trends.trend(series, points, now)) is not None:
                found.append(seen)
        return host_seen.figures(found)

    async def _came_back(self) -> Section:
        return host_seen.came_back(await self.reader.incidents((), _MOST_INCIDENTS), self.clock.now())

    async def _new_lines(self) -> Section:
        return host_seen.new_lines(await self.templates.templates(_MOST_TEMPLATES), self.clock.now())

    async def _upkeep(self) -> Section:
        return host_seen.upkeep(await self.metrics.list(), self.clock.now())

    async def _host(self) -> Section:
        return host_seen.of_the_host(await self.facts())


async def _or_gap(kind: EvidenceKind, title: str, looking: Awaitable[Section]) -> Section:
    """Return a section, or one that says why there is none. Raises: StoreUnavailable."""
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            return await looking
    except StoreUnavailable:
        raise
    except AiSysadminError as error:
        return Section(kind, title, gap=str(error))
    except TimeoutError:
        return Section(kind, title, gap=f"it took longer than {LOOK_SECONDS:g} s")
