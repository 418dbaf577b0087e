"""Private keys in PEM and its like: whole, torn apart by log lines, or with one of their ends missing. Pure."""

import re
from typing import Final

from ai_sysadmin.context.secret_shapes import is_random

_EDGE: Final = re.compile(r"-{4,5} ?(BEGIN|END) [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)? ?-{4,5}")
_MOST_APART: Final = 32 << 10
_MOST_OF_HALF: Final = 16 << 10
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]{16,}={0,2}")
_SURELY: Final = 40


def without_private_keys(text: str, mark: str) -> tuple[str, int]:
    """Return text with a mark in each private key's place, and how many keys there were.

    What stands between a key's two ends goes with it. Where one of them is missing, the long words beside the other go.
    """
    edges = list(_EDGE.finditer(text))
    parts: list[str] = []
    at = count = 0
    for number, edge in enumerate(edges):
        if edge.start() < at:
            continue
        following = edges[number + 1] if number + 1 < len(edges) else None
        if edge[1] == "END":
            start = max(at, edge.start() - _MOST_OF_HALF)
            torn, found = _without_words(text[start : edge.start()], mark)
            parts += text[at:start], torn, edge[0]
            at = edge.end()
        elif following and following[1] == "END" and following.start() - edge.end() <= _MOST_APART:
            parts += text[at : edge.start()], mark
            at, found = following.end(), 1
        else:
            end = min(following.start() if following else len(text), edge.end() + _MOST_OF_HALF)
            torn, found = _without_words(text[edge.end() : end], mark)
            parts += text[at : edge.end()], torn
            at = end
        count += found
    return "".join((*parts, text[at:])), count


def _without_words(text: str, mark: str) -> tuple[str, int]:
    found = 0

    def replaced(match: re.Match[str]) -> str:
        nonlocal found
        if len(match[0]) < _SURELY and not is_random(match[0]):
            return match[0]
        found += 1
        return mark

    text = _BASE64.sub(replaced, text)
    return text, min(found, 1)
