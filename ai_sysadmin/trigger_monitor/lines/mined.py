"""What the miner works with: templates that change, their sources, and what either may cost."""

import hashlib
from datetime import UTC, datetime
from typing import Final, NamedTuple

from ai_sysadmin.context.redact import shortened
from ai_sysadmin.core.records import Judgement, Label, Template
from ai_sysadmin.trigger_monitor.lines.masks import WILDCARD

OTHER_LINES: Final = "(many different lines)"
"""The template of a source's further lines once it has shown too many different ones."""

OTHER_SOURCES: Final = "(other sources)"

LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)

_EXAMPLE: Final = 500


class Grade(NamedTuple):
    """What was found in a line's words when it was first seen; lines of unlike grades are never alike.

    ``weight`` is 0 to 100, ``rule`` a log rule's name, ``level`` the priority that the words name (8: none).
    """

    weight: int = 0
    words: tuple[str, ...] = ()
    rule: str = ""
    level: int = 8

    @property
    def family(self) -> tuple[str, bool]:
        return self.rule, self.weight > 0


class Bucket:
    """Tokens that come back with the time of entries; a clock that jumps gives at most one bucketful."""

    def __init__(self, most: float, per_second: float) -> None:
        self._most = self._left = most
        self._per_second = per_second
        self._at = LONG_AGO

    def has(self, at: datetime) -> bool:
        """Tell whether there is a token."""
        if at != self._at:
            elapsed = max(0.0, (at - self._at).total_seconds())
            self._left = min(self._most, self._left + elapsed * self._per_second)
            self._at = at
        return self._left >= 1

    def take(self, at: datetime) -> bool:
        """Take a token, if there is one."""
        if not self.has(at):
            return False
        self._left -= 1
        return True


class Mined:
    """A template as it is worked with; ``record`` gives the value that is kept."""

    __slots__ = (
        "count",
        "example",
        "first_at",
        "grade",
        "id",
        "is_changed",
        "is_quiet",
        "judged_by",
        "judgement",
        "known",
        "label",
        "last_at",
        "priority",
        "reported_at",
        "shown",
        "shown_at",
        "source",
        "words",
    )

    def __init__(self, source: str, words: list[str], example: str, grade: Grade, at: datetime, id_: str = "") -> None:
        self.id = id_ or template_id(source, " ".join(words))
        self.source = source
        self.words = words
        self.example = shortened(example, _EXAMPLE)
        self.grade = grade
        self.priority = 7
        self.count = 0
        self.first_at = self.last_at = at
        self.known = False
        self.label: Label | None = None
        self.judgement: Judgement | None = None
        self.judged_by = ""
        self.is_changed = False
        self.is_quiet = False
        self.reported_at = LONG_AGO
        self.shown = 0
        self.shown_at = LONG_AGO

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def widen(self, words: list[str]) -> None:
        """Let a wildcard stand where a line that is alike has another word."""
        self.words = [one if one == other else WILDCARD for one, other in zip(self.words, words, strict=True)]

    def record(self) -> Template:
        return Template(
            id=self.id,
            source=self.source,
            text=self.text,
            example=self.example,
            priority=self.priority,
            count=self.count,
            first_at=self.first_at,
            last_at=self.last_at,
            known=self.known,
            rule=self.grade.rule,
            label=self.label,
            judgement=self.judgement,
            judged_by=self.judged_by,
        )


def template_id(source: str, text: str) -> str:
    """Name a template for good: by its source and the masked text of its first line."""
    return hashlib.blake2b(f"{source}\0{text}".encode(errors="replace"), digest_size=6).hexdigest()


class Source:
    """One writer's templates.

    ``seen`` finds one by a line without its digits, ``masked`` by what is left when all that varies is masked.
    ``shapes`` are the numbers of words and the first words of lines whose template is known: while the budget for
    searches is used up, only lines of such a shape are looked at more closely, and those not for ever either.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.seen: dict[str, Mined] = {}
        self.masked: dict[str, Mined] = {}
        self.templates: dict[str, Mined] = {}
        self.leaves: dict[tuple[object, ...], list[Mined]] = {}
        self.shapes: set[tuple[int, str]] = set()
        self.searches = Bucket(2000, 200)
        self.tries = Bucket(5000, 1000)
        self.births = Bucket(1000, 4)
        self.other: Mined | None = None

    def forget(self, dropped: set[str]) -> None:
        """Drop templates by id, and all that leads to them."""
        self.templates = {id_: each for id_, each in self.templates.items() if id_ not in dropped}
        self.seen = {key: each for key, each in self.seen.items() if each.id not in dropped}
        self.masked = {key: each for key, each in self.masked.items() if each.id not in dropped}
        leaves = {key: [each for each in leaf if each.id not in dropped] for key, leaf in self.leaves.items()}
        self.leaves = {key: leaf for key, leaf in leaves.items() if leaf}
