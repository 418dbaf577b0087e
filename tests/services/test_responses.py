"""Responses over a real socket, driven by the official package."""

import openai
import pytest

from ai_sysadmin.core.errors import BackendUnavailable
from ai_sysadmin.llm_backend import Completion, ToolCall
from ai_sysadmin.meta_model.talk import Answered, ClientCall, LookBegan, LookEnded, Thought
from ai_sysadmin.testing.api import ScriptedChat
from ai_sysadmin.tools.tool import ToolResult
from tests.services.api_harness import running

CUT = Answered(completion=Completion(text="", model="m", finish_reason="length"))
CALL = ClientCall(call=ToolCall(id="c1", name="search", arguments='{"q":1}'))


@pytest.fixture
async def api(tmp_path):
    async with running(tmp_path) as server:
        yield server


async def test_a_text_is_answered_with_a_text(api):
    async with api.openai() as client:
        response = await client.responses.create(model="ai-sysadmin", input="How are you?", instructions="Be brief.")
    assert (response.output_text, response.status) == ("All is well.", "completed")
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (40, 3, 43)
    (heard,) = api.chat.heard
    assert [(m.role, m.text) for m in heard.messages] == [("system", "Be brief."), ("user", "How are you?")]


async def test_items_are_read_as_the_conversation_they_are(api):
    items = [
        {"role": "developer", "content": "Rules."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        {"type": "reasoning", "summary": []},
        {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "seen"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "So"}]},
        {"role": "user", "content": [{"type": "input_text", "text": "Go"}, {"type": "input_image", "image_url": "x"}]},
    ]
    form = {"format": {"type": "json_schema", "name": "x", "schema": {"type": "object"}}}
    async with api.openai() as client:
        await client.responses.create(
            model="ai-sysadmin-fast", input=items, max_output_tokens=9, temperature=0.5, text=form, store=True
        )
    asked = api.chat.heard[0].asked
    assert [m.role for m in asked.messages] == [
        "system" and "developer",
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
    ]
    assert asked.messages[2].tool_calls[0].name == "look"
    assert (asked.messages[3].tool_call_id, asked.messages[3].text) == ("c1", "seen")
    assert asked.last.has_attachment
    assert (asked.fast, asked.reply_tokens, asked.temperature, asked.answer_schema) == (
        True,
        9,
        0.5,
        {"type": "object"},
    )


async def test_the_stream_is_typed_numbered_and_whole(tmp_path):
    chat = ScriptedChat([Thought(text="hm"), "All ", "is ", "well. ", CALL], pause_seconds=0.04)
    async with running(tmp_path, chat=chat) as api, api.openai() as client:
        events = [each async for each in await client.responses.create(model="ai-sysadmin", input="x", stream=True)]
    assert [each.sequence_number for each in events] == list(range(len(events)))
    kinds = [each.type.removeprefix("response.") for each in events]
    assert kinds[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
    deltas = [each.delta for each in events if each.type == "response.output_text.delta"]
    assert len(deltas) > 1
    done = next(each for each in events if each.type == "response.output_text.done")
    assert done.text == "".join(deltas) == "All is well. \n\n"
    assert kinds[-5:] == [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    message, call = events[-1].response.output
    assert (message.content[0].text, call.name, call.arguments) == (done.text, "search", '{"q":1}')
    assert events[-1].response.usage.output_tokens == 5


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_was_cut_is_incomplete(tmp_path, stream):
    async with running(tmp_path, chat=ScriptedChat(["Well", CUT])) as api, api.openai() as client:
        got = await client.responses.create(model="ai-sysadmin", input="x", stream=stream)
        response = [each async for each in got][-1].response if stream else got
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert response.output_text == "Well"


async def test_open_webui_reads_progress_as_text_here(tmp_path):
    look = ToolResult(id="t1", tool="unit_log", arguments={}, title="log of nginx", text="exit 1")
    end = Answered(completion=Completion(text="", model="m"), sources=(look,))
    began = LookBegan(number=1, tool="unit_log", arguments={}, title="log of nginx")
    chat = ScriptedChat([began, LookEnded(number=1, result=look), "It failed [t1].", end])
    async with running(tmp_path, chat=chat, tool_progress="open-webui") as api, api.openai() as client:
        events = [each async for each in await client.responses.create(model="ai-sysadmin", input="x", stream=True)]
    said = "> looking at: log of nginx\n\nIt failed [t1].\n\nSources: [t1] log of nginx\n"
    assert events[-1].response.output_text == said


async def test_an_empty_answer_is_an_empty_message(tmp_path):
    async with running(tmp_path, chat=ScriptedChat([])) as api, api.openai() as client:
        events = [each async for each in await client.responses.create(model="ai-sysadmin", input="x", stream=True)]
    assert events[-1].response.output_text == ""
    assert len(events[-1].response.output) == 1


async def test_a_stream_that_breaks_ends_in_failed(tmp_path):
    chat = ScriptedChat(["half "], failure=BackendUnavailable("the model went away"), pause_seconds=0.02)
    async with running(tmp_path, chat=chat) as api, api.openai() as client:
        events = [each async for each in await client.responses.create(model="ai-sysadmin", input="x", stream=True)]
        assert events[-1].type == "response.failed"
        assert events[-1].response.error.message == "the model went away"
        assert events[-1].response.output_text == "half "
        with pytest.raises(openai.InternalServerError, match="went away"):
            await client.responses.create(model="ai-sysadmin", input="x")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"input": ""}, "no_question"),
        ({"input": []}, "invalid_body"),
        ({"input": [{"type": "reasoning"}]}, "no_question"),
        ({}, "invalid_body"),
        ({"input": 3}, "invalid_body"),
        ({"input": "x", "previous_response_id": "resp_1"}, "not_kept"),
        ({"input": "x", "background": True}, "not_kept"),
        ({"input": "x", "max_output_tokens": 0}, "invalid_body"),
        ({"input": "x", "text": {"format": {"type": "json_schema"}}}, "invalid_schema"),
    ],
)
async def test_what_cannot_be_done_is_400(api, body, code):
    async with api.http() as http:
        for path in ("/v1/responses", "/responses"):
            response = await http.post(path, json=body)
            assert (response.status_code, response.json()["error"]["code"]) == (400, code)


async def test_models_and_answers_that_are_not_there_are_404(api):
    async with api.openai() as client:
        with pytest.raises(openai.NotFoundError, match="not kept"):
            await client.responses.retrieve("resp_1")
        with pytest.raises(openai.NotFoundError, match="ai-sysadmin"):
            await client.responses.create(model="gpt-9", input="x")
