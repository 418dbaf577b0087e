"""The terminal chat's pure parts: frames, commands, the conversation, what is attached to a question; its history."""

import asyncio
import json
import os
import signal
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_toolkit.history import FileHistory, InMemoryHistory

from ai_sysadmin.cli.ask import attached
from ai_sysadmin.cli.chat.commands import HELP, Order, Verb, order_of
from ai_sysadmin.cli.chat.input import history_at, history_file
from ai_sysadmin.cli.chat.orders import Orders
from ai_sysadmin.cli.chat.session import MOST_BYTES, Conversation
from ai_sysadmin.cli.chat.stopping import Stopped, deaf, stoppable
from ai_sysadmin.cli.chat.stream import Ended, LookClosed, LookOpened, Reading, Source, Status, Text, Thinking, Usage
from ai_sysadmin.core.errors import AiSysadminError, ApiUnavailable, Refused, Unavailable
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.llm_backend import Completion as Account
from ai_sysadmin.meta_model.talk import LookBegan
from ai_sysadmin.openai_api_server.errors import fault_of
from ai_sysadmin.openai_api_server.gate.body import MAX_BODY_BYTES
from ai_sysadmin.openai_api_server.showing.frames import DONE, Completion, frame
from ai_sysadmin.openai_api_server.showing.open_webui import Card, source, status
from ai_sysadmin.openai_api_server.wire import MOST_MESSAGES
from ai_sysadmin.tools.tool import ToolResult
from tests.builders import NOW

LOG = ToolResult(id="t2", tool="unit_log", arguments={}, title="log of nginx.service", text="bind: in use")


def read(*frames):
    """Return the events of a stream of frames."""
    reading = Reading()
    return [event for line in b"".join(frames).decode().split("\n") for event in reading.of(line)]


def test_the_apis_own_frames_become_events():
    answer = Completion(NOW, "ai-sysadmin")
    card = Card("abc", LookBegan(number=2, tool="unit_log", arguments={"unit": "nginx"}, title=LOG.title))
    frames = [
        answer.piece({"role": "assistant", "content": ""}),
        answer.extension(status("waking the model, about 20 s", done=False)),
        answer.extension(status(f"looking at: {LOG.title}", done=False)),
        answer.extension(card.opened()),
        *map(answer.extension, card.closed(LOG)),
        answer.piece({"reasoning_content": "hm"}),
        answer.piece({"content": "It is\tdown"}),
        answer.extension(source(LOG)),
        answer.extension(status("looked at 1 thing", done=True)),
        answer.piece({}, "stop"),
        answer.usage_piece(Account(text="", model="m", prompt_tokens=3, completion_tokens=4)),
        DONE,
    ]
    assert read(*frames) == [
        Status("waking the model, about 20 s", done=False),
        LookOpened("t2", LOG.title),
        LookClosed("t2", failed=False),
        Thinking("hm"),
        Text("It is    down"),
        Source("t2", LOG.title),
        Status("looked at 1 thing", done=True),
        Usage(3, 4, 7, "ai-sysadmin"),
        Ended(),
    ]


@pytest.mark.parametrize("result", [None, LOG.model_copy(update={"failed": True})])
def test_a_card_of_a_failed_or_broken_off_look_up_is_failed(result):
    card = Card("abc", LookBegan(number=1, tool="unit_log", arguments={}, title="x"))
    frames = [frame(card.opened()), *map(frame, card.closed(result))]
    assert read(*frames) == [LookOpened("t1", "unit_log"), LookClosed("t1", failed=True)]


@pytest.mark.parametrize(
    "line",
    [
        "",
        ": ping",
        "event: x",
        "data:",
        "data: 7",
        "data: {}",
        'data: {"choices":7}',
        'data: {"choices":[7,{"delta":7},{"delta":{"content":7}}]}',
        'data: {"event":{"type":"execute","data":{"code":"alert(1)"}}}',
        'data: {"event":{"type":"status","data":"odd"}}',
        'data: {"event":"odd"}',
        'data: {"type":"response.output_item.added","item":7}',
        'data: {"type":"other","item":{"type":"function_call","call_id":"c_1","status":"in_progress"}}',
    ],
)
def test_unknown_frames_are_passed_over(line):
    assert list(Reading().of(line)) == []


