"""Look up what NixOS's options are called, what they take and what they mean."""

from collections.abc import Iterator
from functools import partial
from typing import Annotated, Final

from pydantic import Field

from ai_sysadmin.sources.host.aside import Aside
from ai_sysadmin.sources.nixos_options import NixosOptions, Option, found
from ai_sysadmin.tools.tool import Told, Tool, Words, beyond, tool_of

_SECONDS: Final = 25.0
_WHOLE: Final = 6
_NAMED: Final = 40

Sought = Annotated[Words, Field(description="an option's name, a part of it, or words of its description")]


def option_tools(options: NixosOptions, absent: str = "") -> tuple[Tool, ...]:
    """Return the tool ``nixos_option``. ``absent``: why it is not offered on this host."""
    aside = Aside()

    async def nixos_option(words: Sought) -> Told:
        """Find options of NixOS by name or words: type, default, meaning (not what this host sets)."""
        return await aside.ask("NixOS's options", partial(_look, options, words), _SECONDS)

    return (tool_of(nixos_option, says="NixOS options: {words}", seconds=_SECONDS + 2, absent=absent),)


def _look(options: NixosOptions, query: str) -> Told:
    hits = found(options.options(), query)
    lines = [line for each in hits[:_WHOLE] for line in _told(each)]
    others = [each.name for each in hits[_WHOLE : _WHOLE + _NAMED]]
    if others:
        lines.append(f"also: {', '.join(others)}")
    more = beyond(len(hits) - _WHOLE - len(others), "options")
    return Told("\n".join(lines), narrow="give an option's whole name", truncated=more)


def _told(option: Option) -> Iterator[str]:
    yield f"{option.name}{' (read only)' if option.is_read_only else ''}"
    yield f"    type: {option.type or 'not said'}; default: {option.default or 'none'}"
    if option.example:
        yield f"    example: {option.example}"
    if option.description:
        yield f"    {option.description}"
    if option.declared:
        yield f"    declared in {', '.join(option.declared)}"
