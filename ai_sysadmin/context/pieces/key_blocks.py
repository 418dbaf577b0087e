"""Private keys that were logged line by line: no one line of theirs is a secret's known shape. Pure."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from ai_sysadmin.context.redact import mark

_KIND: Final = "private key"
_MARK: Final = mark(_KIND)
_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----")
_END = re.compile(r"-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----")
_BODY = re.compile(
    r"\s*(?:[A-Za-z0-9+/]{16,}={0,2}|[A-Za-z0-9+/]{2,}={1,2}|=[A-Za-z0-9+/]{4}|Proc-Type: .*|DEK-Info: .*)\s*"
)
_LONG = re.compile(r"[A-Za-z0-9+/]{40,}={0,2}")
_MOST_LINES = 200


def without_key_blocks(messages: Sequence[str], counts: Counter[str]) -> list[str]:
    """Return messages with each line of a private key replaced; ``counts`` grows by one for each key.

    Lines of others in between stay. A key whose beginning is not among the messages is known by its end.
    """
    found = list(messages)
    for index, message in enumerate(messages):
        if "PRIVATE KEY" not in message:
            continue
        begin, end = _BEGIN.search(message), _END.search(message)
        if begin and not (end and end.start() > begin.end()):
            counts[_KIND] += 1
            found[index] = message[: begin.start()] + _MARK
            _cover(found, messages, range(index + 1, min(len(messages), index + _MOST_LINES)))
        elif end and not begin and found[index] == message:
            counts[_KIND] += 1
            found[index] = _MARK + message[end.end() :]
            _cover(found, messages, range(index - 1, max(-1, index - _MOST_LINES), -1))
    return found


def _cover(found: list[str], messages: Sequence[str], where: range) -> None:
    """Replace what may be a key's line, up to its other end or to another key."""
    for index in where:
        message = messages[index]
        if _BEGIN.search(message):
            return
        if end := _END.search(message):
            if where.step > 0:
                found[index] = _MARK + message[end.end() :]
            return
        found[index] = _MARK if _BODY.fullmatch(message) else _LONG.sub(_MARK, message)
