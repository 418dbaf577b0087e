"""How an answer looks in a terminal while it comes, and as plain text."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.theme import Theme

from ai_sysadmin.cli.chat.markdown import STYLES, parted, rendered
from ai_sysadmin.cli.chat.progress import Looks, sources_lines
from ai_sysadmin.cli.chat.stream import LookClosed, LookOpened, Source, Status, Text, Thinking
from ai_sysadmin.cli.chat.telling import Told
from ai_sysadmin.cli.chat.view import LiveView, PlainView, is_plain
from tests.terminal import Screen

LOG, PORTS = LookOpened("t1", "log of nginx.service"), LookOpened("t2", "listening sockets")
LONG = (
    "# Head\n\nSome *text*\nof two lines\n\n1. one\n\n   more of one\n2. two\n\n"
    "```sh\nls\n\ncat\n```\n\n| a |\n|---|\n| 1 |\n\nend"
)
BLOCKS = ("# Head", "Some *text*", "1. one", "```sh", "| a |", "end")


class Clock:
    """Seconds that a test sets."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Tty(io.StringIO):
    def isatty(self):
        return True


def a_console(out=None, width=40, height=12):
    return Console(
        file=out or io.StringIO(),
        force_terminal=True,
        color_system="standard",
        width=width,
        height=height,
        highlight=False,
        markup=False,
        emoji=False,
        theme=Theme(STYLES),
        legacy_windows=False,
    )


def plain(text, width=40):
    return ["".join(segment.text for segment in line) for line in rendered(text, a_console(width=width))]


# --- Markdown


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 25), max_size=30))
def test_however_a_text_comes_its_finished_blocks_are_those_of_the_whole(sizes):
    finished, growing, at = [], "", 0
    for size in [*sizes, len(LONG)]:
        growing += LONG[at : at + size]
        at += size
        done, growing = parted(growing)
        finished += [done] if done else []
    assert "".join(finished) + growing == LONG
    assert all(piece.startswith(BLOCKS) for piece in [*finished, growing])
    assert growing in {"end", "| a |\n|---|\n| 1 |\n\nend"}


def test_a_block_that_may_go_on_is_not_finished():
    for text in ("para\n", "para\n\n", "- a\n\n- b\n\n", "```\na\n\nb\n\n# c\n", "para\n-", "> a\n\n"):
        assert parted(text) == ("", text), text
    assert parted("para\n\n- a\n") == ("para\n\n", "- a\n")


def test_markdown_is_shown_as_lines_without_blanks_at_their_ends():
    assert plain("# Head\n\ntext `code`\n\n- a\n- b\n\n```\nx = 1\n\ny\n```\n") == [
        "Head",
        "",
        "text code",
        "",
        " • a",
        " • b",
        "",
        "  x = 1",
        "",
        "  y",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[here](http://evil.example/x)", "here (http://evil.example/x)"),
        ("<http://evil.example/>", "http://evil.example/ (http://evil.example/)"),
        ("![pic](http://evil.example/a.png)", "🌆 pic"),
        ("a <b>unit</b> <unit>", "a <b>unit</b> <unit>"),
        ("<div>\nhidden\n</div>", "  <div>\n  hidden\n  </div>"),
        ("&#8238;desrever&#x202e; &#27;[31m", "desrever \ufffd[31m"),
        ("[bold]no[/bold] :skull:", "[bold]no[/bold] :skull:"),
    ],
)
def test_nothing_in_markdown_is_hidden_or_acts_on_the_terminal(text, shown):
    out = io.StringIO()
    console = a_console(out, width=60)
    lines = rendered(text, console)
    assert "\n".join("".join(segment.text for segment in line) for line in lines) == shown
    with LiveView(console) as view:
        view.show(Text(text))
        view.tick()
    assert "\x1b]" not in out.getvalue()
    assert "\u202e" not in out.getvalue()


# --- the view that draws


def shown_of(events, *, width=40, height=12, ticks=True):
    """Return what stands on the screen after these events, and all that was sent to it."""
    out = io.StringIO()
    with LiveView(a_console(out, width, height), Looks(Clock())) as view:
        for event in events:
            view.show(event)
            if ticks:
                view.tick()
    screen = Screen(width)
    screen.take(out.getvalue().replace("\n", "\r\n"))
    return screen.text, out.getvalue()


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 25), max_size=20), st.booleans(), st.integers(5, 30))
def test_a_streamed_answer_ends_on_the_screen_as_if_it_had_come_at_once(sizes, ticks, height):
    pieces, at = [], 0
    for size in [*sizes, len(LONG)]:
        pieces.append(Text(LONG[at : at + size]))
        at += size
    shown, _ = shown_of(pieces, ticks=ticks, height=height)
    assert shown.strip().splitlines() == [line.rstrip() for line in shown_of([Text(LONG)])[0].strip().splitlines()]
    assert shown.count("Head") == shown.count("end") == shown.count("cat") == 1


