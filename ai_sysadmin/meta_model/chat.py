"""Answer people: with the meta model where it can be asked, with a report that says it is one where it cannot.

The prompt only grows at its end from turn to turn: the stable system prompt, the conversation, and last the state of
the host together with the newest question, so that the server's cache serves all that went before.
"""

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from importlib.resources import files

from ai_sysadmin.context.defuse import defuse, fenced
from ai_sysadmin.core.errors import BackendUnavailable
from ai_sysadmin.llm_backend import Delta, Message, ModelServer, PromptTooLong
from ai_sysadmin.meta_model.report import LiveState, report, state_text

__all__ = ["Chat", "LiveState"]

log = logging.getLogger(__name__)

SYSTEM_PROMPT = files(__package__).joinpath("chat.md").read_text()
CUT_OFF = "\n\n(The answer was cut off here: it reached the longest length that is set for it.)"
_TEMPERATURE = 0.6


@dataclass(frozen=True)
class Chat:
    """The conversation with people. It proposes nothing and runs nothing."""

    model: ModelServer
    max_reply_tokens: int

    async def answer(self, messages: Sequence[Message], live: LiveState) -> AsyncGenerator[Delta, None]:
        """Yield an answer piece by piece, the model's own account of it last; ``aclose()`` stops the model at once.

        It never fails for want of a model: then the answer is a report whose first line says so, and why. A model
        that goes away in the middle of its answer is said so, and the report follows.
        """
        began = False
        try:
            async with aclosing(self._by_model(messages, live)) as deltas:
                async for delta in deltas:
                    began = True
                    yield delta
        except (BackendUnavailable, PromptTooLong) as error:
            log.warning("chat answered without a model: %s", error, extra={"event": "chat_without_model"})
            yield Delta(text=("\n\n---\n\n" if began else "") + report(live, str(error)))

    async def _by_model(self, messages: Sequence[Message], live: LiveState) -> AsyncGenerator[Delta, None]:
        try:
            async with aclosing(self._stream(prompt(messages, live))) as deltas:
                async for delta in deltas:
                    yield delta
            return
        except PromptTooLong as error:
            log.info("conversation shortened to its last question: %s", error, extra={"event": "prompt_cut"})
        async with aclosing(self._stream(prompt(last_question(messages), live))) as deltas:
            async for delta in deltas:
                yield delta

    async def _stream(self, talk: Sequence[Message]) -> AsyncGenerator[Delta, None]:
        async with aclosing(
            self.model.stream(talk, max_tokens=self.max_reply_tokens, temperature=_TEMPERATURE)
        ) as deltas:
            async for delta in deltas:
                if delta.completion and delta.completion.finish_reason == "length":
                    yield Delta(text=CUT_OFF)
                elif delta.completion and not delta.completion.text.strip():
                    yield Delta(text="(The model answered with nothing.)")
                yield delta


def prompt(messages: Sequence[Message], live: LiveState) -> tuple[Message, ...]:
    """Return the conversation for the model. What a client's own system prompt asks follows ours, as a wish."""
    wishes = "\n".join(_spoken(message.content) for message in messages if message.role == "system")
    system = SYSTEM_PROMPT + (f"\nThe front end asks, as to style only:\n{wishes}\n" if wishes else "")
    talk = [
        Message(role=message.role, content=_spoken(message.content)) for message in messages if message.role != "system"
    ]
    newest = max((at for at, message in enumerate(talk) if message.role == "user"), default=None)
    state = fenced("state of the host", state_text(live))
    if newest is None:
        talk.append(Message(role="user", content=state))
    else:
        talk[newest] = Message(role="user", content=f"{state}\n\nQuestion: {talk[newest].content}")
    return Message(role="system", content=system), *talk


def last_question(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Return only the newest question."""
    return tuple(message for message in messages if message.role == "user")[-1:]


def _spoken(text: str) -> str:
    """Return what someone typed or pasted, without what a chat template would take for its own control tokens."""
    return defuse(text).replace("<|", "‹|").replace("|>", "|›")
