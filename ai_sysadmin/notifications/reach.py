"""Which addresses answer, and when one that does not is tried again."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from ai_sysadmin.core.clock import Clock, local
from ai_sysadmin.notifications.addresses import Address
from ai_sysadmin.notifications.messages import Message
from ai_sysadmin.notifications.sending import Sender

FIRST_PAUSE: Final = timedelta(seconds=30)
LONGEST_PAUSE: Final = timedelta(minutes=30)


@dataclass(frozen=True)
class Away:
    """Since when an address does not answer, how often it was tried, why it was not told, when it is tried again."""

    since: datetime
    tries: int
    why: str
    until: datetime


class Reach:
    """Sends, and leaves an address alone for a while that did not take a message; each time for longer."""

    def __init__(self, sender: Sender, clock: Clock) -> None:
        self._sender = sender
        self._clock = clock
        self._away: dict[str, Away] = {}

    def reachable(self, addresses: Sequence[Address]) -> list[Address]:
        """Return the addresses that may be tried now."""
        now = self._clock.now()
        return [each for each in addresses if each.id not in self._away or self._away[each.id].until <= now]

    def next_try(self, addresses: Sequence[Address]) -> datetime:
        """Return when one of these may be tried again at the earliest."""
        now = self._clock.now()
        return min((self._away[each.id].until for each in addresses if each.id in self._away), default=now)

    async def tell(
        self, addresses: Sequence[Address], message: Message, told: Callable[[Address], Awaitable[None]]
    ) -> None:
        """Send one message to addresses, side by side; ``told`` is called for each as soon as it has it."""

        async def one(address: Address) -> None:
            if await self.send(address, message):
                await told(address)

        async with asyncio.TaskGroup() as group:
            for address in addresses:
                group.create_task(one(address))

    async def send(self, address: Address, message: Message) -> bool:
        why = await self._sender.send(address, message)
        if not why:
            self._away.pop(address.id, None)
            return True
        now, before = self._clock.now(), self._away.get(address.id)
        tries = before.tries + 1 if before else 1
        pause = min(FIRST_PAUSE * 2 ** min(tries - 1, 10), LONGEST_PAUSE)
        self._away[address.id] = Away(before.since if before else now, tries, why, now + pause)
        return False

    def faults(self, addresses: Sequence[Address]) -> str:
        """Say which addresses do not answer; empty: all did when they were last tried."""
        away = [(each.shown, self._away[each.id]) for each in addresses if each.id in self._away]
        return "; ".join(f"{shown}: {each.why}, since {local(each.since)}" for shown, each in away)
