"""Whether an action may begin at this very moment: its approval, the breakers, and what is at work already."""

from ai_sysadmin.actions.catalogue import AnyAction
from ai_sysadmin.core.acting import Approval, Decision, Risk, Ruling
from ai_sysadmin.executor.approvers import why_dead
from ai_sysadmin.executor.decide import Sight, decide, decide_again
from ai_sysadmin.executor.journal import Entry, Journal
from ai_sysadmin.executor.looking import Looking


class Clearance:
    """Looks once more, when everything else is settled. It remembers what is at work, and on which units."""

    def __init__(self, journal: Journal, looking: Looking) -> None:
        self._journal = journal
        self._looking = looking
        self._at_work: dict[str, frozenset[str]] = {}

    async def ruling(self, entry: Entry, sight: Sight) -> Ruling:
        """Rule on an action once more, as it is about to begin. Raises: StoreUnavailable."""
        settings = self._looking.host.settings
        now = decide(sight, settings, entry.request.origin, entry.request.ask)
        return decide_again(entry.ruling, entry.approval, now, await self._lapsed(entry.approval))

    async def _lapsed(self, approval: Approval | None) -> str | None:
        """Say why an approval by a key does not stand any more: the key was revoked before the action began."""
        if approval is None or not approval.key_id:
            return None
        key = next((key for key in await self._journal.keys() if key.id == approval.key_id), None)
        return why_dead(key, approval.at) if key else "the key that approved it is not known any more"

    async def asks_after_all(self, entry: Entry, action: AnyAction, ruling: Ruling) -> Ruling | None:
        """Return why a person is asked over what was to run alone: a breaker has opened since; none: nobody is."""
        if entry.approval is not None or ruling.risk is Risk.READ_ONLY:
            return None
        breaker = await self._looking.breaker(action)
        if breaker is None:
            return None
        return ruling.model_copy(update={"decision": Decision.ASK, "reason": breaker, "line": "policy.breakers"})

    def took(self, entry: Entry, ruling: Ruling) -> None:
        """Remember that an action is at work on all that it changes."""
        self._at_work[entry.request.id] = frozenset((entry.subject, *ruling.units))

    def left(self, action_id: str) -> None:
        """Forget an action: it is not at work."""
        self._at_work.pop(action_id, None)

    def in_the_way(self, entry: Entry, ruling: Ruling) -> str:
        """Say which action is at work on a unit that this one changes as well; empty: none is."""
        units = {entry.subject, *ruling.units}
        for other, theirs in self._at_work.items():
            if other != entry.request.id and (shared := sorted(units & theirs)):
                return f"action {other} is at work on {shared[0]}"
        return ""
