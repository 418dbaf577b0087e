"""What a threshold is, and how the operator's own take their place among the built-in ones. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from ai_sysadmin.core.noticing_settings import Threshold
from ai_sysadmin.core.symptom_kinds import SymptomKind


@dataclass(frozen=True)
class Also:
    """A second figure that must be bad too. ``about`` none: that of the same thing. ``clear``: good again from here."""

    metric: str
    above: float | None = None
    below: float | None = None
    clear: float | None = None
    about: str | None = None


@dataclass(frozen=True)
class Row:
    """One threshold.

    Attributes:
        subject: what the incident is about; ``{about}`` stands for what was measured.
        words: the fault in a sentence; ``{value}``, ``{limit}``, ``{about}`` and ``{also}``, the second figure.
        clear: over when the figure is back at this, ``clear_samples`` times in a row; none: the limit itself.
        only_after_good: a fault only as a change: of a thing that was seen well before.
        counts_up: the figure is a counter, what counts is by how much it grew since the last sample.
        votes: so many samples over the limit, of the last so many.
        opens: false: it only supports an incident.
    """

    name: str
    metric: str
    words: str
    kind: SymptomKind = SymptomKind.THRESHOLD
    subject: str = "{about}"
    about: tuple[str, ...] = ("*",)
    except_about: tuple[str, ...] = ()
    above: float | None = None
    below: float | None = None
    clear: float | None = None
    also: tuple[Also, ...] = ()
    votes: tuple[int, int] = (3, 4)
    clear_samples: int = 2
    severity: int = 60
    only_after_good: bool = False
    counts_up: bool = False
    opens: bool = True

    @property
    def limit(self) -> float:
        return self.above if self.above is not None else self.below or 0.0

    def is_for(self, about: str) -> bool:
        return _is_one_of(about, self.about) and not _is_one_of(about, self.except_about)


def _is_one_of(about: str, globs: tuple[str, ...]) -> bool:
    return any(fnmatchcase(about, each) for each in globs)


def with_declared(built_in: Iterable[Row], thresholds: Sequence[Threshold]) -> tuple[Row, ...]:
    """Return the built-in rows with the operator's in their place or added."""
    rows = {row.name: row for row in built_in}
    for threshold in thresholds:
        if threshold.enabled:
            rows[threshold.name] = _declared(threshold, rows.get(threshold.name))
        else:
            rows.pop(threshold.name, None)
    return tuple(rows.values())


def _declared(threshold: Threshold, built_in: Row | None) -> Row:
    """Return the operator's row. It keeps what a built-in one of that name is called, and none of its conditions."""
    row = Row(
        threshold.name,
        threshold.metric,
        "{metric} of {about} is {value} (limit {limit})",
        about=(threshold.about,),
        above=threshold.above,
        below=threshold.below,
        clear=threshold.clear,
        votes=(threshold.samples, threshold.of_samples),
        severity=threshold.severity,
    )
    if built_in is None or built_in.metric != threshold.metric:
        return row
    return replace(row, kind=built_in.kind, subject=built_in.subject, opens=built_in.opens)
