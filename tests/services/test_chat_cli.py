"""`chat` and `ask` as processes, on a terminal and without one, against a running API and a real executor."""

import asyncio
import json
import os
import signal
import stat
import sys
from contextlib import asynccontextmanager

import pytest

from ai_sysadmin.context.knowledge.retrieval import Retrieval
from ai_sysadmin.core.settings import Api, Settings
from ai_sysadmin.llm_backend import Completion
from ai_sysadmin.meta_model.talk import Answered, LookBegan, LookEnded, Progress, Proposed, Words
from ai_sysadmin.openai_api_server.app import Knowing, Parts, build
from ai_sysadmin.openai_api_server.server import serve, sockets
from ai_sysadmin.testing.api import FixedExecutor, FixedHealth, ScriptedChat
from ai_sysadmin.tools.tool import ToolResult
from tests.builders import HOST, UNIT
from tests.deciding import a_host
from tests.services.api_harness import an_incident, free_port, nothing_to_index, running
from tests.terminal import on_a_terminal

LOG = ToolResult(id="t1", tool="unit_log", arguments={}, title="log of nginx.service", text="bind: address in use")
GONE = ToolResult(id="t2", tool="unit_log", arguments={}, title="log of no.service", text="no such unit", failed=True)
LOOKS = (
    Progress(text="waking the model, about 20 s"),
    LookBegan(number=1, tool="unit_log", arguments={}, title=LOG.title),
    LookEnded(number=1, result=LOG),
    LookBegan(number=2, tool="unit_log", arguments={}, title=GONE.title),
    LookEnded(number=2, result=GONE),
)
ANSWERED = Answered(
    completion=Completion(text="", model="tiny", prompt_tokens=40, completion_tokens=9), sources=(LOG, GONE)
)
TEXT = ("# nginx is down\n\n", "It cannot *bind*", " [t1].\n\n", "```sh\nss -ltn\n```\n", "\nThat is", " all.")


@asynccontextmanager
async def a_suite(tmp_path):
    """Run a real executor, and the API on its host's store; yield that host."""
    async with a_host(tmp_path) as host:
        settings = Settings(host_name=HOST, state_dir=tmp_path, runtime_dir=tmp_path / "run", api=Api(port=free_port()))
        knowing = Knowing(Retrieval(host.stores.knowledge, None, None, minimum_similarity=0.2), nothing_to_index)
        probes = {layer: FixedHealth() for layer in ("trigger", "review", "meta")}
        app = build(Parts(settings, host.stores, host.front, FixedExecutor(), probes, knowing, host.proposals))
        with sockets(settings) as listening:
            serving = asyncio.create_task(serve(app, listening))
            yield host
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


@asynccontextmanager
async def a_chat(tmp_path, *arguments, **environment):
    """Run `chat` on a terminal, where it has begun."""
    environment = {"XDG_STATE_HOME": str(tmp_path / "own")} | environment
    async with on_a_terminal("chat", *arguments, "--state-dir", tmp_path, **environment) as terminal:
        await ready(terminal)
        yield terminal


async def ready(terminal):
    """Wait for the prompt."""
    await terminal.until(lambda text: text.endswith("\n›"), "a prompt")


