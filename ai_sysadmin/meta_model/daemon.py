"""The meta model's work in the background: claim an escalated incident, investigate it, hand on what follows."""

import logging
from dataclasses import dataclass
from datetime import timedelta

from ai_sysadmin.context.claims import GATHERING_SECONDS, Gathering, held, work_forever
from ai_sysadmin.context.facts import Facts
from ai_sysadmin.core.acting import ActionRequest, Origin
from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.records import Investigation
from ai_sysadmin.core.settings import MetaModel
from ai_sysadmin.meta_model import rules
from ai_sysadmin.meta_model.investigate import WITHOUT_MODEL, Investigator
from ai_sysadmin.runtime.service import Heartbeat
from ai_sysadmin.stores import Claim, InvestigationStore

__all__ = ["SERVICE", "WITHOUT_MODEL", "Investigations"]

log = logging.getLogger(__name__)

SERVICE = "meta-model"


@dataclass(frozen=True)
class Investigations:
    """The loop over escalations, and what it needs."""

    host: str
    store: InvestigationStore
    gathering: Gathering
    investigator: Investigator
    clock: Clock
    heart: Heartbeat
    settings: MetaModel
    worker: str = SERVICE

    async def investigate_forever(self) -> None:
        """Investigate escalations as they come. Raises: StoreUnavailable."""
        await work_forever(self.investigate_next)

    async def investigate_next(self) -> bool:
        """Investigate the oldest escalation; tell whether there was one. Raises: StoreUnavailable."""
        lease = timedelta(seconds=self.settings.lease_seconds)
        claim = await self.store.claim_investigation(self.worker, lease=lease, now=self.clock.now())
        if claim is None:
            return False
        with self.heart.within(self.settings.lease_seconds + GATHERING_SECONDS, "an investigation"):
            await self._investigate(claim)
        return True

    async def _investigate(self, claim: Claim) -> None:
        """Take one claim to its end; give it back where that fails or is cancelled."""
        incident = claim.incident
        started = _fields(incident.id, "investigation_started", unit=incident.unit)
        log.info("investigation started: %s", incident.title, extra=started)
        async with held(self.store, claim):
            facts = await self.gathering.facts(claim)
            found = await self.investigator.investigate(facts, claim)
            await self._finish(claim, found.facts, found.investigation)

    async def _finish(self, claim: Claim, facts: Facts, found: Investigation) -> None:
        incident = await self.store.finish_investigation(claim, facts.pack, found, requests_of(self.host, found, facts))
        log.info(
            "investigation finished by %s: %s",
            found.investigated_by,
            found.cause,
            extra=_fields(
                incident.id,
                "investigation_finished",
                unit=incident.unit,
                investigated_by=found.investigated_by,
                action=found.action.name if found.action else "",
                model_calls=found.model_calls,
                incident_state=incident.state.value,
            ),
        )


def requests_of(host: str, found: Investigation, facts: Facts) -> tuple[ActionRequest, ...]:
    """Return what an investigation proposes to do; what failed too often before, with that as a reason to ask."""
    if found.action is None:
        return ()
    origin = Origin.RULES if found.investigated_by == rules.RULES else Origin.INVESTIGATION
    ask = facts.reason_to_ask(found.action)
    return (ActionRequest.propose(host, found.incident_id, found.action, origin, found.cause, found.at, ask),)


def _fields(incident_id: str, event: str, **more: object) -> dict[str, object]:
    return {"event": event, "incident_id": incident_id, **more}
