"""What a client asks in the shape of OpenAI's chat completions, read and checked.

Front ends send much that has no meaning here: unknown fields are ignored, and what is read is checked, so that a
mistake is a 400 with a sentence and never a 500.
"""

import json
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

from ai_sysadmin.llm_backend import Schema, ToolCall, ToolSpec
from ai_sysadmin.openai_api_server.errors import Fault, Faulty

MODEL_ID: Final = "ai-sysadmin"
FAST_MODEL_ID: Final = "ai-sysadmin-fast"
MODEL_IDS: Final = (MODEL_ID, FAST_MODEL_ID)

MOST_MESSAGES: Final = 2000
MOST_STOPS: Final = 4
MOST_TOOLS: Final = 64
LONGEST_TOOL_NAME: Final = 64
LARGEST_PARAMETERS: Final = 16 << 10
LARGEST_SCHEMA: Final = 32 << 10
_MOST_CALLS: Final = 128
_INTEGER: Final = 1 << 63


class Lenient(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


def _objects(given: object) -> list[dict[str, Any]]:
    """Return what is an object of a list that may be anything."""
    return [each for each in given if isinstance(each, dict)] if isinstance(given, list | tuple) else []


def _text(given: object) -> str:
    return given if isinstance(given, str) else ""


def _calls(given: object) -> tuple[ToolCall, ...]:
    """Read the tool calls of an assistant's message; what is none is left out."""
    found = []
    for each in _objects(given)[:_MOST_CALLS]:
        function = each.get("function")
        if isinstance(function, dict):
            arguments = function.get("arguments")
            written = arguments if isinstance(arguments, str) else json.dumps(arguments or {})
            found.append(ToolCall(id=_text(each.get("id")), name=_text(function.get("name")), arguments=written))
    return tuple(found)


def _offers(given: object) -> tuple[ToolSpec, ...]:
    """Read the functions that a client offers, as chat completions and as Responses write them."""
    found = []
    for each in _objects(given):
        function = each.get("function", each)
        if isinstance(function, dict) and (name := _text(function.get("name"))):
            parameters = function.get("parameters")
            shape = parameters if isinstance(parameters, dict) else {}
            found.append(ToolSpec(name=name, description=_text(function.get("description")), parameters=shape))
    return tuple(found)


def _stops(given: object) -> object:
    """Read one text as a list of one; an empty one ends nothing."""
    stops = [given] if isinstance(given, str) else given or ()
    return [stop for stop in stops if stop != ""] if isinstance(stops, list) else stops


_OBJECTS: Final = {"type": "array", "items": {"type": "object"}}
_STOPS: Final = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "maxItems": MOST_STOPS}]}
Calls = Annotated[tuple[ToolCall, ...], BeforeValidator(_calls), WithJsonSchema(_OBJECTS)]
Offers = Annotated[tuple[ToolSpec, ...], BeforeValidator(_offers), WithJsonSchema(_OBJECTS)]
Stops = Annotated[tuple[str, ...], BeforeValidator(_stops), Field(max_length=MOST_STOPS), WithJsonSchema(_STOPS)]


class Part(Lenient):
    """One piece of a message. Only text is read; of anything else the reader learns that it was there."""

    type: str
    text: str | None = None

    @property
    def is_text(self) -> bool:
        return self.type in {"text", "input_text", "output_text"} and self.text is not None

    @property
    def words(self) -> str:
        return self.text if self.text is not None else f"[{self.type[:40]} left out: only text is read here]"


