"""Turn the events of an answer into what its client is shown: text made harmless, and progress in the client's way."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from ai_sysadmin.llm_backend import Completion, ToolCall
from ai_sysadmin.meta_model.talk import (
    Answered,
    ClientCall,
    Event,
    LookBegan,
    LookEnded,
    Progress,
    Proposed,
    Thought,
    Words,
)
from ai_sysadmin.openai_api_server.showing import open_webui
from ai_sysadmin.openai_api_server.showing.cleaning import Cleaner
from ai_sysadmin.openai_api_server.showing.links import Links, data_line
from ai_sysadmin.openai_api_server.showing.open_webui import Card, Style
from ai_sysadmin.openai_api_server.showing.stripping import Stripper
from ai_sysadmin.tools.tool import ToolResult

LOOKING: Final = "looking at"
PROPOSING: Final = "proposing"
_LONGEST_LINE: Final = 200


class Say(NamedTuple):
    """A piece of the answer's text."""

    text: str


class Think(NamedTuple):
    """A piece of the model's reasoning."""

    text: str


class Frame(NamedTuple):
    """An extension of the stream, whole."""

    body: dict[str, Any]


class Call(NamedTuple):
    """A call of the client's own tool."""

    call: ToolCall


Shown = Say | Think | Frame | Call


class Showing:
    """One answer on its way to one client.

    ``is_data``: the answer was asked for as JSON; its text is stripped, and nothing is added or changed. ``whole``: it
    is not streamed, so that progress has no place in it. ``calls`` and ``account`` are complete at its end.
    """

    def __init__(
        self, answer_id: str, style: Style, links: Links, *, is_data: bool = False, whole: bool = False
    ) -> None:
        self._id = answer_id
        self._quotes = style is Style.TEXT and not whole and not is_data
        self._frames = style is Style.CARDS and not whole
        self._sources = style is not Style.OFF and not is_data
        self._is_data = is_data
        self._plain = Stripper()
        self._text = Cleaner(links, self._cite)
        self._thought = Cleaner(links)
        self._thinking = False
        self._quoting = False
        self._open: dict[int, Card] = {}
        self._looked: dict[str, ToolResult] = {}
        self._cited: dict[str, int] = {}
        self._new: list[ToolResult] = []
        self._status = ""
        self.calls: list[ToolCall] = []
        self.account: Completion | None = None

    def of(self, event: Event) -> Iterator[Shown]:
        """Yield what is shown for one event."""
        match event:
            case Words():
                yield from self._words(event)
            case Thought():
                yield from self._thoughts(event)
            case Progress():
                yield from self._progress(event.text, done=event.done)
            case Proposed():
                yield from self._progress(f"{PROPOSING}: {event.says}")
            case LookBegan():
                yield from self._began(event)
            case LookEnded():
                yield from self._ended(event)
            case ClientCall():
                yield from self._part()
                self.calls.append(event.call)
                yield Call(event.call)
            case Answered():
                yield from self._answered(event)

    def end(self) -> Iterator[Shown]:
        """Yield what is still held back, and close what is still open: also where the answer failed."""
        yield from self._think(self._thought.end())
        yield from self._say(self._plain.end() if self._is_data else self._text.end())
        for card in self._open.values():
            yield from map(Frame, card.closed(None))
        self._open.clear()
        if self._status:
            looked = len(self._looked)
            text = f"looked at {looked} thing{'s' * (looked != 1)}" if looked else self._status
            yield Frame(open_webui.status(text, done=True))
            self._status = ""

    # --- text

    def _words(self, words: Words) -> Iterator[Shown]:
        if self._thinking:
            self._thinking = False
            yield from self._think(self._thought.part())
        if self._is_data:
            yield from self._say(self._plain.feed(words.text))
        else:
            yield from self._say(self._text.feed(words.text, own=words.own))

    def _thoughts(self, thought: Thought) -> Iterator[Shown]:
        if not self._thinking:
            self._thinking = True
            yield from self._part()
        yield from self._think(self._thought.feed(thought.text))

    def _part(self) -> Iterator[Shown]:
        """End the paragraph: something else comes before the text goes on."""
        yield from () if self._is_data else self._say(self._text.part())

    def _say(self, text: str) -> Iterator[Shown]:
        for result in self._new:
            yield Frame(open_webui.source(result))
        self._new.clear()
        if text:
            yield Say(("\n" if self._quoting else "") + text)
            self._quoting = False

    @staticmethod
    def _think(text: str) -> Iterator[Shown]:
        if text:
            yield Think(text)

    def _cite(self, mark: str) -> str:
        """Number the look-ups in the order in which the text names them, as Open WebUI numbers its sources."""
        result = self._looked.get(mark.lower())
        if result is None or not self._frames:
            return f"[{mark}]"
        if result.id not in self._cited:
            self._cited[result.id] = len(self._cited) + 1
            self._new.append(result)
        return f"[{self._cited[result.id]}]"

    # --- progress

    def _progress(self, text: str, *, done: bool = False) -> Iterator[Shown]:
        if self._frames:
            self._status = "" if done else text
            yield Frame(open_webui.status(text, done=done))
        elif self._quotes:
            yield from self._part()
            yield Say(f"> {data_line(text, _LONGEST_LINE)}\n")
            self._quoting = True

    def _began(self, began: LookBegan) -> Iterator[Shown]:
        if self._frames:
            yield from self._part()
        yield from self._progress(f"{LOOKING}: {began.title}")
        if self._frames:
            card = self._open[began.number] = Card(self._id, began)
            yield Frame(card.opened())

    def _ended(self, ended: LookEnded) -> Iterator[Shown]:
        self._looked[ended.result.id.lower()] = ended.result
        card = self._open.pop(ended.number, None)
        if card is not None:
            yield from map(Frame, card.closed(ended.result))

    def _answered(self, answered: Answered) -> Iterator[Shown]:
        self.account = answered.completion
        sources = {result.id: result for result in answered.sources}
        if not self._sources or not sources:
            return
        if self._frames:
            yield from self._part()
            yield from (Frame(open_webui.source(each)) for mark, each in sources.items() if mark not in self._cited)
            return
        yield from self._part()
        named = " · ".join(f"[{mark}] {data_line(result.title, 100)}" for mark, result in sources.items())
        yield from self._say(f"Sources: {named}\n")
