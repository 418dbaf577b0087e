"""What is forgotten of what is kept, and the loop that has it forgotten."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Protocol

from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.errors import StoreUnavailable
from ai_sysadmin.core.retention_settings import Retention

log = logging.getLogger(__name__)

EVERY_SECONDS: Final = 3600.0
_JITTER: Final = 0.1
_TOLD_EVERY: Final = timedelta(days=1)
_DAY: Final = timedelta(days=1)
_WEEK: Final = timedelta(days=7)
_JUMP_SECONDS: Final = 300.0


@dataclass(frozen=True)
class Limits:
    """How much is kept. The numbers stand in the settings ``retention``, where each is described.

    ``rests``: whatever its number, nothing is forgotten that ended more lately: it may still come back.
    ``brief``: for so long stays what is of no use after its end: mutes, turns at a model, checks, delivered notices.
    """

    incidents: timedelta
    most_incidents: int
    most_lines: int
    most_rounds: int
    actions: timedelta
    most_actions: int
    most_past_documents: int
    rests: timedelta = _DAY
    brief: timedelta = _WEEK

    @classmethod
    def of(cls, settings: Retention) -> "Limits":
        return cls(
            incidents=timedelta(days=settings.incident_days),
            most_incidents=settings.most_incidents,
            most_lines=settings.most_lines,
            most_rounds=settings.most_rounds,
            actions=timedelta(days=settings.action_days),
            most_actions=settings.most_actions,
            most_past_documents=settings.most_past_documents,
        )


@dataclass(frozen=True)
class Forgotten:
    """How many rows are gone, by table; tables of which none went are left out."""

    rows: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.rows.values())

    def __add__(self, other: "Forgotten") -> "Forgotten":
        tables = {**self.rows, **other.rows}
        return Forgotten({name: self.rows.get(name, 0) + other.rows.get(name, 0) for name in tables})

    def __str__(self) -> str:
        return ", ".join(f"{count} {name}" for name, count in sorted(self.rows.items())) or "nothing"


class RetentionStore(Protocol):
    async def forget(self, limits: Limits, now: datetime) -> Forgotten:
        """Forget what is over and beyond the limits, a few hundred rows in one transaction.

        An incident goes with its symptoms, story, evidence, judgements, notices and actions; what was learned of it
        stays as knowledge. Kept are incidents that have not ended, those of which an action is under way, whatever
        became part of an incident that is live, what such parts name as their root, and what actions came to.
        Raises: StoreUnavailable; what was forgotten until then is.
        """
        ...


async def forget_forever(
    store: RetentionStore,
    settings: Retention,
    clock: Clock,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ticks: Callable[[], float] = time.monotonic,
) -> None:
    """Have the store forget about once an hour; say once a day what that came to. A store that is away is waited for.

    Args:
        ticks: seconds that nobody sets: in an hour in which the clock jumped, nothing is forgotten.
    """
    limits, told_at, is_away, forgotten = Limits.of(settings), clock.now(), False, Forgotten()
    ahead = told_at.timestamp() - ticks()
    while True:
        await sleep(EVERY_SECONDS * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311
        before, ahead = ahead, clock.now().timestamp() - ticks()
        if abs(ahead - before) > _JUMP_SECONDS:
            continue
        try:
            forgotten += await store.forget(limits, clock.now())
            is_away = False
        except StoreUnavailable as error:
            level = logging.DEBUG if is_away else logging.WARNING
            log.log(level, "nothing can be forgotten now: %s", error, extra={"event": "retention_waits"})
            is_away = True
        if clock.now() - told_at >= _TOLD_EVERY:
            _tell(forgotten)
            told_at, forgotten = clock.now(), Forgotten()


def _tell(forgotten: Forgotten) -> None:
    if forgotten.total:
        counts = {f"forgotten_{table}": count for table, count in forgotten.rows.items()}
        log.info("forgotten in a day: %s", forgotten, extra={"event": "store_forgot", **counts})
