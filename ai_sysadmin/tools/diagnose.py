"""Looking at what only root may see: a read-only action of the catalogue, carried out by the executor."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field, create_model

from ai_sysadmin.actions.action import Action
from ai_sysadmin.actions.catalogue import Catalogue
from ai_sysadmin.actions.catalogue.drafts import DraftConfiguration
from ai_sysadmin.actions.client import ExecutorClient
from ai_sysadmin.actions.protocol import ActionFacts
from ai_sysadmin.core.acting import ActionRequest, ActionState, Origin, Risk
from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.errors import Refused
from ai_sysadmin.core.records import ProposedAction
from ai_sysadmin.tools.tool import Arguments, Scene, Told, Tool

NAME: Final = "diagnose"
MOST_SECONDS: Final = 30.0
_GRACE_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.1
_MOST_TEXT: Final = 200
_MOST_WHOLE: Final = 10**9
_WHY: Final = "a model looks at what only root may see"
Entry = type[Action[Any]]


def only_looks(entry: Entry) -> bool:
    """Tell whether an action changes nothing at all, so that it is a look-up more than anything."""
    return entry.risks == (Risk.READ_ONLY,) and not issubclass(entry, DraftConfiguration)


def diagnose_tools(
    executor: ExecutorClient,
    catalogue: Catalogue,
    host: str,
    clock: Clock,
    origin: Origin,
    seconds: float = MOST_SECONDS,
) -> tuple[Tool, ...]:
    """Return the tool, or nothing where the catalogue has no such action.

    It goes straight to the executor, which rules on it as on every action; nothing of it is kept beside its audit.

    Args:
        origin: in whose name it is proposed.
        seconds: how long it may take.
    """
    looking = (entry for entry in catalogue.entries.values() if only_looks(entry))
    entries = {entry.name: entry for entry in looking if "action" not in _taken(entry)}
    if not entries:
        return ()

    async def look(arguments: Mapping[str, Any], scene: Scene) -> Told:  # noqa: ARG001 — as every tool's
        entry = entries[str(arguments["action"])]
        given = _given(entry, arguments)
        catalogue.validate(entry.name, given)
        action = ProposedAction(name=entry.name, arguments=given)
        request = ActionRequest.propose(host, "", action, origin, _WHY, clock.now())
        return _told(await _ended(executor, request, seconds))

    purpose = "look at what only root may see: " + "; ".join(_line(entry) for entry in entries.values())
    return (Tool(NAME, purpose, _arguments(entries.values()), "{action}", seconds + _GRACE_SECONDS, look),)


async def _ended(executor: ExecutorClient, request: ActionRequest, seconds: float) -> ActionFacts:
    """Propose it and wait for its end, or for a person whom it waits for. Raises: Refused: it took too long."""
    facts = await executor.propose(request)
    until = asyncio.get_running_loop().time() + seconds
    while not (facts.state.ended or facts.state is ActionState.PENDING):
        if asyncio.get_running_loop().time() > until:
            raise Refused(f"{request.name} took longer than {seconds:g} s; it ends by itself as action {request.id}")
        await asyncio.sleep(_POLL_SECONDS)
        facts = await executor.show(request.id)
    if facts.state is ActionState.PENDING:
        await executor.withdraw(request.id, "a model asked, and does not wait")
    return facts


def _told(facts: ActionFacts) -> Told:
    """Return what it wrote. Raises: Refused: it did not run, or could not look."""
    if facts.state is not ActionState.SUCCEEDED:
        said = f"\n{facts.output}" if facts.output else ""
        raise Refused(f"{facts.name} could not look: {facts.state.value}, {facts.text}{said}")
    return Told(facts.output or "(it wrote nothing)")


# --- its arguments: those of all the actions, each by its name; what an action does not take is left out


def _arguments(entries: Iterable[Entry]) -> type[Arguments]:
    """Return the arguments' model: an action's name, and every action's own arguments, none of them required."""
    listed = list(entries)
    fields: dict[str, Any] = {"action": (Literal[tuple(entry.name for entry in listed)], ...)}
    for entry in listed:
        for name, about in _taken(entry).items():
            made = _field(about, entry.name)
            if fields.setdefault(name, made) != made:
                fields[name] = (Annotated[str, Field(max_length=_MOST_TEXT, description="as the action takes it")], "")
    return create_model(f"{NAME}_arguments", __base__=Arguments, **fields)


def _field(about: Mapping[str, Any], action: str) -> tuple[Any, Any]:
    meant = f"of {action}"
    known = next((each for each in about.get("anyOf", ()) if each.get("type") != "null"), about)
    if known.get("type") == "integer":
        least, most = known.get("minimum", known.get("ge", 0)), known.get("maximum", known.get("le", _MOST_WHOLE))
        default = about.get("default")
        default = least if default is None else default
        return Annotated[int, Field(ge=least, le=most, description=meant)], default
    if "enum" in known:
        choices = tuple(known["enum"])
        return Annotated[Literal[choices], Field(description=meant)], about.get("default") or choices[0]
    most = min(known.get("maxLength", _MOST_TEXT), _MOST_TEXT)
    return Annotated[str, Field(max_length=most, description=meant)], about.get("default") or ""


def _given(entry: Entry, arguments: Mapping[str, Any]) -> dict[str, str]:
    """Return what of the arguments is the action's own, as texts; empty ones are left out."""
    taken = {name: arguments.get(name) for name in _taken(entry)}
    return {name: str(value).strip() for name, value in taken.items() if value not in {"", None}}


def _line(entry: Entry) -> str:
    words = " ".join((entry.__doc__ or "").split()).replace("``", "").partition(". ")[0].rstrip(".")
    return f"{entry.name} ({words[:1].lower()}{words[1:]})"


def _taken(entry: Entry) -> Mapping[str, Mapping[str, Any]]:
    """Return what an action takes, by the name that it has in a proposal."""
    properties: Mapping[str, Mapping[str, Any]] = entry.model_json_schema().get("properties", {})
    return properties
