"""Make a model's Markdown harmless while it streams: no foreign link or image is rendered, no command can be copied.

What is decided of a character never depends on where the stream was split: a piece is held back until what it is
part of is known, at most some 2 KiB or to the end of its line. Code is left as it is, where every renderer agrees that
it is code; where renderers may differ on that (a fence in a quotation), all that follows counts as text.
"""

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

from ai_sysadmin.openai_api_server.showing.code_blocks import shown_language, without_tags
from ai_sysadmin.openai_api_server.showing.links import Cite, Links, inert
from ai_sysadmin.openai_api_server.showing.stripping import Stripper

ONLY_A_PERSON: Final = "(only a person can send this) "
"""Stands before a line that would be a command if it was copied whole."""

_LONGEST_LEAD: Final = 1024
_LONGEST_INFO: Final = 300
_LONGEST_SPAN: Final = 1024
_LONGEST_CODE_LINE: Final = 1500
_LONGEST_WORD: Final = 512
_LONGEST_TAG: Final = 24

_LEAD: Final = re.compile(rf"(?:[^\w/\n]|_|\d{{1,9}}[.)]){{0,{_LONGEST_LEAD}}}")
_COMMAND: Final = re.compile(r"/(?:approve|reject)(?![a-z])", re.IGNORECASE)
_COMMANDS: Final = ("/approve", "/reject")
_CONTAINERS: Final = re.compile(rf"(?:[ \t>*+\-]|\d{{1,9}}[.)]){{0,{_LONGEST_LEAD}}}")
_MAYBE_NUMBERED: Final = re.compile(r"\d{1,9}\Z")
_BLANKS: Final = re.compile(r"[^\S\n]+")
_TICKS: Final = re.compile(r"`+")
_RUN: Final = re.compile(r"`+|~+")
_LANGUAGE: Final = re.compile(r"[ \t]*[^\s`]*")
_WORD: Final = re.compile(rf"(?:\\[`<\\]|[^\s`<]){{1,{_LONGEST_WORD}}}")
_PLAIN: Final = re.compile(r"[^\s`<\\!\[\]()&:.]+")
_MAYBE_ADDRESS: Final = re.compile(r"(?:https?|htt?|h|ftp?|f|w{1,3})\Z", re.IGNORECASE)
_ADDRESS: Final = re.compile(r"(?:https?|ftp|www)\Z", re.IGNORECASE)
_MARKUP: Final = re.compile(r"[a-z/!?|]", re.IGNORECASE)
_RISKY: Final = re.compile(r"://|www\.|\]\(|!\[|<|\]:", re.IGNORECASE)


class _Fence(NamedTuple):
    mark: str
    length: int
    indent: int


class _More(Exception):
    """What comes next has to be known first."""


@dataclass
class _Place:
    """Where in the text the cleaner is."""

    line_start: bool = True
    checked: bool = False
    line_blank: bool = True
    blank_before: bool = True
    bracket: bool = False
    fence: _Fence | None = None
    doubt: bool = False


def _unchanged(mark: str) -> str:
    return f"[{mark}]"


