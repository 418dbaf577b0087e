"""The file in the configuration's repository that holds the literals: one option a line, sorted. Pure."""

import re
from collections.abc import Mapping
from typing import Final

from ai_sysadmin.actions.nixos.literals import attributes, is_literal
from ai_sysadmin.core.errors import Refused

MOST_BYTES: Final = 256 << 10
_HEAD: Final = "# Options that the AI sysadmin set. One a line; it refuses to change a file with anything else in it."
_OPEN, _CLOSE = "{ ... }: {", "}"
_LINE: Final = re.compile(r"  (?P<option>\S.*?) = (?P<literal>.+);", re.DOTALL)


def parse(text: str) -> Mapping[str, str]:
    """Return the literals by option. Raises: Refused: the file holds what was not written by ``render``."""
    lines = [line for line in text.split("\n") if line.strip() and not line.startswith("#")]
    if not lines or lines == ["{ ... }: { }"]:
        return {}
    if lines[0] != _OPEN or lines[-1] != _CLOSE:
        raise Refused(
            f"the file of changes must be {_OPEN!r}, one option a line, and {_CLOSE!r}; it is written by hand"
        )
    found: dict[str, str] = {}
    for line in lines[1:-1]:
        fits = _LINE.fullmatch(line)
        if fits is None or not is_literal(fits["literal"]):
            raise Refused(f"the file of changes has a line that is no option = literal: {line.strip()[:120]!r}")
        attributes(fits["option"])
        if fits["option"] in found:
            raise Refused(f"the file of changes sets {fits['option']} twice")
        found[fits["option"]] = fits["literal"]
    return found


def render(literals: Mapping[str, str]) -> str:
    """Return the file's text."""
    lines = (f"  {option} = {literals[option]};" for option in sorted(literals))
    return "\n".join((_HEAD, _OPEN, *lines, _CLOSE, ""))