@pytest.mark.parametrize("kind", [AiSysadminError, Refused, Unavailable])
def test_an_error_frame_raises_our_own_error(kind):
    with pytest.raises(kind, match="gone"):
        read(frame(fault_of(kind("gone")).body()))


def test_a_line_that_is_no_frame_is_an_answer_of_another_version():
    with pytest.raises(ApiUnavailable, match="another version"):
        list(Reading().of("data: {oops"))


NASTY = "\x1b[31mred\x1b]8;;http://evil.example/\x07link\x1b]8;;\x07 \u202edesrever\u202c\x9b2J\x07"


@given(st.integers(0, len(NASTY)))
def test_nothing_that_acts_on_a_terminal_comes_through_wherever_a_stream_is_split(at):
    pieces = [{"choices": [{"delta": {"content": NASTY[:at]}}]}, {"choices": [{"delta": {"content": NASTY[at:]}}]}]
    body = {"event": {"type": "source", "data": {"source": {"name": f"t1: {NASTY}"}}}}
    shown = "".join("".join(event) for event in read(*map(frame, pieces), frame(body)))
    assert shown.isprintable()


@pytest.mark.parametrize(
    ("line", "order"),
    [
        ("how are you?", None),
        ("what is in /etc/hosts?", None),
        ("/help", Order(Verb.HELP)),
        ("  /status ", Order(Verb.STATUS)),
        ("/approve abc234-1f2e3d", Order(Verb.APPROVE, "abc234-1f2e3d")),
        ("/reject abc234-1f2e3d  I do it  myself ", Order(Verb.REJECT, "abc234-1f2e3d", "I do it  myself")),
        ("/reject abc234-1f2e3d", Order(Verb.REJECT, "abc234-1f2e3d")),
        ("/save a file.md", Order(Verb.SAVE, "a file.md")),
    ],
)
def test_commands_and_questions(line, order):
    assert order_of(line) == order


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("/etc/hosts is odd", "no command /etc/hosts"),
        ("/Approve x", "no command /Approve"),
        ("/approved x", "no command /approved"),
        ("\u200b/frobnicate", "no command"),
        ("/approve", "takes an action's id"),
        ("/approve a b", "nothing else"),
        ("/approve a\ny", "one line"),
        ("/status please", "stands alone"),
        ("/save", "takes a file's name"),
    ],
)
def test_what_begins_with_a_slash_and_is_no_command_is_help(line, why):
    order = order_of(line)
    assert (order.verb, why in order.fault) == (Verb.HELP, True)


def test_help_names_every_command_in_80_columns():
    assert all(f"  /{verb} " in HELP for verb in Verb)
    assert max(map(len, HELP.splitlines())) <= 80


def test_a_conversation_is_sent_whole_with_what_was_stopped():
    talk = Conversation().asked("one?").answered("One.").asked("two?").answered("Tw", whole=False)
    talk = talk.asked("three?").answered("", whole=False).asked("again?")
    assert [(each["role"], each["content"]) for each in talk.messages()] == [
        ("user", "one?"),
        ("assistant", "One."),
        ("user", "two?"),
        ("assistant", "Tw\n\n(stopped here)"),
        ("user", "three?"),
        ("user", "again?"),
    ]


@given(st.lists(st.text(max_size=30), min_size=1, max_size=30), st.integers(1, 12), st.integers(0, 900))
def test_only_the_newest_turns_that_fit_are_sent(said, most, most_bytes):
    talk = Conversation()
    for text in said[:-1]:
        talk = talk.asked(text).answered(text)
    talk = talk.asked(said[-1])
    sent = talk.messages(most, most_bytes)
    assert sent[-1] == {"role": "user", "content": said[-1]}
    assert sent[0]["role"] == "user"
    assert len(sent) <= most
    assert sent == [turn.message() for turn in talk.turns][-len(sent) :]
    room = sum(len(json.dumps(each, ensure_ascii=False).encode()) for each in sent)
    assert len(sent) == 1 or room <= most_bytes


