"""What a line of the spool holds, written and read: one commit, or the figures of one moment.

Fields that another version wrote and this one does not know are left out, wherever they stand.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError

from ai_sysadmin.core.records import Sample
from ai_sysadmin.stores import Noticed, Placing

T = TypeVar("T")


@dataclass(frozen=True)
class Piece:
    """One commit. ``stream`` is the spool's, which names its numbers."""

    stream: str
    noticed: Noticed
    placing: Placing


@dataclass(frozen=True)
class Figures:
    """What was measured at one moment."""

    at: datetime
    samples: Sequence[Sample]


_PIECE: Final = TypeAdapter(Piece)
_FIGURES: Final = TypeAdapter(Figures)


def written(piece: Piece) -> bytes:
    return _PIECE.dump_json(piece, exclude_defaults=True)


def piece_of(body: bytes) -> Piece:
    """Raises: ValueError: it is none."""
    return _leniently(_PIECE, body)


def figures_written(figures: Figures) -> bytes:
    return _FIGURES.dump_json(figures)


def figures_of(body: bytes) -> Figures:
    """Raises: ValueError: these are none."""
    return _leniently(_FIGURES, body)


def _leniently(adapter: TypeAdapter[T], body: bytes) -> T:
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        unknown = [each["loc"] for each in error.errors(include_url=False) if each["type"] == "extra_forbidden"]
        if not unknown:
            raise
    given = json.loads(body)
    for place in unknown:
        _leave_out(given, place)
    return adapter.validate_json(json.dumps(given))


def _leave_out(given: Any, place: Sequence[int | str]) -> None:
    for step in place[:-1]:
        given = given[step]
    del given[place[-1]]
