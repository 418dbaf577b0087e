"""What the catalogue's actions may touch: declared by the operator, never by a model."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, StringConstraints, field_validator, model_validator

from ai_sysadmin.core.declared_settings import DeclaredAction
from ai_sysadmin.core.section import Section

_ATTRIBUTE = r"""(?:[A-Za-z_][A-Za-z0-9_'-]*|"[A-Za-z0-9_.:@/+ -]{1,100}")"""
OptionPath = Annotated[str, StringConstraints(pattern=rf"^{_ATTRIBUTE}(\.{_ATTRIBUTE})+$", max_length=400)]


def _absolute(path: Path) -> Path:
    if not path.is_absolute() or ".." in path.parts:
        raise ValueError("must be an absolute path without ..")
    return path


class TemporaryPath(Section):
    """A directory whose old files may be deleted."""

    path: Path = Field(description="The directory; what is in it is temporary, it itself stays.")
    older_than_days: PositiveFloat = Field(10, description="Only what was not changed for so long is deleted.")

    _is_absolute = field_validator("path")(_absolute)


class FreeDisk(Section):
    """What is given up for room on a full disk, in this order, until there is enough."""

    steps: tuple[Literal["temporary_paths", "journal", "nix_garbage"], ...] = Field(
        ("temporary_paths", "journal"), description="What is given up, in this order."
    )
    at_percent: PositiveInt = Field(90, le=100, description="A file system is full from this much on.")
    until_percent: PositiveInt = Field(80, le=100, description="And has enough room below this.")

    @model_validator(mode="after")
    def _ends_below(self) -> "FreeDisk":
        if self.until_percent >= self.at_percent:
            raise ValueError(f"until_percent = {self.until_percent} must be below at_percent = {self.at_percent}")
        return self


class AllowedOption(Section):
    """A NixOS option that may be set to a literal."""

    option: OptionPath = Field(
        description="The option's path, such as services.nginx.clientMaxBodySize; names that are not plain in quotes."
    )
    type: Literal["boolean", "integer", "text", "choice"] = Field(description="What its value is.")
    pattern: str = Field(r"[A-Za-z0-9 _./:@-]{1,200}", description="text: what the whole value matches.")
    minimum: int = Field(0, description="integer: the least.")
    maximum: int = Field(2**31, description="integer: the most.")
    choices: tuple[str, ...] = Field((), description="choice: what it may be.")
    units: tuple[str, ...] = Field((), description="The units that it is about: they must hold afterwards.")

    @model_validator(mode="after")
    def _makes_sense(self) -> "AllowedOption":
        if self.type == "choice" and not self.choices:
            raise ValueError(f"{self.option}: a choice needs choices")
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ValueError(f"{self.option}: pattern is no regular expression: {error}") from error
        return self


class NixosChanges(Section):
    """The NixOS configuration as it may be changed: in a clone of one's own, by a user without rights."""

    repository: Path | None = Field(
        None, description="The configuration's git repository (a flake); empty: no change is ever built."
    )
    branch: str = Field("main", pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,100}$", description="The branch to start from.")
    attribute: str = Field(
        "",
        pattern=r"^[A-Za-z0-9_.-]{0,100}$",
        description="The host's name below nixosConfigurations; empty: the host's own.",
    )
    changes_file: Path = Field(
        Path("ai-sysadmin-changes.nix"),
        description="The file in the repository that the literals are written to; the configuration has to import it.",
    )
    options: tuple[AllowedOption, ...] = Field((), description="The options that may be set to a literal.")
    build_user: str = Field(
        "ai-sysadmin-build",
        pattern=r"^[a-z_][a-z0-9_-]{0,30}$",
        description="Who fetches, evaluates and builds; it may use the Nix daemon and nothing else.",
    )
    build_dir: Path = Field(Path("/var/lib/ai-sysadmin-build"), description="Where the clone and its worktrees are.")
    build_seconds: PositiveFloat = Field(1800, description="The longest that evaluating and building may take.")
    push_remote: str = Field(
        "", pattern=r"^[A-Za-z0-9_.-]*$", description="The remote that finished branches are pushed to; empty: none."
    )
    check_seconds: PositiveFloat = Field(
        60, description="How long an activated configuration must hold before it becomes the boot default."
    )
    rollback_seconds: PositiveFloat = Field(
        300, description="After so long without a word that all is well, the configuration before is activated again."
    )
    keep_generations: PositiveInt = Field(5, description="So many generations are kept when garbage is collected.")
    profiles: Path = Field(Path("/nix/var/nix/profiles"), description="Where the generations are.")

    @model_validator(mode="after")
    def _has_time(self) -> "NixosChanges":
        if self.rollback_seconds < self.check_seconds + 60:
            raise ValueError(
                f"rollback_seconds = {self.rollback_seconds:g} must leave a minute beyond"
                f" check_seconds = {self.check_seconds:g}: or what holds would be taken back"
            )
        return self

    @model_validator(mode="after")
    def _is_bounded(self) -> "NixosChanges":
        if self.changes_file.is_absolute() or {"..", ".git"} & set(self.changes_file.parts):
            raise ValueError("changes_file must be a path within the repository")
        if self.build_user == "root":
            raise ValueError(
                "build_user must be a user without rights: it evaluates and builds what is in the repository"
            )
        if self.repository is not None:
            _absolute(self.repository)
        _absolute(self.build_dir)
        return self


class Actions(Section):
    """What the catalogue's actions may touch."""

    temporary_paths: tuple[TemporaryPath, ...] = Field(
        (TemporaryPath(path=Path("/tmp")), TemporaryPath(path=Path("/var/tmp"), older_than_days=30)),  # noqa: S108
        description="Directories whose old files may be deleted.",
    )
    free_disk: FreeDisk = Field(FreeDisk(), description="What is given up for room on a full disk.")
    journal_keep_megabytes: PositiveInt = Field(500, description="How much of the journal is kept when it is vacuumed.")
    journal_keep_days: PositiveInt = Field(2, description="And of which days nothing is given up.")
    block_seconds: PositiveInt = Field(3600, le=604_800, description="How long an address is blocked.")
    block_failed_logins: PositiveInt = Field(
        10, description="So many failed logins from one address are an attack: it may be blocked without a person."
    )
    block_failed_seconds: PositiveFloat = Field(3600, description="The time within which failed logins are counted.")
    kill_grace_seconds: PositiveFloat = Field(10, description="How long a process has to end before it is killed.")
    mount_points: tuple[Path, ...] = Field(
        (), description="File systems of /etc/fstab that may be mounted and remounted, by where they are mounted."
    )
    reboot: bool = Field(False, description="Whether this host may be rebooted at all, by a person's approval.")
    declared: tuple[DeclaredAction, ...] = Field((), description="Actions of your own.")
    nixos: NixosChanges = Field(NixosChanges(), description="Changes of the NixOS configuration.")

    @model_validator(mode="after")
    def _names_are_apart(self) -> "Actions":
        names = [each.name for each in self.declared]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two declared actions share a name: {', '.join(sorted(twice))}")
        options = [each.option for each in self.nixos.options]
        if twice := {name for name in options if options.count(name) > 1}:
            raise ValueError(f"an option is allowed twice: {', '.join(sorted(twice))}")
        return self
