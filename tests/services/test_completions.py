"""Chat completions over a real socket: what is taken, what is refused, and what comes back."""

import asyncio
import json
import sqlite3

import openai
import pytest

from ai_sysadmin.core.errors import BackendUnavailable, StoreUnavailable
from ai_sysadmin.llm_backend import Completion, ToolCall
from ai_sysadmin.meta_model.talk import Answered, ClientCall, LookBegan, LookEnded, Thought, Words
from ai_sysadmin.testing.api import ScriptedChat
from ai_sysadmin.tools.tool import ToolResult
from tests.services.api_harness import running

ASK = [{"role": "user", "content": "What is wrong?"}]
QUESTION = {"model": "ai-sysadmin", "messages": ASK}
LOOK = ToolResult(id="t1", tool="unit_log", arguments={"unit": "nginx"}, title="log of nginx", text="exit 1")
LOOKED = (LookBegan(number=1, tool="unit_log", arguments={"unit": "nginx"}, title="log of nginx"),)
SOURCED = Answered(completion=Completion(text="", model="m", prompt_tokens=7, completion_tokens=3), sources=(LOOK,))


def tool(name, parameters=None):
    return {"type": "function", "function": {"name": name, "parameters": parameters or {"type": "object"}}}


@pytest.fixture
async def api(tmp_path):
    async with running(tmp_path) as server:
        yield server


async def post(api, body, path="/v1/chat/completions", **headers):
    async with api.http(**headers) as http:
        return await http.post(path, json=body)


def chunks(response):
    events = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert events[-1] == "[DONE]"
    return [json.loads(each) for each in events[:-1]]


def text_of(response):
    return "".join(each["choices"][0]["delta"].get("content") or "" for each in chunks(response) if each.get("choices"))


# --- models


async def test_two_models_are_offered_at_both_roots(api):
    async with api.openai() as client:
        listed = (await client.models.list()).data
        assert [(model.id, model.name) for model in listed] == [
            ("ai-sysadmin", "AI sysadmin on thishost"),
            ("ai-sysadmin-fast", "AI sysadmin on thishost (fast)"),
        ]
        assert (await client.models.retrieve("ai-sysadmin-fast")).id == "ai-sysadmin-fast"
        with pytest.raises(openai.NotFoundError, match="ai-sysadmin and ai-sysadmin-fast"):
            await client.models.retrieve("gpt-9")
    async with api.http() as http:
        assert (await http.get("/models")).json() == (await http.get("/v1/models")).json()


@pytest.mark.parametrize(
    ("model", "fast"), [("ai-sysadmin-fast", True), ("ai-sysadmin", False), ("", False), (None, False)]
)
async def test_the_model_asked_for_answers_under_its_name(api, model, fast):
    response = await post(api, QUESTION | {"model": model})
    assert response.json()["model"] == (model or "ai-sysadmin")
    assert api.chat.heard[0].asked.fast is fast


async def test_a_model_that_is_not_there_is_404(api):
    response = await post(api, QUESTION | {"model": "gpt-9", "stream": True})
    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")
    assert api.chat.heard == []


# --- what is taken


async def test_every_option_reaches_who_answers(api):
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}}
    body = QUESTION | {
        "max_tokens": 90,
        "max_completion_tokens": 70,
        "temperature": 1.5,
        "stop": "END",
        "seed": 7,
        "n": 1,
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
        "logprobs": True,
        "user": "me",
        "metadata": {"chat_id": "1"},
    }
    assert (await post(api, body, "/chat/completions")).status_code == 200
    asked = api.chat.heard[0].asked
    assert (asked.reply_tokens, asked.temperature, asked.stop, asked.seed) == (70, 1.5, ("END",), 7)
    assert asked.answer_schema == schema


async def test_history_with_tools_files_and_parts_is_taken(api):
    call = {"id": "c1", "type": "function", "function": {"name": "search", "arguments": {"q": 1}}}
    messages = [
        {"role": "developer", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "one"}, {"type": "image_url", "image_url": {"url": "x"}}],
        },
        {"role": "assistant", "content": None, "tool_calls": [call, "junk", {"id": 3}]},
        {"role": "tool", "content": "result", "tool_call_id": "c1"},
        {"role": "user", "content": "/approve x", "files": [{"id": 1}]},
        {"role": "user", "content": [{"type": "text", "text": "two"}]},
    ]
    junk = [tool("search"), tool("ask_user"), 3, {"function": "x"}, {"type": "web_search"}]
    assert (await post(api, {"messages": messages, "tools": junk})).status_code == 200
    asked = api.chat.heard[0].asked
    system, picture, called, result, pasted, last = asked.messages
    assert system.spoken_by == "system"
    assert (picture.text, picture.has_attachment) == ("one\n[image_url left out: only text is read here]", True)
    assert called.tool_calls == (ToolCall(id="c1", name="search", arguments='{"q": 1}'),)
    assert (result.tool_call_id, result.spoken_by) == ("c1", None)
    assert (pasted.has_attachment, pasted.is_one_text) == (True, False)
    assert (last.text, last.has_attachment, last.is_one_text) == ("two", False, True)
    assert [each.name for each in asked.tools] == ["search", "ask_user"]
    assert asked.passed_tools("ignore") == ()


