"""How many messages go out, and which first. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeVar

from ai_sysadmin.core.notification_settings import Occasion
from ai_sysadmin.notifications import Notice

HOUR: Final = timedelta(hours=1)
STALE: Final = timedelta(days=1)
"""What is only worth knowing, and could not be told for so long, is not told any more."""

_URGENCY: Final[tuple[Occasion, ...]] = ("suite_trouble", "needs_person", "reverted", "acted", "resolved")
_LASTING: Final[frozenset[Occasion]] = frozenset({"suite_trouble", "needs_person"})

N = TypeVar("N", bound=Notice)


@dataclass(frozen=True)
class Pace:
    """What to send now, each group as one message; ``held``: what waits on becomes one summary."""

    messages: tuple[tuple[Notice, ...], ...] = ()
    held: bool = False


def paced(waiting: Sequence[Notice], sent: int, most: int, *, held: bool) -> Pace:
    """Decide what goes out.

    Args:
        sent: the messages of the last hour; with these there are never more than ``most`` in one.
        held: something was held back before: all that waits goes as one summary as soon as the hour allows a message.
    """
    free = most - sent
    if not waiting:
        return Pace()
    if free <= 0:
        return Pace(held=True)
    ordered = by_urgency(waiting)
    if held:
        return Pace((tuple(ordered),))
    return Pace(tuple((notice,) for notice in ordered[:free]), held=len(ordered) > free)


def by_urgency(notices: Sequence[N]) -> list[N]:
    """Return notices, those that somebody has to do something about first, the oldest of a kind first."""
    return sorted(notices, key=lambda notice: (_URGENCY.index(notice.occasion), notice.at, notice.id))


def is_wanted(notice: Notice, occasions: Collection[Occasion], now: datetime) -> bool:
    """Tell whether somebody wants to hear of a notice, and still does."""
    if notice.occasion not in occasions:
        return False
    return notice.occasion in _LASTING or now - notice.at <= STALE
