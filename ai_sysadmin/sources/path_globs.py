"""Globs over whole paths: ``*`` and ``?`` stay within one name, ``**`` is any number of directories. Pure."""

import re
from collections.abc import Iterable
from typing import Final

_NOTHING: Final = re.compile(r"(?!)")


class PathGlobs:
    """Tells whether a path fits one of some globs; one that begins with no slash fits at any depth."""

    def __init__(self, globs: Iterable[str]) -> None:
        self.globs = tuple(globs)
        said = "|".join(f"(?:{_pattern(glob)})" for glob in self.globs)
        self._pattern = re.compile(said, re.DOTALL) if said else _NOTHING

    def fits(self, path: str) -> bool:
        """Tell whether an absolute path without dots and links fits. ``/etc/**`` is ``/etc`` too."""
        return self._pattern.fullmatch(path) is not None


def _pattern(glob: str) -> str:
    parts = [part for part in glob.split("/") if part]
    if not glob.startswith("/"):
        parts.insert(0, "**")
    return "".join("(?:/[^/]+)*" if part == "**" else f"/{_name(part)}" for part in parts) or "/"


def _name(part: str) -> str:
    """Return what one name of a path has to be."""
    said = ""
    at = 0
    while at < len(part):
        sign = part[at]
        end = part.find("]", at + 2) if sign == "[" else -1
        if sign == "*":
            said += "[^/]*"
        elif sign == "?":
            said += "[^/]"
        elif end > 0:
            said += _one_of(part[at + 1 : end])
            at = end
        else:
            said += re.escape(sign)
        at += 1
    return said


def _one_of(characters: str) -> str:
    is_negated = characters[0] in "!^"
    listed = re.sub(r"[\\\[\]&~|^]", r"\\\g<0>", characters[1:] if is_negated else characters)
    return f"(?!/)[{'^' if is_negated else ''}{listed}]"