def test_an_answer_longer_than_the_screen_stands_whole_in_the_scrollback():
    lines = [f"line {number}" for number in range(200)]
    pieces = [Text("```\n"), *(Text(f"{line}\n") for line in lines), Text("```\n")]
    shown, sent = shown_of(pieces, height=10)
    assert [line.strip() for line in shown.splitlines() if line.strip()] == lines
    assert len(sent) < 150 * len("".join(lines))


def test_what_is_looked_at_is_one_line_each_and_status_is_gone_in_the_end():
    events = [
        Status("waking the model, about 20 s", done=False),
        Thinking("hm"),
        LOG,
        LookClosed("t1", failed=False),
        PORTS,
        LookClosed("t2", failed=True),
        Text("It is down [1]."),
        Source("t1", LOG.title),
        Status("looked at 2 things", done=True),
    ]
    shown, sent = shown_of(events)
    assert shown.splitlines() == [
        "· log of nginx.service … 0.0 s",
        "· listening sockets … failed after 0.0 s",
        "",
        "It is down [1].",
        "",
        "[1] log of nginx.service",
    ]
    for passing in ("waking the model", "thinking", "waiting for the answer"):
        assert passing in sent


def test_an_answer_that_breaks_off_leaves_what_came_and_the_cursor():
    out = io.StringIO()
    with pytest.raises(ZeroDivisionError), LiveView(a_console(out)) as view:
        view.show(Text("half an ans"))
        raise ZeroDivisionError
    screen = Screen(40)
    screen.take(out.getvalue().replace("\n", "\r\n"))
    assert screen.text == "half an ans"
    assert out.getvalue().rindex("\x1b[?25h") > out.getvalue().rindex("\x1b[?25l")


# --- the plain view


def test_plain_text_comes_at_once_with_look_ups_as_lines():
    out, clock = io.StringIO(), Clock()
    with PlainView(out, out, looks=Looks(clock)) as view:
        view.show(Status("waking the model", done=False))
        view.show(Status("waking the model", done=False))
        view.show(LOG)
        clock.now = 0.21
        view.show(LookClosed("t1", failed=False))
        view.show(Text("It is "))
        assert out.getvalue().endswith("· log of nginx.service … 0.2 s\nIt is ")
        view.show(LOG)
        view.show(PORTS)
        view.show(LookClosed("t1", failed=True))
        view.show(LookClosed("t2", failed=False))
        view.show(Text("down"))
        view.show(Source("t1", LOG.title))
    assert out.getvalue().splitlines() == [
        "· waking the model",
        "· log of nginx.service … 0.2 s",
        "It is ",
        "· log of nginx.service …",
        "· listening sockets …",
        "· log of nginx.service … failed after 0.0 s",
        "· listening sockets … 0.0 s",
        "down",
        "",
        "[1] log of nginx.service",
    ]


def test_progress_elsewhere_leaves_the_answer_as_it_is():
    out, progress = io.StringIO(), Tty()
    with PlainView(out, progress, dim=True, looks=Looks(Clock())) as view:
        for event in (Text("It is "), LOG, LookClosed("t1", failed=False), Text("down.\n")):
            view.show(event)
    assert out.getvalue() == "It is down.\n"
    assert progress.getvalue() == "\x1b[2m· log of nginx.service …\x1b[22m\x1b[2m 0.0 s\n\x1b[22m"
    with PlainView(None, None) as view:
        for event in (Text("It is "), LOG, LookClosed("t1", failed=False), Source("t1", "x")):
            view.show(event)


def test_an_answer_without_a_newline_ends_its_line():
    for text, shown in (("All well.", "All well.\n"), ("All well.\n", "All well.\n"), ("", "")):
        out = io.StringIO()
        with PlainView(out, None) as view:
            view.show(Text(text))
        assert out.getvalue() == shown


@pytest.mark.parametrize(
    ("environment", "plain_wanted"),
    [
        ({"TERM": "xterm"}, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True),
        ({"TERM": "dumb"}, True),
        ({}, True),
    ],
)
def test_only_a_terminal_that_may_be_styled_is_drawn_on(monkeypatch, environment, plain_wanted):
    for name in ("TERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_plain(Tty()) is plain_wanted
    assert is_plain(io.StringIO())


def test_what_was_told_is_kept_and_sources_are_numbered_as_they_came():
    told = Told()
    for event in (Text("It "), LOG, LookClosed("t1", failed=True), Text("is."), Source("t1", "log"), Source("t3", "")):
        told.take(event)
    assert (told.text, told.failed, told.usage) == ("It is.", {"t1"}, None)
    assert sources_lines(told.sources) == ["[1] log", "[2] t3"]
