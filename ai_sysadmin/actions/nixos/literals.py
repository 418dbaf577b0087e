"""JSON values as Nix literals: texts, whole numbers, true and false. Pure."""

import json
import re
from typing import Final, NoReturn

from ai_sysadmin.core.action_settings import AllowedOption
from ai_sysadmin.core.errors import Refused

Scalar = bool | int | str

MOST_CHARACTERS: Final = 2000
_LEAST, _MOST = -(2**63), 2**63 - 1
_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_ATTRIBUTE: Final = re.compile(r'"([^"\\$]*)"|([A-Za-z_][A-Za-z0-9_\'-]*)')
_LITERAL: Final = re.compile(
    r'true|false|-?[0-9]{1,19}|\(-9223372036854775807 - 1\)|"(?:[^"\\$\n\r\0]|\\["\\nrt$]|\$(?!\{))*"', re.DOTALL
)


def scalar(text: str) -> Scalar:
    """Return the value that a JSON text means.

    Raises:
        Refused: it is no JSON, or neither a text, a whole number, true nor false.
    """
    try:
        value = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise Refused(f'the value {text[:80]!r} is no JSON; write true, 10 or "text", with its quotes') from error
    if not isinstance(value, bool | int | str):
        raise Refused(f"the value {text[:80]!r} is neither a text, a whole number, true nor false")
    nix(value)
    return value


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def nix(value: Scalar) -> str:
    """Return a value as a Nix literal of one line.

    Raises:
        Refused: Nix cannot hold it: a number beyond 64 bits, a text with a NUL or half a character.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        if not _LEAST <= value <= _MOST:
            raise Refused(f"{value} does not fit into 64 bits")
        # -9223372036854775808 is a minus before a number that is too large
        return "(-9223372036854775807 - 1)" if value == _LEAST else str(value)
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise Refused("a text of Nix holds neither NUL nor half a character")
    if len(value) > MOST_CHARACTERS:
        raise Refused(f"a text of {len(value)} characters; at most {MOST_CHARACTERS}")
    escaped = "".join(_ESCAPES.get(character, character) for character in value)
    return '"' + escaped.replace("${", "\\${") + '"'


def is_literal(text: str) -> bool:
    """Tell whether a text is a literal as ``nix`` writes them."""
    return _LITERAL.fullmatch(text) is not None


def attributes(option: str) -> tuple[str, ...]:
    """Return an option's path as its names. Raises: Refused: it is no path of plain or quoted names."""
    names: list[str] = []
    at = 0
    while found := _ATTRIBUTE.match(option, at):
        names.append(found[2] if found[1] is None else found[1])
        at = found.end()
        if at == len(option):
            return tuple(names)
        if option[at] != ".":
            break
        at += 1
    raise Refused(f"{option[:200]!r} is no option's path; names that are not plain stand in double quotes")


def misfit(allowed: AllowedOption, value: Scalar) -> str | None:
    """Say why a value is not one that an option may be set to; none: it is."""
    kinds = {"boolean": bool, "integer": int, "text": str, "choice": str}
    if type(value) is not kinds[allowed.type]:
        return f"{allowed.option} takes a {allowed.type}, not {json.dumps(value)[:80]}"
    if isinstance(value, str) and allowed.type == "text" and not re.fullmatch(allowed.pattern, value):
        return f"{allowed.option} takes what matches {allowed.pattern}, not {json.dumps(value)[:80]}"
    if isinstance(value, str) and allowed.type == "choice" and value not in allowed.choices:
        return f"{allowed.option} takes one of {', '.join(allowed.choices)}, not {json.dumps(value)[:80]}"
    if allowed.type == "integer" and not allowed.minimum <= value <= allowed.maximum:  # type: ignore[operator]
        return f"{allowed.option} takes {allowed.minimum} to {allowed.maximum}, not {value}"
    return None
