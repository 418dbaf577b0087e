"""The shapes of OpenAI's chat completions that this server takes and gives.

Front ends send much that has no meaning here (their own tools, sampling, user names): unknown fields are ignored,
and what is read is checked, so that a mistake is a 400 with a sentence and never a 500.
"""

import json
import secrets
from datetime import datetime
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ai_sysadmin.llm_backend import Completion as Account
from ai_sysadmin.openai_api_server.errors import Fault, Faulty

MODEL_ID = "ai-sysadmin"
FinishReason = Literal["stop", "length"]


class Lenient(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Part(Lenient):
    """One piece of a message. Only text is read; of anything else the reader learns that it was there."""

    type: str
    text: str | None = None

    @property
    def words(self) -> str:
        return self.text if self.text is not None else f"[{self.type} left out: only text is read here]"


class WireMessage(Lenient):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | tuple[Part, ...] | None = None

    @property
    def text(self) -> str:
        if self.content is None or isinstance(self.content, str):
            return self.content or ""
        return "\n".join(part.words for part in self.content)

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
    include_usage: bool = False


class ChatRequest(Lenient):
    messages: tuple[WireMessage, ...] = Field(min_length=1, max_length=2000)
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage


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
        where = ".".join(str(step) for step in first["loc"]) or None
        text = f"{where}: {first['msg']}" if where else first["msg"]
        raise Faulty(Fault(400, text, code="invalid_body", param=where)) from error


class Completion:
    """One answer being given: its identity, and the frames and bodies it is made of."""

    def __init__(self, now: datetime) -> None:
        self._id = f"chatcmpl-{secrets.token_hex(12)}"
        self._created = int(now.timestamp())

    def whole(self, text: str, account: Account | None) -> dict[str, Any]:
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text, "refusal": None},
            "logprobs": None,
            "finish_reason": finish_reason(account),
        }
        return self._body("chat.completion", [choice]) | {"usage": usage(account)}

    def piece(self, delta: dict[str, str], finish_reason: FinishReason | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return frame(self._body("chat.completion.chunk", [choice]))

    def usage_piece(self, account: Account | None) -> bytes:
        return frame(self._body("chat.completion.chunk", []) | {"usage": usage(account)})

    def _body(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": self._created, "model": MODEL_ID, "choices": choices}


def usage(account: Account | None) -> dict[str, Any]:
    """Return the model server's own token counts; none were spent where no model answered."""
    counted = account or Account(text="", model="")
    return {
        "prompt_tokens": counted.prompt_tokens,
        "completion_tokens": counted.completion_tokens,
        "total_tokens": counted.prompt_tokens + counted.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": counted.cached_tokens},
    }


def finish_reason(account: Account | None) -> FinishReason:
    return "length" if account and account.finish_reason == "length" else "stop"


DONE = b"data: [DONE]\n\n"


def frame(body: dict[str, Any]) -> bytes:
    """Return one server-sent event."""
    return b"data: " + json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def models(name: str, started: datetime) -> dict[str, Any]:
    """Return the model list: one model, whose ``name`` front ends show."""
    entry = {
        "id": MODEL_ID,
        "object": "model",
        "created": int(started.timestamp()),
        "owned_by": MODEL_ID,
        "name": name,
    }
    return {"object": "list", "data": [entry]}
