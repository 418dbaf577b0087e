"""What is being looked at while an answer is made, in words for a person."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ai_sysadmin.cli.chat.stream import LookClosed, LookOpened, Source

Seconds = Callable[[], float]


class _Look(NamedTuple):
    title: str
    began: float


class Looks:
    """The look-ups of one answer that are under way."""

    def __init__(self, seconds: Seconds = time.monotonic) -> None:
        self._seconds = seconds
        self._open: dict[str, _Look] = {}

    def began(self, look: LookOpened) -> str:
        """Return the line of a look-up that began."""
        self._open[look.id] = _Look(look.title, self._seconds())
        return f"· {look.title} …"

    def ended(self, look: LookClosed) -> tuple[str, str]:
        """Return that line again, and how it ends."""
        opened = self._open.pop(look.id, None)
        took = "" if opened is None else f"{self._seconds() - opened.began:.1f} s"
        ending = " ".join(part for part in ("failed after" if look.failed and took else "", took) if part)
        return f"· {opened.title if opened else look.id} …", ending or ("failed" if look.failed else "done")

    def under_way(self) -> str:
        """Return what is being looked at, the newest; nothing where nothing is."""
        return next((look.title for look in reversed(self._open.values())), "")


def sources_lines(sources: Sequence[Source]) -> list[str]:
    """Return the look-ups that an answer rests on, numbered as its text names them."""
    return [f"[{number}] {source.title or source.id}" for number, source in enumerate(sources, 1)]
