"""A server's own tool calls: what is sent, how calls come together, and what a refusal says."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.core.errors import BackendUnavailable
from ai_sysadmin.core.settings import Backend
from ai_sysadmin.llm_backend import Extras, Message, PromptTooLong, ToolCall, ToolSpec
from ai_sysadmin.llm_backend.door import around, open_model
from ai_sysadmin.llm_backend.llama_cpp import LlamaCpp
from ai_sysadmin.llm_backend.openai_compatible import OpenAICompatible
from ai_sysadmin.llm_backend.tokens import estimate_prompt, most_of_prompt
from ai_sysadmin.llm_backend.tool_calls import CallPieces, readable_arguments
from ai_sysadmin.testing.fake_ollama import FakeOllama
from ai_sysadmin.testing.fake_openai import FakeOpenAI
from ai_sysadmin.testing.http_server import http_server
from ai_sysadmin.testing.misbehaving_server import Fault, MisbehavingServer
from ai_sysadmin.testing.scripted_model import Scripted, ScriptedModel

HELLO = (Message(role="user", content="hello"),)
DISK = ToolSpec(name="disk", description="Says how full it is.", parameters={"type": "object", "properties": {}})
EXTRAS = Extras(tools=(DISK,))
CALL = ToolCall(id="c1", name="disk", arguments='{"path": "/var"}')
TALK = (
    *HELLO,
    Message(role="assistant", content="", tool_calls=(CALL,)),
    Message(role="tool", content="98 %", tool_call_id="c1"),
)


def piece(index=0, id=None, name=None, arguments=None):  # noqa: A002 - as the wire has it
    said = {"index": index, "id": id, "function": {"name": name, "arguments": arguments}}
    return {name: value for name, value in said.items() if value is not None}


def gathered(*said) -> list[tuple[str, str]]:
    calls = CallPieces()
    for each in said:
        calls.add(each)
    return [(call.name, call.arguments) for call in calls.whole()]


@pytest.mark.parametrize(
    ("said", "calls"),
    [
        ([piece(0, "a", "disk", "{"), piece(0, arguments="}")], [("disk", "{}")]),
        ([piece(0, "a", "disk", ""), piece(1, "b", "log", '{"u'), piece(0, arguments="{}"), piece(1, arguments='":1}')],
         [("disk", "{}"), ("log", '{"u":1}')]),
        # every call has the number 0, and comes whole
        ([piece(0, "a", "disk", "{}"), piece(0, "b", "disk", "{}")], [("disk", "{}"), ("disk", "{}")]),
        ([piece(0, None, "disk", "{}"), piece(0, None, "log", '{"u": 1}')], [("disk", "{}"), ("log", '{"u": 1}')]),
        # the name again with each piece; another id with each piece
        ([piece(0, "a", "disk", "{"), piece(0, "a", "disk", "}")], [("disk", "{}")]),
        ([piece(0, "a", "disk", "{"), piece(0, "z", None, "}")], [("disk", "{}")]),
        # no number at all
        ([piece(None, "a", "disk", "{"), piece(None, None, None, "}")], [("disk", "{}")]),
        ([piece(None, "a", "disk", "{}"), piece(None, "b", "log", "{}")], [("disk", "{}"), ("log", "{}")]),
        # the arguments are an object; there are none; there is nothing
        ([piece(0, "a", "disk", {"path": "ä"})], [("disk", '{"path": "ä"}')]),
        ([piece(0, "a", "disk")], [("disk", "")]),
        ([], []),
    ],
)  # fmt: skip
def test_calls_come_together_from_pieces(said, calls):
    assert gathered(*said) == calls


@given(st.lists(st.tuples(st.text(min_size=1), st.text()), max_size=4), st.data())
def test_calls_are_told_apart_by_their_number(calls, data):
    said = []
    for index, (name, arguments) in enumerate(calls):
        cut = data.draw(st.integers(0, len(arguments)))
        said.append([piece(index, f"c{index}", name, arguments[:cut]), piece(index, arguments=arguments[cut:])])
    mixed = [first for first, _ in said] + [second for _, second in said]
    assert gathered(*mixed) == calls


def test_a_call_without_an_id_gets_one_that_templates_take():
    calls = CallPieces()
    calls.add(piece(0, None, "disk", "{}"))
    calls.add(piece(1, None, "disk", "{}"))
    first, second = calls.whole()
    assert first.id != second.id
    assert len(first.id) == 9
    assert first.id.isalnum()


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ('{"path": "/var"}', '{"path": "/var"}'),
        ("", "{}"),
        (" ", "{}"),
        ("[1]", '{"unreadable": "[1]"}'),
        ('{"path', '{"unreadable": "{\\"path"}'),
    ],
)
def test_what_is_sent_back_of_a_call_is_an_object(written, sent):
    assert readable_arguments(written) == sent


async def test_a_plain_request_holds_nothing_of_tools_and_stops():
    fake = FakeOpenAI(models=("default",))
    async with fake.serving() as url:
        server = LlamaCpp("meta", Backend(url=url))
        await server.complete(HELLO, max_tokens=9, seed=1)
        assert fake.asked == [
            {
                "model": "default",
                "messages": [{"role": "user", "content": "hello"}],
                "max_tokens": 9,
                "temperature": 0.2,
                "stream": True,
                "stream_options": {"include_usage": True},
                "chat_template_kwargs": {"enable_thinking": False},
                "seed": 1,
            }
        ]
        await server.close()


async def test_tools_calls_and_results_are_sent_as_openai_writes_them():
    fake = FakeOpenAI(ScriptedModel("98 %"))
    async with fake.serving() as url:
        server = OpenAICompatible("meta", Backend(url=url, type="openai"))
        assert [delta async for delta in server.stream(TALK, max_tokens=9, extras=EXTRAS)]
        sent = fake.asked[-1]
        function = {"name": "disk", "description": DISK.description, "parameters": dict(DISK.parameters)}
        assert (sent["tools"], sent["tool_choice"]) == ([{"type": "function", "function": function}], "auto")
        called = {"id": "c1", "type": "function", "function": {"name": "disk", "arguments": CALL.arguments}}
        assert sent["messages"] == [
            {"role": "user", "content": "hello"},
            {"role": "assistant", "content": "", "tool_calls": [called]},
            {"role": "tool", "content": "98 %", "tool_call_id": "c1"},
        ]
        await server.close()


async def test_several_calls_and_what_was_said_with_them_arrive_whole():
    other = ToolCall(id="c2", name="unit_log", arguments="")
    script = ScriptedModel(Scripted("let me look", reasoning="hm", tool_calls=(CALL, other)))
    async with FakeOpenAI(script).serving() as url:
        server = open_model("meta", Backend(url=url, type="openai", model="fake"))
        done = [delta async for delta in server.stream(HELLO, max_tokens=50, extras=EXTRAS)][-1].completion
        assert (done.text, done.reasoning, done.tool_calls) == ("let me look", "hm", (CALL, other))
        assert done.finish_reason == "stop"
        assert server.figures.completion_tokens == done.completion_tokens > 4
        await server.close()


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "registry.ollama.ai/library/gemma:2b does not support tools"),
        (400, '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'),
        (422, "Extra inputs are not permitted: tools"),
        (500, "tools param requires --jinja flag"),
    ],
)
async def test_a_server_that_does_not_take_tools_is_said_so_and_asked_once(status, message):
    asked = []

    async def refuses(request, reply):
        asked.append(request.path)
        await reply.json({"error": {"message": message}}, status)

    async with http_server(refuses) as url:
        server = LlamaCpp("meta", Backend(url=url))
        with pytest.raises(
            BackendUnavailable, match=r"meta model at .* does not take the tools .*native_tools = false"
        ):
            await anext(server.stream(HELLO, max_tokens=9, extras=EXTRAS))
        assert asked == ["/v1/chat/completions"]
        await server.close()


async def test_an_ollama_model_without_tools_is_said_so_and_still_answers_without():
    async with FakeOllama().serving() as url:
        server = open_model("meta", Backend(url=url, type="ollama"))
        for _ in range(4):  # it is no fault of the server that it should be left alone for
            with pytest.raises(BackendUnavailable, match="does not take the tools"):
                await anext(server.stream(HELLO, max_tokens=9, extras=EXTRAS))
        assert (await server.complete(HELLO, max_tokens=9)).text
        await server.close()


async def test_what_else_a_server_does_not_know_is_left_out_with_tools_too():
    fake = FakeOpenAI(ScriptedModel(Scripted(tool_calls=(CALL,))), refuses=("stream_options",))
    async with fake.serving() as url:
        server = OpenAICompatible("meta", Backend(url=url, type="openai"))
        done = [delta async for delta in server.stream(HELLO, max_tokens=9, extras=EXTRAS)][-1].completion
        assert done.tool_calls == (CALL,)
        assert done.prompt_tokens >= estimate_prompt(HELLO, EXTRAS.tools)
        assert done.completion_tokens > 0
        await server.close()


async def test_a_schema_and_tools_exclude_each_other():
    server = around(ScriptedModel(), Backend(url="http://127.0.0.1:9"))
    with pytest.raises(ValueError, match="exclude each other"):
        server.stream(HELLO, max_tokens=9, schema={"type": "object", "properties": {}}, extras=EXTRAS)


async def test_calls_without_end_are_cut():
    async with MisbehavingServer(Fault.ENDLESS_CALL).serving() as url:
        server = LlamaCpp("meta", Backend(url=url, timeout_seconds=5))
        done = await server.complete(HELLO, max_tokens=50)
        assert done.finish_reason == "length"
        assert len(done.tool_calls[0].arguments) <= 2 * 50 * 64
        await server.close()


def test_tools_and_calls_count_as_part_of_a_prompt():
    assert estimate_prompt(TALK) > estimate_prompt([Message(role="user", content="hello98 %")] * 1)
    for count in (estimate_prompt, most_of_prompt):
        assert count(HELLO, EXTRAS.tools) > count(HELLO) + len(json.dumps(DISK.parameters)) // 4
        longer = CALL.model_copy(update={"arguments": json.dumps({"path": "x" * 3000})})
        message = Message(role="assistant", content="", tool_calls=(CALL,))
        assert count([message.model_copy(update={"tool_calls": (longer,)})]) > count([message]) + 900
    assert estimate_prompt(TALK, EXTRAS.tools) <= most_of_prompt(TALK, EXTRAS.tools)


async def test_tools_that_leave_no_room_are_a_prompt_too_long():
    many = Extras(tools=tuple(DISK.model_copy(update={"name": f"disk_{n}"}) for n in range(30)))
    fake = FakeOpenAI()
    async with fake.serving() as url:
        server = OpenAICompatible("meta", Backend(url=url, type="openai", context_tokens=600))
        with pytest.raises(PromptTooLong):
            await anext(server.stream(HELLO, max_tokens=50, extras=many))
        assert (await server.complete(HELLO, max_tokens=50)).text
        assert len(fake.asked) == 1
        await server.close()
