"""The generations of NixOS's system profile, and which of them may go: none that anybody could roll back to."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

from ai_sysadmin.core.records import Record
from ai_sysadmin.sources.changes.rooted import STORE, inside, resolved, target_of

PROFILES: Final = "/nix/var/nix/profiles"
ROOTS: Final = "/nix/var/nix/gcroots"
OWN_ROOTS: Final = f"{ROOTS}/ai-sysadmin"
CURRENT: Final = "/run/current-system"
BOOTED: Final = "/run/booted-system"
_PREFIX, _SUFFIX = "system-", "-link"
_DEEP = 4


class NumberedSystem(Record):
    """A generation: its number, and the system in the store; empty: its link leads nowhere."""

    number: int
    system: str


class SystemProfile(Record):
    """The generations by number, which of them is the next boot's (0: none), and the systems that have to stay.

    ``pinned`` are the running and the booted system and what the suite's own roots hold: the last good one, and both
    sides of a change under way. ``rooted`` are the systems that stay though no generation holds them.
    """

    generations: tuple[NumberedSystem, ...]
    default: int
    current: str
    booted: str
    pinned: tuple[str, ...]
    rooted: tuple[str, ...]


def doomed(generations: Sequence[NumberedSystem], default: int, pinned: Collection[str], keep: int) -> tuple[int, ...]:
    """Return the numbers of the generations that may go, in order.

    These never go: the newest ``keep`` that lead to a system, and one at the least; the next boot's; every one of a
    pinned system; the one before each of these, which a roll-back from there leads to. Of a link that leads nowhere
    nothing is known, and nothing is gained by deleting it: it stays too.
    """
    whole = sorted((each for each in generations if each.system), key=lambda each: each.number)
    numbers = [each.number for each in whole]
    bases = {default, *numbers[-1:], *(each.number for each in whole if each.system in pinned)}
    befores = {max(earlier) for base in bases if (earlier := [number for number in numbers if number < base])}
    kept = {*bases, *befores, *numbers[-max(1, keep) :]}
    return tuple(number for number in numbers if number not in kept)


def read_system_profile(root: Path, profiles: str = PROFILES) -> SystemProfile | None:
    """Read the links; none: this is no NixOS. Raises: OSError."""
    try:
        names = [path.name for path in inside(root, profiles).iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return None
    numbers = sorted(number for name in names if (number := _number(name)) is not None)
    if not numbers:
        return None
    generations = tuple(
        NumberedSystem(number=number, system=_system(root, f"{profiles}/{_PREFIX}{number}{_SUFFIX}"))
        for number in numbers
    )
    current, booted = _system(root, CURRENT), _system(root, BOOTED)
    own = _held(root, OWN_ROOTS, _DEEP)
    return SystemProfile(
        generations=generations,
        default=_number(target_of(root, f"{profiles}/system").rpartition("/")[2]) or 0,
        current=current,
        booted=booted,
        pinned=tuple(sorted({each for each in (current, booted, *own) if each})),
        rooted=tuple(sorted({*own, *_held(root, ROOTS, 1)})),
    )


def _number(name: str) -> int | None:
    digits = name.removeprefix(_PREFIX).removesuffix(_SUFFIX)
    is_one = name == f"{_PREFIX}{digits}{_SUFFIX}" and digits.isascii() and digits.isdigit() and len(digits) < 10
    return int(digits) if is_one else None


def _system(root: Path, link: str) -> str:
    """Return the path in the store that a link leads to; empty: it leads nowhere, or out of the store."""
    if not inside(root, link).is_symlink():
        return ""
    path = resolved(root, link)
    return path if path.startswith(STORE) and inside(root, path).exists() else ""


def _held(root: Path, directory: str, deep: int) -> set[str]:
    """Return what the links in a directory of roots lead to."""
    try:
        entries = list(inside(root, directory).iterdir())
    except OSError:
        return set()
    held: set[str] = set()
    for entry in entries:
        path = f"{directory}/{entry.name}"
        if entry.is_symlink():
            held.add(_system(root, path))
        elif deep > 1 and entry.is_dir():
            held |= _held(root, path, deep - 1)
    return held - {""}
