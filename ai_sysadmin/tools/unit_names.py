"""Which unit is meant by a name, and which there are where there is none of that name. Pure."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

from pydantic import TypeAdapter, ValidationError

from ai_sysadmin.core.errors import Refused
from ai_sysadmin.core.records import UnitName

_KINDS: Final = (
    *("service", "socket", "timer", "mount", "target", "path"),
    *("automount", "swap", "device", "slice", "scope"),
)
_ROOTS: Final = ("-.mount", "-.slice")
_UNIT: Final = TypeAdapter(UnitName)
_MOST_NEAR: Final = 6
_LEAST_PART: Final = 3
_LEAST_ALIKE: Final = 0.6


def full_name(asked: str) -> str:
    """Return a unit's full name: ``nginx`` is nginx.service, ``/mnt/data`` mnt-data.mount. Raises: Refused."""
    asked = asked.strip().strip("`'\"")
    if asked.startswith("/"):
        asked = escaped(asked) + (".device" if asked.startswith(("/dev/", "/sys/")) else ".mount")
    elif asked.rpartition(".")[2] not in _KINDS:
        asked = f"{asked}.service"
    if asked in _ROOTS:
        return asked
    try:
        return _UNIT.validate_python(asked)
    except ValidationError as error:
        raise Refused("that is no unit's name: give one such as nginx.service, without blanks or wildcards") from error


def escaped(path: str) -> str:
    """Return a path as it stands in a unit's name."""
    bare = re.sub("/+", "/", path).strip("/")
    if not bare:
        return "-"
    said = "".join(_escaped(each) for each in bare.replace("/", "\0")).replace("\0", "-")
    return rf"\x2e{said[1:]}" if said.startswith(".") else said


def _escaped(character: str) -> str:
    if character == "\0" or re.fullmatch(r"[A-Za-z0-9:_.]", character):
        return character
    return "".join(rf"\x{byte:02x}" for byte in character.encode(errors="replace"))


def same_stem(unit: str, names: Iterable[str]) -> list[str]:
    """Return the units of other kinds with a unit's stem, the likeliest first."""
    stem, known = unit.rpartition(".")[0], set(names)
    return [f"{stem}.{kind}" for kind in _KINDS if f"{stem}.{kind}" in known]


def near(unit: str, names: Iterable[str]) -> list[str]:
    """Return the units whose names are most like one that there is not."""
    stem, known = unit.rpartition(".")[0].casefold(), sorted(names)
    parts = [name for name in known if len(stem) >= _LEAST_PART and stem in name.casefold()]
    stems = get_close_matches(stem, {name.rpartition(".")[0] for name in known}, n=_MOST_NEAR, cutoff=_LEAST_ALIKE)
    alike = [name for each in stems for name in known if name.rpartition(".")[0] == each]
    return list(dict.fromkeys([*sorted(parts, key=len), *alike]))[:_MOST_NEAR]


def missing(unit: str, names: Iterable[str]) -> str:
    """Say that there is no such unit, and which there are."""
    found = near(unit, names)
    return f"there is no unit {unit}" + (f"; there are: {', '.join(found)}" if found else "")
