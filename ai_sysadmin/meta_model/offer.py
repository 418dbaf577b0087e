"""What a model may do in one conversation beside answering: look, propose, call a client's own tools."""

import json
import secrets
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from functools import cached_property
from importlib.resources import files
from typing import Final, Literal

from ai_sysadmin.llm_backend import Schema, ToolCall, ToolSpec
from ai_sysadmin.meta_model.proposable import Proposable
from ai_sysadmin.meta_model.steps import ANSWER, PLAN, Step, closed, specs_of, step_schema
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
Propose = Callable[[str, Mapping[str, str], str], Awaitable[Proposed]]
"""Proposes an action: its name, its arguments, and why. Raises: Refused."""
_WHY: Final[Schema] = {"type": "string", "maxLength": 200}
_CALL: Final = f"{PROPOSE}_"
"""What stands before an action's name where a server's own tool calls propose it."""


class Offer:
    """What is offered to a model in one conversation. The schema is the same for the same tools, and so is its text.

    Args:
        toolbox: what may be looked up.
        looks: this conversation's look-ups.
        propose: how an action is proposed; none: it may not be.
        actions: the actions that may be proposed.
        client_tools: the client's own.
    """

    def __init__(
        self,
        toolbox: Toolbox,
        looks: Looks,
        propose: Propose | None = None,
        actions: tuple[Proposable, ...] = (),
        client_tools: tuple[ToolSpec, ...] = (),
    ) -> None:
        self.looks = looks
        self._toolbox = toolbox
        self._propose = propose if actions else None
        self._actions = {each.name: each for each in actions} if propose else {}
        taken = {PROPOSE, *toolbox.tools, *(f"{_CALL}{name}" for name in self._actions)}
        self._client_tools: Mapping[str, ToolSpec] = {
            tool.name: tool for tool in client_tools if tool.name not in taken
        }

    @property
    def is_empty(self) -> bool:
        """Tell whether there is nothing that a model could do but answer."""
        return not (self._toolbox.tools or self._client_tools or self._propose)

    @cached_property
    def schema(self) -> Schema:
        base = step_schema(self._toolbox.tools.values(), self._client_tools.values())
        return {"anyOf": [*base["anyOf"], *_proposals(self._actions.values())]}

    @cached_property
    def specs(self) -> tuple[ToolSpec, ...]:
        """Return all of it as a server's own tool calls describe it."""
        proposing = (
            ToolSpec(
                name=f"{_CALL}{each.name}",
                description=f"{PROPOSES}. The action: {each.says}",
                parameters=closed({**each.arguments, "why": dict(_WHY)}),
            )
            for each in self._actions.values()
        )
        return (*specs_of(self._toolbox.tools), *self._client_tools.values(), *proposing)

    def has(self, name: str) -> bool:
        """Tell whether there is something of that name to be done, or it is to answer."""
        known = {ANSWER, *self._toolbox.tools, *self._client_tools, *(f"{_CALL}{each}" for each in self._actions)}
        return name in known or (name == PROPOSE and bool(self._propose))

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
            lines.append(f"{PROPOSE}(action, the action's arguments, why): {PROPOSES}. The actions:")
            lines += [f"- {each.line}" for each in self._actions.values()]
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
        called = step.do.removeprefix(_CALL) if step.do.startswith(_CALL) else ""
        if self._propose is None or not (step.do == PROPOSE or called in self._actions):
            return None
        name = called or str(step.arguments.get("action", ""))
        known = self._actions.get(name)
        given = known.given(step.arguments) if known else {}
        return self._propose(name, given, str(step.arguments.get("why", "")))


def _proposals(actions: Iterable[Proposable]) -> Iterator[Schema]:
    """Yield what a proposal may be: a branch for each action, one for all that take the same arguments."""
    alike: dict[str, list[Proposable]] = {}
    for each in actions:
        alike.setdefault(json.dumps(each.arguments, sort_keys=True), []).append(each)
    for group in alike.values():
        yield closed(
            {
                "plan": dict(PLAN),
                "do": {"type": "string", "const": PROPOSE},
                "action": {"type": "string", "enum": [each.name for each in group]},
                **group[0].arguments,
                "why": dict(_WHY),
            }
        )
