"""Who may hold how many connections to the executor. Nobody can use up what another needs to be heard.

Every uid has a bound of its own at each socket, so that one service that went wrong leaves the others, and root and the
operators, theirs. Strangers, who are only ever told no, share a few: a user namespace gives one person 65,536 uids.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ai_sysadmin.runtime.peers import Peer

PER_UID = 64
PER_STRANGER = 4
STRANGERS = 16
TELL_SECONDS = 60.0
_MOST_TOLD = 1024


class Admission:
    """Counts the connections there are, and says which may be one more."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._here: Counter[tuple[str, int, bool]] = Counter()
        self._monotonic = monotonic
        self._told: set[int] = set()
        self._telling_since = monotonic()

    @contextmanager
    def entered(self, door: str, peer: Peer, *, stranger: bool) -> Iterator[bool]:
        """Count a connection while the block lasts, and yield whether it is served at all."""
        who = (door, peer.uid, stranger)
        if not self._has_room(who):
            yield False
            return
        self._here[who] += 1
        try:
            yield True
        finally:
            self._here[who] -= 1
            if not self._here[who]:
                del self._here[who]

    def _has_room(self, who: tuple[str, int, bool]) -> bool:
        _, _, is_stranger = who
        if not is_stranger:
            return self._here[who] < PER_UID
        strangers = sum(count for (_, _, stranger), count in self._here.items() if stranger)
        return self._here[who] < PER_STRANGER and strangers < STRANGERS

    def is_worth_a_line(self, peer: Peer) -> bool:
        """Tell whether a refusal of this peer is logged: one a minute, or they could have journald drop the rest."""
        now = self._monotonic()
        if now - self._telling_since >= TELL_SECONDS:
            self._told, self._telling_since = set(), now
        if peer.uid in self._told or len(self._told) >= _MOST_TOLD:
            return False
        self._told.add(peer.uid)
        return True
