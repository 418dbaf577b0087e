"""Approval cards: a question with buttons that a front end shows, and what its answer means.

A card says only what the executor itself says of the action. Its answer counts once, for that action and digest, for
the key that was shown it, while it has not expired; the conversation that it comes with proves nothing.
"""

import json
import secrets
import shlex
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from ai_sysadmin.actions.protocol import ActionFacts
from ai_sysadmin.context.defuse import one_line
from ai_sysadmin.core.acting import ActionState, Risk
from ai_sysadmin.llm_backend import ToolCall
from ai_sysadmin.openai_api_server.callers import Caller
from ai_sysadmin.openai_api_server.wire import ChatRequest

ASK_USER: Final = "ask_user"
"""The front end's own tool that shows a question with buttons."""
_MARK: Final = "approval_"
_QUESTION: Final = "decision"
_MOST_SECONDS: Final = 240
_LEAST_SECONDS: Final = 60
_MOST_QUESTION: Final = 500
_MOST_KEPT: Final = 500
_MOST_ANSWER: Final = 8000


class Choice(StrEnum):
    """What a person chose; the value is what the button says."""

    DENY = "Deny"
    APPROVE = "Approve"
    DETAILS = "Details"
    NOTHING = ""


_BUTTONS: Final = (Choice.DENY, Choice.APPROVE, Choice.DETAILS)


@dataclass(frozen=True)
class Card:
    """One card that was issued: what it is bound to, and until when (monotonic seconds) it counts."""

    action_id: str
    digest: str
    key_id: str
    until: float


@dataclass(frozen=True)
class Answer:
    """What came back for a card: which one, if it still counts, and what was chosen. ``fault``: why it does not."""

    choice: Choice
    card: Card | None = None
    fault: str = ""


class Cards:
    """The cards that wait for their answer, in this process's memory: after a restart none of them counts."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._waiting: OrderedDict[str, Card] = OrderedDict()

    def issue(self, facts: ActionFacts, caller: Caller) -> ToolCall | None:
        """Return a card for an action that waits; none where no key may approve it, where it expires too soon for one,
        or does not fit on one.
        """
        left = min(facts.expires_in_seconds or 0, _MOST_SECONDS)
        question = _question(facts)
        if needs_operator(facts) or facts.plan is None:
            return None
        if facts.state is not ActionState.PENDING or left < _LEAST_SECONDS or len(question) > _MOST_QUESTION:
            return None
        call_id = _MARK + secrets.token_hex(12)
        self._waiting[call_id] = Card(facts.id, facts.digest, caller.key_id, self._now() + left)
        while len(self._waiting) > _MOST_KEPT:
            self._waiting.popitem(last=False)
        return ToolCall(id=call_id, name=ASK_USER, arguments=json.dumps(_face(facts, question, left)))

    def answered(self, asked: ChatRequest, caller: Caller) -> Answer | None:
        """Return what the newest message answers to a card; none: it answers none. An answer is taken once."""
        last = asked.messages[-1]
        call_id = last.tool_call_id or ""
        if last.role != "tool" or not call_id.startswith(_MARK):
            return None
        card = self._waiting.get(call_id)
        if card is None:
            return Answer(Choice.NOTHING, fault="it was answered already, or is not of this conversation any more")
        if not caller.key_id or card.key_id != caller.key_id:
            return Answer(Choice.NOTHING, fault="it was shown to someone else")
        del self._waiting[call_id]
        if self._now() >= card.until:
            return Answer(Choice.NOTHING, card, fault="it had expired when the answer came")
        return Answer(chosen(last.text), card)


def needs_operator(facts: ActionFacts) -> bool:
    """Tell whether only an operator's own user may approve: what cannot be taken back, and protected units."""
    return facts.ruling is None or facts.ruling.protected or facts.ruling.risk is Risk.DESTRUCTIVE


def _question(facts: ActionFacts) -> str:
    """Return what a card asks, whole: nobody approves half a unit's name."""
    what = " ".join([facts.name, *facts.arguments.values()])
    runs = "; ".join(shlex.join(command) for command in facts.commands)
    lasts = "; it is taken back by itself where its checks fail" if facts.plan and facts.plan.revert else ""
    told = f"{what}? Risk: {_risk(facts)}. It runs: {runs}{lasts}. Action {facts.id}."
    return one_line(told, _MOST_QUESTION + 1)


def _risk(facts: ActionFacts) -> str:
    return facts.ruling.risk.value if facts.ruling else "not ruled"


def _face(facts: ActionFacts, question: str, seconds: int) -> dict[str, Any]:
    """Return what the card says, in the form that the front end's tool takes."""
    said = (
        "Do not run it",
        f"Run it once, now (risk: {_risk(facts)})",
        "Show its commands, its checks, its risk and how it is taken back",
    )
    return {
        "questions": [
            {
                "id": _QUESTION,
                "header": f"Approve {facts.id}?",
                "question": question,
                "options": [
                    {"label": button.value, "description": text} for button, text in zip(_BUTTONS, said, strict=True)
                ],
                "allow_other": False,
            }
        ],
        "timeout_ms": seconds * 1000,
    }


def chosen(content: str) -> Choice:
    """Return which button an answer names, by its label and its place at once; nothing where it is not plain."""
    if len(content) > _MOST_ANSWER:
        return Choice.NOTHING
    try:
        said = json.loads(content)
    except (ValueError, RecursionError):
        return Choice.NOTHING
    if not isinstance(said, dict) or said.get("status") != "answered" or not isinstance(said.get("answers"), dict):
        return Choice.NOTHING
    answer = said["answers"].get(_QUESTION)
    if not isinstance(answer, dict) or answer.get("type", "option") != "option":
        return Choice.NOTHING
    label, index = answer.get("label"), answer.get("option_index")
    for place, button in enumerate(_BUTTONS):
        if label == button.value and (index is None or (index == place and not isinstance(index, bool))):
            return button
    return Choice.NOTHING
