"""The one way from the trigger monitor's parts into the store."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

from ai_sysadmin.context.redact import Redactor
from ai_sysadmin.core.incident import Incident
from ai_sysadmin.core.noticing_settings import TriggerMonitor as Settings
from ai_sysadmin.core.records import Trigger
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.runtime.service import uninterrupted
from ai_sysadmin.stores import Noticed, NoticeStore, Placing

log = logging.getLogger(__name__)


class Ledger:
    """Commits what was noticed without the secrets in it, and says which incidents began."""

    def __init__(self, host: str, store: NoticeStore, settings: Settings, redactor: Redactor | None = None) -> None:
        self.host = host
        self.store = store
        self.redactor = redactor or Redactor()
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
        if noticed.triggers or noticed.cleared:
            noticed = replace(
                noticed,
                triggers=tuple(self._without_secrets(self._complete(each)) for each in noticed.triggers),
                cleared=tuple(replace(each, why=self.redactor.redact(each.why).text) for each in noticed.cleared),
            )
        began = await uninterrupted(self.store.commit(noticed, self._placing))
        self._say(began)
        if noticed.triggers or noticed.cleared:
            self._tell()
        return began

    def committed_late(self, began: Sequence[Incident]) -> None:
        """Take note of what came to the store after it had waited for it."""
        self._say(began)
        self._tell()

    def _say(self, began: Sequence[Incident]) -> None:
        for incident in began:
            _say_begun(incident)

    def _tell(self) -> None:
        for tell in self._told:
            tell()

    def _complete(self, trigger: Trigger) -> Trigger:
        for related in self._related:
            trigger = related(trigger)
        return trigger

    def _without_secrets(self, trigger: Trigger) -> Trigger:
        """Return a trigger whose words hold no secret. What its fingerprint is made of stays as it is."""
        details, found = self.redactor.mapping(trigger.details)
        text, why = self.redactor.redact(trigger.text), self.redactor.redact(trigger.why)
        if not (found or text.counts or why.counts):
            return trigger
        return trigger.model_copy(update={"text": text.text, "why": why.text, "details": details})


def _say_begun(incident: Incident) -> None:
    verb = "reopened" if incident.reopened else "opened"
    level = logging.WARNING if incident.kind is not SymptomKind.SEVERE_LOG else logging.INFO
    fields = {"event": f"incident_{verb}", "incident_id": incident.id, "unit": incident.unit}
    log.log(level, "incident %s: %s", verb, incident.title, extra=fields)
