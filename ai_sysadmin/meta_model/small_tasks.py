"""Clerical work that front ends ask for in the background: titles, tags, follow-ups. By the small model, else by rule.

Nothing here reads incidents, has tools or proposes anything. What the front end quotes of the conversation is data.
"""

import asyncio
import json
import logging
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from importlib.resources import files
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, Field

from ai_sysadmin.context.defuse import cut, defuse, fenced, one_line
from ai_sysadmin.core.errors import BackendUnavailable, ModelMisbehaved
from ai_sysadmin.core.records import Record
from ai_sysadmin.llm_backend import Completion, Message, ModelServer
from ai_sysadmin.llm_backend.structured import reply_as

log = logging.getLogger(__name__)

WITHIN_SECONDS: Final = 20.0
"""A front end's background request is answered within this, by rule where the model takes longer."""
MOST_CHARACTERS: Final = 6000
"""So much of the conversation is read, its beginning and its end."""
_COMMON, *_PARTS = files(__package__).joinpath("small_tasks.md").read_text().split("\n## ")
_WORDS: Final[Mapping[str, str]] = {name: words.strip() for name, _, words in (part.partition("\n") for part in _PARTS)}
_SPEAKER = re.compile(r"^(?:USER|user|User):\s*(.+)$", re.MULTILINE)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_ESCAPED: Final = {ord(mark): f"\\u{ord(mark):04x}" for mark in "<>[]()!`:&@*~|#/."}
_DECIDES = re.compile(r"/\s*(?:approve|reject)", re.IGNORECASE)


class TaskKind(StrEnum):
    """What a front end wants in the background."""

    TITLE = "title"
    FOLLOW_UPS = "follow_ups"
    TAGS = "tags"
    QUERIES = "queries"
    AUTOCOMPLETE = "autocomplete"
    IMAGE_PROMPT = "image_prompt"
    EMOJI = "emoji"
    MERGE = "merge"
    TOOL_CHOICE = "tool_choice"


class Task(Record):
    """One background request: ``text`` is what it quotes, and nothing of its own instructions where those are known.

    ``answers`` are those that a merge is about.
    """

    kind: TaskKind
    text: str = ""
    answers: tuple[str, ...] = ()


class _Title(BaseModel):
    title: Annotated[str, Field(max_length=80)]


class _FollowUps(BaseModel):
    follow_ups: Annotated[tuple[Annotated[str, Field(max_length=200)], ...], Field(max_length=4)]


class _Tags(BaseModel):
    tags: Annotated[tuple[Annotated[str, Field(max_length=40)], ...], Field(max_length=4)]


class _Queries(BaseModel):
    queries: Annotated[tuple[Annotated[str, Field(max_length=120)], ...], Field(max_length=3)]


class _Completed(BaseModel):
    text: Annotated[str, Field(max_length=120)]


class _Picture(BaseModel):
    prompt: Annotated[str, Field(max_length=600)]


class _Emoji(BaseModel):
    emoji: Literal["🙂", "😀", "🤔", "😕", "😟", "😢", "😠", "😮", "😴", "👍", "👎", "🎉", "🔧", "❓"]


class _Merged(BaseModel):
    answer: Annotated[str, Field(max_length=4000)]


_SHAPES: Final[Mapping[TaskKind, tuple[type[BaseModel], int]]] = {
    TaskKind.TITLE: (_Title, 60),
    TaskKind.FOLLOW_UPS: (_FollowUps, 240),
    TaskKind.TAGS: (_Tags, 80),
    TaskKind.QUERIES: (_Queries, 160),
    TaskKind.AUTOCOMPLETE: (_Completed, 60),
    TaskKind.IMAGE_PROMPT: (_Picture, 200),
    TaskKind.EMOJI: (_Emoji, 30),
    TaskKind.MERGE: (_Merged, 1000),
}
"""What the model is asked for, and how many tokens it may take. What is not here is answered by rule alone."""


