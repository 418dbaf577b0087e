"""The head of a runbook's file: a few keys between two lines of ``---``. Pure."""

import difflib
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from ai_sysadmin.core.errors import AiSysadminError
from ai_sysadmin.core.symptom_kinds import SymptomKind

FENCE: Final = "---"
_KEYS: Final = ("title", "kinds", "units", "tags")
_MOST_LINES: Final = 40
_MOST_TITLE: Final = 200
_UNIT_GLOB: Final = re.compile(r"[A-Za-z0-9:_.\\@*?\[\]!-]+")


class FrontMatterWrong(AiSysadminError):
    """A runbook's head cannot be read."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(f"line {line}: {text}")
        self.line = line


class FrontMatter(NamedTuple):
    """What stands in a head. ``body`` is what follows it."""

    title: str
    kinds: tuple[str, ...]
    units: tuple[str, ...]
    tags: tuple[str, ...]
    body: str

    @property
    def facts(self) -> dict[str, str]:
        """Return all but the title as short texts; what is empty is absent."""
        facts = {"kinds": " ".join(self.kinds), "units": " ".join(self.units), "tags": ", ".join(self.tags)}
        return {name: value for name, value in facts.items() if value}


def has_head(text: str) -> bool:
    """Tell whether a text begins with a head."""
    return text.removeprefix("\ufeff").partition("\n")[0].strip() == FENCE


def read(text: str) -> FrontMatter:
    """Read a text that begins with a head.

    Raises:
        FrontMatterWrong: names the line and the key that is wrong, and what it may be.
    """
    lines = text.removeprefix("\ufeff").splitlines()
    closing = next((n for n, line in enumerate(lines[1 : _MOST_LINES + 1], start=1) if line.strip() == FENCE), 0)
    if not closing:
        raise FrontMatterWrong(1, f"the head that begins here is not closed: a line {FENCE} is missing after its keys")
    values: dict[str, tuple[int, list[str]]] = {}
    key = ""
    for number, line in enumerate(lines[1:closing], start=2):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line.lstrip().startswith("- ") and key:
            values[key][1].append(_unquoted(line.strip()[2:]))
            continue
        key, value = _pair(line, number, values)
        values[key] = number, _listed(value) if key != "title" else [_unquoted(value)]
    return _checked(values, "\n".join(lines[closing + 1 :]).strip() + "\n")


def heading_of(text: str) -> str:
    """Return a text's first heading; empty: it has none."""
    match = re.search(r"^#{1,3}\s+(\S.*)$", text, re.MULTILINE)
    return match[1].strip()[:_MOST_TITLE] if match else ""


def _pair(line: str, number: int, seen: Iterable[str]) -> tuple[str, str]:
    key, colon, value = line.partition(":")
    key = key.strip().lower()
    if not colon:
        raise FrontMatterWrong(number, f"{line.strip()[:60]!r} is no 'key: value'")
    if key not in _KEYS:
        raise FrontMatterWrong(number, f"the key {key[:40]!r} is not known{_meant(key, _KEYS)}")
    if key in seen:
        raise FrontMatterWrong(number, f"the key {key!r} is there twice")
    return key, value.strip()


def _listed(value: str) -> list[str]:
    """Return the members of ``[a, b]``, ``a, b`` or ``a b``; a blank parts only where there is no comma."""
    inner = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    parts = inner.split(",") if "," in inner or inner != value else inner.split()
    return [_unquoted(part) for part in parts if part.strip()]


def _unquoted(value: str) -> str:
    value = value.strip()
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value


def _checked(values: dict[str, tuple[int, list[str]]], body: str) -> FrontMatter:
    line, title = values.get("title", (1, [""]))
    if not (title[0] or heading_of(body)):
        raise FrontMatterWrong(line, "the key 'title' is missing: say in one line what the runbook is about")
    return FrontMatter(
        title=(title[0] or heading_of(body))[:_MOST_TITLE],
        kinds=_kinds(*values.get("kinds", (1, []))),
        units=_units(*values.get("units", (1, []))),
        tags=tuple(values.get("tags", (1, []))[1]),
        body=body,
    )


def _kinds(line: int, given: list[str]) -> tuple[str, ...]:
    known = [kind.value for kind in SymptomKind]
    for kind in given:
        if kind not in known:
            raise FrontMatterWrong(line, f"kinds: {kind[:40]!r} is no kind of symptom{_meant(kind, known)}")
    return tuple(given)


def _units(line: int, given: list[str]) -> tuple[str, ...]:
    for unit in given:
        if not _UNIT_GLOB.fullmatch(unit) or not set(unit) & {".", "*"}:
            text = f"units: {unit[:60]!r} names no unit: give its whole name or a glob, such as nginx.service or acme-*"
            raise FrontMatterWrong(line, text)
    return tuple(given)


def _meant(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f": is {near[0]!r} meant?" if near else f"; known are {', '.join(known)}"
