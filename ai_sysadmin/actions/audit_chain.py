"""The audit's form: JSON lines, each holding the hash of the one before it. Pure.

A line is canonical JSON (keys in order, no blanks, ASCII) with ``number`` counting from 1, ``previous`` the hash of the
line before (zeros for the first) and ``hash``, the SHA-256 of the line as it is without ``hash``. So a line is either
byte for byte what it must be, or it was changed. That the last lines were cut off shows only against an anchor: the
head as somebody else knows it. Whoever can write the file and every anchor can write another history.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from pydantic import JsonValue

GENESIS: Final = "0" * 64
_KEPT_BY_CHAIN: Final = frozenset({"number", "previous", "hash"})


class Head(NamedTuple):
    """The last line of a chain: its number and hash. Zero lines are ``START``."""

    number: int
    hash: str


START: Final = Head(0, GENESIS)


class Report(NamedTuple):
    """What a look at a chain came to. ``fault`` is one sentence on the first thing wrong; empty: it is whole."""

    head: Head
    fault: str = ""


def line_after(head: Head, body: Mapping[str, JsonValue]) -> tuple[bytes, Head]:
    """Return the next line, with its line feed, and the head that it makes.

    Raises: ValueError: the body has a field of the chain's own.
    """
    if taken := _KEPT_BY_CHAIN & body.keys():
        raise ValueError(f"these fields are the chain's own: {', '.join(sorted(taken))}")
    fields = {**body, "number": head.number + 1, "previous": head.hash}
    digest = hashlib.sha256(_canonical(fields)).hexdigest()
    return _canonical({**fields, "hash": digest}) + b"\n", Head(head.number + 1, digest)


def verify(lines: Iterable[bytes], anchors: Iterable[Head] = (), after: Head = START) -> Report:
    """Check lines, each with its line feed, from the first after ``after``.

    Args:
        anchors: heads that the chain is known to have had at some time, from elsewhere; a number beyond its end shows
            that lines were cut off.

    Returns:
        The head as far as the chain is whole, and the first fault.
    """
    head = after
    known: dict[int, set[str]] = {}
    for anchor in anchors:  # a line that was cut off and written anew is known twice
        known.setdefault(anchor.number, set()).add(anchor.hash)
    for raw in lines:
        fault = fault_of(raw, head)
        if fault:
            return Report(head, fault)
        head = Head(head.number + 1, json.loads(raw)["hash"])
        if known.get(head.number, set()) - {head.hash}:
            return Report(head, f"line {head.number} is another than the one that was known elsewhere")
    newest = max(known, default=0)
    if newest > head.number:
        return Report(head, f"lines {head.number + 1} to {newest} are missing: they are known elsewhere")
    return Report(head)


def fault_of(raw: bytes, head: Head) -> str:
    """Say what is wrong with the line that should follow a head; empty: nothing."""
    number = head.number + 1
    try:
        fields = json.loads(raw)
    except (ValueError, RecursionError):
        return f"line {number} is no JSON"
    if not isinstance(fields, dict) or not isinstance(fields.get("hash"), str):
        return f"line {number} is no line of an audit"
    try:
        is_canonical = _canonical(fields) + b"\n" == raw
    except (ValueError, RecursionError):
        is_canonical = False
    if not is_canonical:
        return f"line {number} was changed: it is not written as the audit writes"
    if fields.get("number") != number:
        return f"line {number} is missing: number {fields.get('number')!r} stands there".replace("\n", " ")[:200]
    if fields.get("previous") != head.hash:
        return f"line {number} does not follow the line before it: one of them was changed"
    given = fields.pop("hash")
    if hashlib.sha256(_canonical(fields)).hexdigest() != given:
        return f"line {number} was changed: its hash is another"
    return ""


def head_of(raw: bytes) -> Head:
    """Return the head that a whole line makes. Raises: ValueError: it is no line of an audit."""
    fields = json.loads(raw)
    if not isinstance(fields, dict) or not isinstance(fields.get("hash"), str) or not isinstance(fields["number"], int):
        raise ValueError("that is no line of an audit")
    return Head(fields["number"], fields["hash"])


def _canonical(fields: Mapping[str, JsonValue]) -> bytes:
    said = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return said.encode()
