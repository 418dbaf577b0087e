"""What is committed exactly once although nobody saw whether it was: a number that goes with it.

A connection that breaks during a commit leaves the outcome unknown. Whoever would rather commit again than lose it
puts a ``Mark`` among the notes of a ``Noticed``, under ``NOTE``. The store keeps the mark in the same transaction, and
passes over what carries one that it has had.
"""

from typing import Final, NamedTuple

NOTE: Final = "spool"
"""The name of the monitor's note that holds the mark of what was applied last."""


class Mark(NamedTuple):
    """A number in a stream; of one stream, marks are committed in order. Numbers may leave gaps."""

    stream: str
    number: int

    def __str__(self) -> str:
        return f"{self.stream} {self.number}"

    def has_had(self, other: "Mark") -> bool:
        """Tell whether something with the other mark was applied when this was the last mark."""
        return self.stream == other.stream and other.number <= self.number


def mark_of(text: str) -> Mark | None:
    """Read a mark; none: there is none."""
    stream, _, number = text.rpartition(" ")
    return Mark(stream, int(number)) if stream and number.isdecimal() else None