class SmallTasks:
    """Answers background requests, one at a time."""

    def __init__(self, model: ModelServer, *, within_seconds: float = WITHIN_SECONDS) -> None:
        self._model = model
        self._within_seconds = within_seconds
        self._turn = asyncio.Semaphore(1)

    async def answer(self, task: Task) -> Completion:
        """Return the answer, always; its ``model`` is empty where a rule gave it. A sleeping model is not woken."""
        if task.kind in _SHAPES and not _is_command(task):
            try:
                async with asyncio.timeout(self._within_seconds), self._turn:
                    if (await self._model.health()).state == "ready":
                        return await self._by_model(task)
            except (TimeoutError, BackendUnavailable, ModelMisbehaved) as error:
                said = {"event": "small_task_by_rule", "task": task.kind.value}
                log.info("%s answered by rule: %s", task.kind.value, error or "the model took too long", extra=said)
        return Completion(text=by_rule(task), model="")

    async def _by_model(self, task: Task) -> Completion:
        shape, most = _SHAPES[task.kind]
        talk = (
            Message(role="system", content=f"{_COMMON.strip()}\n\n{_WORDS[task.kind.value]}"),
            Message(role="user", content=fenced("conversation", _ends(task.text))),
        )
        reply, completion, _ = await reply_as(self._model, talk, shape, max_tokens=most)
        return completion.model_copy(update={"text": _written(task, reply.model_dump())})


def _ends(text: str) -> str:
    """Return the beginning and the end of a long text: what it was about first, and what was said last."""
    if len(text) <= MOST_CHARACTERS:
        return text
    head = MOST_CHARACTERS // 3
    return f"{text[:head]}\n[…]\n{text[head - MOST_CHARACTERS :]}"


def _is_command(task: Task) -> bool:
    """Tell whether someone is writing a command: nobody finishes that for them."""
    return task.kind is TaskKind.AUTOCOMPLETE and defuse(task.text).lstrip().startswith("/")


def _written(task: Task, reply: Mapping[str, Any]) -> str:
    """Return a model's reply as the front end wants it, without anything that it might offer as a command."""
    match task.kind:
        case TaskKind.EMOJI:
            return str(reply["emoji"])
        case TaskKind.MERGE:
            return defuse(str(reply["answer"])).strip() or by_rule(task)
        case TaskKind.TITLE:
            return _json(title=cut(harmless_offer(str(reply["title"])), 80) or _first_words(task.text))
        case TaskKind.FOLLOW_UPS:
            return _json(follow_ups=[line for each in reply["follow_ups"] if (line := harmless_offer(each))])
        case TaskKind.AUTOCOMPLETE:
            return _json(text=harmless_offer(reply["text"]))
        case TaskKind.TAGS:
            return _json(tags=_lines(reply["tags"], 40) or ["General"])
        case TaskKind.QUERIES:
            return _json(queries=_lines(reply["queries"], 120))
        case _:
            return _json(prompt=one_line(str(reply["prompt"]), 600))


def harmless_offer(text: str) -> str:
    """Return what a person might send with one click; empty where it is a command, or has one in it."""
    line = one_line(text, 200)
    return (
        ""
        if line.lstrip("\"'`*_>-#• \u00a0").startswith(("/", "\N{FULLWIDTH SOLIDUS}")) or _DECIDES.search(line)
        else line
    )


def _lines(texts: tuple[str, ...], most: int) -> list[str]:
    return list(dict.fromkeys(cut(line, most) for text in texts if (line := harmless_offer(text))))


def _json(**fields: object) -> str:
    """Return fields as JSON; in its strings stands no character that means something to Markdown."""
    return _STRING.sub(lambda string: string[0].translate(_ESCAPED), json.dumps(fields, ensure_ascii=False))


def by_rule(task: Task) -> str:
    """Return the answer that needs no model."""
    return _RULES[task.kind](task)


def _first_words(text: str) -> str:
    """Return the first words of the first question."""
    asked = _SPEAKER.search(text)
    words = one_line(asked[1] if asked else text, 400).split()
    return cut(" ".join(words[:8]), 60) or "Conversation"


_RULES: Final[Mapping[TaskKind, Callable[[Task], str]]] = {
    TaskKind.TITLE: lambda task: _json(title=_first_words(task.text)),
    TaskKind.FOLLOW_UPS: lambda _: _json(follow_ups=[]),
    TaskKind.TAGS: lambda _: _json(tags=["General"]),
    TaskKind.QUERIES: lambda _: _json(queries=[]),
    TaskKind.AUTOCOMPLETE: lambda _: _json(text=""),
    TaskKind.IMAGE_PROMPT: lambda task: _json(prompt=_first_words(task.text)),
    TaskKind.EMOJI: lambda _: "💬",
    TaskKind.MERGE: lambda task: max(task.answers, key=len, default=""),
    TaskKind.TOOL_CHOICE: lambda _: _json(tool_calls=[]),
}
