"""How many tokens a text is at most likely to be, where no tokenizer can be asked."""

import json
from collections.abc import Iterator, Sequence

from ai_sysadmin.llm_backend import Message, ToolCall, ToolSpec

_WORDS = b"abcdefghijklmnopqrstuvwxyz "
_BYTES_PER_TOKEN_OF_WORDS = 3
_TOKENS_OF_A_MESSAGE = 8
"""What a chat template puts around one message: its role, and where it begins and ends."""
_TOKENS_OF_A_CALL = 24
"""The JSON and the marks around a call's name and arguments."""
_TOKENS_ABOUT_TOOLS = 400
"""What a chat template tells a model of how tools are called."""


def estimate(text: str) -> int:
    """Return a number of tokens that is seldom too small.

    Words in lower case are counted as three bytes a token (English has four and more); every other byte, of digits,
    capitals, punctuation and of what is not ASCII, as a token of its own, which is what identifiers and emoji come to.
    """
    raw = text.encode("utf-8", "replace")
    others = len(raw.translate(None, delete=_WORDS))
    return others + -(-(len(raw) - others) // _BYTES_PER_TOKEN_OF_WORDS)


def estimate_calls(calls: Sequence[ToolCall]) -> int:
    """Return a number of tokens that these calls are seldom more than."""
    return sum(estimate(call.name + call.arguments) + _TOKENS_OF_A_CALL for call in calls)


def estimate_prompt(messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> int:
    """Return a number of tokens of a whole prompt that is seldom too small."""
    return sum(estimate(text) for text in _texts(messages, tools)) + _around(messages, tools)


def most_of_prompt(messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> int:
    """Return a number of tokens that a prompt cannot exceed: no token is shorter than a byte."""
    return sum(len(text.encode("utf-8", "replace")) for text in _texts(messages, tools)) + _around(messages, tools)


def _texts(messages: Sequence[Message], tools: Sequence[ToolSpec]) -> Iterator[str]:
    for message in messages:
        yield message.content
        yield from (call.name + call.arguments for call in message.tool_calls)
    yield from (tool.name + tool.description + json.dumps(tool.parameters) for tool in tools)


def _around(messages: Sequence[Message], tools: Sequence[ToolSpec]) -> int:
    calls = sum(len(message.tool_calls) for message in messages) + len(tools)
    told = _TOKENS_ABOUT_TOOLS if tools else 0
    return len(messages) * _TOKENS_OF_A_MESSAGE + calls * _TOKENS_OF_A_CALL + told
