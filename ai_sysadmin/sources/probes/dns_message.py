"""DNS as bytes: one question, and the answers to it. Pure."""

import ipaddress
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ai_sysadmin.core.errors import AiSysadminError
from ai_sysadmin.core.probe_settings import RecordType

TYPES: Final[Mapping[RecordType, int]] = {
    "A": 1,
    "NS": 2,
    "CNAME": 5,
    "SOA": 6,
    "PTR": 12,
    "MX": 15,
    "TXT": 16,
    "AAAA": 28,
    "SRV": 33,
}
FAULTS: Final = {1: "format error", 2: "server failure", 3: "no such name", 4: "not implemented", 5: "refused"}

_IN = 1
_HEADER = struct.Struct("!6H")
_IS_RESPONSE, _IS_TRUNCATED, _WANTS_RECURSION = 0x8000, 0x0200, 0x0100
_MOST_JUMPS = 64


class MessageUnusable(AiSysadminError):
    """This is no answer to the question."""


@dataclass(frozen=True)
class Answers:
    """``fault`` empty: the server could answer; then ``values`` are what it has of the type asked for.

    ``truncated``: there is more than fits into a datagram, and nothing was read of it.
    """

    values: tuple[str, ...]
    fault: str = ""
    truncated: bool = False


def question(number: int, name: str, record: RecordType) -> bytes:
    """Return a question with its number, 0 to 65535, that asks the server to find out.

    Raises:
        MessageUnusable: the name cannot be a DNS name.
    """
    return _HEADER.pack(number, _WANTS_RECURSION, 1, 0, 0, 0) + _asked(name, record)


def _asked(name: str, record: RecordType) -> bytes:
    try:
        labels = [label.encode("idna" if not label.isascii() else "ascii") for label in name.rstrip(".").split(".")]
    except UnicodeError as error:
        raise MessageUnusable(f"{name} cannot be a DNS name") from error
    if any(not 0 < len(label) < 64 for label in labels if name.strip(".")) or len(name) > 253:
        raise MessageUnusable(f"{name} cannot be a DNS name")
    encoded = b"".join(bytes([len(label)]) + label for label in labels if label)
    return encoded + b"\0" + struct.pack("!2H", TYPES[record], _IN)


def answers(message: bytes, number: int, name: str, record: RecordType) -> Answers:
    """Read the answer to a question.

    Raises:
        MessageUnusable: it is another's answer, or damaged.
    """
    try:
        return _read(message, number, _asked(name, record), record)
    except (struct.error, IndexError, ValueError) as error:
        raise MessageUnusable("the answer is damaged") from error


def _read(message: bytes, number: int, asked: bytes, record: RecordType) -> Answers:
    got, flags, questions, count, _, _ = _HEADER.unpack_from(message)
    body = message[_HEADER.size :]
    if got != number or not flags & _IS_RESPONSE:
        raise MessageUnusable("this is the answer to another question")
    code = flags & 0xF
    if code and not questions:  # a server that could not even read the question
        return Answers((), FAULTS.get(code, f"error {code}"))
    if questions != 1 or body[: len(asked)].lower() != asked.lower():
        raise MessageUnusable("this is the answer to another question")
    if code:
        return Answers((), FAULTS.get(code, f"error {code}"))
    if flags & _IS_TRUNCATED:
        return Answers((), truncated=True)
    values: list[str] = []
    at = _HEADER.size + len(asked)
    for _ in range(count):
        _, at = _name(message, at)
        kind, _, _, length = struct.unpack_from("!2HIH", message, at)
        at += 10
        if kind == TYPES[record]:
            values.append(_value(message, at, length, record))
        at += length
    return Answers(tuple(values))


def _value(message: bytes, at: int, length: int, record: RecordType) -> str:
    """Return one record's data as people write it."""
    data = message[at : at + length]
    if len(data) != length:
        raise ValueError("it ends early")
    match record:
        case "A" | "AAAA":
            return str(ipaddress.ip_address(data))
        case "TXT":
            return _text(data)
        case "MX":
            return f"{struct.unpack_from('!H', data)[0]} {_name(message, at + 2)[0]}"
        case "SRV":
            priority, weight, port = struct.unpack_from("!3H", data)
            return f"{priority} {weight} {port} {_name(message, at + 6)[0]}"
        case "SOA":
            primary, after = _name(message, at)
            mailbox, after = _name(message, after)
            return f"{primary} {mailbox} {struct.unpack_from('!I', message, after)[0]}"
        case "CNAME" | "NS" | "PTR":
            return _name(message, at)[0]


def _text(data: bytes) -> str:
    parts: list[bytes] = []
    while data:
        parts.append(data[1 : 1 + data[0]])
        data = data[1 + data[0] :]
    return b"".join(parts).decode(errors="replace")


def _name(message: bytes, at: int) -> tuple[str, int]:
    """Return a name without its last dot, and where the message goes on after it."""
    labels: list[str] = []
    after = 0
    for _ in range(_MOST_JUMPS):
        length = message[at]
        if length >= 0xC0:
            after = after or at + 2
            at = struct.unpack_from("!H", message, at)[0] & 0x3FFF
        elif length:
            labels.append(message[at + 1 : at + 1 + length].decode("ascii", errors="replace"))
            at += 1 + length
        else:
            return ".".join(labels), after or at + 1
    raise ValueError("a name without end")


def same(value: str, wanted: str) -> bool:
    """Tell whether an answer is the one that is wanted, however it is written."""
    try:
        return ipaddress.ip_address(value) == ipaddress.ip_address(wanted)
    except ValueError:
        return value.rstrip(".").lower() == wanted.rstrip(".").lower()
