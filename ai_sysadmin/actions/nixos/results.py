"""What the steps of a change say when they end: the last line that they write, one JSON object. Pure."""

import hashlib
import json
import re
from typing import Annotated, Final, TypeVar

from pydantic import Field, StringConstraints, ValidationError

from ai_sysadmin.core.errors import Refused
from ai_sysadmin.core.records import Record

MOST_BYTES: Final = 14 << 10
"""The longest that such a line may be: of what a unit writes no more than the last 16 KB may be relied upon."""
INCIDENT: Final = r"[0-9a-z][0-9a-z-]{0,40}|"
SYSTEM: Final = r"^/nix/store/[0-9a-df-np-sv-z]{32}-nixos-system-[A-Za-z0-9+._?=-]{1,150}$"
_COMMIT: Final = r"^[0-9a-f]{40}([0-9a-f]{24})?$"
_BRANCH: Final = r"^ai-sysadmin/[0-9a-z-]{1,60}$"
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")

# systemd's own names, of which `-.mount` is one
Unit = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9:_.\\@-]{1,255}$")]
Line = TypeVar("Line", bound=Record)


class Built(Record):
    """A change that was built.

    ``running`` is the system that ran then, ``alone`` whether the change is all that lies between the two; ``value`` is
    the literal as Nix reads it.
    """

    store_path: str = Field(pattern=SYSTEM)
    running: str = Field(max_length=300)
    alone: bool
    branch: str = Field(pattern=_BRANCH)
    commit: str = Field(pattern=_COMMIT)
    option: str = Field(max_length=400)
    literal: str = Field(max_length=5000)
    type: str = Field(default="", max_length=200)
    carried: tuple[str, ...] = Field(default=(), max_length=100)
    pushed: str = Field(default="", max_length=300)


class Rehearsed(Record):
    """What activating a system would do, as its own ``dry-activate`` says, and how its closure differs."""

    store_path: str = Field(pattern=SYSTEM)
    running: str = Field(max_length=300)
    stop: tuple[Unit, ...] = ()
    restart: tuple[Unit, ...] = ()
    reload: tuple[Unit, ...] = ()
    start: tuple[Unit, ...] = ()
    left_alone: tuple[Unit, ...] = ()
    closure: tuple[str, ...] = ()
    closure_more: int = Field(default=0, ge=0)

    @property
    def units(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.stop, *self.restart, *self.reload, *self.start)))


class Drafted(Record):
    """A free change that lies on a branch. ``evaluates`` is a sentence on whether Nix can evaluate it."""

    branch: str = Field(pattern=_BRANCH)
    commit: str = Field(pattern=_COMMIT)
    look: str = Field(max_length=600)
    stat: tuple[str, ...] = Field(default=(), max_length=60)
    evaluates: str = Field(max_length=600)


def branch_of(incident: str, option: str) -> str:
    """Return the branch that a change of an option belongs on. Raises: Refused: that is no incident's id."""
    if not re.fullmatch(INCIDENT, incident):
        raise Refused(f"{plain(incident)!r} is no incident's id")
    return f"ai-sysadmin/{incident or 'option-' + hashlib.sha256(option.encode()).hexdigest()[:8]}"


def draft_branch(diff: str, incident: str) -> str:
    """Return the branch that a free change belongs on. Raises: Refused: that is no incident's id."""
    if not re.fullmatch(INCIDENT, incident):
        raise Refused(f"{plain(incident)!r} is no incident's id")
    digest = hashlib.sha256(diff.encode()).hexdigest()[:8]
    return f"ai-sysadmin/draft-{incident}-{digest}" if incident else f"ai-sysadmin/draft-{digest}"


def last_line(kind: type[Line], written: str) -> Line:
    """Return what a step said. Raises: Refused: it did not end with that."""
    lines = [line for line in written.splitlines() if line.strip()]
    try:
        return kind.model_validate_json(lines[-1] if lines else "")
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        raise Refused(f"what was built did not say so as it should: {fault['msg']}") from error


def as_line(result: Record) -> str:
    """Return a result as that line. Raises: Refused: it is too long to be told whole."""
    line = json.dumps(result.model_dump(mode="json"))  # ASCII: whatever ends a line anywhere is escaped
    if len(line.encode()) > MOST_BYTES:
        raise Refused("it touches more than can be told: a person has to look at this change")
    return line


def plain(text: str, most: int = 200) -> str:
    """Return a text of others as one line of what can be printed."""
    line = " ".join(_COLOURS.sub("", text).split())
    kept = "".join(character for character in line if character.isprintable())
    return kept if len(kept) <= most else kept[: most - 1] + "…"
