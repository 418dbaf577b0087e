"""Actions of the operator's own: a program with typed parameters. What is wrong with one is said when it is read."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Final, Literal

from pydantic import Field, PositiveFloat, StringConstraints, TypeAdapter, ValidationError, model_validator
from pydantic_core import SchemaError

from ai_sysadmin.core.acting import Risk
from ai_sysadmin.core.records import UnitName
from ai_sysadmin.core.section import Section

ActionName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z_]{0,62}$")]
ParameterName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
PLACE: Final = re.compile(r"\{([a-z][a-z0-9_]*)\}")
LONGEST_VALUE: Final = 256
_LARGEST: Final = 10**15 - 1
_MOST_WORDS: Final = 64
_UNIT: Final = TypeAdapter[str](UnitName)
_INTERPRETER: Final = re.compile(
    r"(?:ba|da|z|k|mk|c|tc|fi)?sh|busybox|python[0-9.]*|perl[0-9.]*|ruby[0-9.]*|lua[0-9.]*|php[0-9.]*|node|deno|bun|"
    r"[gmn]?awk|sed|tclsh|nix|nix-shell"
)
_HANDS_ON: Final = re.compile(
    r"env|expect|xargs|parallel|ssh|su|sudo|doas|runuser|run0|setpriv|nsenter|unshare|chroot|systemd-run|timeout|nice"
)
_CAPABILITIES: Final = frozenset(
    f"CAP_{each}"
    for each in re.findall(
        r"\w+",
        "AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE DAC_READ_SEARCH"
        " FOWNER FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN"
        " NET_BIND_SERVICE NET_BROADCAST NET_RAW PERFMON SETFCAP SETGID SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT"
        " SYS_CHROOT SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG"
        " WAKE_ALARM",
    )
)
_READING: Final = frozenset({"CAP_AUDIT_READ", "CAP_DAC_READ_SEARCH", "CAP_NET_RAW", "CAP_PERFMON", "CAP_SYSLOG"})
_SANE_PATH: Final = re.compile(r"/[A-Za-z0-9_.:@+=,~-][A-Za-z0-9_./:@+=,~-]{0,1000}")
_FIRST_PRINTABLE: Final = 32
_DELETE: Final = 127
_OWN_USERS: Final = ("ai-sysadmin", "llama-")
_KEPT: Final = ("/nix/store", "/proc", "/sys", "/dev", "/boot", "/efi")


def fault_in(value: str) -> str | None:
    """Say why a text can never be put into a command line, whatever the operator allows; none: it can."""
    if not value or len(value) > LONGEST_VALUE:
        return f"it has to have 1 to {LONGEST_VALUE} characters"
    if not value.isprintable():
        return "it holds a character that cannot be printed"
    if value.startswith("-"):
        return "it begins with a dash, as an option does"
    if "$" in value:
        return "it holds a $, as a variable does"
    if any(part in {".", ".."} for part in value.split("/")):
        return "it holds . or .. as a part of a path"
    return None


def matches(pattern: str, value: str) -> bool:
    """Tell whether a regular expression matches a whole text, in time linear in its length."""
    try:
        _matcher(pattern).validate_python(value)
    except ValidationError:
        return False
    return True


def is_interpreter(program: str) -> bool:
    """Tell whether a program takes another program, or a text of one, as an argument."""
    name = PurePosixPath(program).name
    return _INTERPRETER.fullmatch(name) is not None or _HANDS_ON.fullmatch(name) is not None


@cache
def _matcher(pattern: str) -> TypeAdapter[str]:
    # pydantic's expressions know no backtracking; their $ is the very end
    return TypeAdapter(Annotated[str, StringConstraints(pattern=rf"^(?:{pattern})$")])


class Parameter(Section):
    """One argument of a declared action: a text that matches, a whole number within bounds, or one of a list."""

    type: Literal["text", "integer", "choice"] = Field("text", description="What the argument is.")
    pattern: str = Field(
        r"[A-Za-z0-9_.@-]{1,64}",
        max_length=300,
        description="text: a regular expression without look-around that the whole argument matches. Whatever it is,"
        " no argument is empty, begins with a dash, holds a $ or a control character, or has .. as a part of a path.",
    )
    minimum: int = Field(0, ge=0, description="integer: the least.")
    maximum: int = Field(2**31, le=_LARGEST, description="integer: the most.")
    choices: tuple[str, ...] = Field((), max_length=50, description="choice: what it may be.")
    description: str = Field("", max_length=200, description="What it is, for a model.")

    @model_validator(mode="after")
    def _makes_sense(self) -> "Parameter":
        if (self.type == "choice") != bool(self.choices):
            raise ValueError("a choice needs choices, and nothing else takes any")
        for choice in self.choices:
            if fault := fault_in(choice):
                raise ValueError(f"the choice {choice!r} cannot be put into a command line: {fault}")
        if self.minimum > self.maximum:
            raise ValueError(f"minimum = {self.minimum} is above maximum = {self.maximum}")
        _check_pattern(self.pattern)
        return self


def _check_pattern(pattern: str) -> None:
    """Check that a pattern stands for itself: whole, so that no bracket of it closes another."""
    try:
        TypeAdapter(Annotated[str, StringConstraints(pattern=pattern)])
        _matcher(pattern)
    except SchemaError as error:
        said = " ".join(str(error).split())
        raise ValueError(f"pattern {pattern!r} is no regular expression without look-around: {said}") from error


class DeclaredAction(Section):
    """An action of the operator's own: a program with typed arguments, a risk, and a check of what came of it."""

    name: ActionName = Field(description="Its name in the catalogue.")
    description: str = Field(min_length=10, max_length=300, description="What it does and when it helps, for a model.")
    command: tuple[str, ...] = Field(
        min_length=1,
        max_length=_MOST_WORDS,
        description="The program, by absolute path, and its arguments; {name} stands for a parameter. No shell.",
    )
    parameters: dict[ParameterName, Parameter] = Field({}, max_length=8, description="Its parameters, by name.")
    risk: Risk = Field(description="What it may cost; read_only runs at every level of autonomy.")
    unit: str = Field("", description="The unit that it changes, for protection and overrides; {name} may stand in it.")
    post_check: tuple[str, ...] = Field(
        (),
        max_length=_MOST_WORDS,
        description="A program that must exit 0 afterwards, for the whole post-check; empty: the exit status says it.",
    )
    revert: tuple[str, ...] = Field(
        (), max_length=_MOST_WORDS, description="A program that takes it back; empty: nothing does."
    )
    user: str = Field(
        "root",
        pattern=r"^[a-z_][a-z0-9_-]{0,30}$",
        description="Who runs it; dynamic: a user of its own. None of the suite's own users.",
    )
    capabilities: tuple[str, ...] = Field(
        (), description="Capabilities that it needs, such as CAP_NET_ADMIN; without any, root may do what an owner may."
    )
    writable_paths: tuple[Path, ...] = Field((), description="Where it may write.")
    network: bool = Field(False, description="It may use the network.")
    timeout_seconds: PositiveFloat = Field(60, le=86_400, description="The longest that it may run.")

    @property
    def programs(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """The commands that there are, each with the setting that it is of."""
        for field in ("command", "post_check", "revert"):
            if argv := getattr(self, field):
                yield field, argv

    @model_validator(mode="after")
    def _is_whole(self) -> "DeclaredAction":
        for field, argv in self.programs:
            _check_argv(field, argv)
            self._check_places(field, argv)
            self._check_systemctl(field, argv)
        self._check_places("unit", (self.unit,))
        if self.unit:
            _check_unit(PLACE.sub("x", self.unit))
        unused = set(self.parameters) - {name for text in (*self.command, self.unit) for name in PLACE.findall(text)}
        if unused:
            raise ValueError(f"parameters that the command does not use: {', '.join(sorted(unused))}")
        return self

    @model_validator(mode="after")
    def _has_rights_that_fit(self) -> "DeclaredAction":
        if unknown := set(self.capabilities) - _CAPABILITIES:
            raise ValueError(f"capabilities(7) knows no {', '.join(sorted(unknown))}; write them as CAP_NET_ADMIN")
        if self.user.startswith(_OWN_USERS):
            raise ValueError(f"user = {self.user!r} is one of the suite's own: those hold no rights over the host")
        for path in self.writable_paths:
            _check_writable(path)
        if self.risk is Risk.READ_ONLY:
            self._check_only_reads()
        return self

    def _check_systemctl(self, field: str, argv: tuple[str, ...]) -> None:
        """Check that systemctl is given no unit but the declared one: policy knows no other, protected or not."""
        if PurePosixPath(argv[0]).name != "systemctl":
            return
        if word := next((word for word in argv[1:] if PLACE.search(word) and word != self.unit), None):
            raise ValueError(
                f"{field} gives systemctl {word!r}: set `unit` to it, or protected units are not protected"
            )

    def _check_only_reads(self) -> None:
        if self.writable_paths or self.post_check or self.revert:
            raise ValueError("what is read_only writes nothing: it has no writable_paths, post_check or revert")
        if more := set(self.capabilities) - _READING:
            raise ValueError(
                f"what is read_only may have {', '.join(sorted(_READING))} and not {', '.join(sorted(more))}:"
                " it runs at every level of autonomy"
            )

    def _check_places(self, field: str, texts: tuple[str, ...]) -> None:
        unknown = {name for text in texts for name in PLACE.findall(text)} - set(self.parameters)
        if unknown:
            raise ValueError(f"{field} names parameters that are not declared: {', '.join(sorted(unknown))}")


def _check_argv(field: str, argv: tuple[str, ...]) -> None:
    program = PurePosixPath(argv[0])
    if not program.is_absolute() or ".." in program.parts or str(program) != argv[0] or PLACE.search(argv[0]):
        raise ValueError(f"{field} must begin with a program's absolute path, without parameters or ..")
    if not _SANE_PATH.fullmatch(argv[0]):
        raise ValueError(f"{field} has {argv[0]!r}: a unit takes no program with such characters in its path")
    for text in argv:
        if any(ord(character) < _FIRST_PRINTABLE or ord(character) == _DELETE for character in text):
            raise ValueError(f"{field} has {text!r}: a unit takes no line ends or control characters")
    if (word := _read_as_program(argv)) is not None:
        raise ValueError(
            f"{field} would let {argv[0]} read the parameter in {word!r} as a part of a program: name a script or"
            " a fixed text first, and the parameter as an argument after it"
        )


def _read_as_program(argv: tuple[str, ...]) -> str | None:
    """Return the word with a parameter that a program could take for what it is to run; none: there is none."""
    name = PurePosixPath(argv[0]).name
    if _HANDS_ON.fullmatch(name):
        return next((word for word in argv[1:] if PLACE.search(word)), None)
    if not _INTERPRETER.fullmatch(name):
        return None
    for word in argv[1:]:
        if PLACE.search(word):
            return word
        if not word.startswith("-"):
            return None
    return None


def _check_unit(unit: str) -> None:
    try:
        _UNIT.validate_python(unit)
    except ValidationError as error:
        raise ValueError(
            f"unit is no unit's full name, such as web.service or web@{{name}}.service: {unit!r}"
        ) from error


def _check_writable(path: Path) -> None:
    text = str(path)
    if not _SANE_PATH.fullmatch(text) or ".." in path.parts:
        raise ValueError(f"writable_paths has {text!r}: it must be a plain absolute path without .., and not all of /")
    if any(text == kept or text.startswith(f"{kept}/") for kept in _KEPT):
        raise ValueError(f"writable_paths has {text!r}: nothing below {', '.join(_KEPT)} is ever written to")
    if any(part.startswith("ai-sysadmin") for part in path.parts):
        raise ValueError(f"writable_paths has {text!r}: what the suite keeps is written to by the suite only")
