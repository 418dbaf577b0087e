"""Which requests are a front end's own background work (titles, tags, …), and no person's question. Pure.

Sure signs are a header of the front end's connection that names the task, and the small model as the task model.
Without them a task is what does not stream, brings no tools, and opens exactly as the front end's own prompts do, with
the marks of the data in it. A question with an attached file opens alike and is none.
"""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from ai_sysadmin.meta_model.small_tasks import Task, TaskKind
from ai_sysadmin.openai_api_server.wire import FAST_MODEL_ID, ChatRequest, WireMessage

HEADERS: Final = ("x-owui-task", "x-openwebui-task", "x-open-webui-task", "x-task")
"""Headers that an operator may set to ``{{TASK}}`` on Open WebUI's connection."""
_BY_HEADER: Final[Mapping[str, TaskKind]] = {
    "title_generation": TaskKind.TITLE,
    "follow_up_generation": TaskKind.FOLLOW_UPS,
    "tags_generation": TaskKind.TAGS,
    "query_generation": TaskKind.QUERIES,
    "autocomplete_generation": TaskKind.AUTOCOMPLETE,
    "image_prompt_generation": TaskKind.IMAGE_PROMPT,
    "emoji_generation": TaskKind.EMOJI,
    "moa_response_generation": TaskKind.MERGE,
    "function_calling": TaskKind.TOOL_CHOICE,
}


class _Opening(NamedTuple):
    """How a task's prompt begins, and what marks its data."""

    kind: TaskKind
    begins: str
    mark: str


_HISTORY: Final = "<chat_history>"
_OPENINGS: Final = (
    _Opening(TaskKind.TITLE, "### Task:\nGenerate a concise title summarizing the chat history", _HISTORY),
    _Opening(TaskKind.TITLE, "### Task:\nGenerate a concise, 3-5 word title", _HISTORY),
    _Opening(TaskKind.FOLLOW_UPS, "### Task:\nPredict 3-5 useful messages this user might naturally send", _HISTORY),
    _Opening(TaskKind.FOLLOW_UPS, "### Task:\nSuggest 3-5 relevant follow-up questions or prompts", _HISTORY),
    _Opening(TaskKind.TAGS, "### Task:\nGenerate 1-3 broad tags categorizing the main themes", _HISTORY),
    _Opening(
        TaskKind.QUERIES, "### Task:\nAnalyze the chat history to determine the necessity of generating", _HISTORY
    ),
    _Opening(TaskKind.IMAGE_PROMPT, "### Task:\nGenerate a detailed prompt for a", _HISTORY),
    _Opening(TaskKind.AUTOCOMPLETE, "### Task:\nYou are an autocompletion system.", "<text>"),
    _Opening(TaskKind.EMOJI, "Your task is to reflect the speaker's likely facial expression", "Message: ```"),
    _Opening(
        TaskKind.MERGE, "You have been provided with a set of responses from various models", "Responses from models:"
    ),
)
_TOOLS: Final = "Available Tools: ["
_CHOOSE: Final = "\nYour task is to choose and return the correct tool"
_QUERIES: Final = ("Query: ", "History:\n")
_DATA_ENDS: Final[Mapping[str, str]] = {_HISTORY: "</chat_history>", "<text>": "</text>", "Message: ```": "```"}
_ONE_ANSWER: Final = re.compile(r'"""(.*?)"""', re.DOTALL)


def task_of(asked: ChatRequest, headers: Mapping[str, str]) -> Task | None:
    """Return the background task that a request is; none: a person asks."""
    if asked.tools or any(message.has_attachment for message in asked.messages):
        return None
    kind = _named(headers)
    if kind is not None:
        return _task(kind, _last_words(asked))
    if _chooses_tools(asked) and not asked.stream:
        return Task(kind=TaskKind.TOOL_CHOICE)
    prompt = _only_prompt(asked)
    opening = next((each for each in _OPENINGS if prompt.startswith(each.begins) and each.mark in prompt), None)
    if opening is None:
        return None
    may_stream = asked.model == FAST_MODEL_ID or opening.kind is TaskKind.MERGE
    return _task(opening.kind, prompt) if may_stream or not asked.stream else None


def _named(headers: Mapping[str, str]) -> TaskKind | None:
    for name in HEADERS:
        if said := headers.get(name, "").strip().lower().replace("-", "_"):
            return _BY_HEADER.get(said)
    return None


def _asking(asked: ChatRequest) -> tuple[WireMessage, ...]:
    return tuple(message for message in asked.messages if message.role not in {"system", "developer"})


def _only_prompt(asked: ChatRequest) -> str:
    """Return the one message of a request that has one beside what the system says; nothing where it has more."""
    talk = _asking(asked)
    return talk[0].text if len(talk) == 1 and talk[0].role == "user" else ""


def _last_words(asked: ChatRequest) -> str:
    return next((message.text for message in reversed(asked.messages) if message.role == "user"), "")


def _chooses_tools(asked: ChatRequest) -> bool:
    """Tell whether the front end's older way of choosing a tool is at work: it may have any answer but a call."""
    return _only_prompt(asked).startswith(_QUERIES) and any(
        _CHOOSE in message.text.partition(_TOOLS)[2]
        for message in asked.messages
        if message.role in {"system", "developer"}
    )


def _task(kind: TaskKind, prompt: str) -> Task:
    mark = next((each.mark for each in _OPENINGS if each.kind is kind), "")
    text = _data(prompt, mark)
    answers = tuple(_ONE_ANSWER.findall(text)) if kind is TaskKind.MERGE else ()
    return Task(kind=kind, text=text, answers=answers)


def _data(prompt: str, mark: str) -> str:
    """Return what stands behind the mark, to its end where it has one; the whole prompt where there is no mark.

    A text to complete comes last, behind examples that are marked alike.
    """
    at = prompt.rfind(mark) if mark == "<text>" else prompt.find(mark)
    if not mark or at < 0:
        return prompt.strip()
    text = prompt[at + len(mark) :]
    ends = _DATA_ENDS.get(mark, "")
    return (text.rpartition(ends)[0] if ends and ends in text else text).strip()
