"""What the executor looks at before it rules on an action: the host through the entry's own eyes, what else is at work,
which breaker is open. The same for a proposal, for its execution, and for a person who only asks.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final

from ai_sysadmin.actions.action import Host
from ai_sysadmin.actions.breakers import Deed, open_breaker, resting
from ai_sysadmin.actions.catalogue import AnyAction, Catalogue
from ai_sysadmin.core.acting import ActionRequest, ActionState, Risk
from ai_sysadmin.core.errors import Refused, Unavailable
from ai_sysadmin.core.records import Record
from ai_sysadmin.executor.decide import Sight
from ai_sysadmin.executor.entry import boottime
from ai_sysadmin.executor.halt import HaltSwitch
from ai_sysadmin.executor.holds import Hold, HoldKind, Holds
from ai_sysadmin.executor.journal import Entry, Journal, Moment

log = logging.getLogger(__name__)
LOOK_SECONDS: Final = 20.0
REMEMBERED: Final = 24
"""Over so many times ``policy.breakers.within_seconds`` it is remembered what did not help."""


class Looking:
    """Looks at this host, in the boot of that id, for one action at a time."""

    def __init__(
        self, catalogue: Catalogue, host: Host, holds: Holds, journal: Journal, halt: HaltSwitch, boot_id: str
    ) -> None:
        self.catalogue = catalogue
        self.host = host
        self.halt = halt
        self._holds = holds
        self._journal = journal
        self._boot_id = boot_id

    def action(self, entry: Entry) -> AnyAction:
        """Return what an entry of the journal would do, with what was built for it. Raises: Refused."""
        return self.bound(entry.request, entry.told)

    def bound(self, request: ActionRequest, told: tuple[str, ...] = ()) -> AnyAction:
        """Return the action that a request means on this host. Raises: Refused: the catalogue does not take it."""
        return self.checked(request.name, request.arguments).bind(told)

    def checked(self, name: str, arguments: dict[str, str]) -> AnyAction:
        """Return an action of this host's catalogue. Raises: Refused."""
        action = self.catalogue.validate(name, arguments)
        reason = action.refuse(self.host.settings)
        if reason is not None:
            raise Refused(f"{name}: {reason}")
        return action.settle(self.host.settings)

    async def sight(self, action: AnyAction) -> Sight:
        """Look at the host for an action. Raises: Unavailable: it cannot be seen, Refused: it cannot be planned."""
        with faults_refused(action):
            return await self._sight(action)

    async def _sight(self, action: AnyAction) -> Sight:
        seen = await self.look(action)
        now, risk = self.host.clock.now(), action.risk(seen)
        obstacle = action.obstacle(seen)
        harmless, limits = risk is Risk.READ_ONLY, self.host.settings.policy.breakers
        deeds = () if harmless else await self._deeds(now)
        return Sight(
            action=action,
            seen=seen,
            risk=risk,
            plan=None if obstacle else action.plan(seen),
            at=now,
            obstacle=obstacle,
            warrant=action.warrant(seen),
            hold=self.halted() if harmless else await self.hold(action),
            breaker=open_breaker(deeds, action.name, action.lane, limits, now),
            rest=resting(deeds, action.lane, limits, now),
        )

    async def look(self, action: AnyAction) -> Record:
        """Return what an action observes. Raises: Unavailable: it cannot be seen, or takes too long."""
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                seen: Record = await action.observe(self.host)
        except TimeoutError as error:
            raise Unavailable(f"{action.subject} could not be looked at within {LOOK_SECONDS:.0f} s") from error
        return seen

    async def breaker(self, action: AnyAction) -> str | None:
        """Say which breaker is open now, by all that was begun until now; none: no breaker is."""
        now = self.host.clock.now()
        limits = self.host.settings.policy.breakers
        return open_breaker(await self._deeds(now), action.name, action.lane, limits, now)

    @property
    def remembered(self) -> timedelta:
        """Over how long it counts what was begun."""
        return REMEMBERED * timedelta(seconds=self.host.settings.policy.breakers.within_seconds)

    async def _deeds(self, now: datetime) -> Sequence[Deed]:
        return await self._journal.deeds(Moment(now, self._boot_id, boottime()), self.remembered)

    async def hold(self, action: AnyAction) -> Hold | None:
        """Return what else is at work, the kill switch first; none: nothing."""
        return self.halted() or await self._holds.look(action.units, self.host.settings.policy.hands_off_seconds)

    def halted(self) -> Hold | None:
        """Return that nothing at all is begun now; none: it may be."""
        halted = self.halt.halted()
        if halted is None:
            return None
        return Hold(kind=HoldKind.PASSES, why=f"all actions are halted by {halted.by}: {halted.why}")


@contextmanager
def faults_refused(action: AnyAction) -> Iterator[None]:
    """Refuse an action that its own entry fails at: one that ended the executor would do so at every start of it."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError) as error:
        said = {"event": "catalogue_fault", "action": action.name}
        log.exception("%s %s cannot be judged", action.name, action.subject, extra=said)
        raise Refused(f"{action.name} cannot be judged here: {type(error).__name__}: {str(error)[:300]}") from error


def is_due(entry: Entry) -> bool:
    """Tell whether an action goes on by itself: it is neither over nor waits for a person."""
    return not entry.state.ended and entry.state is not ActionState.PENDING
