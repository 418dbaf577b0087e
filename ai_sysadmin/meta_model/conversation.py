"""A client's conversation as it goes into a prompt: as much of it as fits, and what is missing said. Pure."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from ai_sysadmin.context.defuse import defuse
from ai_sysadmin.llm_backend import Message
from ai_sysadmin.llm_backend.tokens import estimate

_BLOCK: Final = 8
"""Messages are left out so many at a time: the beginning of the prompt stays the same, and cached, in between."""
_AROUND: Final = 8
_LEAST_OF_QUESTION: Final = 200


class Fitted(NamedTuple):
    """What is left of a conversation: ``left_out`` earlier messages are missing, ``cut`` characters of the question."""

    messages: tuple[Message, ...]
    left_out: int = 0
    cut: int = 0


def spoken(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Return the turns of people and model, made harmless, those of one side that follow each other joined.

    Some chat templates refuse two turns of one side in a row, and every server takes control tokens for its own
    wherever they stand.
    """
    turns: list[Message] = []
    for message in messages:
        if message.role not in {"user", "assistant"}:
            continue
        text = harmless(message.content)
        if turns and turns[-1].role == message.role:
            turns[-1] = Message(role=message.role, content=f"{turns[-1].content}\n\n{text}")
        else:
            turns.append(Message(role=message.role, content=text))
    return tuple(turns)


def harmless(text: str) -> str:
    """Return what someone typed or pasted, without what a chat template would take for its own control tokens."""
    return defuse(text).replace("<|", "‹|").replace("|>", "|›")


def fit(turns: Sequence[Message], budget: int) -> Fitted:
    """Return the newest turns that come to so many tokens at most, by an estimate that is seldom too low.

    The newest question is always there, cut in its middle where it is too long by itself. What is missing is said
    at the beginning of what is left.
    """
    newest = max((at for at, turn in enumerate(turns) if turn.role == "user"), default=len(turns) - 1)
    kept = list(turns)
    kept[newest], cut = _shortened(turns[newest], budget)
    sizes = [estimate(turn.content) + _AROUND for turn in kept]
    first = _first_that_fits(sizes, newest, budget)
    while first < newest and kept[first].role != "user":
        first += 1
    if first == 0:
        return Fitted(tuple(kept), 0, cut)
    note = f"[{first} earlier messages of this conversation are left out here: there is no room for them.]\n\n"
    head = kept[first]
    return Fitted((head.model_copy(update={"content": note + head.content}), *kept[first + 1 :]), first, cut)


def _first_that_fits(sizes: Sequence[int], newest: int, budget: int) -> int:
    total = sum(sizes)
    if total <= budget:
        return 0
    first = 0
    while first < newest and total > budget:
        total -= sizes[first]
        first += 1
    return min(newest, -(-first // _BLOCK) * _BLOCK)


def _shortened(turn: Message, budget: int) -> tuple[Message, int]:
    """Cut a turn so that it takes half the budget at most; return it, and how many characters went."""
    text, cut = shortened(turn.content, max(_LEAST_OF_QUESTION, budget // 2))
    return (turn.model_copy(update={"content": text}), cut) if cut else (turn, 0)


def shortened(text: str, most_tokens: int) -> tuple[str, int]:
    """Cut a text in its middle so that it comes to so many tokens by estimate; return how many characters went too."""
    if estimate(text) <= most_tokens:
        return text, 0
    keep = len(text)
    while keep > 2 and estimate(_without_middle(text, keep)) > most_tokens:
        keep = keep * 3 // 4
    return _without_middle(text, keep), len(text) - keep


def _without_middle(text: str, keep: int) -> str:
    head, tail = keep * 2 // 3, keep - keep * 2 // 3
    return f"{text[:head]}\n[… {len(text) - keep} characters are left out here …]\n{text[len(text) - tail :]}"
