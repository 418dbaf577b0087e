"""Marks in a text that comes in pieces: thoughts at its start, and texts before which it ends. Pure.

A piece may end in the middle of a mark, so its tail is held back until it is seen what it is.
"""

from collections.abc import Sequence
from typing import Literal

_OPEN = "<think>"
_CLOSE = "</think>"


def tail_of_mark(text: str, marks: Sequence[str]) -> int:
    """Return how many characters at the end of a text may be the beginning of a mark."""
    longest = min(len(text), max((len(mark) for mark in marks), default=1) - 1)
    lengths = range(longest, 0, -1)
    return next((length for length in lengths if any(mark.startswith(text[-length:]) for mark in marks)), 0)


class Thoughts:
    """Keeps ``<think>…</think>`` at the very start of an answer apart from it; elsewhere the marks are text."""

    def __init__(self) -> None:
        self._at: Literal["start", "thoughts", "answer"] = "start"
        self._held = ""
        self._skips_blanks = False

    def add(self, piece: str) -> tuple[str, str]:
        """Take in a piece; return what can be said of it: thoughts, and answer."""
        self._held += piece
        self._begin()
        thought = self._thought()
        return thought, self._answer()

    def rest(self) -> tuple[str, str]:
        """Return what was held back, at the end: thoughts, and answer."""
        held, self._held = self._held, ""
        return (held, "") if self._at == "thoughts" else ("", held)

    def _begin(self) -> None:
        if self._at != "start":
            return
        begun = self._held.lstrip()
        if begun.startswith(_OPEN):
            self._at, self._held, self._skips_blanks = "thoughts", begun.removeprefix(_OPEN), True
        elif not _OPEN.startswith(begun):
            self._at = "answer"

    def _thought(self) -> str:
        if self._at != "thoughts":
            return ""
        thought, closed, rest = self._without_blanks().partition(_CLOSE)
        if closed:
            self._at, self._held, self._skips_blanks = "answer", rest, True
            return thought
        return self._release(tail_of_mark(thought, (_CLOSE,)))

    def _answer(self) -> str:
        if self._at != "answer":
            return ""
        self._held = self._without_blanks()
        return self._release(0)

    def _without_blanks(self) -> str:
        """Return what is held; blanks and line breaks next to a mark belong to neither side."""
        if self._skips_blanks:
            self._held = self._held.lstrip()
            self._skips_blanks = not self._held
        return self._held

    def _release(self, but: int) -> str:
        cut = len(self._held) - but
        text, self._held = self._held[:cut], self._held[cut:]
        return text


class Stops:
    """Ends an answer before any of some texts. ``reached``: it has ended."""

    def __init__(self, stops: Sequence[str]) -> None:
        self.reached = False
        self._stops = stops
        self._held = ""

    def add(self, piece: str) -> str:
        """Take in a piece; return what can be said of it."""
        if self.reached:
            return ""
        whole = self._held + piece
        found = [at for stop in self._stops if (at := whole.find(stop)) >= 0]
        self.reached = bool(found)
        cut = min(found) if found else len(whole) - tail_of_mark(whole, self._stops)
        self._held = "" if found else whole[cut:]
        return whole[:cut]

    def rest(self) -> str:
        """Return what was held back, at the end."""
        held, self._held = self._held, ""
        return held
