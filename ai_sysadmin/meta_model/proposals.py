"""Put an action up for a person's decision because a conversation led to it; what runs, the executor decides."""

from ai_sysadmin.actions.catalogue import validate
from ai_sysadmin.context.defuse import one_line
from ai_sysadmin.core.acting import ActionRequest, Origin
from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.errors import Refused
from ai_sysadmin.core.incident import ENDED, State
from ai_sysadmin.core.records import ProposedAction
from ai_sysadmin.meta_model.talk import Proposed
from ai_sysadmin.sources.units import Units
from ai_sysadmin.stores import ProposalStore, ReadStore

_LIVE = tuple(state for state in State if state not in ENDED)
_MOST_WHY = 300


class Proposals:
    """Proposes catalogue actions on this host's units."""

    def __init__(self, host: str, store: ProposalStore, reader: ReadStore, units: Units, clock: Clock) -> None:
        self._host = host
        self._store = store
        self._reader = reader
        self._units = units
        self._clock = clock

    async def propose(self, name: str, unit: str, why: str) -> Proposed:
        """Propose one action on one unit; where the same is under way already, that one comes back.

        It belongs to the unit's live incident, where there is one.

        Raises:
            Refused: the catalogue has no such action, or it cannot be done to the unit as that now stands.
            SystemdUnavailable, StoreUnavailable: the unit cannot be looked at, or nothing can be recorded.
        """
        action = validate(name, {"unit": unit})
        obstacle = action.obstacle(await self._units.status(action.unit))
        if obstacle is not None:
            raise Refused(f"{name} is not possible: {obstacle}")
        wanted = ActionRequest.propose(
            self._host,
            await self._incident_of(action.unit),
            ProposedAction(name=name, arguments={"unit": action.unit}),
            Origin.CHAT,
            one_line(why, _MOST_WHY),
            self._clock.now(),
        )
        kept = await self._store.propose(wanted)
        return Proposed(action_id=kept.id, says=f"{kept.name} {action.unit}")

    async def _incident_of(self, unit: str) -> str:
        for incident in await self._reader.incidents(_LIVE):
            if incident.unit == unit:
                return incident.id
        return ""
