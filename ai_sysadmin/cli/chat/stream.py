"""An answer of the API as small typed events, read from the lines of its stream. What is in them is harmless to show.

The frames are those that Open WebUI is sent: pieces of text, lines of status, cards of look-ups, sources.
"""

import json
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ai_sysadmin.cli.api import Api, error_of
from ai_sysadmin.context.defuse import defuse, one_line
from ai_sysadmin.core.errors import ApiUnavailable
from ai_sysadmin.openai_api_server.showing.open_webui import PROGRESS_HEADER
from ai_sysadmin.openai_api_server.showing.showing import LOOKING
from ai_sysadmin.openai_api_server.wire import FAST_MODEL_ID, MODEL_ID

_LONGEST_LINE: Final = 200
_LOOKING: Final = f"{LOOKING}: "
_TAB: Final = " " * 4


class Text(NamedTuple):
    """A piece of the answer."""

    text: str


class Thinking(NamedTuple):
    """A piece of what the model thinks before it answers."""

    text: str


class Status(NamedTuple):
    """What is being done meanwhile, beside look-ups; ``done``: it is over."""

    text: str
    done: bool


class LookOpened(NamedTuple):
    """A look-up began; ``id`` is its handle, ``t1``, ``title`` what is being looked at."""

    id: str
    title: str


class LookClosed(NamedTuple):
    """The look-up ended."""

    id: str
    failed: bool


class Source(NamedTuple):
    """A look-up that the answer rests on. The first that comes is ``[1]`` in the text."""

    id: str
    title: str


class Usage(NamedTuple):
    """What the answer took, in tokens, and the name of the model that was asked."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    model: str


class Ended(NamedTuple):
    """The stream came to its own end."""


Event = Text | Thinking | Status | LookOpened | LookClosed | Source | Usage | Ended


class _Loose(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Error(_Loose):
    message: str
    code: str | None = None


class _Delta(_Loose):
    content: str | None = None
    reasoning_content: str | None = None


class _Choice(_Loose):
    delta: _Delta


class _Status(_Loose):
    description: str
    done: bool = False


class _Named(_Loose):
    name: str


class _Source(_Loose):
    source: _Named


class _Item(_Loose):
    type: str
    call_id: str
    name: str = ""
    status: str = ""


class _Usage(_Loose):
    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(ge=0)
    total_tokens: int = Field(ge=0)


_Part = TypeVar("_Part", bound=_Loose)


class Reading:
    """Reads one stream, line by line."""

    def __init__(self) -> None:
        self._looking = ""

    def of(self, line: str) -> Iterator[Event]:
        """Yield what one line says; nothing for frames that are not known here.

        Raises:
            AiSysadminError: what an error frame says, as our own error.
            ApiUnavailable: the line is no frame at all.
        """
        field, _, data = line.partition(":")
        data = data.strip()
        if field != "data" or not data:
            return
        if data == "[DONE]":
            yield Ended()
            return
        frame = _frame(data)
        if frame.get("error") is not None:
            error = _part(_Error, frame["error"]) or _Error(message="the answer failed, and the API does not say why")
            raise error_of(500, one_line(error.message, 1000), error.code)
        yield from self._choices(frame)
        yield from self._extension(frame)

    def _choices(self, frame: Mapping[str, Any]) -> Iterator[Event]:
        choices = frame.get("choices")
        for each in choices if isinstance(choices, list) else ():
            if (choice := _part(_Choice, each)) is not None:
                if choice.delta.reasoning_content:
                    yield Thinking(_harmless(choice.delta.reasoning_content))
                if choice.delta.content:
                    yield Text(_harmless(choice.delta.content))
        if (usage := _part(_Usage, frame.get("usage"))) is not None:
            model = one_line(str(frame.get("model", "")), _LONGEST_LINE)
            yield Usage(usage.prompt_tokens, usage.completion_tokens, usage.total_tokens, model)

    def _extension(self, frame: Mapping[str, Any]) -> Iterator[Event]:
        event = frame.get("event")
        kind, data = (event.get("type"), event.get("data")) if isinstance(event, dict) else (None, None)
        if kind == "status" and (status := _part(_Status, data)) is not None:
            yield from self._status(status)
        elif kind == "source" and (source := _part(_Source, data)) is not None:
            handle, _, title = one_line(source.source.name, _LONGEST_LINE).partition(": ")
            yield Source(handle, title)
        elif frame.get("type") == "response.output_item.added":
            yield from self._item(_part(_Item, frame.get("item")))

    def _status(self, status: _Status) -> Iterator[Event]:
        """Read a line of status; one that names what is being looked at is kept for the card that follows it."""
        text = one_line(status.description, _LONGEST_LINE)
        if text.startswith(_LOOKING):
            self._looking = text.removeprefix(_LOOKING)
        else:
            yield Status(text, status.done)

    def _item(self, item: _Item | None) -> Iterator[Event]:
        """Read a card: it is opened by a call in progress, and closed by its output."""
        if item is None:
            return
        handle = f"t{one_line(item.call_id, _LONGEST_LINE).rpartition('_')[2]}"
        if item.type == "function_call" and item.status == "in_progress":
            yield LookOpened(handle, self._looking or one_line(item.name, _LONGEST_LINE))
        elif item.type == "function_call_output":
            yield LookClosed(handle, item.status != "completed")


def _frame(data: str) -> dict[str, Any]:
    try:
        frame = json.loads(data)
    except ValueError as error:
        raise ApiUnavailable("the API's answer cannot be read: is it of another version?") from error
    return frame if isinstance(frame, dict) else {}


def _part(kind: type[_Part], given: object) -> _Part | None:
    """Return a part of a frame; none: it is missing, or not of a shape that is known here."""
    try:
        return kind.model_validate(given)
    except ValidationError:
        return None


def _harmless(text: str) -> str:
    return defuse(text.replace("\t", _TAB))


async def answer(api: Api, messages: Sequence[Mapping[str, str]], *, fast: bool) -> AsyncGenerator[Event, None]:
    """Ask, and yield the answer as it is written; ``aclose()`` stops it.

    Raises:
        ApiUnavailable: nobody answers, or the stream broke off before its end.
        AiSysadminError: the answer failed.
    """
    body: dict[str, object] = {
        "model": FAST_MODEL_ID if fast else MODEL_ID,
        "messages": list(messages),
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    reading = Reading()
    async with aclosing(api.stream("/v1/chat/completions", body, {PROGRESS_HEADER: "events"})) as lines:
        async for line in lines:
            for event in reading.of(line):
                if isinstance(event, Ended):
                    return
                yield event
    raise ApiUnavailable("the API broke off before the end of the answer")
