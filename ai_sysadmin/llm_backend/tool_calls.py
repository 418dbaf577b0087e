"""A server's own tool calls on the wire: tools and calls as OpenAI writes them, and calls put together from pieces."""

import json
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ai_sysadmin.llm_backend import ToolCall, ToolSpec

_ABOUT_TOOLS = re.compile(r"\btools?\b|tool[_ -]?(?:choice|call|use)|function[_ -]?call", re.IGNORECASE)


def is_about_tools(refusal: str) -> bool:
    """Tell whether a server's refusal is about the tools that it was offered."""
    return bool(_ABOUT_TOOLS.search(refusal))


def tools_on_wire(tools: Iterable[ToolSpec]) -> list[dict[str, object]]:
    return [
        {
            "type": "function",
            "function": {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)},
        }
        for tool in tools
    ]


def calls_on_wire(calls: Iterable[ToolCall]) -> list[dict[str, object]]:
    return [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": readable_arguments(call.arguments)},
        }
        for call in calls
    ]


def readable_arguments(arguments: str) -> str:
    """Return arguments as a JSON object: chat templates read them, and a server fails on what is none."""
    if not arguments.strip():
        return "{}"
    return arguments if isinstance(_json(arguments), dict) else json.dumps({"unreadable": arguments})


@dataclass
class _Call:
    index: int | None
    id: str
    name: str
    arguments: str = ""


class CallPieces:
    """Calls as they come together: a name once, arguments in pieces, told apart by their index.

    Servers that number them all 0 are understood too: a further name begins a further call where it comes with another
    id, or after arguments that are whole.
    """

    def __init__(self) -> None:
        self._calls: list[_Call] = []

    def add(self, piece: Mapping[str, Any]) -> str:
        """Take in a piece as it is on the wire; return what it said, as text whose length counts."""
        function = piece.get("function") or {}
        its_id, name = str(piece.get("id") or ""), str(function.get("name") or "")
        arguments = _text(function.get("arguments"))
        call = self._for(piece.get("index"), its_id, name, arguments)
        call.id = call.id or its_id
        call.name = call.name or name
        call.arguments += arguments
        return name + arguments

    def _for(self, index: int | None, its_id: str, name: str, arguments: str) -> _Call:
        same = [call for call in self._calls if call.index == index]
        held = same[-1] if same else None
        if held is None and index is None and not (its_id or name) and self._calls:
            return self._calls[-1]
        if held is None or _begins_another(held, its_id, name, arguments):
            held = _Call(index, its_id, name)
            self._calls.append(held)
        return held

    def whole(self) -> tuple[ToolCall, ...]:
        """Return the calls; one without an id gets one that every chat template takes: nine letters and digits."""
        return tuple(
            ToolCall(id=call.id or secrets.token_hex(5)[:9], name=call.name, arguments=call.arguments)
            for call in self._calls
        )


def _begins_another(held: _Call, its_id: str, name: str, arguments: str) -> bool:
    if not (name and held.name):
        return False
    if its_id and held.id:
        return its_id != held.id
    return bool(arguments) and _json(held.arguments) is not None


def _text(arguments: object) -> str:
    """Return arguments as text; some servers send the object itself."""
    if isinstance(arguments, Mapping):
        return json.dumps(dict(arguments), ensure_ascii=False)
    return arguments if isinstance(arguments, str) else ""


def _json(text: str) -> Any:
    """Return what a text says as JSON; none: it is no JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return None
