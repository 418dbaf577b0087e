"""Markdown for a terminal: nothing in it acts on the terminal, links are words with their address, and a text that is
still being written is parted in what stays as it is and what may change yet.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown, MarkdownElement
from rich.segment import Segment
from rich.syntax import Syntax

from ai_sysadmin.context.defuse import defuse

if TYPE_CHECKING:
    from markdown_it.token import Token

STYLES: Final = {
    "markdown.code": "cyan",
    "markdown.h1": "bold underline",
    "markdown.h2": "bold",
    "markdown.h3": "bold",
    "markdown.block_quote": "dim",
    "markdown.link": "default",
    "markdown.link_url": "underline",
}
_CODE_THEME: Final = "ansi_dark"
Line = list[Segment]


class Parted(NamedTuple):
    """A text: ``finished`` is whole blocks, ``growing`` the rest."""

    finished: str
    growing: str


def parted(text: str) -> Parted:
    """Part a text before its last block: what comes later cannot change what stands before that."""
    whole_lines = text.rfind("\n") + 1
    *finished, last = _blocks(text[:whole_lines]) or [""]
    return Parted("".join(finished), last + text[whole_lines:])


def rendered(text: str, console: Console) -> list[Line]:
    """Return a text as lines of the console's width, its blocks an empty line apart, with no blanks at their ends."""
    lines: list[Line] = []
    for block in _blocks(text):
        shown = _bare([_trimmed(line) for line in console.render_lines(_Harmless(block), pad=False)])
        lines += [[], *shown] if lines and shown else shown
    return lines


def _blocks(text: str) -> list[str]:
    """Part a text in its top-level blocks; together they are the text."""
    starts = [token.map[0] for token in Markdown(text).parsed if token.level == 0 and token.map]
    if not starts:
        return [text] if text else []
    lines = text.split("\n")
    ends = [*starts[1:], len(lines)]
    pieces = ["\n".join(lines[start:end]) for start, end in zip([0, *starts[1:]], ends, strict=True)]
    return [*(f"{piece}\n" for piece in pieces[:-1]), pieces[-1]]


def _bare(lines: list[Line]) -> list[Line]:
    """Return lines without empty ones around them."""
    full = [at for at, line in enumerate(lines) if line]
    return lines[full[0] : full[-1] + 1] if full else []


def _trimmed(line: Line) -> Line:
    kept = list(line)
    while kept and not kept[-1].text.rstrip():
        kept.pop()
    return [*kept[:-1], Segment(kept[-1].text.rstrip(), kept[-1].style)] if kept else []


class _LeftHeading(Heading):
    LEVEL_ALIGN = dict.fromkeys(Heading.LEVEL_ALIGN, "left")


class _PlainCode(CodeBlock):
    def __rich_console__(self, _console: Console, _options: ConsoleOptions) -> RenderResult:
        yield Syntax(str(self.text).rstrip(), self.lexer_name, theme=self.theme, word_wrap=True, padding=(0, 2))


class _Harmless(Markdown):
    """Markdown in which HTML is text, no character reference becomes a control, and no link can be clicked."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "heading_open": _LeftHeading,
        "fence": _PlainCode,
        "code_block": _PlainCode,
    }

    def __init__(self, text: str) -> None:
        super().__init__(text, code_theme=_CODE_THEME, hyperlinks=False)
        for token in _all(self.parsed):
            token.content = defuse(token.content)
            if token.type == "html_inline":
                token.type = "text"
            elif token.type == "html_block":
                token.type, token.tag = "code_block", "code"


def _all(tokens: "Iterable[Token]") -> "Iterator[Token]":
    for token in tokens:
        yield token
        yield from _all(token.children or ())
