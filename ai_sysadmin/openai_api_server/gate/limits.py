"""How much one caller may ask: so many requests a minute, so many answers at a time."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple

_MOST_BUCKETS: Final = 1000


class _Bucket(NamedTuple):
    left: float
    at: float


class Limits:
    """What each caller has used. A caller that has asked nothing for a minute takes no memory.

    Args:
        per_minute: requests in a burst, and as many again each minute.
        answers: answers under way at a time.
        seconds: a clock that never goes back.
    """

    def __init__(self, per_minute: int, answers: int, seconds: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._answers = answers
        self._seconds = seconds
        self._buckets: dict[str, _Bucket] = {}
        self._under_way: Counter[str] = Counter()

    def wait(self, who: str) -> float:
        """Count one request; return the seconds after which it may come again, 0 where it may go on."""
        now = self._seconds()
        left = self._left(who, now)
        if left < 1:
            return (1 - left) * 60 / self._per_minute
        if who not in self._buckets and len(self._buckets) >= _MOST_BUCKETS:
            self._forget_the_full(now)
        self._buckets[who] = _Bucket(left - 1, now)
        return 0.0

    def begin(self, who: str) -> bool:
        """Take a place for an answer; false where all are taken."""
        if self._under_way[who] >= self._answers:
            return False
        self._under_way[who] += 1
        return True

    def end(self, who: str) -> None:
        """Give the place of an answer back."""
        self._under_way[who] -= 1
        if self._under_way[who] <= 0:
            del self._under_way[who]

    def _left(self, who: str, now: float) -> float:
        bucket = self._buckets.get(who)
        if bucket is None:
            return self._per_minute
        return min(self._per_minute, bucket.left + (now - bucket.at) * self._per_minute / 60)

    def _forget_the_full(self, now: float) -> None:
        self._buckets = {
            who: bucket for who, bucket in self._buckets.items() if self._left(who, now) < self._per_minute
        }
