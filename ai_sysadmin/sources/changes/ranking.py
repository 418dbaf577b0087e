"""What was found, put into order: what belongs to the unit first of all, and which change may be the cause. Pure."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from ai_sysadmin.sources.changes import Change, ChangesSeen
from ai_sysadmin.sources.changes.window import DOUBT, Look

CHANGES_MOST: Final = 40

_WEIGHTS = {"generation": 0, "reboot": 0, "package": 1, "unit_file": 2, "command": 2, "configuration": 3}
_RUN = timedelta(minutes=1)
_AFTER = timedelta(seconds=15)
_FILES_NAMED = 5
_FAR_REACHING = ("generation", "package", "reboot")


def merged(looks: Iterable[Look], most: int = CHANGES_MOST) -> ChangesSeen:
    """Return what several looks found, the newest first.

    Of too many those are kept that belong to the unit, then those that reach far, then the newest.
    """
    found: list[Change] = []
    gaps: list[str] = []
    for look in looks:
        found += look.changes
        gaps += look.gaps
    ranked = sorted(folded(list(_distinct(found))), key=lambda each: each.at, reverse=True)
    ranked.sort(key=lambda each: (not each.unit_related, 0 if each.unit_related else _WEIGHTS[each.kind]))
    kept = sorted(ranked[:most], key=lambda each: each.at, reverse=True)
    return ChangesSeen(changes=tuple(kept), gaps=tuple(dict.fromkeys(gaps)), left_out=len(ranked) - len(kept))


def folded(found: Sequence[Change]) -> list[Change]:
    """Put files that were touched while packages were installed or a system was switched to with that: it did it.

    What belongs to the unit stays a change of its own.
    """
    others = [each for each in found if each.kind != "configuration" or each.unit_related]
    causes = [each for each in others if each.kind in {"generation", "package"}]
    effects: dict[int, list[Change]] = {}
    for each in (each for each in found if each.kind == "configuration" and not each.unit_related):
        cause = next((i for i, c in enumerate(causes) if c.at - _RUN <= each.at <= c.at + _AFTER), None)
        if cause is None:
            others.append(each)
        else:
            effects.setdefault(cause, []).append(each)
    carried = {id(causes[number]): files for number, files in effects.items()}
    return [_with_files(each, carried[id(each)]) if id(each) in carried else each for each in others]


def _with_files(cause: Change, files: Sequence[Change]) -> Change:
    said = "; ".join(sorted(each.what.partition(": ")[0] for each in files)[:_FILES_NAMED])
    more = f"; and {len(files) - _FILES_NAMED} more" if len(files) > _FILES_NAMED else ""
    return cause.model_copy(update={"details": (*cause.details, f"meanwhile: {said}{more}")})


def _distinct(found: Sequence[Change]) -> Iterable[Change]:
    """Yield all but the files that were found as the unit's own and met in the walk again."""
    own = {each.about for each in found if each.kind == "unit_file"}
    return (each for each in found if each.kind != "configuration" or each.about not in own)


def began_after(changes: Iterable[Change], moment: datetime) -> tuple[Change, float] | None:
    """Return the newest change that may be why something began at a moment, and how many seconds before it was.

    That is one that belongs to the unit, or one that reaches every unit: a generation that runs, packages, a boot. A
    command that names the unit (a restart) is one where nothing else is known. None: there is no such change.
    """
    likely = [
        each
        for each in changes
        if each.at <= moment + DOUBT and each.took_effect and (each.unit_related or each.kind in _FAR_REACHING)
    ]
    if not likely:
        return None
    newest = max(
        [each for each in likely if each.kind != "command"] or likely, key=lambda each: (each.at, each.unit_related)
    )
    return newest, max(0.0, (moment - newest.at).total_seconds())
