"""The frames and bodies that chat completions are made of, in OpenAI's shape."""

import json
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal

from ai_sysadmin.llm_backend import Completion as Account
from ai_sysadmin.llm_backend import ToolCall

FinishReason = Literal["stop", "length", "tool_calls"]
Body = dict[str, Any]

DONE: Final = b"data: [DONE]\n\n"


def frame(body: Body, event: str = "") -> bytes:
    """Return one server-sent event."""
    name = f"event: {event}\n".encode() if event else b""
    return name + b"data: " + json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


class Completion:
    """One answer being given: its identity, and the frames and bodies it is made of."""

    def __init__(self, now: datetime, model: str) -> None:
        self.suffix = secrets.token_hex(12)
        self._id = f"chatcmpl-{self.suffix}"
        self._created = int(now.timestamp())
        self._model = model

    def whole(self, text: str, reasoning: str, calls: Sequence[ToolCall], account: Account | None) -> Body:
        message: Body = {"role": "assistant", "content": text, "refusal": None}
        if reasoning:
            message["reasoning_content"] = reasoning
        if calls:
            message["tool_calls"] = [_call(call) for call in calls]
            message["content"] = text or None
        reason = finish_reason(account, calls)
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
        return self._body("chat.completion", [choice]) | {"usage": usage(account)}

    def piece(self, delta: Body, reason: FinishReason | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return frame(self._body("chat.completion.chunk", [choice]))

    def call_piece(self, index: int, call: ToolCall) -> bytes:
        return self.piece({"tool_calls": [{"index": index, **_call(call)}]})

    def usage_piece(self, account: Account | None) -> bytes:
        return frame(self._body("chat.completion.chunk", []) | {"usage": usage(account)})

    def extension(self, body: Body) -> bytes:
        """Return a frame of what is no choice; clients that do not know it see an empty chunk."""
        return frame(self._body("chat.completion.chunk", []) | body)

    def _body(self, kind: str, choices: list[Body]) -> Body:
        return {"id": self._id, "object": kind, "created": self._created, "model": self._model, "choices": choices}


def _call(call: ToolCall) -> Body:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def usage(account: Account | None) -> Body:
    """Return the model server's own token counts; none were spent where no model answered."""
    counted = account or Account(text="", model="")
    return {
        "prompt_tokens": counted.prompt_tokens,
        "completion_tokens": counted.completion_tokens,
        "total_tokens": counted.prompt_tokens + counted.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": counted.cached_tokens},
    }


def finish_reason(account: Account | None, calls: Sequence[ToolCall] = ()) -> FinishReason:
    if calls:
        return "tool_calls"
    return "length" if account and account.finish_reason == "length" else "stop"