class WireMessage(Lenient):
    """One message. ``tool_calls`` are those of an assistant; ``tool_call_id`` says which of them a tool answers."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | tuple[Part, ...] | None = None
    tool_calls: Calls = ()
    tool_call_id: Annotated[str, BeforeValidator(_text)] = ""
    files: Any = None

    @property
    def text(self) -> str:
        if self.content is None or isinstance(self.content, str):
            return self.content or ""
        return "\n".join(part.words for part in self.content)

    @property
    def has_attachment(self) -> bool:
        """Tell whether there is more to it than text: a picture, a file."""
        parts = self.content if isinstance(self.content, tuple) else ()
        return bool(self.files) or any(not part.is_text for part in parts)

    @property
    def is_one_text(self) -> bool:
        """Tell whether the whole message is one text, with nothing beside it."""
        parts = 1 if isinstance(self.content, str) else len(self.content or ())
        return parts == 1 and not self.has_attachment

    @property
    def spoken_by(self) -> Literal["system", "user", "assistant"] | None:
        """Return the role as a model knows it; none for the answers of tools, which are not ours here."""
        match self.role:
            case "system" | "developer":
                return "system"
            case "user" | "assistant":
                return self.role
            case "tool" | "function":
                return None


class StreamOptions(Lenient):
    include_usage: bool | None = None


class ResponseFormat(Lenient):
    """How the answer is to be shaped, as chat completions and as Responses write it."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    json_schema: dict[str, Any] | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")

    @property
    def answer_schema(self) -> Schema | None:
        """Return the schema asked for. Raises: Faulty: 400, there is none, or it is too large."""
        if self.type != "json_schema":
            return {"type": "object"} if self.type == "json_object" else None
        given = self.schema_ if self.json_schema is None else self.json_schema.get("schema")
        if not isinstance(given, dict):
            text = "response_format: a json_schema needs its schema, an object, at json_schema.schema"
            raise Faulty(Fault(400, text, code="invalid_schema", param="response_format"))
        if len(json.dumps(given)) > LARGEST_SCHEMA:
            text = f"response_format: the schema is over {LARGEST_SCHEMA} bytes"
            raise Faulty(Fault(400, text, code="invalid_schema", param="response_format"))
        return given


class ChatRequest(Lenient):
    """One request. ``tools`` are the functions that the client offers, whatever becomes of them."""

    messages: tuple[WireMessage, ...] = Field(min_length=1, max_length=MOST_MESSAGES)
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1, lt=_INTEGER)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, lt=_INTEGER)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    stop: Stops = ()
    seed: Annotated[int, Field(ge=-_INTEGER, lt=_INTEGER)] | None = None
    n: Literal[1] | None = None
    response_format: ResponseFormat | None = None
    tools: Offers = ()
    tool_choice: Any = None
    files: Any = None
    metadata: Any = None

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    @property
    def fast(self) -> bool:
        """Tell whether the small model is asked."""
        return self.model == FAST_MODEL_ID

    @property
    def reply_tokens(self) -> int | None:
        """Return the most tokens that the answer may have, where the client says so."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def answer_schema(self) -> Schema | None:
        """Return the schema that the answer is to fit. Raises: Faulty: 400, it cannot be used."""
        return self.response_format.answer_schema if self.response_format else None

    @property
    def last(self) -> WireMessage:
        return self.messages[-1]

    def offers(self, name: str) -> bool:
        """Tell whether the client offers a tool of that name."""
        return any(tool.name == name for tool in self.tools)

    def passed_tools(self, client_tools: Literal["ignore", "pass"]) -> tuple[ToolSpec, ...]:
        """Return the client's tools that the model may call; none where they are ignored, or not to be chosen.

        Raises:
            Faulty: 400, there are too many, or one of them is too large.
        """
        if client_tools == "ignore" or self.tool_choice == "none":
            return ()
        if len(self.tools) > MOST_TOOLS:
            raise _bad_tools(f"at most {MOST_TOOLS} may be offered, there are {len(self.tools)}")
        for tool in self.tools:
            if len(tool.name) > LONGEST_TOOL_NAME:
                raise _bad_tools(f"the name {tool.name[:LONGEST_TOOL_NAME]!r}… is over {LONGEST_TOOL_NAME} characters")
            if len(json.dumps(dict(tool.parameters))) > LARGEST_PARAMETERS:
                raise _bad_tools(f"the parameters of {tool.name!r} are over {LARGEST_PARAMETERS} bytes")
        return self.tools


def _bad_tools(text: str) -> Faulty:
    return Faulty(Fault(400, f"tools: {text}", code="invalid_tools", param="tools"))


Parsed = TypeVar("Parsed", bound=BaseModel)


def parse(model: type[Parsed], body: bytes) -> Parsed:
    """Read a body, whatever its content type says.

    Raises:
        Faulty: 400, naming the first thing that is wrong with it.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(step)[:40] for step in first["loc"][:8]) or None
        text = f"{where}: {first['msg']}" if where else first["msg"]
        raise Faulty(Fault(400, text, code="invalid_body", param=where)) from error


def known_model(model: str | None) -> str:
    """Return the model asked for; the whole sysadmin where none is named.

    Raises:
        Faulty: 404, there is no such model here; the message names those that are.
    """
    if not model:
        return MODEL_ID
    if model not in MODEL_IDS:
        text = f"the model {model[:100]!r} does not exist here; there are {' and '.join(MODEL_IDS)}"
        raise Faulty(Fault(404, text, code="model_not_found", param="model"))
    return model
