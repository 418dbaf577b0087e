"""What changed on the host before the fault, what belongs to the unit first."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from ai_sysadmin.context.pieces.drafts import INDENT, Cleaner, Draft, first_lines, iso, lasting
from ai_sysadmin.sources.changes import Change, Changes
from ai_sysadmin.sources.changes.ranking import began_after

_CHARACTERS: Final = 8000
_DETAILS: Final = 12
_GENERATION = re.compile(r"\bgeneration \d+")


@dataclass(frozen=True)
class Before:
    """The time that is asked about: up to the fault."""

    moment: datetime
    hours: float


async def look(unit: str, changes: Changes, before: Before, clean: Cleaner) -> Draft:
    seen = await changes.before(unit, before.moment, timedelta(hours=before.hours))
    found = [_cleaned(change, clean) for change in _ranked(seen.changes)]
    within = lasting(before.hours * 3600)
    lines = [line for change in found for line in _told(change, before.moment)]
    lines, missing = first_lines(lines, _CHARACTERS)
    likeliest = _likeliest(found, before.moment)
    left_out = seen.left_out + missing
    return Draft(
        kind="changes",
        title=f"what changed in the {within} before the fault",
        lines=(
            *((_began(likeliest, before.moment),) if likeliest else ()),
            *(lines or ["(nothing that is looked at changed)"]),
            *(clean.line(f"not known: {gap}") for gap in seen.gaps),
        ),
        facts={"count": str(len(found) + seen.left_out), **_facts(likeliest, before.moment)},
        left_out=f"{left_out} more changes or lines of them" if left_out else "",
        identity=tuple(sorted(f"{each.kind} {each.about} {iso(each.at)}" for each in seen.changes)),
    )


def _ranked(changes: Sequence[Change]) -> list[Change]:
    return sorted(changes, key=lambda each: (not each.unit_related, -each.at.timestamp(), each.kind, each.about))


def _cleaned(change: Change, clean: Cleaner) -> Change:
    return change.model_copy(
        update={
            "what": clean.line(change.what),
            "about": clean.line(change.about),
            "details": tuple(clean.line(detail) for detail in change.details[:_DETAILS])
            + ((f"and {len(change.details) - _DETAILS} more",) if len(change.details) > _DETAILS else ()),
        }
    )


def _told(change: Change, moment: datetime) -> list[str]:
    seconds = _seconds(change, moment)
    ago = f"{lasting(seconds)} before" if seconds >= 1 else "at the same time"
    return [f"{ago} ({iso(change.at)}): {change.what}", *(INDENT + detail for detail in change.details)]


def _seconds(change: Change, moment: datetime) -> float:
    return max(0.0, (moment - change.at).total_seconds())


def _likeliest(changes: Sequence[Change], moment: datetime) -> Change | None:
    """Return the newest change that the fault may come from: one of the unit's own, or of the whole system."""
    began = began_after((each for each in changes if each.unit_related or each.kind == "generation"), moment)
    return began[0] if began else None


def _began(change: Change, moment: datetime) -> str:
    after = _generation(change) or change.what
    return f"This began {lasting(_seconds(change, moment))} after: {after}"


def _generation(change: Change) -> str:
    if change.kind != "generation":
        return ""
    named = _GENERATION.search(change.what) or _GENERATION.search(change.about)
    return named[0] if named else f"generation {change.about}" if change.about.isdecimal() else ""


def _facts(change: Change | None, moment: datetime) -> dict[str, str]:
    if change is None:
        return {}
    said = {
        "kind": change.kind,
        "about": change.about,
        "what": change.what,
        "seconds": f"{_seconds(change, moment):.0f}",
        "after": _generation(change),
    }
    return {name: value for name, value in said.items() if value}
