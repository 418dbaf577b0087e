"""The look-ups that an operator declares: a program of theirs, started with typed arguments, never by a shell."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, create_model

from ai_sysadmin.core.errors import Refused
from ai_sysadmin.core.tool_settings import PLACEHOLDER, DeclaredTool, ToolParameter
from ai_sysadmin.runtime.commands import Completed, run
from ai_sysadmin.tools.tool import Arguments, Scene, Told, Tool

_LONGEST: Final = 200
_GRACE_SECONDS: Final = 3.0
_ENVIRONMENT: Final = {
    "PATH": "/run/wrappers/bin:/run/current-system/sw/bin:/usr/local/bin:/usr/bin:/bin",
    "LC_ALL": "C.UTF-8",
    "HOME": "/nonexistent",
    "TERM": "dumb",
}
"""All that a declared program finds in its environment: nothing of this service's own, where secrets may be."""


def declared_tools(declared: Sequence[DeclaredTool], most_bytes: int) -> tuple[Tool, ...]:
    """Return the declared look-ups as tools. ``most_bytes``: how much of what a program says is kept."""
    return tuple(_tool(each, most_bytes) for each in declared)


def _tool(declared: DeclaredTool, most_bytes: int) -> Tool:
    fields: dict[str, Any] = {name: (_type(name, each), ...) for name, each in declared.parameters.items()}

    async def look(arguments: Mapping[str, Any], scene: Scene) -> Told:  # noqa: ARG001 — as every tool's
        argv = filled(declared, arguments)
        done = await run(
            argv, timeout_seconds=declared.timeout_seconds, max_bytes=most_bytes, env=_ENVIRONMENT, cwd=Path("/")
        )
        return _told(argv, done, most_bytes)

    says = " ".join((declared.name, *(f"{{{name}}}" for name in declared.parameters)))
    model = create_model(f"{declared.name}_arguments", __base__=Arguments, **fields)
    purpose = " ".join(declared.description.split())
    return Tool(declared.name, purpose, model, says, declared.timeout_seconds + _GRACE_SECONDS, look)


def _type(name: str, parameter: ToolParameter) -> Any:
    """Return the annotation of a parameter: bounded for the decoder, checked to the letter by code."""
    about = parameter.description or name
    if parameter.type == "integer":
        return Annotated[int, Field(ge=parameter.minimum, le=parameter.maximum, description=about)]
    if parameter.type == "choice":
        return Annotated[Literal[parameter.choices], Field(description=about)]
    pattern = re.compile(parameter.pattern)

    def fits(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(f"{value[:80]!r} does not fit {parameter.pattern}")
        if "\0" in value or "\n" in value or "\r" in value:
            raise ValueError("holds a line end or NUL")
        return value

    about = about if len(parameter.pattern) > 60 else f"{about}, as {parameter.pattern}"
    return Annotated[str, Field(max_length=_LONGEST, description=about), AfterValidator(fits)]


def filled(declared: DeclaredTool, arguments: Mapping[str, object]) -> tuple[str, ...]:
    """Return the argv with its parameters filled in, each within its own argument.

    Raises:
        Refused: an argument would begin with a dash by a value, which its program would take for an option.
    """
    for name, value in arguments.items():
        begins = any(argument.startswith(f"{{{name}}}") for argument in declared.argv)
        if begins and str(value).startswith("-") and not _allows_dash(declared.parameters[name]):
            raise Refused(f"{declared.name}: {name} = {str(value)[:80]!r} begins with a dash and would be an option")
    return tuple(PLACEHOLDER.sub(lambda match: str(arguments[match[1]]), each) for each in declared.argv)


def _allows_dash(parameter: ToolParameter) -> bool:
    """Tell whether an operator said to the letter that a value may begin with a dash."""
    if parameter.type == "integer":
        return parameter.minimum < 0
    return parameter.type == "choice" or re.match(r"[\^(?:]*\\?-", parameter.pattern) is not None


def _told(argv: Sequence[str], done: Completed, most_bytes: int) -> Told:
    """Return what a program said; how it ended comes first, where it is not cut off."""
    status = done.exit_status
    ended = f"signal {-status} ended it" if status < 0 else f"exit status {status}"
    said = done.stdout.decode(errors="replace")
    parts = [f"{' '.join(argv)}: {ended}", said.rstrip("\n") or "(it said nothing on stdout)"]
    if done.stderr.strip():
        parts += ["on stderr:", done.stderr.rstrip("\n")]
    truncated = f"it said more than {most_bytes >> 10} KiB" if done.truncated else ""
    return Told("\n".join(parts), truncated=truncated)
