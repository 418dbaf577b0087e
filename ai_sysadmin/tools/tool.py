"""What a read-only tool is: a typed function whose docstring, annotations and defaults are all that a model knows."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Final, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, create_model

from ai_sysadmin.core.errors import Refused
from ai_sysadmin.core.records import Record
from ai_sysadmin.llm_backend import Schema
from ai_sysadmin.llm_backend.structured import schema_of

USUAL_SECONDS: Final = 10.0

Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=2, max_length=200)]
"""An argument that says what is looked for."""

Part = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)]
"""An argument that what is shown has to hold; empty: all of it is shown."""

Contains = Annotated[Part, Field(description="only lines with this text, whatever its case")]


class Told(NamedTuple):
    """What a tool found: ``text`` whole and as it is (the toolbox redacts, defuses and cuts it).

    ``narrow`` says how to ask for less, for where it has to be cut. ``truncated`` says that the source itself had more
    than the tool read. ``newest_last``: where it has to be cut, its end is shown (a log's), not its beginning.
    """

    text: str
    narrow: str = ""
    truncated: str = ""
    newest_last: bool = False


def beyond(more: int, what: str) -> str:
    """Say how many there are beyond those that are told; empty: none."""
    return f"{more} more {what}" if more > 0 else ""


class Scene(Protocol):
    """What one conversation or investigation has before it, beside a tool's arguments."""

    def names(self, target: str) -> bool:
        """Tell whether the evidence or an earlier look-up of this conversation names a host, address or path, whole."""
        ...


class Arguments(BaseModel):
    """A tool's arguments."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Tool:
    """A look-up that a model may ask for.

    ``purpose`` is one line for the model, ``says`` a template over the arguments for people (``log of {unit}``),
    ``seconds`` the longest that it may take. ``look`` raises AiSysadminError for what it cannot find or may not read.
    ``absent`` says why it could tell nothing on this host, and is not offered there; empty: it is.
    """

    name: str
    purpose: str
    arguments: type[Arguments]
    says: str
    seconds: float
    look: Callable[[Mapping[str, Any], Scene], Awaitable[Told]]
    absent: str = ""

    @cached_property
    def schema(self) -> Schema:
        """The schema of its arguments, as a decoder keeps to it: made once, it is asked for at every step."""
        return schema_of(self.arguments)

    def parsed(self, given: Mapping[str, object]) -> Arguments:
        """Return checked arguments. Raises: Refused, with what is wrong and what would be right."""
        try:
            return self.arguments.model_validate(given)
        except ValidationError as error:
            faults = error.errors(include_url=False, include_input=False, include_context=False)
            said = "; ".join(f"{'.'.join(map(str, fault['loc'])) or self.name}: {fault['msg']}" for fault in faults[:3])
            takes = ", ".join(self.arguments.model_fields) or "no arguments"
            raise Refused(f"{self.name} was not called: {said}. It takes {takes}.") from error

    def title(self, arguments: Arguments) -> str:
        """Return in words for people what is being looked at."""
        given = {name: "" if value is None else value for name, value in arguments.model_dump().items()}
        return " ".join(self.says.format_map(given).split())


def tool_of(
    function: Callable[..., Awaitable[Told]],
    *,
    says: str,
    seconds: float = USUAL_SECONDS,
    name: str = "",
    absent: str = "",
) -> Tool:
    """Make a tool of an async function.

    Its parameters are annotated with what bounds them (``Annotated[str, Field(max_length=…, description=…)]``); those
    with a default are optional; one called ``scene`` is given the Scene. The first line of its docstring is the
    purpose.
    """
    signature = inspect.signature(function, eval_str=True)
    fields: dict[str, Any] = {
        parameter.name: (parameter.annotation, ... if parameter.default is parameter.empty else parameter.default)
        for parameter in signature.parameters.values()
        if parameter.name != "scene"
    }
    wants_scene = "scene" in signature.parameters

    async def look(arguments: Mapping[str, Any], scene: Scene) -> Told:
        return await (function(**arguments, scene=scene) if wants_scene else function(**arguments))

    name = name or function.__name__
    purpose = (inspect.getdoc(function) or "").partition("\n\n")[0].replace("\n", " ")
    if not purpose:
        raise TypeError(f"the tool {name} has no docstring: a model chooses by it")
    arguments = create_model(f"{name}_arguments", __base__=Arguments, **fields)
    return Tool(name, purpose, arguments, says, seconds, look, absent)


class ToolResult(Record):
    """What a look-up came to, as a model and a person are told.

    ``id`` is its handle (``t1``, ``t2``, …): it is cited by it, and ``more`` reads on in what was left out. ``text``
    is redacted, defused and cut. ``left_out`` says what there is beyond it and how to get at it. ``failed``: it could
    not be looked up, and ``text`` says why.
    """

    id: str
    tool: str
    arguments: dict[str, str | int | bool | None]
    title: str
    text: str
    left_out: str = ""
    failed: bool = False
    redacted: dict[str, int] = Field(default_factory=dict)
    seconds: float = 0.0
