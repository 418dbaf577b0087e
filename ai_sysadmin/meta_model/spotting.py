"""Tell, while a reply streams, whether it is an answer in words or a step. Pure."""

import json
import re
from typing import Final

_STEP: Final = re.compile(r'\s*(?:```(?:json)?\s*)?(?P<object>\{\s*(?:"(?:plan|do)"|\}))')
_MAYBE: Final = re.compile(
    r'\s*(?:`{0,3}|```(?:j|js|jso|json)?\s*|(?:```(?:json)?\s*)?\{\s*(?:"(?:p|pl|pla|plan|d|do)?)?)'
)
_MOST_HELD: Final = 64
MOST_STEP_CHARACTERS: Final = 8000


class Spotter:
    """Reads a reply piece by piece. A step is an object with ``plan`` or ``do``, or an empty one, where a line begins.

    ``feed`` returns what is surely words. Once ``is_step`` is true nothing more is: ``step_text`` is the object,
    ``text`` the whole reply up to its end, ``is_whole`` tells that the object has ended.
    """

    def __init__(self) -> None:
        self.text = ""
        self.is_step = False
        self.is_whole = False
        self._begins = 0
        self._told = 0
        self._line = 0

    @property
    def step_text(self) -> str:
        return self.text[self._begins :]

    def feed(self, piece: str) -> str:
        """Take a piece in; return the words that may be shown now."""
        if self.is_whole:
            return ""
        self.text += piece
        if self.is_step:
            self._look_for_its_end()
            return ""
        return self._words()

    def end(self) -> str:
        """Return what was held back although it is words after all."""
        if self.is_step:
            return ""
        rest, self._told = self.text[self._told :], len(self.text)
        return rest

    def _words(self) -> str:
        while True:
            line = self.text[self._line :]
            if found := _STEP.match(line):
                self.is_step, self._begins = True, self._line + found.start("object")
                words, self._told = self.text[self._told : self._line], self._line
                self._look_for_its_end()
                return words
            if len(line) <= _MOST_HELD and _MAYBE.fullmatch(line):
                return self._until(self._line)
            newline = self.text.find("\n", max(self._line, self._told))
            if newline < 0:
                return self._until(len(self.text))
            self._line = newline + 1

    def _until(self, end: int) -> str:
        end = max(end, self._told)
        words, self._told = self.text[self._told : end], end
        return words

    def _look_for_its_end(self) -> None:
        try:
            _, length = json.JSONDecoder().raw_decode(self.step_text)
        except ValueError:
            self.is_whole = len(self.step_text) > MOST_STEP_CHARACTERS
            return
        except RecursionError:
            length = len(self.step_text)
        self.text = self.text[: self._begins + length]
        self.is_whole = True
