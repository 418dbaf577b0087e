"""What is said to a model, only ever added to, so that its server's cache serves what went before; and what it cost."""

from collections.abc import Sequence
from typing import Final

from ai_sysadmin.llm_backend import Completion, Message
from ai_sysadmin.llm_backend.tokens import estimate_prompt

_LEAST_CHARACTERS_PER_TOKEN: Final = 1.0


class Transcript:
    """A conversation with a model. ``spent`` adds up all calls; its text is the last answer's.

    ``answered``: the model has given its answer already, while it could still have looked something up.
    """

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = list(messages)
        self._rounds: list[tuple[int, int]] = []
        self._known_tokens = 0
        self._known_length = 0
        self._ratio = _LEAST_CHARACTERS_PER_TOKEN
        self._last_said = ""
        self.answered = False
        self.calls = 0
        self.spent = Completion(text="", model="")

    @property
    def messages(self) -> tuple[Message, ...]:
        return tuple(self._messages)

    @property
    def looked(self) -> bool:
        """Tell whether anything was looked up."""
        return bool(self._rounds)

    def add(self, *messages: Message) -> None:
        self._last_said = ""
        self._messages += messages

    def say(self, text: str) -> None:
        """Say something to the model; some chat templates refuse two turns of one side in a row."""
        self._last_said = f"{self._last_said}\n\n{text}"
        if self._messages and self._messages[-1].role == "user":
            last = self._messages.pop()
            self._known_length = min(self._known_length, len(self._messages))
            text = f"{last.content}\n\n{text}"
        self._messages.append(Message(role="user", content=text))

    def add_round(self, *messages: Message) -> None:
        """Add a step and what it came to: the first thing to go where the conversation grows too long."""
        self._rounds.append((len(self._messages), len(messages)))
        self.add(*messages)

    def extend_round(self, message: Message) -> None:
        """Add to the step that was added last."""
        at, length = self._rounds[-1]
        self._rounds[-1] = (at, length + 1)
        self.add(message)

    def count(self, completion: Completion) -> None:
        """Add up what a call cost, and learn from the server's own count how long the prompt is."""
        before, self.calls = self.spent, self.calls + 1
        self.spent = completion.model_copy(
            update={
                "prompt_tokens": before.prompt_tokens + completion.prompt_tokens,
                "completion_tokens": before.completion_tokens + completion.completion_tokens,
                "cached_tokens": before.cached_tokens + completion.cached_tokens,
            }
        )
        self._known_tokens, self._known_length = completion.prompt_tokens, len(self._messages)
        characters = sum(len(message.content) for message in self._messages)
        self._ratio = max(_LEAST_CHARACTERS_PER_TOKEN, characters / max(1, completion.prompt_tokens))

    @property
    def tokens(self) -> int:
        """Return how long the prompt is by now: the server's count where it gave one, what came since estimated."""
        return self._known_tokens + estimate_prompt(self._messages[self._known_length :])

    @property
    def characters_per_token(self) -> float:
        """Return how many characters a token came to so far; one where that is not known."""
        return self._ratio

    def forget_oldest_round(self) -> bool:
        """Leave out the oldest look-up that is still there, and say so in its place; tell whether there was one."""
        if not self._rounds:
            return False
        (at, length), *later = self._rounds
        # what was said since the newest look-up stands behind it in one message, and stays
        said = self._last_said if at + length == len(self._messages) else ""
        left = Message(role="assistant", content="(An earlier look-up is left out here: there was no room for it.)")
        kept = [left, Message(role="user", content=f"Go on.{said}")]
        self._messages[at : at + length] = kept
        self._rounds = [(each - length + len(kept), its) for each, its in later]
        self._known_tokens = self._known_length = 0
        return True