def test_the_longest_conversation_is_one_that_the_api_takes():
    talk = Conversation()
    for _ in range(MOST_MESSAGES):
        talk = talk.asked("\u00e4\n" * 500).answered("\u20ac" * 500)
    sent = json.dumps(talk.asked("?").messages(), ensure_ascii=False).encode()
    assert MOST_BYTES / 2 < len(sent) < MAX_BODY_BYTES


def test_a_transcript_is_markdown():
    talk = Conversation().asked("how?").answered("So.")
    assert talk.transcript("Talk", "Hal") == "# Talk\n\n## You\n\nhow?\n\n## Hal\n\nSo.\n"


def test_ctrl_c_stops_the_work_once_and_lets_it_clean_up():
    cleaned = []

    async def work():
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(10)
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(0.01)
            cleaned.append(True)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Stopped), deaf():
        os.kill(os.getpid(), signal.SIGINT)
        stoppable(work())
    assert (cleaned, signal.getsignal(signal.SIGINT)) == ([True], before)
    assert stoppable(asyncio.sleep(0, "done")) == "done"


class Nobody:
    """Questions that nobody asks."""

    attended = False

    def next(self):
        return None

    def confirmed(self, question):
        raise AssertionError(question)


def test_a_transcript_is_saved_for_its_owner_only_and_never_over_another_file(tmp_path, capsys):
    orders = Orders(Settings(state_dir=tmp_path, runtime_dir=tmp_path), Nobody())
    talk, target = Conversation().asked("how?").answered("So."), tmp_path / "talk.md"
    orders.do(Order(Verb.SAVE, str(target)), talk)
    assert (stat.S_IMODE(target.stat().st_mode), "So." in target.read_text()) == (0o600, True)
    assert capsys.readouterr().out == f"Saved to {target}.\n"
    target.write_text("mine")
    for name, said, why in (
        (target, talk, "is there already"),
        (tmp_path / "no" / "x", talk, "cannot be written"),
        (tmp_path / "new", Conversation(), "nothing was said"),
        ("a\0b", talk, "cannot be written"),
    ):
        with pytest.raises(AiSysadminError, match=why):
            orders.do(Order(Verb.SAVE, str(name)), said)
    assert target.read_text() == "mine"
    assert not (tmp_path / "new").exists()


def test_nobody_approves_where_nobody_attends(tmp_path):
    orders = Orders(Settings(state_dir=tmp_path, runtime_dir=tmp_path), Nobody())
    with pytest.raises(Refused, match="needs a terminal"):
        orders.do(Order(Verb.APPROVE, "abc234-1f2e3d"), Conversation())


def test_the_history_is_its_owners_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    path = history_file()
    assert path == tmp_path / "ai-sysadmin" / "chat-history"
    history = history_at(path)
    assert isinstance(history, FileHistory)
    history.store_string("how are you?")
    assert "how are you?" in path.read_text()
    assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)) == (0o600, 0o700)
    path.chmod(0o644)
    history_at(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(history_at(path).load_history_strings()) == ["how are you?"]
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/x")
    assert str(history_file()) == "/home/x/.local/state/ai-sysadmin/chat-history"


def test_a_history_that_is_not_ones_own_file_is_left_alone(tmp_path):
    other = tmp_path / "other"
    other.write_text("x")
    link = tmp_path / "link"
    link.symlink_to(other)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (link, pipe, tmp_path / "other" / "below", tmp_path):
        assert isinstance(history_at(path), InMemoryHistory), path
    assert other.read_text() == "x"


@given(st.text(alphabet="`a\n ", max_size=40))
def test_what_is_attached_cannot_leave_its_fence(text):
    whole = attached("why?", text)
    if not text.strip():
        assert whole == "why?"
        return
    lines = whole.split("\n")
    fence = lines[4]
    assert lines[:4] == ["why?", "", "Attached, from stdin:", ""]
    assert (lines[-1], set(fence), len(fence) >= 3) == (fence, {"`"}, True)
    assert fence not in "\n".join(lines[5:-1])
