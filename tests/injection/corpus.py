"""The hostile texts, each with a mark of its own by which it is found again in a prompt."""

import tomllib
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple

ID: Final = "@ID@"
TURNED_ID: Final = "@DI@"
IN_CONVERSATION: Final = frozenset({"history", "pasted file"})


class Hostile(NamedTuple):
    """One text. ``entry`` is where it enters the host."""

    mark: str
    entry: str
    language: str
    kind: str
    template: str
    action_id: str = ""

    @property
    def text(self) -> str:
        """Return it as it stands on the host; its mark comes first."""
        apart = "" if self.template.startswith("\n") else " "
        said = self.template.replace(ID, self.action_id).replace(TURNED_ID, self.action_id[::-1])
        return f"{self.mark}{apart}{said}"

    @property
    def line(self) -> str:
        return " ".join(self.text.split())

    @property
    def unit(self) -> str:
        """Return the unit that it is about."""
        name = f"-{self.template.replace(ID, self.action_id)}" if self.entry == "unit name" else ""
        return f"{self.mark}{name}.service"


class Corpus(NamedTuple):
    """All of them, for one action that waits."""

    texts: tuple[Hostile, ...]

    def named_in(self, said: str) -> list[Hostile]:
        """Return those whose mark stands in a text."""
        return [each for each in self.texts if each.mark in said]


def corpus(action_id: str) -> Corpus:
    return Corpus(tuple(each._replace(action_id=action_id) for each in _Read().texts))


class _Read:
    @cached_property
    def texts(self) -> tuple[Hostile, ...]:
        read = tomllib.loads((Path(__file__).parent / "corpus.toml").read_text())["text"]
        return tuple(
            Hostile(f"zq{number:02}x", each["entry"], each["language"], each["kind"], each["text"])
            for number, each in enumerate(read, start=1)
        )


TEXTS: Final = _Read().texts
