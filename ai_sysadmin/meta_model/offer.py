"""What a model may do in one conversation beside answering: look, propose, call a client's own tools."""

import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from importlib.resources import files
from typing import Final, Literal

from ai_sysadmin.llm_backend import Schema, ToolCall, ToolSpec
from ai_sysadmin.meta_model.steps import ANSWER, PLAN, Step, specs_of, step_schema
from ai_sysadmin.meta_model.talk import Proposed
from ai_sysadmin.tools.toolbox import Looks, Toolbox

Way = Literal["steps", "words", "calls"]
"""How a model says what it wants to do next: by a schema, in its words, or by its server's own tool calls."""
LOOKING: Final[Mapping[Way, str]] = {
    "steps": files(__package__).joinpath("looking_by_steps.md").read_text(),
    "words": files(__package__).joinpath("looking_in_words.md").read_text(),
    "calls": files(__package__).joinpath("looking_by_calls.md").read_text(),
}
PROPOSE: Final = "propose"
PROPOSES: Final = "put an action up for a person's approval; nothing runs without it"
Propose = Callable[[str, str, str], Awaitable[Proposed]]
"""Proposes an action: its name, its unit, and why. Raises: Refused."""


class Offer:
    """What is offered to a model in one conversation. The schema is the same for the same tools, and so is its text.

    Args:
        toolbox: what may be looked up.
        looks: this conversation's look-ups.
        propose: how an action is proposed; none: it may not be.
        actions: the names of the actions that may be proposed.
        client_tools: the client's own.
    """

    def __init__(
        self,
        toolbox: Toolbox,
        looks: Looks,
        propose: Propose | None = None,
        actions: tuple[str, ...] = (),
        client_tools: tuple[ToolSpec, ...] = (),
    ) -> None:
        self.looks = looks
        self._toolbox = toolbox
        self._propose = propose
        self._actions = actions
        self._client_tools: Mapping[str, ToolSpec] = {
            tool.name: tool for tool in client_tools if tool.name not in toolbox.tools and tool.name != PROPOSE
        }

    @property
    def is_empty(self) -> bool:
        """Tell whether there is nothing that a model could do but answer."""
        return not (self._toolbox.tools or self._client_tools or self._propose)

    @cached_property
    def schema(self) -> Schema:
        base = step_schema(self._toolbox.tools.values(), self._client_tools.values())
        return {"anyOf": [*base["anyOf"], *([_proposal(self._actions)] if self._propose else [])]}

    @cached_property
    def specs(self) -> tuple[ToolSpec, ...]:
        """Return all of it as a server's own tool calls describe it."""
        specs = (*specs_of(self._toolbox.tools), *self._client_tools.values())
        if not self._propose:
            return specs
        properties = {
            name: part for name, part in _proposal(self._actions)["properties"].items() if name not in {"plan", "do"}
        }
        parameters = {"type": "object", "properties": properties, "required": list(properties)}
        return (*specs, ToolSpec(name=PROPOSE, description=PROPOSES, parameters=parameters))

    def has(self, name: str) -> bool:
        """Tell whether there is something of that name to be done, or it is to answer."""
        return name in {ANSWER, *self._toolbox.tools, *self._client_tools} or (name == PROPOSE and bool(self._propose))

    def instructions(self, way: Way) -> str:
        """Return how to use what is offered, for a system prompt; nothing where nothing is.

        A server's own tool calls come with their own description of the tools.
        """
        if self.is_empty:
            return ""
        return LOOKING[way] if way == "calls" else f"{LOOKING[way]}{self._described()}\n"

    def _described(self) -> str:
        lines = [self._toolbox.described()] if self._toolbox.tools else []
        if self._propose:
            lines.append(f"{PROPOSE}(action: {' | '.join(self._actions)}, unit, why): {PROPOSES}")
        lines += [
            f"{tool.name}(arguments: {json.dumps(tool.parameters, ensure_ascii=False)[:600]}): {tool.description[:300]}"
            for tool in self._client_tools.values()
        ]
        return "\n".join(lines)

    def client_call(self, step: Step) -> ToolCall | None:
        """Return a step as a call of the client's own tool; none: it is something else."""
        if step.do not in self._client_tools:
            return None
        arguments = step.arguments if step.call_id else step.arguments.get("arguments", {})
        said = json.dumps(arguments, ensure_ascii=False)
        return ToolCall(id=step.call_id or f"call_{secrets.token_hex(8)}", name=step.do, arguments=said)

    def proposal(self, step: Step) -> Awaitable[Proposed] | None:
        """Return a step as a proposal to be made; none: it is something else. Awaiting it raises Refused."""
        if step.do != PROPOSE or self._propose is None:
            return None
        given = {name: str(step.arguments.get(name, "")) for name in ("action", "unit", "why")}
        return self._propose(given["action"], given["unit"], given["why"])


def _proposal(actions: tuple[str, ...]) -> dict[str, dict[str, object]]:
    properties: dict[str, object] = {
        "plan": dict(PLAN),
        "do": {"type": "string", "const": PROPOSE},
        "action": {"type": "string", "enum": list(actions)},
        "unit": {"type": "string", "maxLength": 120},
        "why": {"type": "string", "maxLength": 200},
    }
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}  # type: ignore[dict-item]
