"""What a rule about log lines is, and how the table's rows are written."""

import re
from dataclasses import dataclass
from enum import Enum, auto
from fnmatch import fnmatchcase

from ai_sysadmin.core.symptom_kinds import SymptomKind


class Believed(Enum):
    """Whose word counts for a rule, and of what it then speaks."""

    KERNEL = auto()
    WATCHER = auto()
    WRITER = auto()
    ANYONE = auto()


@dataclass(frozen=True)
class Rule:
    """A kind of line. ``hints`` are lower-case texts one of which it must contain; none: it may contain any.

    ``about`` says what a hit is about, with the pattern's named groups: ``disk {disk}``; empty: its writer.
    ``speakers`` are globs of the units or programs whose lines are meant. ``by_line``: numbers matter to it, so that
    every line is matched.
    """

    name: str
    kind: SymptomKind
    opens: bool
    severity: int
    why: str
    hints: tuple[str, ...]
    pattern: re.Pattern[str]
    believed: Believed = Believed.WRITER
    about: str = ""
    speakers: tuple[str, ...] = ("*",)
    by_line: bool = False

    def is_of(self, *names: str) -> bool:
        """Tell whether it is meant for a writer of these names."""
        return any(fnmatchcase(name, glob) for glob in self.speakers for name in names if name or glob == "*")


def log_rule(
    name: str,
    kind: SymptomKind,
    severity: int,
    pattern: str,
    why: str,
    *,
    hints: str,
    opens: bool = False,
    believed: Believed = Believed.WRITER,
    about: str = "",
    speakers: tuple[str, ...] = ("*",),
) -> Rule:
    compiled = re.compile(pattern, re.IGNORECASE | re.VERBOSE)
    return Rule(name, kind, opens, severity, why, tuple(hints.split("|")), compiled, believed, about, speakers)


def kernel_rule(
    name: str, kind: SymptomKind, severity: int, pattern: str, why: str, *, hints: str, opens: bool, about: str = ""
) -> Rule:
    about = about or "kernel"
    return log_rule(
        name, kind, severity, pattern, why, hints=hints, opens=opens, believed=Believed.KERNEL, about=about
    )  # fmt: skip


def watcher_rule(
    name: str, kind: SymptomKind, severity: int, pattern: str, why: str, *, hints: str, about: str, by: str
) -> Rule:
    return log_rule(
        name, kind, severity, pattern, why, hints=hints, opens=True, believed=Believed.WATCHER, about=about,
        speakers=tuple(by.split("|")),
    )  # fmt: skip
