"""How an answer is shown while it comes: as Markdown on a terminal, or as plain text."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final, Literal, Protocol, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.segment import Segment, SegmentLines
from rich.spinner import Spinner
from rich.text import Text as RichText
from rich.theme import Theme

from ai_sysadmin.cli.chat.markdown import STYLES, Line, parted, rendered
from ai_sysadmin.cli.chat.progress import Looks, sources_lines
from ai_sysadmin.cli.chat.stream import Event, LookClosed, LookOpened, Source, Status, Text, Thinking
from ai_sysadmin.context.defuse import cut

TICK_SECONDS: Final = 0.1
"""The screen changes at most so often."""

_MOST_RENDERED: Final = 2000
"""Characters of a block still being written that are shown as Markdown; of a longer one its end is shown plain."""

_BELOW: Final = 3
_WAITING: Final = "waiting for the answer"
_THINKING: Final = "thinking"


class View(Protocol):
    """Shows one answer; used as a context, which it leaves with all of it on the screen."""

    def show(self, event: Event) -> None:
        """Take one piece of it."""
        ...

    def tick(self) -> None:
        """Bring the screen up to date; called every ``TICK_SECONDS``."""
        ...

    def __enter__(self) -> "View": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def is_plain(out: TextIO) -> bool:
    """Tell whether output is not for a terminal that can be drawn on, or is not to be styled."""
    return not out.isatty() or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM", "") in {"", "dumb"}


def view_for(out: TextIO) -> Callable[[], View]:
    """Return what makes a view for each answer."""
    if is_plain(out):
        return lambda: PlainView(out, progress=out)
    console = Console(file=out, highlight=False, markup=False, emoji=False, theme=Theme(STYLES))
    return lambda: LiveView(console)


class PlainView(AbstractContextManager["PlainView"]):
    """Text as it comes. ``progress``: where look-ups are told, a line each; ``dim``: in faint letters."""

    def __init__(
        self, out: TextIO | None, progress: TextIO | None, *, dim: bool = False, looks: Looks | None = None
    ) -> None:
        self._out = out
        self._progress = progress
        self._dim = dim
        self._looks = looks or Looks()
        self._sources: list[Source] = []
        self._told = ""
        self._mid_text = False
        self._mid_look = ""
        self._end = ""

    def show(self, event: Event) -> None:
        match event:
            case Text(text):
                self._say(text)
            case Status(text, done=False) if text != self._told:
                self._told = text
                self._tell(f"· {text}")
            case LookOpened():
                self._tell(self._looks.began(event), begun=event.id)
            case LookClosed():
                begun, ending = self._looks.ended(event)
                if self._mid_look == event.id:
                    self._mid_look = ""
                    self._write(f" {ending}\n")
                else:
                    self._tell(f"{begun} {ending}")
            case Source():
                self._sources.append(event)

    def tick(self) -> None:
        """Change nothing: all of it is out already."""

    def __exit__(self, *_: object) -> None:
        self._end_look()
        self._say("\n" * self._mid_text)
        if lines := sources_lines(self._sources):
            self._say("\n".join([*([] if self._end.endswith("\n\n") else [""]), *lines, ""]))

    def _say(self, text: str) -> None:
        if self._out is None or not text:
            return
        self._end_look()
        self._out.write(text)
        self._out.flush()
        self._mid_text = not text.endswith("\n")
        self._end = (self._end + text)[-2:]

    def _tell(self, line: str, begun: str = "") -> None:
        """Write a line of progress; ``begun``: the look-up that it is about, whose end is still to come."""
        if self._progress is None:
            return
        self._end_look()
        if self._mid_text and (self._progress is self._out or (self._out is not None and self._out.isatty())):
            self._write("\n")
            self._mid_text = False
        self._write(line if begun else f"{line}\n")
        self._mid_look = begun

    def _end_look(self) -> None:
        if self._mid_look:
            self._mid_look = ""
            self._write("\n")

    def _write(self, text: str) -> None:
        if self._progress is not None:
            self._progress.write(f"\x1b[2m{text}\x1b[22m" if self._dim else text)
            self._progress.flush()


class LiveView(AbstractContextManager["LiveView"]):
    """Markdown on a terminal. Finished blocks are printed for good; only the one being written is drawn anew."""

    def __init__(self, console: Console, looks: Looks | None = None) -> None:
        self._console = console
        self._looks = looks or Looks()
        self._live = Live(
            console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        self._spinner = Spinner("dots", style="dim")
        self._status = _WAITING
        self._text = ""
        self._printed: Literal["nothing", "text", "look"] = "nothing"
        self._sources: list[Source] = []
        self._drawn_of = ("", 0)
        self._lines: list[Line] = []

    def __enter__(self) -> "LiveView":
        self._live.start()
        self._draw()
        return self

    def __exit__(self, *_: object) -> None:
        self._status = ""
        try:
            self._settle()
        finally:
            self._live.update("", refresh=True)
            self._live.stop()
        if self._sources:
            self._print(*(RichText(line, style="dim") for line in sources_lines(self._sources)), kind="text")

    def show(self, event: Event) -> None:
        match event:
            case Text(text):
                self._text += text
                self._status = ""
            case Thinking():
                self._status = _THINKING
            case Status(text, done):
                self._status = "" if done else text
            case LookOpened():
                self._settle()
                self._looks.began(event)
            case LookClosed():
                self._settle()
                self._status = _WAITING
                self._print(RichText(" ".join(self._looks.ended(event)), style="dim"), kind="look")
            case Source():
                self._sources.append(event)

    def tick(self) -> None:
        finished, self._text = parted(self._text)
        if finished:
            self._print(SegmentLines(rendered(finished, self._console), new_lines=True), kind="text")
        self._draw()

    def _settle(self) -> None:
        """Print for good what is written so far."""
        lines = rendered(self._text, self._console)
        self._text = ""
        if lines:
            self._print(SegmentLines(lines, new_lines=True), kind="text")

    def _print(self, *parts: RenderableType, kind: Literal["text", "look"]) -> None:
        """Print above what is being drawn, apart by an empty line from what is of another kind, or text as well."""
        apart = self._printed != "nothing" and (kind == "text" or self._printed == "text")
        self._printed = kind
        self._draw()
        self._console.print(Group(*([RichText()] if apart else []), *parts), end="")

    def _draw(self) -> None:
        self._live.update(self._drawn(), refresh=True)

    def _drawn(self) -> RenderableType:
        """Return what is below the finished blocks: the end of the growing one, as far as there is room, and status."""
        parts: list[RenderableType] = []
        if self._text:
            room = max(1, self._console.height - _BELOW)
            parts += [RichText()] if self._printed != "nothing" else []
            parts.append(SegmentLines(self._growing(room)[-room:], new_lines=True))
        if status := self._looks.under_way() or self._status:
            self._spinner.update(text=RichText(cut(status, max(4, self._console.width - 4)), style="dim"))
            parts.append(self._spinner)
        return Group(*parts)

    def _growing(self, room: int) -> list[Line]:
        """Return the lines of the growing block; they are made once for a text and a width."""
        width = self._console.width
        if self._drawn_of != (self._text, width):
            self._drawn_of = (self._text, width)
            self._lines = rendered(self._text, self._console) if len(self._text) <= _MOST_RENDERED else self._end(room)
        return self._lines

    def _end(self, room: int) -> list[Line]:
        lines = self._text.splitlines()[-room:]
        return [list(Segment.adjust_line_length([Segment(line)], self._console.width, pad=False)) for line in lines]