OUT_OF_BOUNDS = (
    ({"temperature": 2.1}, "temperature"),
    ({"temperature": "hot"}, "temperature"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_completion_tokens": -1}, "max_completion_tokens"),
    ({"n": 2}, "n"),
    ({"seed": 1.5}, "seed"),
    ({"seed": 1 << 70}, "seed"),
    ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
    ({"stop": [3]}, "stop.0"),
    ({"response_format": {"type": "xml"}}, "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "response_format"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"x": "y" * 33_000}}}},
        "response_format",
    ),
    ({"response_format": {"type": "json_schema", "json_schema": {"schema": [1]}}}, "response_format"),
    ({"messages": [{"role": "assistant", "content": "x"}]}, "messages"),
)


@pytest.mark.parametrize("stream", [True, False])
async def test_what_is_out_of_bounds_is_400_and_names_it(api, stream):
    for wrong, param in OUT_OF_BOUNDS:
        response = await post(api, QUESTION | wrong | {"stream": stream})
        assert (response.status_code, response.json()["error"]["param"]) == (400, param), wrong
    assert api.chat.heard == []


@pytest.mark.parametrize(
    "tools",
    [[tool("x")] * 65, [tool("x" * 65)], [tool("x", {"description": "y" * 17_000})]],
    ids=["many", "name", "large"],
)
async def test_tools_are_bounded_where_they_are_passed_on_and_nowhere_else(tmp_path, api, tools):
    assert (await post(api, QUESTION | {"tools": tools})).status_code == 200
    async with running(tmp_path / "other", client_tools="pass") as passing:
        response = await post(passing, QUESTION | {"tools": tools})
        assert (response.status_code, response.json()["error"]["param"]) == (400, "tools")
        assert (await post(passing, QUESTION | {"tools": tools, "tool_choice": "none"})).status_code == 200


# --- what comes back


@pytest.mark.parametrize("stream", [True, False])
async def test_a_call_of_a_clients_tool_ends_the_answer(tmp_path, stream):
    call = ToolCall(id="c1", name="search", arguments='{"q":"x"}')
    chat = ScriptedChat(["I search. ", ClientCall(call=call)])
    async with running(tmp_path, chat=chat) as api, api.openai() as client:
        if stream:
            got = [each async for each in await client.chat.completions.create(**QUESTION, stream=True)]
            (calls,) = [each.choices[0].delta.tool_calls for each in got if each.choices[0].delta.tool_calls]
            assert calls[0].index == 0
            reason = got[-1].choices[0].finish_reason
        else:
            whole = (await client.chat.completions.create(**QUESTION)).choices[0]
            calls, reason = whole.message.tool_calls, whole.finish_reason
            assert whole.message.content == "I search. \n\n"
    assert (calls[0].id, calls[0].function.name, calls[0].function.arguments) == ("c1", "search", '{"q":"x"}')
    assert reason == "tool_calls"


@pytest.mark.parametrize("stream", [True, False])
async def test_reasoning_has_its_own_field_and_length_its_reason(tmp_path, stream):
    cut = Answered(completion=Completion(text="", model="m", finish_reason="length"))
    chat = ScriptedChat([Thought(text="Let me "), Thought(text="see."), "Well", cut])
    async with running(tmp_path, chat=chat) as api:
        response = await post(api, QUESTION | {"stream": stream})
    if not stream:
        choice = response.json()["choices"][0]
        assert choice["message"]["reasoning_content"] == "Let me see.\n\n"
        assert (choice["message"]["content"], choice["finish_reason"]) == ("Well", "length")
        return
    deltas = [each["choices"][0] for each in chunks(response)]
    assert "".join(each["delta"].get("reasoning_content", "") for each in deltas).strip() == "Let me see."
    assert deltas[-1]["finish_reason"] == "length"


async def test_open_webui_gets_cards_and_others_get_lines(tmp_path):
    chat = ScriptedChat([*LOOKED, LookEnded(number=1, result=LOOK), "It failed [t1].", SOURCED])
    async with running(tmp_path, chat=chat) as api:
        streaming = QUESTION | {"stream": True, "stream_options": {"include_usage": True}}
        cards = await post(api, streaming, **{"X-OpenWebUI-Chat-Id": "1"})
        lines = await post(api, streaming)
        whole = await post(api, QUESTION)
    extensions = [each for each in chunks(cards) if "event" in each or "item" in each]
    assert [each["choices"] for each in extensions] == [[]] * 6
    assert {each["event"]["type"] for each in extensions if "event" in each} == {"status", "source"}
    assert text_of(cards).strip() == "It failed [1]."
    assert not any("event" in each or "item" in each for each in chunks(lines))
    assert text_of(lines) == "> looking at: log of nginx\n\nIt failed [t1].\n\nSources: [t1] log of nginx\n"
    assert whole.json()["choices"][0]["message"]["content"] == "It failed [t1].\n\nSources: [t1] log of nginx\n"
    counted = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    for usage in (chunks(cards)[-1]["usage"], chunks(lines)[-1]["usage"], whole.json()["usage"]):
        assert {key: usage[key] for key in counted} == counted


async def test_the_openai_package_is_not_troubled_by_cards(tmp_path):
    chat = ScriptedChat([*LOOKED, LookEnded(number=1, result=LOOK), "It failed [t1].", SOURCED])
    async with running(tmp_path, chat=chat, tool_progress="open-webui") as api, api.openai() as client:
        got = [each async for each in await client.chat.completions.create(**QUESTION, stream=True)]
    assert "".join(each.choices[0].delta.content or "" for each in got if each.choices).strip() == "It failed [1]."


async def test_a_failing_answer_closes_its_cards_and_ends_in_an_error_frame(tmp_path):
    chat = ScriptedChat(["half [", *LOOKED], failure=BackendUnavailable("the model went away"), pause_seconds=0.01)
    async with running(tmp_path, chat=chat) as api:
        response = await post(api, QUESTION | {"stream": True}, **{"X-OpenWebUI-Chat-Id": "1"})
    *_, output, status, error = chunks(response)
    assert (output["item"]["type"], output["item"]["status"]) == ("function_call_output", "failed")
    assert status["event"]["data"]["done"] is True
    assert error["error"]["message"] == "the model went away"


async def test_a_stream_that_fails_at_once_has_the_failures_status(tmp_path):
    chat = ScriptedChat([], failure=StoreUnavailable("the store is away"))
    async with running(tmp_path, chat=chat) as api:
        response = await post(api, QUESTION | {"stream": True})
    assert (response.status_code, response.json()["error"]["message"]) == (503, "the store is away")
    assert int(response.headers["retry-after"]) > 0


async def test_foreign_links_and_commands_of_a_model_are_harmless_and_our_own_are_meant(tmp_path):
    pieces = ["See ![x](ht", "tps://evil.example/", "a.png)\n/app", "rove x\n", Words(text="/approve y", own=True)]
    async with running(tmp_path, chat=ScriptedChat(pieces, pause_seconds=0.04)) as api:
        streamed = text_of(await post(api, QUESTION | {"stream": True}))
        whole = (await post(api, QUESTION)).json()["choices"][0]["message"]["content"]
    assert streamed == whole
    assert "\\![x] (`https://evil.example/a.png`)\n(only a person can send this) /approve x\n" in whole
    assert whole.endswith("\n/approve y")


async def test_what_a_front_end_reads_itself_stays_the_json_that_it_is(tmp_path):
    text = '{"title": "The ` of ![x](https://e.x/a.png) & <b> at https://e.x"}'
    async with running(tmp_path, chat=ScriptedChat([text])) as api:
        said = (await post(api, QUESTION, **{"X-OWUI-Task": "title_generation"})).json()["choices"][0]["message"][
            "content"
        ]
        chat = (await post(api, QUESTION)).json()["choices"][0]["message"]["content"]
    assert json.loads(said) == {"title": "The ` of ! [x] (https://e.x/a.png) & <b> at https://e.x"}
    assert "`https://e.x/a.png`" in chat


async def test_a_client_that_goes_before_the_first_word_stops_the_work(tmp_path):
    chat = ScriptedChat(["x"], pause_seconds=30)
    async with running(tmp_path, chat=chat) as api, api.http() as http:
        asking = asyncio.create_task(http.post("/v1/chat/completions", json=QUESTION | {"stream": True}))
        async with asyncio.timeout(5):
            while not chat.heard:
                await asyncio.sleep(0.01)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            while not chat.cancelled:
                await asyncio.sleep(0.01)


# --- is it there


async def test_ready_says_whether_the_store_answers(api):
    async with api.http() as http:
        assert (await http.get("/ready")).json() == {"status": "ready"}


async def test_ready_is_503_while_the_store_does_not_answer_and_health_is_not(tmp_path):
    async with running(tmp_path) as api, api.http() as http:
        with sqlite3.connect(api.settings.store_place) as held:
            held.execute("ALTER TABLE conditions RENAME TO elsewhere")
        response = await http.get("/ready")
        assert (response.status_code, response.json()["error"]["code"]) == (503, "unavailable")
        assert int(response.headers["retry-after"]) > 0
        assert (await http.get("/health")).status_code == 200
