"""What a person decides of an incident, beside approving actions."""

from ai_sysadmin.core.errors import NotFound, Refused
from ai_sysadmin.core.incident import Decided, Incident, State, advance
from ai_sysadmin.runtime.relational import Relational, Transaction
from ai_sysadmin.stores.relational.proposing import withdraw_proposed
from ai_sysadmin.stores.relational.rows import IS_LIVE, LIVE, incident_by_id, tell, update_incident

_TOLD = {"resolve": "incident_resolved", "dismiss": "incident_dismissed", "reopen": "incident_reopened"}


class SqlDecisions:
    """``DecisionStore`` in SQL."""

    def __init__(self, database: Relational, host: str) -> None:
        self._database = database
        self._host = host

    async def decide(self, incident_id: str, event: Decided) -> Incident:
        """Apply a person's decision, and tell it in the incident's story.

        What is so already comes back as it is.

        Raises:
            NotFound: there is no such incident.
            Refused: an action is under way, it is part of another incident, or another one has taken its place.
        """

        async def work(tx: Transaction) -> Incident:
            before = await incident_by_id(tx, incident_id)
            if before is None or before.host != self._host:
                raise NotFound(f"there is no incident {incident_id!r}; `ai-sysadmin incidents` lists them")
            if before.state is State.ACTING:
                raise Refused(f"an action is under way for {before.id}: decide when it has ended")
            if before.merged_into:
                raise Refused(f"{before.id} is part of {before.merged_into}: decide on that one")
            if event.decision == "reopen" and before.ended:
                await self._check_alone(tx, before)
            return await _applied(tx, before, event)

        return await self._database.write(work)

    async def _check_alone(self, tx: Transaction, incident: Incident) -> None:
        other = await tx.one(
            f"SELECT id FROM incidents WHERE host = ? AND subject = ? AND id <> ? AND {IS_LIVE}",  # noqa: S608
            (self._host, incident.subject, incident.id, *LIVE),
        )
        if other is not None:
            raise Refused(f"{other['id']} is open for {incident.subject} already: {incident.id} stays as it is")


async def _applied(tx: Transaction, before: Incident, event: Decided) -> Incident:
    moved = advance(before, event)
    if moved == before:
        return before
    after = await update_incident(tx, before, moved.model_copy(update={"changed_at": event.at}), event.at)
    await tell(tx, after, _TOLD[event.decision], event.by, event.why or f"{event.decision}d by {event.by}", event.at)
    if after.ended:
        await withdraw_proposed(tx, after, event.at)
    return after
