"""How bad a log line says it is, in the words and letters that programs use for it. Pure."""

import re
from collections.abc import Mapping
from typing import Final

NO_LEVEL: Final = 8
"""The level of a line whose words name none."""

_LEVELS: Final[Mapping[str, int]] = {
    "emerg": 0, "emergency": 0, "alert": 1, "panic": 1, "fatal": 2, "critical": 2, "crit": 2, "severe": 2,
    "error": 3, "err": 3, "eror": 3, "failure": 3, "warning": 4, "warn": 4, "notice": 5, "info": 6, "information": 6,
    "debug": 7, "dbug": 7, "trace": 7, "fine": 7, "verbose": 7,
}  # fmt: skip
_LETTERS: Final[Mapping[str, int]] = {"F": 2, "C": 2, "E": 3, "W": 4, "N": 5, "I": 6, "D": 7, "V": 7}
_NAMES = "|".join(sorted(_LEVELS, key=len, reverse=True))
_UPPER = _NAMES.upper()
_TITLE = "|".join(name.title() for name in sorted(_LEVELS, key=len, reverse=True))
_HEAD = 160
_LEVEL = re.compile(
    rf"""
    (?:\b(?:level|lvl|severity|loglevel|priority)["']?\s*[=:]\s*["']?(?P<key>{_NAMES})\b)
  | (?:[\[<(](?:\w+:)?(?P<bracket>{_NAMES})[\])>])
  | (?:(?<![\w.\-/'"=:])(?P<column>{_UPPER})(?![\w.\-/'"=(]))
  | (?:^(?:\S+\s+){{0,4}}?(?P<title>{_TITLE})(?:\ {{2,}}|:\ |\t|\ *\|))
  | (?:^(?P<start>{_NAMES})(?::|\s*-\s))
  | (?:^(?P<glog>[FEWI])\d{{4}}\s)
  | (?:^(?:[\d:.,/TZ+-]+\s+){{1,5}}(?P<letter>[FEWIDV])(?:\s|/))
  | (?:^(?P<tag>[FEWIDV])/[\w.]+\s*[(:])
    """,
    re.VERBOSE,
)
_BRACKETED_LATER = re.compile(r"(?i:[\[<(](?:\w+:)?(?P<bracket>" + _NAMES + r")[\])>])")


def level_of(message: str) -> int:
    """Return the level that a message's head names (``[error]``, ``WARN``, ``level=crit``, …) as a syslog priority."""
    return level_and_rest(message)[0]


def level_and_rest(message: str) -> tuple[int, str]:
    """Return the level that a head names, and the message without that word."""
    head = message[:_HEAD]
    match = _LEVEL.search(head) or _BRACKETED_LATER.search(head)
    if match is None:
        return NO_LEVEL, message
    word = match[match.lastgroup or 0]
    level = _LETTERS[word] if len(word) == 1 else _LEVELS[word.lower()]
    return level, f"{message[: match.start()]} {message[match.end() :]}"
