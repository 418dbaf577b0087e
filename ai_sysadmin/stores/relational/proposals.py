"""What is proposed outside a judgement: an action that a person asked for in a conversation."""

from ai_sysadmin.core.acting import ActionRequest
from ai_sysadmin.core.errors import Refused
from ai_sysadmin.runtime.relational import Relational, Transaction
from ai_sysadmin.stores.relational.proposing import propose
from ai_sysadmin.stores.relational.rows import UNDER_WAY, incident_by_id

MOST_UNDER_WAY = 20
"""So many proposals of no incident may be under way at a time: whoever asks for more decides on those first."""


class SqlProposals:
    """``ProposalStore`` in SQL."""

    def __init__(self, database: Relational, host: str) -> None:
        self._database = database
        self._host = host

    async def propose(self, request: ActionRequest) -> ActionRequest:
        if request.host != self._host:
            raise Refused(f"action {request.id} is for {request.host}; this is {self._host}")

        async def work(tx: Transaction) -> ActionRequest:
            incident = await incident_by_id(tx, request.incident_id)
            if request.incident_id and (incident is None or incident.ended):
                raise Refused(f"the incident {request.incident_id} of this proposal has ended")
            kept = await propose(tx, request)
            if kept.id == request.id:
                await self._check_room(tx)
            return kept

        return await self._database.write(work)

    async def _check_room(self, tx: Transaction) -> None:
        under_way = await tx.value(
            "SELECT count(*) FROM actions WHERE host = ? AND incident_id = ''"  # noqa: S608
            f" AND state IN ({','.join('?' * len(UNDER_WAY))})",
            (self._host, *UNDER_WAY),
        )
        if under_way > MOST_UNDER_WAY:
            raise Refused(f"{MOST_UNDER_WAY} proposals from conversations wait already: decide on those first")
