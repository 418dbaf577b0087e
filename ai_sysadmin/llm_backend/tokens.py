"""How many tokens a text is at most likely to be, where no tokenizer can be asked."""

from collections.abc import Sequence

from ai_sysadmin.llm_backend import Message

_WORDS = b"abcdefghijklmnopqrstuvwxyz "
_BYTES_PER_TOKEN_OF_WORDS = 3
_TOKENS_OF_A_MESSAGE = 8
"""What a chat template puts around one message: its role, and where it begins and ends."""


def estimate(text: str) -> int:
    """Return a number of tokens that is seldom too small.

    Words in lower case are counted as three bytes a token (English has four and more); every other byte, of digits,
    capitals, punctuation and of what is not ASCII, as a token of its own, which is what identifiers and emoji come to.
    """
    raw = text.encode("utf-8", "replace")
    others = len(raw.translate(None, delete=_WORDS))
    return others + -(-(len(raw) - others) // _BYTES_PER_TOKEN_OF_WORDS)


def estimate_prompt(messages: Sequence[Message]) -> int:
    """Return a number of tokens of a whole prompt that is seldom too small."""
    return sum(estimate(message.content) + _TOKENS_OF_A_MESSAGE for message in messages)


def most_of_prompt(messages: Sequence[Message]) -> int:
    """Return a number of tokens that a prompt cannot exceed: no token is shorter than a byte."""
    return sum(len(message.content.encode("utf-8", "replace")) + _TOKENS_OF_A_MESSAGE for message in messages)
