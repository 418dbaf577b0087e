"""What review and investigation share: take a claim, gather its evidence, give it back where that fails."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from ai_sysadmin.context.evidence import EvidenceSources, gather
from ai_sysadmin.context.facts import Facts, facts_of
from ai_sysadmin.context.kept_log import with_kept_log
from ai_sysadmin.core.clock import Clock
from ai_sysadmin.stores import Claim

POLL_SECONDS = 0.2
GATHERING_SECONDS = 60.0
"""How long gathering evidence may take before the service counts as stuck."""


@dataclass(frozen=True)
class Gathering:
    """How evidence is gathered, and by which clock."""

    sources: EvidenceSources
    clock: Clock

    async def facts(self, claim: Claim) -> Facts:
        """Gather the evidence for a claimed incident, and what follows from it."""
        pack = await gather(claim.incident, claim.symptoms, self.sources, self.clock.now())
        facts = facts_of(claim.incident, pack)
        if self.sources.past is None:
            return facts
        before_seconds = self.sources.limits.log_before_seconds
        return replace(facts, choices=await with_kept_log(facts.choices, self.sources.past, before_seconds))


class Releases(Protocol):
    async def release(self, claim: Claim) -> None: ...


@asynccontextmanager
async def held(store: Releases, claim: Claim) -> AsyncIterator[None]:
    """Give a claim back where the block fails or is cancelled. Raises: StoreUnavailable."""
    finished = False
    try:
        yield
        finished = True
    finally:
        if not finished:
            await store.release(claim)


async def work_forever(work_next: Callable[[], Awaitable[bool]]) -> None:
    """Do what is due, one after the other; look again after a moment when nothing was."""
    while True:
        if not await work_next():
            await asyncio.sleep(POLL_SECONDS)
