"""The catalogue: every action there is. It is closed: a model names an entry, and code checks its arguments.

Each module holds the entries of one kind; ``declared`` makes entries of what an operator declared in the settings.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from ai_sysadmin.actions.action import Action
from ai_sysadmin.actions.catalogue import (
    addresses,
    certificates,
    configuration,
    declared,
    diagnostics,
    disk_space,
    generations,
    journal_space,
    mounts,
    nix_garbage,
    power,
    processes,
    temporary_paths,
    unit_files,
    units,
)
from ai_sysadmin.actions.catalogue.units import candidates
from ai_sysadmin.core.errors import Refused, SettingsError
from ai_sysadmin.core.settings import Settings

__all__ = ["CATALOGUE", "AnyAction", "Catalogue", "candidates", "catalogue_of", "validate"]

AnyAction = Action[Any]
_KINDS = (
    units,
    unit_files,
    certificates,
    processes,
    addresses,
    mounts,
    journal_space,
    temporary_paths,
    disk_space,
    nix_garbage,
    generations,
    configuration,
    power,
    diagnostics,
)
CATALOGUE: Mapping[str, type[AnyAction]] = {entry.name: entry for kind in _KINDS for entry in kind.ENTRIES}
"""What every host has; an operator's own actions come to it by the settings."""


class Catalogue:
    """The entries of one host.

    Args:
        declared: the operator's own, by name. Raises: ValueError: one has a name of the catalogue's.
    """

    def __init__(self, declared: Mapping[str, type[AnyAction]] | None = None) -> None:
        taken = CATALOGUE.keys() & (declared or {}).keys()
        if taken:
            raise ValueError(f"the catalogue has an action of that name already: {', '.join(sorted(taken))}")
        self.entries: Mapping[str, type[AnyAction]] = {**CATALOGUE, **(declared or {})}

    def validate(self, name: str, arguments: Mapping[str, str]) -> AnyAction:
        """Return the action that a name and arguments mean.

        Raises:
            Refused: there is no such entry, or the arguments are not what it takes.
        """
        entry = self.entries.get(name)
        if entry is None:
            raise Refused(f"the catalogue has no action {name!r}; it has {', '.join(sorted(self.entries))}")
        try:
            return entry.model_validate(dict(arguments))
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in fault["loc"])
            raise Refused(f"{name} does not take {where} = {repr(fault['input'])[:200]}: {fault['msg']}") from error


def catalogue_of(settings: Settings) -> Catalogue:
    """Return this host's entries. Raises: SettingsError: a declared action has a name of the catalogue's."""
    try:
        return Catalogue(declared.entries(settings))
    except ValueError as error:
        raise SettingsError(f"actions.declared: {error}") from error


def validate(name: str, arguments: Mapping[str, str]) -> AnyAction:
    """Return the action that a name and arguments mean, of those that every host has. Raises: Refused."""
    return _COMMON.validate(name, arguments)


_COMMON = Catalogue()
