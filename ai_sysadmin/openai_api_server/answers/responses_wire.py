"""The shapes of OpenAI's Responses that this server takes and gives: text, and calls of the client's own tools."""

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from ai_sysadmin.llm_backend import Completion as Account
from ai_sysadmin.llm_backend import ToolCall
from ai_sysadmin.openai_api_server import wire
from ai_sysadmin.openai_api_server.errors import Fault, Faulty
from ai_sysadmin.openai_api_server.showing.frames import Body

NOT_KEPT: Final = "answers are not kept here: send the whole conversation in `input`"


class Item(wire.Lenient):
    """One item of the input: a message, a call of a tool or what it answered. Others have no meaning here."""

    type: str | None = None
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: str | tuple[wire.Part, ...] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | tuple[wire.Part, ...] | None = None

    @property
    def message(self) -> Body | None:
        """Return it as a message of chat completions."""
        if self.type in {None, "message"} and self.role is not None:
            return {"role": self.role, "content": self.content}
        if self.type == "function_call":
            function = {"name": self.name or "", "arguments": self.arguments or ""}
            called = [{"id": self.call_id or "", "type": "function", "function": function}]
            return {"role": "assistant", "content": None, "tool_calls": called}
        if self.type == "function_call_output":
            return {"role": "tool", "content": self.output, "tool_call_id": self.call_id or ""}
        return None


class TextSettings(wire.Lenient):
    format: wire.ResponseFormat | None = None


class ResponsesRequest(wire.Lenient):
    """One request."""

    input: str | Annotated[tuple[Item, ...], Field(min_length=1, max_length=wire.MOST_MESSAGES)]
    instructions: str | None = None
    model: str | None = None
    stream: bool | None = None
    max_output_tokens: Annotated[int, Field(ge=1, lt=1 << 63)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    text: TextSettings | None = None
    tools: Any = None
    tool_choice: Any = None
    previous_response_id: Any = None
    conversation: Any = None
    background: bool | None = None
    metadata: dict[str, Any] | None = None

    def as_chat(self) -> wire.ChatRequest:
        """Return it as chat completions would ask it. Raises: Faulty: 400, it asks for what is not done here."""
        for name in ("previous_response_id", "conversation", "background"):
            if getattr(self, name):
                raise Faulty(Fault(400, f"{name}: {NOT_KEPT}", code="not_kept", param=name))
        items = [{"role": "user", "content": self.input}] if isinstance(self.input, str) else self._messages()
        before = [{"role": "system", "content": self.instructions}] if self.instructions else []
        if not items:
            raise Faulty(Fault(400, "input: nobody asks anything here", code="no_question", param="input"))
        return wire.ChatRequest.model_validate(
            {
                "messages": [*before, *items],
                "model": self.model,
                "stream": self.stream,
                "max_tokens": self.max_output_tokens,
                "temperature": self.temperature,
                "response_format": self.text.format if self.text else None,
                "tools": self.tools,
                "tool_choice": self.tool_choice,
                "metadata": self.metadata,
            }
        )

    def _messages(self) -> list[Body]:
        items = self.input if isinstance(self.input, tuple) else ()
        return [message for item in items if (message := item.message) is not None]


class Response:
    """One answer being given: its identity, and the bodies it is made of."""

    def __init__(self, now: datetime, model: str, asked: ResponsesRequest) -> None:
        self.suffix = secrets.token_hex(12)
        self._created = int(now.timestamp())
        self._model = model
        self._asked = asked

    @property
    def message_id(self) -> str:
        return f"msg_{self.suffix}"

    def begun(self) -> Body:
        return self._body("in_progress", [])

    def ended(self, output: Sequence[Body], account: Account | None) -> Body:
        """Return the whole of it, once it has come to its end or to that of its tokens."""
        if account is not None and account.finish_reason == "length":
            body = self._body("incomplete", output) | {"incomplete_details": {"reason": "max_output_tokens"}}
        else:
            body = self._body("completed", output)
        return body | {"usage": usage(account)}

    def failed(self, output: Sequence[Body], fault: Fault) -> Body:
        error = {"code": "server_error" if fault.status >= 500 else "invalid_prompt", "message": fault.message}
        return self._body("failed", output) | {"error": error}

    def message(self, text: str | None, status: str) -> Body:
        """Return the message that the answer is, with its text where that is complete."""
        content = [] if text is None else [text_part(text)]
        return {"id": self.message_id, "type": "message", "role": "assistant", "status": status, "content": content}

    def call(self, call: ToolCall, status: str = "completed") -> Body:
        return {
            "id": f"fc_{self.suffix}_{call.id}"[:100],
            "type": "function_call",
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments if status == "completed" else "",
            "status": status,
        }

    def _body(self, status: str, output: Sequence[Body]) -> Body:
        return {
            "id": f"resp_{self.suffix}",
            "object": "response",
            "created_at": self._created,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "instructions": self._asked.instructions,
            "max_output_tokens": self._asked.max_output_tokens,
            "metadata": self._asked.metadata or {},
            "model": self._model,
            "output": list(output),
            "parallel_tool_calls": False,
            "previous_response_id": None,
            "store": False,
            "temperature": self._asked.temperature,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": None,
            "usage": None,
        }


def text_part(text: str) -> Body:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def usage(account: Account | None) -> Body:
    """Return the model server's own token counts; none were spent where no model answered."""
    counted = account or Account(text="", model="")
    return {
        "input_tokens": counted.prompt_tokens,
        "input_tokens_details": {"cached_tokens": counted.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": counted.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": counted.prompt_tokens + counted.completion_tokens,
    }
