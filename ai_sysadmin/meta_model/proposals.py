"""Put an action up because a person or a conversation wants it; what runs, the executor decides."""

from collections.abc import Mapping, Sequence
from typing import Final

from ai_sysadmin.actions.catalogue import AnyAction, catalogue_of
from ai_sysadmin.actions.catalogue.unit_looks import UnitSeen
from ai_sysadmin.actions.catalogue.units import UnitAction
from ai_sysadmin.context.defuse import one_line
from ai_sysadmin.context.kept_log import KEEP_SINCE, LIVE, MOST_LIVE, kept_since
from ai_sysadmin.core.acting import ActionRequest, Origin
from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.errors import Refused
from ai_sysadmin.core.incident import Incident
from ai_sysadmin.core.records import ProposedAction
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.meta_model.talk import Proposed
from ai_sysadmin.sources.units import Units
from ai_sysadmin.stores import ProposalStore, ReadStore

_INCIDENT: Final = "incident"
_WHY: Final = "why"
_MOST_WHY: Final = 300


class Proposals:
    """Proposes actions of this host's catalogue. Raises: SettingsError: a declared action has a name of the
    catalogue's.
    """

    def __init__(self, settings: Settings, store: ProposalStore, reader: ReadStore, units: Units, clock: Clock) -> None:
        self._settings = settings
        self._catalogue = catalogue_of(settings)
        self._store = store
        self._reader = reader
        self._units = units
        self._clock = clock

    async def propose(
        self, name: str, arguments: Mapping[str, str], why: str, origin: Origin = Origin.CHAT
    ) -> Proposed:
        """Propose one action; where the same is under way already, that one comes back.

        It belongs to the live incident of a unit that it changes, or that its arguments name, where there is one.

        Raises:
            Refused: the catalogue has no such action, the settings do not allow it, or it cannot be done to the unit
                as that now stands.
            SystemdUnavailable, StoreUnavailable: the unit cannot be looked at, or nothing can be recorded.
        """
        live = await self._reader.incidents(LIVE, MOST_LIVE)
        given = self._filled(name, arguments, why, live)
        action = await self._checked(name, given)
        wanted = ActionRequest.propose(
            self._settings.host_name,
            _incident_of(action, given, live),
            ProposedAction(name=name, arguments=given),
            origin,
            one_line(why, _MOST_WHY),
            self._clock.now(),
        )
        kept = await self._store.propose(wanted)
        return Proposed(action_id=kept.id, says=one_line(f"{kept.name} {action.subject}", _MOST_WHY))

    async def _checked(self, name: str, arguments: Mapping[str, str]) -> AnyAction:
        """Return the action as it is settled, if nothing that can be seen from here forbids it. Raises: Refused."""
        action = self._catalogue.validate(name, arguments)
        fault = action.refuse(self._settings)
        if fault is not None:
            raise Refused(f"{name} is not possible: {fault}")
        action = action.settle(self._settings)
        if isinstance(action, UnitAction):  # what the executor would look at as well, as far as anybody may
            obstacle = action.obstacle(UnitSeen(status=await self._units.status(action.unit)))
            if obstacle is not None:
                raise Refused(f"{name} is not possible: {obstacle}")
        return action

    def _filled(self, name: str, arguments: Mapping[str, str], why: str, live: Sequence[Incident]) -> dict[str, str]:
        """Return the arguments with those that code knows better than who proposes."""
        entry = self._catalogue.entries.get(name)
        fields = entry.model_fields if entry else {}
        given = dict(arguments)
        if _WHY in fields and not given.get(_WHY):
            given[_WHY] = one_line(why, _MOST_WHY)
        if KEEP_SINCE in fields:
            given |= kept_since(given.get(KEEP_SINCE, ""), live, self._settings.context.log_before_seconds)
        return given


def _incident_of(action: AnyAction, given: Mapping[str, str], live: Sequence[Incident]) -> str:
    """Return the live incident that an action is for: of a unit that it changes, or named; empty: none."""
    return next(
        (each.id for each in live if (each.unit and each.unit in action.units) or each.id == given.get(_INCIDENT)), ""
    )
