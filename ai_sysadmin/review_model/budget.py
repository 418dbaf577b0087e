"""How much may be asked of a model: by incident, and by the hour. Beyond it, rules judge."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from ai_sysadmin.core.clock import local
from ai_sysadmin.core.settings import ReviewModel
from ai_sysadmin.stores import Claim, Spent

SpentSince = Callable[[datetime], Awaitable[Spent]]
HOUR: Final = timedelta(hours=1)
_STEPS: Final = 12
"""Halvings of an hour when it is looked for when a budget frees up: to the second."""


async def nothing_spent(_: datetime) -> Spent:
    return Spent()


@dataclass(frozen=True)
class Budgets:
    """The budgets of the review model, and who keeps the account."""

    settings: ReviewModel
    spent: SpentSince = nothing_spent

    def over_incident(self, claim: Claim) -> str:
        """Return which budget of an incident is used up, in words; empty: none."""
        most_calls = self.settings.max_model_calls_per_incident
        most_tokens = self.settings.max_tokens_per_incident
        by_rules = "it is judged by rules from here on"
        if claim.model_calls >= most_calls:
            return f"{claim.model_calls} of {most_calls} model calls were spent on this incident: {by_rules}"
        if claim.model_tokens >= most_tokens:
            return f"{claim.model_tokens} of {most_tokens} tokens were spent on this incident: {by_rules}"
        return ""

    async def over_hour(self, now: datetime) -> str:
        """Return which budget of the hour is used up, and when it frees up, in words; empty: none.

        Raises: StoreUnavailable.
        """
        spent = await self.spent(now - HOUR)
        if not (over := self._over(spent)):
            return ""
        frees = local(await self._frees_at(now))
        return f"{over} were spent in the last hour: rules judge until {frees}"

    def _over(self, spent: Spent) -> str:
        most_calls, most_tokens = self.settings.max_model_calls_per_hour, self.settings.max_tokens_per_hour
        if spent.calls >= most_calls:
            return f"{spent.calls} of {most_calls} model calls"
        return f"{spent.tokens} of {most_tokens} tokens" if spent.tokens >= most_tokens else ""

    async def _frees_at(self, now: datetime) -> datetime:
        """Return when so much of what was spent is an hour old that a model may be asked again."""
        over, under = now - HOUR, now
        for _ in range(_STEPS):
            middle = over + (under - over) / 2
            if self._over(await self.spent(middle)):
                over = middle
            else:
                under = middle
        return under + HOUR
