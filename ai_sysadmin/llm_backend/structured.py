"""Machine-read replies: a flat pydantic model becomes a schema for the decoder, and the reply is checked again.

The schema only constrains, the model does not see it: the prompt has to describe the shape too. llama.cpp skips
schema features that it does not know without a word, hence flat models, bounds on everything, and validation. Where
a server was seen to ignore schemas, ``with_schema_shown`` puts the schema itself into the prompt.
"""

import itertools
import json
import logging
import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError

from ai_sysadmin.llm_backend import Completion, Message, ModelServer, PromptTooLong, ReplyDoesNotFit, Schema

log = logging.getLogger(__name__)

Reply = TypeVar("Reply", bound=BaseModel)

_BOUNDS = {"string": ("maxLength",), "array": ("maxItems",), "integer": ("minimum", "maximum")}
_LEFT_OUT = frozenset({"title", "default", "$defs"})
_FENCED = re.compile(r"\A\s*```(?:json)?\s*(\{.*\})\s*```\s*\Z", re.DOTALL)
_MOST_QUOTED = 4000
_MOST_SHOWN = 6000


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

    A reply that does not fit is shown to the model once, together with what is wrong with it. The completion's tokens
    are those of all calls together.

    Raises:
        ReplyDoesNotFit: neither the reply nor its repair fits.
        PromptTooLong: the prompt does not fit the model's context.
        BackendUnavailable: the server is away, loading or too slow.
    """
    schema = schema_of(model)

    async def ask(talk: Sequence[Message]) -> Completion:
        return await server.complete(talk, max_tokens=max_tokens, schema=schema, seed=seed, temperature=temperature)

    first = await ask(messages)
    reply, fault = _checked(first, model)
    if reply is not None:
        return reply, first, 1
    bad = Message(role="assistant", content=first.text[:_MOST_QUOTED])
    wish = f"That reply cannot be used: {fault}. Reply again: the JSON object, no more."
    try:
        second = _added(first, await ask([*messages, bad, Message(role="user", content=wish)]))
    except PromptTooLong as error:
        raise _unusable(f"{fault}; there was no room to say so to the model: {error}", first, 1) from error
    reply, fault = _checked(second, model)
    if reply is None:
        raise _unusable(fault, second, 2)
    return reply, second, 2


def _unusable(fault: str, spent: Completion, calls: int) -> ReplyDoesNotFit:
    return ReplyDoesNotFit(
        fault,
        model=spent.model,
        calls=calls,
        prompt_tokens=spent.prompt_tokens,
        completion_tokens=spent.completion_tokens,
        cached_tokens=spent.cached_tokens,
    )


def _added(before: Completion, last: Completion) -> Completion:
    """Return the last completion with the tokens of those before it added."""
    return last.model_copy(
        update={
            "prompt_tokens": before.prompt_tokens + last.prompt_tokens,
            "completion_tokens": before.completion_tokens + last.completion_tokens,
            "cached_tokens": before.cached_tokens + last.cached_tokens,
        }
    )


def with_schema_shown(messages: Sequence[Message], schema: Schema) -> tuple[Message, ...]:
    """Return a prompt whose system part ends with the schema, for a server that does not keep to it by itself.

    Of a schema that is very long only the field names are shown, of each of its alternatives where there are several.
    """
    said = json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
    wish = f"It fits this JSON schema: {said}"
    if len(said) > _MOST_SHOWN:
        forms = [_form(branch) for branch in schema.get("anyOf", (schema,))]
        wish = f"It has exactly the fields of {'one of these' if len(forms) > 1 else 'this'}: {_fitting(forms)}"
    line = f"Reply with one JSON object and nothing else, no code fence. {wish}"
    systems = [at for at, message in enumerate(messages) if message.role == "system"]
    if not systems:
        return Message(role="system", content=line), *messages
    shown = list(messages)
    shown[systems[-1]] = Message(role="system", content=f"{messages[systems[-1]].content}\n{line}")
    return tuple(shown)


def _form(schema: Schema) -> str:
    """Return an object in outline: what is fixed as it is, other fields by their names."""
    fields = (
        f'"{name}": {json.dumps(field["const"], ensure_ascii=False) if "const" in field else "…"}'
        for name, field in schema.get("properties", {}).items()
    )
    return f"{{{', '.join(fields)}}}"


def _fitting(forms: Sequence[str]) -> str:
    """Return as many outlines as there is room for, and how many there are beyond."""
    ends = list(itertools.accumulate(len(form) + 1 for form in forms))
    count = max(1, sum(end <= _MOST_SHOWN for end in ends))
    more = f" (and {len(forms) - count} more)" if count < len(forms) else ""
    return "\n".join(forms[:count])[:_MOST_SHOWN] + more


def _checked(completion: Completion, model: type[Reply]) -> tuple[Reply | None, str]:
    """Return the reply, or what is wrong with it in words."""
    if completion.finish_reason == "length":
        return None, f"it was cut off after {completion.completion_tokens} tokens; be brief"
    try:
        return model.model_validate_json(_FENCED.sub(r"\1", completion.text)), ""
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

    A ``RootModel`` of a union becomes ``anyOf`` with a branch for each of its models.

    Raises:
        TypeError: a string, list or integer of the model has no bound (a mistake in this program).
    """
    whole = model.model_json_schema()
    flat: dict[str, Any] = _inlined(whole, whole.get("$defs", {}))
    branches = flat.get("anyOf") or flat.get("oneOf")
    if branches:
        return {"anyOf": [_closed(model.__name__, branch) for branch in branches]}
    return _closed(model.__name__, flat)


def _closed(name: str, flat: dict[str, Any]) -> dict[str, Any]:
    for field, of in flat["properties"].items():
        _check_bounds(f"{name}.{field}", of)
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
    for branch in field.get("anyOf", ()):
        _check_bounds(name, branch)
    missing = [bound for bound in _BOUNDS.get(field.get("type", ""), ()) if bound not in field]
    if missing:
        raise TypeError(f"{name} needs {' and '.join(missing)}: a decoder without it may run to max_tokens")
    if "items" in field:
        _check_bounds(f"{name}[]", field["items"])
