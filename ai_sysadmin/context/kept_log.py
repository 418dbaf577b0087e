"""From when on the log has to stay: whoever gives up log leaves what the evidence of live incidents reads."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from ai_sysadmin.actions.catalogue import CATALOGUE
from ai_sysadmin.core.incident import ENDED, Incident, State
from ai_sysadmin.core.records import ProposedAction

LIVE: Final = tuple(state for state in State if state not in ENDED)
MOST_LIVE: Final = 10_000
KEEP_SINCE: Final = "keep_since"
"""The argument of an action that gives up log: from when on all of it stays."""


class LiveIncidents(Protocol):
    async def incidents(self, states: Sequence[State] = (), limit: int = 100) -> Sequence[Incident]: ...


def kept_since(given: str, live: Sequence[Incident], before_seconds: float) -> dict[str, str]:
    """Return from when on log has to stay: the earlier of what is asked and of what live incidents' evidence reads.

    Empty: nothing has to. What is asked and is no time stays as it is, for the catalogue to refuse.
    """
    times = [incident.opened_at - timedelta(seconds=before_seconds) for incident in live]
    if given:
        try:
            times.append(datetime.fromisoformat(given))
        except ValueError:
            return {KEEP_SINCE: given}
        if times[-1].tzinfo is None:
            return {KEEP_SINCE: given}
    return {KEEP_SINCE: min(times).astimezone(UTC).replace(microsecond=0).isoformat()} if times else {}


async def with_kept_log(
    choices: Mapping[str, ProposedAction], reader: LiveIncidents, before_seconds: float
) -> dict[str, ProposedAction]:
    """Return actions with what of the log has to stay, for those that give up some. Raises: StoreUnavailable."""
    if not any(KEEP_SINCE in CATALOGUE[action.name].model_fields for action in choices.values()):
        return dict(choices)
    kept = kept_since("", await reader.incidents(LIVE, MOST_LIVE), before_seconds)
    return {
        name: action.model_copy(update={"arguments": action.arguments | kept})
        if KEEP_SINCE in CATALOGUE[action.name].model_fields
        else action
        for name, action in choices.items()
    }
