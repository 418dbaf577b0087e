"""The one way from the trigger monitor's parts into the store."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

from ai_sysadmin.core.incident import Incident
from ai_sysadmin.core.noticing_settings import TriggerMonitor as Settings
from ai_sysadmin.core.records import SymptomKind, Trigger
from ai_sysadmin.runtime.service import uninterrupted
from ai_sysadmin.stores import Noticed, NoticeStore, Placing

log = logging.getLogger(__name__)


class Ledger:
    """Commits what was noticed, and says which incidents began."""

    def __init__(self, host: str, store: NoticeStore, settings: Settings) -> None:
        self.host = host
        self.store = store
        self._related: list[Callable[[Trigger], Trigger]] = []
        self._told: list[Callable[[], None]] = []
        self._placing = Placing(
            join_within=timedelta(seconds=settings.join_within_seconds),
            reopen_within=timedelta(seconds=settings.reopen_within_seconds),
            storm_count=settings.storm_incidents,
            storm_within=timedelta(seconds=settings.storm_seconds),
        )

    def relate(self, related: Callable[[Trigger], Trigger]) -> None:
        """Have every trigger completed by what it belongs to, before it is committed."""
        self._related.append(related)

    def on_commit(self, tell: Callable[[], None]) -> None:
        """Have somebody told whenever a commit may have changed an incident."""
        self._told.append(tell)

    async def commit(self, noticed: Noticed) -> Sequence[Incident]:
        """Record a stretch, whole even when cancelled: done twice, it would count twice. Raises: StoreUnavailable."""
        if noticed.triggers and self._related:
            noticed = replace(noticed, triggers=tuple(map(self._complete, noticed.triggers)))
        began = await uninterrupted(self.store.commit(noticed, self._placing))
        for incident in began:
            _tell(incident)
        if noticed.triggers or noticed.cleared:
            for tell in self._told:
                tell()
        return began

    def _complete(self, trigger: Trigger) -> Trigger:
        for related in self._related:
            trigger = related(trigger)
        return trigger


def _tell(incident: Incident) -> None:
    verb = "reopened" if incident.reopened else "opened"
    level = logging.WARNING if incident.kind is not SymptomKind.SEVERE_LOG else logging.INFO
    fields = {"event": f"incident_{verb}", "incident_id": incident.id, "unit": incident.unit}
    log.log(level, "incident %s: %s", verb, incident.title, extra=fields)
