"""Which log lines are alike: what varies from line to line is masked, the rest is the template."""

import re
from functools import lru_cache
from typing import Final

LOOKED_AT: Final = 512
"""How many characters of a message make its template."""

_KNOWN = 8192
_VARIES = re.compile(
    r"""
    (?P<time>\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?|\b\d\d:\d\d:\d\d(?:[.,]\d+)?\b)
  | (?P<id>\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b)
  | (?P<ip>\b\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?\b|(?<![\w:])(?=[^:\s]*:[^:\s]*:)[0-9a-fA-F:]{3,39}(?![\w:]))
  | (?P<path>(?<![\w/])/[\w.@+%~=-]+(?:/[\w.@+%~=:-]*)+)
  | (?P<hex>\b0x[0-9a-fA-F]+\b|\b(?=[0-9a-fA-F]*\d)(?=\d*[a-fA-F])[0-9a-fA-F]{6,}\b)
  | (?P<n>\d+(?:[.,:]\d+)*)
    """,
    re.VERBOSE,
)


def template_of(message: str) -> str:
    """Return a message's template: the same for all lines that differ only in numbers, addresses, paths or ids."""
    return _masked(message[:LOOKED_AT])


@lru_cache(maxsize=_KNOWN)
def _masked(message: str) -> str:
    text = _VARIES.sub(lambda match: f"<{match.lastgroup}>", message)
    return " ".join(text.split())
