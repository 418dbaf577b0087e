"""The operator's own actions: entries made of what the settings declare.

An argument is put into the command line as a whole or within one word of it; it is never split, never an option, and no
shell reads it. What runs has to be root's own all the way down from ``/``.
"""

import asyncio
import os
import shlex
import stat
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, create_model, model_validator

from ai_sysadmin.actions.action import Action, Host, Whole
from ai_sysadmin.core.acting import Plan, Risk, Sandbox, Stage
from ai_sysadmin.core.declared_settings import (
    LONGEST_VALUE,
    PLACE,
    DeclaredAction,
    Parameter,
    fault_in,
    is_interpreter,
    matches,
)
from ai_sysadmin.core.errors import SettingsError
from ai_sysadmin.core.records import Record, UnitName
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.sources.units import UnitStatus

AnyAction = Action[Any]
_PREFIX: Final = "argument_"
_MOST_LINKS: Final = 40
_UNIT: Final = TypeAdapter[str](UnitName)


class DeclaredSeen(Record):
    """What stands in the way of a declared action's programs, and the unit that it is about; none: it names none."""

    fault: str = ""
    status: UnitStatus | None = None


class Declared(Action[DeclaredSeen]):
    """What all of the operator's own actions have in common. Each is made by ``entry_of``."""

    seen: ClassVar[type[Record]] = DeclaredSeen
    binds_commands: ClassVar[bool] = True
    needs: ClassVar[str] = "its programs are there, and nobody but root can change them"
    declared: ClassVar[DeclaredAction]

    @model_validator(mode="after")
    def _is_about_a_unit(self) -> "Declared":
        if self.declared.unit:
            try:
                _UNIT.validate_python(self._filled(self.declared.unit))
            except ValidationError as error:
                raise ValueError("with this argument there can be no such unit") from error
        return self

    @property
    def subject(self) -> str:
        return self._filled(self.declared.unit) or self.name

    async def observe(self, host: Host) -> DeclaredSeen:
        fault = await asyncio.to_thread(_untrusted, self.declared, host.root)
        status = await host.units.status(self.subject) if self.declared.unit else None
        return DeclaredSeen(fault=fault or "", status=status)

    def risk(self, seen: DeclaredSeen) -> Risk:
        return self.declared.risk

    def obstacle(self, seen: DeclaredSeen) -> str | None:
        if seen.status is not None and seen.status.name != self.subject:
            return f"{self.subject} is another name of {seen.status.name}: use that, by which policy knows it"
        return seen.fault or None

    def warrant(self, seen: DeclaredSeen) -> str | None:
        """What the operator declared, only a person can want."""
        return None

    def plan(self, seen: DeclaredSeen) -> Plan:
        declared = self.declared
        check, revert = self._stage("check", declared.post_check), self._stage("revert", declared.revert)
        argv = self._argv(declared.command)
        return Plan(
            does=f"runs {shlex.join(argv)}",
            run=Stage(name="run", commands=(argv,), sandbox=sandbox_of(declared)),
            precondition=_stands(seen),
            post_check=self._holds(),
            undo=_undo(revert),
            checks=(check,) if check else (),
            revert=revert,
            hold_seconds=None if check or declared.unit else 0.0,
            facts=(("What it is", declared.description), ("Runs as", declared.user)),
        )

    def shortfall(self, before: DeclaredSeen, now: DeclaredSeen) -> str | None:
        if now.status is not None and now.status.active_state == "failed":
            return f"{now.status.name} has failed ({now.status.result or now.status.sub_state})"
        return None

    def _stage(self, name: str, argv: tuple[str, ...]) -> Stage | None:
        return Stage(name=name, commands=(self._argv(argv),), sandbox=sandbox_of(self.declared)) if argv else None

    def _argv(self, argv: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(self._filled(word) for word in argv)

    def _filled(self, word: str) -> str:
        return PLACE.sub(lambda place: str(getattr(self, _PREFIX + place[1])), word)

    def _holds(self) -> str:
        said = ["it exits 0"]
        if self.declared.post_check:
            said.append(f"{shlex.join(self._argv(self.declared.post_check))} exits 0")
        if self.declared.unit:
            said.append(f"{self.subject} has not failed")
        return ", ".join(said)


def entries(settings: Settings) -> dict[str, type[AnyAction]]:
    """Return the entries that the settings declare, by name. Raises: SettingsError: one runs as the suite itself."""
    own = {*settings.executor.service_users, settings.actions.nixos.build_user}
    for declared in settings.actions.declared:
        if declared.user in own:
            raise SettingsError(
                f"actions.declared: {declared.name} runs as {declared.user}, one of the suite's own: name another"
            )
    return {declared.name: entry_of(declared) for declared in settings.actions.declared}


def entry_of(declared: DeclaredAction) -> type[Declared]:
    """Return the entry that a declaration means."""
    # fields of their own names, so that a parameter may be called `unit` or `copy`
    fields: dict[str, Any] = {
        _PREFIX + name: (_type_of(parameter), Field(alias=name, description=parameter.description or name))
        for name, parameter in declared.parameters.items()
    }
    entry: type[Declared] = create_model(declared.name, __base__=Declared, __doc__=declared.description, **fields)
    entry.name = declared.name
    entry.risks = (declared.risk,)
    entry.declared = declared
    return entry


def sandbox_of(declared: DeclaredAction) -> Sandbox:
    """Return what a declared action's units may do: what was declared, and no more."""
    families = ["AF_UNIX"]
    if declared.network:
        families += ["AF_INET", "AF_INET6"]
    if declared.network and "CAP_NET_ADMIN" in declared.capabilities:
        families.append("AF_NETLINK")
    return Sandbox(
        user="" if declared.user == "root" else declared.user,
        capabilities=declared.capabilities,
        writable=tuple(str(path) for path in declared.writable_paths),
        families=tuple(families),
        network=declared.network,
        seconds=declared.timeout_seconds,
    )


def why_untrusted(path: str, root: Path = Path("/"), *, is_program: bool = False) -> str | None:
    """Say who besides root could change what is at an absolute path, or that it is no file; none: it is root's own.

    A program has to be executable too.

    Every directory on the way counts, and every link that is followed: whoever may write one of them chooses the file.
    """
    at, pending, links = PurePosixPath("/"), [*reversed(PurePosixPath(path).parts)], 0
    while pending:
        part = pending.pop()
        at = PurePosixPath("/") if part == "/" else at.parent if part == ".." else at / part
        try:
            here = root / str(at).lstrip("/")
            status = here.lstat()
            target = here.readlink() if stat.S_ISLNK(status.st_mode) else None
        except OSError as error:
            return f"{path} cannot be looked at: {error.strerror}"
        if (fault := _fault_of(at, status)) is not None:
            return f"{path} is not root's alone: {fault}"
        if target is None:
            continue
        links += 1
        if links > _MOST_LINKS:
            return f"{path} leads in a circle"
        at = at.parent
        pending += reversed(target.parts)
    if not stat.S_ISREG(status.st_mode):
        return f"{path} is no file"
    return f"{path} is not executable" if is_program and not status.st_mode & 0o111 else None


def _fault_of(at: PurePosixPath, status: os.stat_result) -> str | None:
    # without root the executor has only its own user's rights, and so may its programs
    if status.st_uid not in {0, os.geteuid()}:
        return f"{at} belongs to the user id {status.st_uid}"
    if stat.S_ISLNK(status.st_mode):
        return None
    if status.st_mode & stat.S_IWOTH:
        return f"everybody may write {at}"
    # in a sticky directory, as the Nix store is one, its group cannot replace what is root's
    is_sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    if status.st_mode & stat.S_IWGRP and status.st_gid != 0 and not is_sticky:
        return f"the group id {status.st_gid} may write {at}"
    return None


def _untrusted(declared: DeclaredAction, root: Path) -> str | None:
    """Say what is wrong with the programs of a declared action, and with the scripts that interpreters are given."""
    for field, argv in declared.programs:
        if fault := why_untrusted(argv[0], root, is_program=True):
            return f"{field}: {fault}"
        for script in _scripts(argv):
            if (root / script.lstrip("/")).is_file() and (fault := why_untrusted(script, root)):
                return f"{field}: {fault}; {argv[0]} would run it"
    return None


def _scripts(argv: tuple[str, ...]) -> tuple[str, ...]:
    """Return the words that an interpreter may take for its program."""
    if not is_interpreter(argv[0]):
        return ()
    return tuple(word for word in argv[1:] if word.startswith("/") and not PLACE.search(word))


def _type_of(parameter: Parameter) -> Any:
    if parameter.type == "choice":
        return Literal[parameter.choices]
    if parameter.type == "integer":
        return Annotated[Whole, Field(ge=parameter.minimum, le=parameter.maximum)]

    def fits(value: str) -> str:
        if fault := fault_in(value):
            raise ValueError(fault)
        if not matches(parameter.pattern, value):
            raise ValueError(f"it does not match {parameter.pattern}")
        return value

    return Annotated[str, Field(max_length=LONGEST_VALUE), AfterValidator(fits)]


def _stands(seen: DeclaredSeen) -> str:
    said = "its programs are there, and only root can change them"
    if seen.status is None:
        return said
    return f"{seen.status.name} is {seen.status.active_state} ({seen.status.sub_state}); {said}"


def _undo(revert: Stage | None) -> str:
    if revert is None:
        return "the settings declare nothing that takes it back"
    return "sudo " + shlex.join(revert.commands[0])
