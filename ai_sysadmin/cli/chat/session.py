"""A conversation as it is kept while the chat lasts. Pure."""

import json
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple

from ai_sysadmin.openai_api_server.gate.body import MAX_BODY_BYTES
from ai_sysadmin.openai_api_server.wire import MOST_MESSAGES

MOST_BYTES: Final = MAX_BODY_BYTES * 3 // 4
"""Of messages, as JSON: the rest of the body is small."""

_STOPPED: Final = "(stopped here)"


class Turn(NamedTuple):
    """What one side said."""

    role: Literal["user", "assistant"]
    content: str

    def message(self) -> dict[str, str]:
        return {"role": self.role, "content": self.content}


@dataclass(frozen=True)
class Conversation:
    """What was said so far, oldest first."""

    turns: tuple[Turn, ...] = ()

    def asked(self, question: str) -> "Conversation":
        return replace(self, turns=(*self.turns, Turn("user", question)))

    def answered(self, text: str, *, whole: bool = True) -> "Conversation":
        """Add an answer; not ``whole``: it was stopped, or failed. One of which nothing came is not added."""
        text = text.strip() if whole else f"{text.strip()}\n\n{_STOPPED}" if text.strip() else ""
        return replace(self, turns=(*self.turns, Turn("assistant", text))) if text else self

    def messages(self, most: int = MOST_MESSAGES, most_bytes: int = MOST_BYTES) -> list[dict[str, str]]:
        """Return the newest turns that the API takes in one request, a person's first; the newest is always there."""
        kept: list[Turn] = []
        left = most_bytes
        for turn in reversed(self.turns[-most:]):
            left -= len(json.dumps(turn.message(), ensure_ascii=False).encode())
            if kept and left < 0:
                break
            kept.insert(0, turn)
        while len(kept) > 1 and kept[0].role != "user":
            del kept[0]
        return [turn.message() for turn in kept]

    def transcript(self, title: str, name: str) -> str:
        """Return all of it as Markdown; ``name`` is the assistant's."""
        said = ((name if turn.role == "assistant" else "You", turn.content) for turn in self.turns)
        return "\n\n".join([f"# {title}", *(f"## {who}\n\n{text}" for who, text in said)]) + "\n"