class Cleaner:
    """Cleans one text. ``cite`` turns the mark of a look-up (``t3``) into what is shown for it."""

    def __init__(self, links: Links, cite: Cite = _unchanged) -> None:
        self._links = links
        self._cite = cite
        self._stripper = Stripper()
        self._text = ""
        self._at = 0
        self._final = False
        self._own = False
        self._last = "\n"
        self._place = _Place()

    def feed(self, text: str, *, own: bool = False) -> str:
        """Return what of the text so far can be said. ``own``: a command in it is meant; each change is a break."""
        before = self.part() if own != self._own else ""
        self._own = own
        return before + self._run(self._stripper.feed(text), final=False)

    def end(self) -> str:
        """Return what was held back; the text ends here."""
        return self._run(self._stripper.end(), final=True)

    def part(self) -> str:
        """Return what was held back, and end the paragraph or the code: what follows stands for itself."""
        said = self.end()
        if self._place.fence:
            mark, length, indent = self._place.fence
            said += ("" if self._last == "\n" else "\n") + " " * indent + mark * length + "\n"
            self._last = "\n"
        if self._last != "\n":
            said += "\n\n"
            self._last = "\n"
        self._place = _Place(doubt=self._place.doubt)
        return said

    def _run(self, text: str, *, final: bool) -> str:
        self._text, self._at, self._final = self._text[self._at :] + text, 0, final
        said: list[str] = []
        try:
            while self._at < len(self._text):
                said.append(self._joined(self._step()))
        except _More:
            pass
        return "".join(said)

    def _joined(self, piece: str) -> str:
        """Keep two code spans apart: their marks would run together."""
        if not piece:
            return ""
        apart = " " if piece[0] == "`" and self._last == "`" and self._place.fence is None else ""
        self._last = piece[-1]
        return apart + piece

    def _step(self) -> str:
        """Take the next piece and return it harmless. Raises: _More."""
        place = self._place
        if place.line_start and not place.checked:
            self._check_command()
        if place.fence is not None:
            return self._fence_line(place.fence) if place.line_start else self._code()
        return self._line_start() if place.line_start else self._inline()

    # --- looking ahead

    def _need(self, at: int) -> None:
        """Raise _More where the text ends here and may go on."""
        if at >= len(self._text) and not self._final:
            raise _More

    def _matched(self, pattern: re.Pattern[str], at: int) -> int:
        """Return where a match ends that may be longer than what is there. Raises: _More."""
        found = pattern.match(self._text, at)
        end = found.end() if found else at
        self._need(end)
        return end

    def _take(self, end: int) -> str:
        taken = self._text[self._at : end]
        self._at = end
        return taken

    # --- the beginning of a line

    def _check_command(self) -> None:
        lead = _LEAD.match(self._text, self._at)
        end = lead.end() if lead else self._at
        if end - self._at >= _LONGEST_LEAD:
            self._insert(end, "… ")
        else:
            self._begins(end)
            if not self._own and self._is_command(end):
                self._insert(end, ONLY_A_PERSON)
        self._place.checked = True

    def _begins(self, at: int) -> None:
        """Raise _More where it is not known yet what a line begins with: a number may be that of a list."""
        self._need(at)
        if not self._final and _MAYBE_NUMBERED.match(self._text, at):
            raise _More

    def _is_command(self, at: int) -> bool:
        rest = self._text[at : at + 9].lower()
        if rest and not self._final and any(command.startswith(rest) for command in _COMMANDS):
            raise _More
        return _COMMAND.match(self._text, at) is not None

    def _insert(self, at: int, words: str) -> None:
        self._text = self._text[:at] + words + self._text[at:]

    def _line_start(self) -> str:
        place = self._place
        end = self._matched(_CONTAINERS, self._at)
        self._begins(end)
        next_ = self._text[end : end + 1]
        if next_ in {"`", "~"} and (opened := self._opened(end)) is not None:
            return opened
        if next_ == "[":
            place.bracket = True
        lead = self._take(end)
        place.line_start, place.line_blank = False, not lead.strip() and next_ in {"", "\n"}
        return lead

    def _opened(self, at: int) -> str | None:
        """Return the line, or its beginning, that opens a fence there; none where it opens none. Raises: _More."""
        run_end = self._matched(_RUN, at)
        mark, length = self._text[at], run_end - at
        if length < 3:
            return None
        line_end = self._text.find("\n", run_end, run_end + _LONGEST_INFO)
        if line_end < 0 and len(self._text) < run_end + _LONGEST_INFO:
            self._need(len(self._text))
        info = self._text[run_end : line_end if line_end >= 0 else run_end + _LONGEST_INFO]
        if mark == "`" and "`" in info:
            return None
        indent = self._text[self._at : at]
        sure = not indent.strip(" ") and (len(indent) <= 3 or self._place.blank_before)
        if sure and not self._place.doubt:
            return self._fenced(_Fence(mark, length, len(indent)), run_end, info, whole=line_end >= 0)
        self._place.doubt = True
        language = _LANGUAGE.match(info)
        head = self._take(run_end)
        self._at += language.end() if language else 0
        self._place.line_start = self._place.line_blank = False
        return head + shown_language(language.group() if language else "")

    def _fenced(self, fence: _Fence, run_end: int, info: str, *, whole: bool) -> str:
        """Open a fence. What an endless first line has beyond its language becomes the first line of the code."""
        opening = self._take(run_end) + shown_language(info)
        if whole or self._final:
            self._take(run_end + len(info) + 1)
        self._place.fence, self._place.checked = fence, False
        self._place.bracket = False
        return opening + "\n"

    # --- code

    def _fence_line(self, fence: _Fence) -> str:
        place = self._place
        end = self._at
        while self._text[end : end + 1] == " ":
            end += 1
        self._need(end)
        indent, next_ = end - self._at, self._text[end : end + 1]
        if next_ == fence.mark and (closed := self._closed(fence, end, indent)) is not None:
            return closed
        if indent < fence.indent and next_ not in {"\n", ""}:
            place.fence, place.doubt = None, True
            return ""
        place.line_start = False
        return ""

    def _closed(self, fence: _Fence, at: int, indent: int) -> str | None:
        """Return the line that ends the code, or that may do so; none where it is none. Raises: _More."""
        run_end = self._matched(_RUN, at)
        found = _BLANKS.match(self._text, run_end)
        end = found.end() if found else run_end
        self._need(end)
        if run_end - at < fence.length or self._text[end : end + 1] not in {"\n", ""} or indent > fence.indent + 3:
            return None
        if indent != fence.indent and (fence.indent or indent > 3):
            self._place.doubt = True
        line = self._take(run_end)
        self._take(end)
        self._place.fence, self._place.line_start, self._place.line_blank = None, False, False
        return line

    def _code(self) -> str:
        newline = self._text.find("\n", self._at, self._at + _LONGEST_CODE_LINE)
        end = newline + 1 if newline >= 0 else min(len(self._text), self._at + _LONGEST_CODE_LINE)
        if newline < 0 and end - self._at < _LONGEST_CODE_LINE:
            self._need(end)
        elif newline < 0 and (tag := self._text.rfind("<", end - _LONGEST_TAG, end)) > self._at:
            end = tag
        if newline >= 0:
            self._new_line()
        return without_tags(self._take(end))

    def _new_line(self) -> None:
        place = self._place
        place.blank_before = place.line_blank
        if place.line_blank:
            place.bracket = False
        place.line_start, place.checked, place.line_blank = True, False, True

    # --- text

    def _inline(self) -> str:
        character = self._text[self._at]
        if character == "\n":
            self._new_line()
            return self._take(self._at + 1)
        if blanks := _BLANKS.match(self._text, self._at):
            return self._take(blanks.end())
        self._place.line_blank = False
        if character == "`":
            return self._span()
        if character == "<":
            self._need(self._at + 1)
            markup = _MARKUP.match(self._text, self._at + 1)
            self._take(self._at + 1)
            return "&lt;" if markup else "<"
        return self._word()

    def _word(self) -> str:
        """Take letters as they come, and from the first mark on, or from what an address begins with, a whole word."""
        plain = _PLAIN.match(self._text, self._at)
        if plain is None:
            return self._marked()
        at_end = plain.end() == len(self._text)
        address = None if at_end and self._final else (_MAYBE_ADDRESS if at_end else _ADDRESS).search(plain.group())
        if address is None or address.start() > 0:
            return self._take(plain.end() - (len(address.group()) if address else 0))
        if at_end:
            raise _More
        return self._marked()

    def _marked(self) -> str:
        found = _WORD.match(self._text, self._at)
        end = found.end() if found else self._at + 1
        self._need(end)
        word = self._take(end)
        said = inert(word, self._links, self._cite, definitions=self._place.bracket)
        return said + " " if _WORD.match(self._text, end) else said

    def _span(self) -> str:
        """Take a span of code, or marks that begin none and then say so."""
        begin = self._matched(_TICKS, self._at)
        length = begin - self._at
        end = 0 if self._place.doubt and length >= 3 else self._span_end(begin, length)
        if not end:
            self._take(begin)
            return "\\`" * length
        code = self._text[begin : end - length]
        self._take(end)
        if _RISKY.search(code):
            code = without_tags(code.replace("|", "¦"))  # a table's cell would end there, and with it the code
        if self._place.bracket:
            code = code.replace("]:", "] :")
        return f"{'`' * length}{code}{'`' * length}"

    def _span_end(self, begin: int, length: int) -> int:
        """Return where a span of code ends on this line; 0: nowhere. Raises: _More."""
        newline = self._text.find("\n", begin, begin + _LONGEST_SPAN)
        limit = newline if newline >= 0 else begin + _LONGEST_SPAN
        for run in _TICKS.finditer(self._text, begin):
            if run.start() >= limit:
                return 0
            self._need(run.end())
            if len(run.group()) == length:
                return run.end()
        if newline < 0 and len(self._text) < limit:
            self._need(len(self._text))
        return 0


def cleaned(text: str, links: Links, *, own: bool = False) -> str:
    """Return a whole text made harmless."""
    cleaner = Cleaner(links)
    return cleaner.feed(text, own=own) + cleaner.end()
