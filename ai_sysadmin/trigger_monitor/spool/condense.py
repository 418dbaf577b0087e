"""Commits made fewer and smaller, for when the spool is full. Pure.

What opens an incident stays as it is, in order. What only supports one is counted together; in the end it is dropped,
and counted as lost. A template, a note and the journal position are written as they were last.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import chain
from typing import Final

from ai_sysadmin.core.records import Template, Trigger
from ai_sysadmin.stores import Noticed
from ai_sysadmin.trigger_monitor.spool.pieces import Piece

_MOST_TRIGGERS: Final = 1000
"""So many triggers one commit of several becomes at most."""


class Level(IntEnum):
    """How much is given up."""

    TOGETHER = 1
    """Nothing: what supports is counted together, templates and notes are as they were last."""
    BARE = 2
    """What supports and the templates."""


@dataclass(frozen=True)
class Condensed:
    """Commits by number, and how many entries are not in them any more."""

    pieces: tuple[tuple[int, Piece], ...]
    dropped: int


def condensed(pieces: Sequence[tuple[int, Piece]], level: Level) -> Condensed:
    """Put neighbours together under the last one's number, unless that would change the order of things."""
    dropped, groups, triggers = 0, list[list[tuple[int, Piece]]](), 0
    for number, piece in pieces:
        if level >= Level.BARE:
            lost = _supports(piece.noticed)
            dropped += lost
            piece = replace(piece, noticed=_bare(piece.noticed, lost))
        triggers += len(piece.noticed.triggers)
        if groups and triggers <= _MOST_TRIGGERS and _go_together(groups[-1], piece):
            groups[-1].append((number, piece))
        else:
            groups.append([(number, piece)])
            triggers = len(piece.noticed.triggers)
    return Condensed(tuple(map(_one, groups)), dropped)


def _go_together(group: Sequence[tuple[int, Piece]], piece: Piece) -> bool:
    """Tell whether a commit may become one with those before: a commit places its triggers before it clears."""
    last = group[-1][1]
    clears = any(each.noticed.cleared for _, each in group)
    reorders = clears and bool(piece.noticed.triggers)
    return last.stream == piece.stream and last.placing == piece.placing and not reorders


def _one(group: Sequence[tuple[int, Piece]]) -> tuple[int, Piece]:
    number, last = group[-1]
    parts = [piece.noticed for _, piece in group]
    templates: dict[str, Template] = {}
    for template in chain.from_iterable(part.templates for part in parts):
        templates.pop(template.id, None)
        templates[template.id] = template
    memory = {name: text for part in parts for name, text in part.memory.items()}
    noticed = Noticed(
        position=next((part.position for part in reversed(parts) if part.position is not None), None),
        read=sum(part.read for part in parts),
        lost=sum(part.lost for part in parts),
        suppressed=sum(part.suppressed for part in parts),
        triggers=_counted_together(trigger for part in parts for trigger in part.triggers),
        cleared=tuple(cleared for part in parts for cleared in part.cleared),
        templates=tuple(templates.values()),
        memory=memory,
        alerts=tuple(alert for part in parts for alert in part.alerts),
    )
    return number, replace(last, noticed=noticed)


def _counted_together(triggers: Iterable[Trigger]) -> tuple[Trigger, ...]:
    """Return one trigger for all that support alike; it stands where the first did."""
    kept: dict[object, Trigger] = {}
    for place, trigger in enumerate(triggers):
        key: object = place if trigger.opens else (trigger.fingerprint, trigger.details.get("invocation"))
        before = kept.get(key)
        kept[key] = trigger if before is None else _sum(before, trigger)
    return tuple(kept.values())


def _bare(noticed: Noticed, lost: int) -> Noticed:
    opening = tuple(trigger for trigger in noticed.triggers if trigger.opens)
    return replace(noticed, triggers=opening, templates=(), lost=noticed.lost + lost)


def _supports(noticed: Noticed) -> int:
    return sum(trigger.count for trigger in noticed.triggers if not trigger.opens)


def _sum(one: Trigger, other: Trigger) -> Trigger:
    priority = min(one.priority, other.priority)
    return other.model_copy(update={"count": one.count + other.count, "priority": priority})