async def run(tmp_path, *arguments, stdin=None):
    """Run the command line without a terminal; return its exit code, stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ai_sysadmin", *arguments, "--state-dir", str(tmp_path)),
        stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"TZ": "UTC", "TERM": "xterm"},
    )
    out, err = await process.communicate(None if stdin is None else stdin.encode())
    return process.returncode, out.decode(), err.decode()


def said(chat):
    """Return the newest conversation that came in."""
    return [(message.role, message.text) for message in chat.heard[-1].messages]


# --- on a terminal


async def test_a_conversation_on_a_terminal(tmp_path):
    chat = ScriptedChat([*LOOKS, *TEXT, ANSWERED], pause_seconds=0.03)
    async with running(tmp_path, chat=chat), a_chat(tmp_path) as terminal:
        terminal.types("what is wrong?\r")
        await terminal.sees("[2] log of no.service")
        await ready(terminal)
        shown = terminal.screen.text
        assert shown[shown.index("· log of nginx") :].splitlines()[2:] == [
            "",
            "nginx is down",
            "",
            "It cannot bind [1].",
            "",
            "  ss -ltn",
            "",
            "That is all.",
            "",
            "[1] log of nginx.service",
            "[2] log of no.service",
            "",
            "›",
        ]
        assert "· log of no.service … failed after 0." in shown
        terminal.types("first line\x1b\rsecond line\r")
        await terminal.sees("[2] log of no.service", times=2)
        assert [text for role, text in said(chat) if role == "user"] == ["what is wrong?", "first line\nsecond line"]
        assert said(chat)[1][1].startswith("# nginx is down\n\nIt cannot *bind* [1].")
        assert chat.heard[0].headers["x-ai-sysadmin-progress"] == "events"
        assert chat.heard[0].asked.model == "ai-sysadmin"
        terminal.types("/new\r")
        await terminal.sees("A new conversation.")
        terminal.types("again?\r")
        await terminal.sees("[2] log of no.service", times=3)
        assert said(chat) == [("user", "again?")]
        terminal.types(f"/save {tmp_path}/talk.md\r")
        await terminal.sees("Saved to")
        terminal.types("\x04")
        assert await terminal.ended() == 0
    assert "## You\n\nagain?" in (tmp_path / "talk.md").read_text()
    history = tmp_path / "own" / "ai-sysadmin" / "chat-history"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert "what is wrong?" in history.read_text()


async def test_ctrl_c_stops_an_answer_and_keeps_the_session(tmp_path):
    chat = ScriptedChat(["It ", "is ", *(["long "] * 500)], pause_seconds=0.05)
    async with running(tmp_path, chat=chat), a_chat(tmp_path, "--fast") as terminal:
        terminal.types("why?\r")
        await terminal.sees("It is long")
        terminal.types("\x03\x03\x03")
        await terminal.sees("(stopped)")
        await ready(terminal)
        async with asyncio.timeout(5):
            while chat.cancelled == 0:
                await asyncio.sleep(0.02)
        chat.pieces = ("Well.",)
        terminal.types("\x03")
        await terminal.sees("(Ctrl-D leaves)")
        terminal.types("so?\r")
        await terminal.sees("Well.")
        roles = [role for role, _ in said(chat)]
        assert (roles, said(chat)[1][1].endswith("(stopped here)")) == (["user", "assistant", "user"], True)
        assert chat.heard[0].asked.model == "ai-sysadmin-fast"
        terminal.types("/quit\r")
        assert await terminal.ended() == 0


async def test_what_the_model_says_does_nothing_to_the_terminal(tmp_path):
    nasty = (
        "\x1b]8;;http://evil.example/\x1b\\click\x1b]8;;\x07 \x1b[2J\x1b[31mred \u202eback\u202c /approve abc234-1f2e3d"
    )
    own = Words(text=f"{nasty} [x](http://evil.example/)\n", own=True)
    async with running(tmp_path, chat=ScriptedChat([nasty, "\n\n", own, "done"])), a_chat(tmp_path) as terminal:
        terminal.types("hello\r")
        await terminal.sees("done")
        terminal.types("\x04")
        await terminal.ended()
        assert terminal.screen.links == []
        for code in ("\x1b[31m", "\x1b[2J", "\u202e", "\x1b]"):
            assert code not in terminal.raw, code


async def test_pages_help_and_errors_on_a_terminal(tmp_path):
    chat = ScriptedChat(["half"], failure=ValueError("a bug"))
    async with running(tmp_path, chat=chat) as api, a_chat(tmp_path) as terminal:
        incident = await an_incident(api)
        for typed, shown in (
            ("/incidents", incident.id),
            ("/status", "AI sysadmin on thishost:"),
            ("/actions", "No actions."),
            ("/etc/passwd", "there is no command /etc/passwd"),
            ("/reject", "/reject takes an action's id"),
            ("/approve abc234-1f2e3d", "there is no action 'abc234-1f2e3d'"),
            ("/reject abc234-1f2e3d", "the executor does not answer"),
            ("how?", "something went wrong inside"),
        ):
            terminal.types(f"{typed}\r")
            await terminal.sees(shown)
            await ready(terminal)
        assert len(chat.heard) == 1
        terminal.types("/inc")
        await terminal.until(lambda text: text.partition("› /inc\n")[2].strip() == "/incidents", "the menu")
        terminal.types("\t")
        await terminal.until(lambda text: "\n› /incidents\n" in text.partition("how?")[2], "the whole command")
        terminal.types("\r")
        await terminal.sees(incident.id, times=2)
        await ready(terminal)
        terminal.types("\x04")
        assert await terminal.ended() == 0


async def test_without_colour_the_answer_is_plain_text(tmp_path):
    async with (
        running(tmp_path, chat=ScriptedChat([*LOOKS, *TEXT, ANSWERED])),
        a_chat(tmp_path, NO_COLOR="1") as terminal,
    ):
        terminal.types("what?\r")
        await terminal.sees("[2] log of no.service")
        assert "# nginx is down\n\nIt cannot *bind* [1]." in terminal.screen.text
        answer = terminal.raw[terminal.raw.index("· waking") : terminal.raw.index("[2] log of no")]
        assert "\x1b" not in answer


# --- approvals


async def test_an_action_is_shown_asked_about_once_more_run_and_followed(tmp_path):
    async with a_suite(tmp_path) as host, a_chat(tmp_path) as terminal:
        request = await host.pending()
        host.talk.events = (Words(text="It is down."), Proposed(action_id=request.id, says="restart"))
        terminal.types("fix it\r")
        await terminal.sees(f"restart_unit unit={UNIT} waits for you:\n  /approve {request.id}\n")
        terminal.types(f"/approve {request.id}\ry\r")
        await terminal.sees("Approve this? [y/N]")
        for fact in ("WHAT THE EXECUTOR SAYS", "reversible", f"systemctl restart -- {UNIT}"):
            assert fact in terminal.screen.text
        await asyncio.sleep(0.3)
        assert host.ran == []
        terminal.types("yes\r")
        await terminal.sees(f"Nothing was approved; {request.id} waits still.")
        terminal.types(f"/approve {request.id}\r")
        await terminal.sees("Approve this? [y/N]", times=2)
        await asyncio.sleep(0.3)
        terminal.types("y\r")
        await terminal.sees("succeeded")
        assert host.ran == [f"restart {UNIT}"]
        await host.becomes(request.id, "succeeded")
        terminal.types(f"/approve {request.id}\r")
        await terminal.sees("it is succeeded")
        assert len(host.talk.heard) == 1


async def test_an_action_is_rejected_with_a_reason(tmp_path):
    async with a_suite(tmp_path) as host, a_chat(tmp_path) as terminal:
        request = await host.pending()
        terminal.types(f"/reject {request.id} I do it myself\r")
        await terminal.sees("rejected")
        await host.becomes(request.id, "rejected")
        assert "I do it myself" in (await host.stores.reader.action(request.id)).text


# --- without a terminal


async def test_questions_from_a_file_are_answered_one_by_one(tmp_path):
    chat = ScriptedChat([*LOOKS, *TEXT, ANSWERED])
    questions = "one?\n\n/approve abc234-1f2e3d\ntwo?\n"
    async with running(tmp_path, chat=chat):
        code, out, err = await run(tmp_path, "chat", stdin=questions)
    assert (code, err.startswith("ai-sysadmin: an approval needs a terminal")) == (3, True)
    assert "\x1b" not in out
    assert out.count("# nginx is down\n\nIt cannot *bind* [1].") == 2
    assert "› one?\n· waking the model, about 20 s\n· log of nginx.service … 0." in out
    assert [text for role, text in said(chat) if role == "user"] == ["one?", "two?"]


async def test_ctrl_c_ends_a_file_of_questions(tmp_path):
    chat = ScriptedChat(["It is ", *(["long "] * 500)], pause_seconds=0.05)
    async with running(tmp_path, chat=chat):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ai_sysadmin", "chat", "--state-dir", str(tmp_path)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        process.stdin.write(b"one?\ntwo?\n")
        process.stdin.close()
        await process.stdout.readuntil(b"long")
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 15) == 130
        assert (b"two?" in await process.stdout.read(), await process.stderr.read()) == (False, b"")
    assert (len(chat.heard), chat.cancelled) == (1, 1)


async def test_ask_takes_a_question_and_what_is_piped_in(tmp_path):
    chat = ScriptedChat([*LOOKS, *TEXT, ANSWERED])
    log = tmp_path / "log"
    log.write_text("```\nnginx: bind failed\n")
    async with running(tmp_path, chat=chat):
        code, out, err = await run(tmp_path, "ask", "what is this?", "--fast", stdin=log.read_text())
        assert (code, err) == (0, "")
        assert out.endswith("That is all.\n\n[1] log of nginx.service\n[2] log of no.service\n")
        assert out.startswith("# nginx is down\n\nIt cannot *bind* [1].")
        fenced = "````\n```\nnginx: bind failed\n````"
        assert said(chat) == [("user", f"what is this?\n\nAttached, from stdin:\n\n{fenced}")]
        assert chat.heard[-1].asked.model == "ai-sysadmin-fast"
        code, out, _ = await run(tmp_path, "ask", "-", "--json", stdin="how are you?\n")
        document = json.loads(out)
        assert document.pop("answer").startswith("# nginx is down")
        assert (code, document) == (
            0,
            {
                "question": "how are you?",
                "sources": [
                    {"id": "t1", "title": "log of nginx.service", "failed": False},
                    {"id": "t2", "title": "log of no.service", "failed": True},
                ],
                "usage": {"prompt_tokens": 40, "completion_tokens": 9, "total_tokens": 49},
                "model": "ai-sysadmin",
            },
        )
        assert (await run(tmp_path, "ask", "-", stdin="  "))[0] == 2
        assert (await run(tmp_path, "ask", "x", stdin="x" * (1 << 20) + "y"))[0] == 2


async def test_ask_on_a_terminal_tells_what_is_looked_at(tmp_path):
    chat = ScriptedChat([*LOOKS, *TEXT, ANSWERED])
    async with running(tmp_path, chat=chat), on_a_terminal("ask", "what?", "--state-dir", tmp_path) as terminal:
        assert await terminal.ended() == 0
        await terminal.sees("[2] log of no.service")
        assert terminal.screen.text.splitlines()[0] == "· waking the model, about 20 s"
        assert "\x1b[2m· log of nginx.service …" in terminal.raw


async def test_a_silent_pipe_does_not_hold_a_question_up(tmp_path):
    async with running(tmp_path, chat=ScriptedChat(["Well."])):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ai_sysadmin", "ask", "how?", "--state-dir", str(tmp_path)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out = await asyncio.wait_for(process.stdout.read(), 15)
        assert (await process.wait(), out) == (0, b"Well.\n")
        assert b"asked without it" in await process.stderr.read()
        process.stdin.close()


@pytest.mark.parametrize("arguments", [("chat",), ("ask", "how?")])
async def test_with_nobody_to_ask_it_is_exit_4(tmp_path, arguments):
    code, out, err = await run(tmp_path, *arguments)
    assert (code, out, "the API does not answer" in err) == (4, "", True)


async def test_an_answer_that_fails_midway_is_an_error_behind_what_came(tmp_path):
    async with running(tmp_path, chat=ScriptedChat(["half "], failure=ValueError("a bug"))):
        code, out, err = await run(tmp_path, "ask", "how?")
        assert (code, out) == (1, "half \n")
        assert "something went wrong inside" in err
