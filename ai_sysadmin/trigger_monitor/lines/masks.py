"""What varies from line to line, masked; and what a line's source is called, whatever its instance. Pure."""

import re
from typing import Final

LOOKED_AT: Final = 512
"""How many characters of a message make its template."""

MOST_TOKENS: Final = 64
"""So many words of a line are told apart; what follows them varies."""

WILDCARD: Final = "<*>"

DIGITS_AWAY: Final[dict[int, None]] = dict.fromkeys(map(ord, "0123456789"))
"""For ``str.translate``: the cheapest form that lines differing in numbers only have in common."""

HEX_WORD: Final = re.compile(r"\b(?=[0-9a-fA-F]*\d)[0-9a-fA-F]{6,}\b")
"""A whole word that is a number in base 16, or in base 10 a long one."""

_TIME = r"""
    (?P<time>\b\d{4}[-/.]\d\d[-/.]\d\d(?:[T_-]\d\d[:.]\d\d[:.]\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?)?(?![\w.-])
      |\b\d\d:\d\d:\d\d(?:[.,]\d+)?\b)
"""
_NUMBERS = r"""
  | (?P<id>\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b)
  | (?P<ip>\b\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?\b|(?<![\w:])(?=[^:]*:[^:]*:)[0-9a-fA-F:]{3,39}(?![\w:]))
  | (?P<hex>\b0x[0-9a-fA-F]+\b|\b(?=[0-9a-fA-F]*\d)(?=\d*[a-fA-F])[0-9a-fA-F]{6,}\b)
  | (?P<n>(?:(?<![\w.])-)?\d+(?:[.,:]\d+)*)
"""
_PATH = r"|(?P<path>(?<![\w/<])/[\w.@+%~=-]+(?:/[\w.@+%~=:-]*)+)"
_VARIES = re.compile(_TIME + _NUMBERS, re.VERBOSE)
_VARIES_OR_PATH = re.compile(_TIME + _PATH + _NUMBERS, re.VERBOSE)
_NAMES: Final = {name: f"<{name}>" for name in ("time", "id", "ip", "hex", "n", "path")}
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_CALENDAR: Final = frozenset((*_MONTHS, "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"))


def masked(message: str) -> str:
    """Return what a message has in common with others that differ in numbers, times, addresses, paths or ids only."""
    return " ".join(masked_words(message[:LOOKED_AT]))


def masked_words(text: str) -> list[str]:
    """Return a text's words, what varies in them masked, at most ``MOST_TOKENS`` and a wildcard for what follows."""
    words = text.split(None, MOST_TOKENS)
    if len(words) > MOST_TOKENS:
        words[MOST_TOKENS] = WILDCARD
    found = [word if word.isalpha() else _masked_word(word) for word in words]
    if not _CALENDAR.isdisjoint(found):
        _mask_dates(found)
    return found


def _mask_dates(words: list[str]) -> None:
    """Mask months and days, in place, where they stand before a number: ``Jan 5``, not ``may fail``."""
    following = ""
    for index in range(len(words) - 1, -1, -1):
        if words[index] in _CALENDAR and following.startswith(("<n>", "<time>")):
            words[index] = "<time>"
        following = words[index]


_COUNT = r"(?:errors?|fail\w*|faults?|warnings?|exceptions?|timeouts?|retries|dropped|lost|denied|conflicts?)"
_COUNTED = re.compile(rf"<n>\S*\s+(?:\w+\s+)?{_COUNT}\b|{_COUNT}\S{{0,2}}[=:]\s*<n>|\b{_COUNT}\s+<n>", re.IGNORECASE)

_STEMS = (
    "error",
    "fail",
    "fault",
    "warning",
    "exception",
    "timeout",
    "retries",
    "dropped",
    "lost",
    "denied",
    "conflict",
)


def is_count(text: str) -> bool:
    """Tell whether a masked line counts what goes wrong: then none and some are not alike."""
    lowered = text.lower()
    return "<n>" in lowered and any(stem in lowered for stem in _STEMS) and _COUNTED.search(text) is not None


def with_zeros(text: str, words: list[str]) -> list[str]:
    """Return masked words with the zeros of the text they were made of."""
    raw = text.split(None, MOST_TOKENS)
    return ["0" if one.strip("(),.;%") == "0" else _zeros(one, word) for one, word in zip(raw, words, strict=True)]


def _zeros(raw: str, word: str) -> str:
    return word.replace("<n>", "0") if raw.rstrip("),.;").endswith(("=0", ":0")) and word.count("<n>") == 1 else word


def _masked_word(word: str) -> str:
    if word.isdecimal():
        return "<n>"
    if "/" in word:
        return _VARIES_OR_PATH.sub(_mask, word)
    if word.translate(DIGITS_AWAY) == word and word.count(":") < 2:
        return word
    return _VARIES.sub(_mask, word)


def _mask(match: re.Match[str]) -> str:
    return _NAMES[match.lastgroup or "n"]


# --- sources

_INSTANCE = re.compile(r"^(session|user-runtime-dir|user|run|libpod|docker|crio|machine|app)([-@])(.+)$")
_LONG_HEX = re.compile(r"[0-9a-f]{12,}")
_NUMBER = re.compile(r"(?<![A-Za-z0-9])\d+(?![A-Za-z0-9])")


def source_of(unit: str) -> str:
    """Return a unit's name without what changes from instance to instance: ``session-3.scope``, container ids."""
    name, dot, kind = unit.rpartition(".")
    if not dot:
        return unit
    match = _INSTANCE.match(name)
    if match and (kind == "scope" or match[1] in {"run", "user", "user-runtime-dir"}):
        return f"{match[1]}{match[2]}{WILDCARD}.{kind}"
    return f"{_NUMBER.sub(WILDCARD, _LONG_HEX.sub(WILDCARD, name))}.{kind}"
