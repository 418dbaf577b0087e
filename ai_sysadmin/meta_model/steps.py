"""One step of the agent: the schema that a model chooses by, and what its choice means. Pure.

A step is one JSON object: ``{}`` to answer, or ``{"plan": …, "do": TOOL, …the tool's arguments}``. Who only wants to
answer is asked for no more than two characters. The plan stands before the choice, so that the model thinks before it
chooses, and stays in the conversation, so that it keeps to it.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import Field

from ai_sysadmin.context.defuse import fenced, one_line
from ai_sysadmin.core.records import Record
from ai_sysadmin.llm_backend import Message, Schema, ToolCall, ToolSpec
from ai_sysadmin.meta_model.conversation import harmless
from ai_sysadmin.tools.tool import Tool, ToolResult

ANSWER: Final = "answer"
MOST_PLAN: Final = 160
MOST_STEP_TOKENS: Final = 400
_MOST_TEXT: Final = 4000
PLAN: Final[Schema] = {"type": "string", "maxLength": MOST_PLAN}


class Step(Record):
    """What a model wants next: ``text`` as it said it, ``fault`` where that cannot be used, in words.

    ``call_id`` is set where it asked by the server's own tool calls.
    """

    do: str = ""
    plan: str = ""
    arguments: dict[str, Any] = Field(default_factory=dict)
    call_id: str = ""
    text: str = ""
    fault: str = ""


def step_schema(tools: Iterable[Tool], others: Iterable[ToolSpec] = ()) -> Schema:
    """Return what a step may be: to answer, or one of the tools with its arguments.

    ``others`` are tools of a client's own; their arguments stand in a field ``arguments``, as the client describes
    them.
    """
    branches = [closed({})]
    branches += [closed({"plan": PLAN, "do": _named(tool.name), **tool.schema["properties"]}) for tool in tools]
    branches += [
        closed({"plan": PLAN, "do": _named(tool.name), "arguments": dict(tool.parameters) or {"type": "object"}})
        for tool in others
    ]
    return {"anyOf": branches}


def closed(properties: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an object with exactly these properties."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _named(name: str) -> dict[str, Any]:
    return {"type": "string", "const": name}


def step_of(text: str) -> Step:
    """Return the step that a reply means."""
    given = _object(text)
    if isinstance(given, str):
        return Step(text=text, fault=given)
    if not given:
        return Step(do=ANSWER, text=text)
    plan, name = given.pop("plan", ""), given.pop("do", None)
    if not isinstance(name, str):
        return Step(text=text, fault='it has no "do"')
    return Step(do=name[:64], plan=one_line(str(plan), MOST_PLAN), arguments=given, text=text)


def native_step(call: ToolCall) -> Step:
    """Return the step that a server's own tool call means."""
    given = _object(call.arguments or "{}")
    if isinstance(given, str):
        return Step(do=call.name[:64], call_id=call.id, fault=f"its arguments: {given}")
    return Step(do=call.name[:64], arguments=given, call_id=call.id)


def _object(text: str) -> dict[str, Any] | str:
    try:
        given = json.loads(text)
    except ValueError as error:
        return f"it is no JSON ({error})"
    except RecursionError:
        return "it is nested too deeply"
    return given if isinstance(given, dict) else "it is no JSON object"


def specs_of(tools: Mapping[str, Tool]) -> tuple[ToolSpec, ...]:
    """Return the tools as a server's own tool calls describe them."""
    return tuple(ToolSpec(name=tool.name, description=tool.purpose, parameters=tool.schema) for tool in tools.values())


def said(step: Step) -> Message:
    """Return a step as the model said it: what its server has in its cache already."""
    return Message(role="assistant", content=harmless(step.text[:_MOST_TEXT]))


def shown(result: ToolResult) -> str:
    """Return what a look-up came to as the model reads it: data, between marks that it cannot contain."""
    label = f"{result.id} {result.title}{' (could not be looked up)' if result.failed else ''}"
    beyond = f"\nNot shown: {one_line(result.left_out, 400)}" if result.left_out else ""
    return fenced(label, result.text) + beyond
