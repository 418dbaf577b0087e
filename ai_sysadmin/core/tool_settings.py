"""The settings of the read-only tools: what they may read and reach, and the tools that an operator declares."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, StringConstraints, field_validator, model_validator

from ai_sysadmin.core.section import Section

ToolName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{1,47}$")]
ParameterName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]{0,31})\}")
_MOST_PARAMETERS = 8


class ToolParameter(Section):
    """One typed parameter of a declared tool."""

    type: Literal["string", "integer", "choice"] = Field("string", description="What kind of value it takes.")
    description: str = Field("", max_length=200, description="What it means; the model reads this.")
    pattern: str = Field(
        r"[A-Za-z0-9@_.:/-]{1,200}",
        max_length=300,
        description="string: a regular expression that the whole value must match; never one that takes a blank first.",
    )
    minimum: int = Field(0, description="integer: the least value.")
    maximum: int = Field(1_000_000, description="integer: the greatest value.")
    choices: tuple[str, ...] = Field((), max_length=50, description="choice: the values there are.")

    @model_validator(mode="after")
    def _makes_sense(self) -> "ToolParameter":
        if self.type == "choice" and not self.choices:
            raise ValueError("is a choice without `choices`")
        if self.minimum > self.maximum:
            raise ValueError(f"minimum = {self.minimum} is above maximum = {self.maximum}")
        return self

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            compiled = re.compile(pattern)
        except re.error as error:
            raise ValueError(f"is not a regular expression: {error}") from error
        if compiled.fullmatch("--help") or compiled.fullmatch(""):
            raise ValueError("matches an option such as '--help', or nothing: let it begin with another than a dash")
        return pattern


class DeclaredTool(Section):
    """A read-only command that an operator lets the model run: an argv, no shell, as the service's own user."""

    name: ToolName = Field(description="The tool's name: lower-case letters, digits and underscores.")
    description: str = Field(min_length=1, max_length=300, description="What it tells; the model chooses by this.")
    argv: tuple[str, ...] = Field(
        min_length=1,
        max_length=40,
        description="The program, by its whole path, and its arguments; {name} is a parameter.",
    )
    parameters: dict[ParameterName, ToolParameter] = Field(
        {}, max_length=_MOST_PARAMETERS, description="The parameters that stand as {name} in argv."
    )
    timeout_seconds: PositiveFloat = Field(10, le=120, description="The longest that it may run.")

    @model_validator(mode="after")
    def _is_whole(self) -> "DeclaredTool":
        if not self.argv[0].startswith("/") or PLACEHOLDER.search(self.argv[0]):
            raise ValueError(f"argv begins with {self.argv[0]!r}: name the program by its whole path")
        used = set(self.placeholders())
        if missing := used - self.parameters.keys():
            raise ValueError(f"argv names {{{min(missing)}}}, which is not among its parameters")
        if unused := self.parameters.keys() - used:
            raise ValueError(f"the parameter {min(unused)!r} does not stand in argv")
        return self

    def placeholders(self) -> Iterator[str]:
        for argument in self.argv:
            yield from PLACEHOLDER.findall(argument)


class Tools(Section):
    """What the model may look at while it investigates or answers."""

    off: tuple[ToolName, ...] = Field((), description="Tools that are not offered, by name.")
    files: tuple[str, ...] = Field(
        (
            "/etc/**",
            "/run/systemd/**",
            "/usr/lib/systemd/**",
            "/lib/systemd/**",
            "/nix/store/**",
            "/var/log/**",
            "/proc/cmdline",
            "/proc/meminfo",
            "/proc/mdstat",
            "/proc/mounts",
            "/proc/swaps",
            "/proc/loadavg",
            "/sys/fs/cgroup/**",
        ),
        description="Globs of files that may be read; ** is any number of directories. Links are followed first.",
    )
    never_files: tuple[str, ...] = Field(
        (),
        description="Globs of files that are never read, beside those that hold secrets (keys, shadow, tokens).",
    )
    targets: tuple[str, ...] = Field(
        (), description="Further hosts, host:port pairs and http(s) URLs whose reachability may be looked at."
    )
    declared: tuple[DeclaredTool, ...] = Field(
        (), max_length=20, description="Commands that the model may run to look."
    )
    output_tokens: PositiveInt = Field(
        1500, ge=100, description="The most of one tool's output that a model is shown at a time, in tokens."
    )
    kept_bytes: PositiveInt = Field(
        8 << 20, description="How much of one tool's output is kept whole, for the model to read on in."
    )
    options_file: Path | None = Field(
        None, description="NixOS's options.json (or its directory); none: where the running system has it, if it does."
    )

    @field_validator("files")
    @classmethod
    def _are_whole(cls, files: tuple[str, ...]) -> tuple[str, ...]:
        if part := next((glob for glob in files if not glob.startswith("/")), ""):
            raise ValueError(f"{part!r} does not begin with a slash: name a file or directory by its whole path")
        return files

    @field_validator("declared")
    @classmethod
    def _names_differ(cls, declared: tuple[DeclaredTool, ...]) -> tuple[DeclaredTool, ...]:
        names = [tool.name for tool in declared]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two tools are called {min(twice)!r}")
        return declared
