"""How much may be proposed: what waits or is under way, and what leaves its lines in the audit for ever."""

import time
from collections.abc import Callable
from typing import Final

from ai_sysadmin.core.errors import Refused, Unavailable
from ai_sysadmin.executor.journal import Journal

MOST_UNDER_WAY: Final = 200
MOST_IN_LANE: Final = 20
MOST_AT_ONCE: Final = 10_000.0
MOST_A_SECOND: Final = 1.0


class Allowance:
    """So many at once, and so many a second for long. ``now`` is in seconds that nobody sets."""

    def __init__(self, most: float, a_second: float, now: Callable[[], float] = time.monotonic) -> None:
        self._most, self._a_second, self._now = most, a_second, now
        self._left, self._at = most, now()

    def take(self) -> bool:
        """Take one; false: none is left."""
        now = self._now()
        self._left, self._at = min(self._most, self._left + (now - self._at) * self._a_second), now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Room:
    """Whether there is room for one more proposal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._allowance = Allowance(MOST_AT_ONCE, MOST_A_SECOND)

    async def check(self, lane: str) -> None:
        """Raises: Refused: too many are under way on this host, or in that lane; Unavailable: too many came."""
        here, there = await self._journal.count_under_way(lane)
        if here >= MOST_UNDER_WAY:
            raise Refused(f"{MOST_UNDER_WAY} actions wait or are under way: decide on those first")
        if there >= MOST_IN_LANE:
            raise Refused(f"{MOST_IN_LANE} actions on {lane} wait or are under way: decide on those first")
        if not self._allowance.take():
            raise Unavailable("more is proposed than anybody could look at: it has to wait")
