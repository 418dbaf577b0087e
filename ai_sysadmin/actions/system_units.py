"""The units of NixOS systems, read from their files: which differ, which are protected, which databases there are.

What is in the store never changes, so what was read of a system is kept.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Final

from ai_sysadmin.sources.changes.rooted import entry_of, inside, resolved, target_of

_UNITS: Final = "etc/systemd/system"
_KINDS: Final = (".service", ".socket", ".mount", ".automount", ".swap", ".timer", ".path")
_FILE_BYTES: Final = 64 << 10
_UNITS_MOST: Final = 2000
_UNCHANGED: Final = re.compile(r"^X-RestartIfChanged\s*=\s*(false|no|0|off)\s*$", re.MULTILINE)
_DATABASE: Final = re.compile(
    r"/nix/store/[0-9a-z]{32}-(postgresql|mariadb|mysql|percona-server|mongodb)"
    r"(?:-and-plugins|-server|-ce)?-(\d+)(?:\.(\d+))?"
)
_DATA_BY_MAJOR: Final = frozenset({"postgresql"})
"""Of these the data fits all releases of one major version; of the others, only one major and minor."""
INIT: Final = "init.scope"
"""Stands for systemd itself, which is executed anew where it differs."""


def touched(root: Path, before: str, after: str) -> tuple[str, ...]:
    """Return the units that a switch from one system to the other would stop, restart, reload or begin to know."""
    if not before or not after or before == after:
        return ()
    old, new = _texts(root, before), _texts(root, after)
    differ = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name) and _is_restarted(new.get(name))]
    reexecuted = target_of(root, f"{before}/systemd") != target_of(root, f"{after}/systemd")
    return (*((INIT,) if reexecuted else ()), *differ)


def protected_of(units: Sequence[str], globs: Sequence[str]) -> tuple[str, ...]:
    """Return the units that match one of the globs."""
    return tuple(unit for unit in units if any(fnmatchcase(unit, glob) for glob in globs))


def guarded(root: Path, system: str, globs: Sequence[str]) -> tuple[str, ...]:
    """Return the services of a system that match one of the globs; of templates nothing is said."""
    services = [name for name in sorted(_texts(root, system)) if name.endswith(".service") and "@." not in name]
    return protected_of(services, globs)


def database_differs(root: Path, before: str, after: str) -> str:
    """Say how the databases of two systems differ so that one cannot read what the other wrote; empty: they do not."""
    if not before or not after:
        return ""
    old, new = _databases(root, before), _databases(root, after)
    gone, came = ", ".join(sorted(old - new)), ", ".join(sorted(new - old))
    return f"{gone or 'no database'} in place of {came or 'none'}"[:200] if old != new else ""


def _databases(root: Path, system: str) -> frozenset[str]:
    found = (match for text in _texts(root, system).values() for match in _DATABASE.finditer(text))
    return frozenset(
        f"{match[1]} {match[2]}" if match[1] in _DATA_BY_MAJOR or not match[3] else f"{match[1]} {match[2]}.{match[3]}"
        for match in found
    )


def _is_restarted(text: str | None) -> bool:
    return text is None or _UNCHANGED.search(text) is None


def _texts(root: Path, system: str) -> Mapping[str, str]:
    """Return a system's units by name, each with its file's text and those of its drop-ins."""
    directory = resolved(root, f"{system}/{_UNITS}")
    return _read_units(root, directory) if entry_of(directory) and inside(root, directory).is_dir() else {}


@lru_cache(maxsize=16)
def _read_units(root: Path, directory: str) -> Mapping[str, str]:
    texts: dict[str, str] = {}
    for name in _names(root, directory)[:_UNITS_MOST]:
        unit = name.removesuffix(".d")
        if unit.endswith(_KINDS):
            texts[unit] = texts.get(unit, "") + "".join(_read(root, f"{directory}/{name}"))
    return texts


def _names(root: Path, directory: str) -> list[str]:
    try:
        return sorted(path.name for path in inside(root, directory).iterdir())
    except OSError:
        return []


def _read(root: Path, path: str) -> Iterator[str]:
    place = resolved(root, path)
    if inside(root, place).is_dir():
        for name in _names(root, place):
            yield from _read_file(root, resolved(root, f"{place}/{name}"))
    else:
        yield from _read_file(root, place)


def _read_file(root: Path, place: str) -> Iterator[str]:
    try:
        with inside(root, place).open("rb") as opened:
            yield opened.read(_FILE_BYTES).decode(errors="replace")
    except OSError:
        # a masked unit is a link to /dev/null, one that cannot be read says at least which it is
        yield entry_of(place) or place
