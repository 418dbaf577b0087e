"""Machine-read replies: a flat pydantic model becomes a schema for the decoder, and the reply is checked again.

The schema only constrains, the model does not see it: the prompt has to describe the shape too. llama.cpp skips
schema features that it does not know without a word, hence flat models, bounds on everything, and validation.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError

from ai_sysadmin.core.errors import BackendUnavailable
from ai_sysadmin.llm_backend import Completion, Message, ModelServer, PromptTooLong, ReplyDoesNotFit, Schema

log = logging.getLogger(__name__)

Reply = TypeVar("Reply", bound=BaseModel)

_BOUNDS = {"string": ("maxLength",), "array": ("maxItems",), "integer": ("minimum", "maximum")}
_LEFT_OUT = frozenset({"title", "default", "$defs"})
_MOST_QUOTED = 4000


async def reply_as(
    server: ModelServer,
    messages: Sequence[Message],
    model: type[Reply],
    *,
    max_tokens: int,
    seed: int | None = None,
    temperature: float = 0.2,
) -> tuple[Reply, Completion, int]:
    """Ask for a reply of one shape; return it, the completion it came from, and how many calls that took.

    A reply that does not fit is shown to the model once, together with what is wrong with it.

    Raises:
        ReplyDoesNotFit: neither the reply nor its repair fits.
        PromptTooLong: the prompt does not fit the model's context.
        BackendUnavailable: the server is away, loading or too slow.
    """
    schema = schema_of(model)
    talk = list(messages)
    fault = ""
    for calls in (1, 2):
        completion = await server.complete(
            talk, max_tokens=max_tokens, schema=schema, seed=seed, temperature=temperature
        )
        reply, fault = _checked(completion, model)
        if reply is not None:
            return reply, completion, calls
        talk += [
            Message(role="assistant", content=completion.text[:_MOST_QUOTED]),
            Message(role="user", content=f"That reply cannot be used: {fault}. Reply again: the JSON object, no more."),
        ]
    raise ReplyDoesNotFit(fault, model=completion.model, calls=calls)


async def reply_to_longest(
    server: ModelServer,
    prompts: Sequence[Sequence[Message]],
    model: type[Reply],
    *,
    within_seconds: float,
    max_tokens: int,
    temperature: float = 0.2,
) -> tuple[Reply, Completion, int]:
    """Ask as ``reply_as`` does, with the first of these prompts (longest first) that fits the model's context.

    Raises: as ``reply_as``; BackendUnavailable also when all of it takes longer than ``within_seconds``.
    """
    *longer, shortest = prompts
    try:
        async with asyncio.timeout(within_seconds):
            for prompt in longer:
                try:
                    return await reply_as(server, prompt, model, max_tokens=max_tokens, temperature=temperature)
                except PromptTooLong as error:
                    log.info("trying a shorter prompt: %s", error, extra={"event": "prompt_cut"})
            return await reply_as(server, shortest, model, max_tokens=max_tokens, temperature=temperature)
    except TimeoutError as error:
        raise BackendUnavailable(
            f"{server.name} model at {server.url} took longer than {within_seconds:.0f} s"
        ) from error


def _checked(completion: Completion, model: type[Reply]) -> tuple[Reply | None, str]:
    """Return the reply, or what is wrong with it in words."""
    if completion.finish_reason == "length":
        return None, f"it was cut off after {completion.completion_tokens} tokens; be brief"
    try:
        return model.model_validate_json(completion.text), ""
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        return None, "; ".join(
            f"{'.'.join(str(part) for part in fault['loc']) or 'reply'}: {fault['msg']}" for fault in faults[:5]
        )


def one_of(choices: Iterable[str]) -> Any:
    """Return the type of a string that is one of these, to the decoder and to pydantic."""
    return Literal[tuple(choices)]


def list_of(choices: Sequence[str]) -> Any:
    """Return the type of a list that the decoder fills with at least one of these; any other list still validates.

    So a server that ignores schemas may answer with nothing or with inventions, and code says what that means.
    """
    item = Annotated[str, Field(max_length=64, json_schema_extra={"enum": list(choices)})]
    return Annotated[tuple[item, ...], Field(max_length=len(choices), json_schema_extra={"minItems": 1})]


def schema_of(model: type[BaseModel]) -> Schema:
    """Return the model's JSON schema as llama.cpp wants it: without references, everything required.

    Raises:
        TypeError: a string, list or integer of the model has no bound (a mistake in this program).
    """
    whole = model.model_json_schema()
    flat: dict[str, Any] = _inlined(whole, whole.get("$defs", {}))
    for name, field in flat["properties"].items():
        _check_bounds(f"{model.__name__}.{name}", field)
    return flat | {"required": list(flat["properties"]), "additionalProperties": False}


def _inlined(node: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_inlined(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _inlined(definitions[node["$ref"].rpartition("/")[2]], definitions)
    kept = {key: value for key, value in node.items() if key not in _LEFT_OUT or key == "properties"}
    return {
        key: {name: _inlined(field, definitions) for name, field in value.items()}
        if key == "properties"
        else _inlined(value, definitions)
        for key, value in kept.items()
    }


def _check_bounds(name: str, field: dict[str, Any]) -> None:
    if "enum" in field or "const" in field:
        return
    missing = [bound for bound in _BOUNDS.get(field.get("type", ""), ()) if bound not in field]
    if missing:
        raise TypeError(f"{name} needs {' and '.join(missing)}: a decoder without it may run to max_tokens")
    if "items" in field:
        _check_bounds(f"{name}[]", field["items"])
