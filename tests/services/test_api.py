"""The API over real sockets: a real uvicorn, httpx, and the `openai` package."""

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path

import openai
import pytest

from ai_sysadmin.core.errors import BackendUnavailable, ExecutorUnavailable
from ai_sysadmin.llm_backend import ServerHealth
from ai_sysadmin.testing.api import FixedExecutor, FixedHealth, ScriptedChat
from tests.services.api_harness import an_incident, running

QUESTION = {"model": "ai-sysadmin", "messages": [{"role": "user", "content": "What is wrong?"}]}


@pytest.fixture
async def api(tmp_path):
    async with running(tmp_path) as server:
        yield server


async def until(happened):
    async with asyncio.timeout(5):
        while not happened():
            await asyncio.sleep(0.01)


def shape_of(response):
    error = response.json()["error"]
    assert set(error) == {"message", "type", "code", "param"}
    return response.status_code, error["code"]


# --- who comes in --------------------------------------------------------------------------------------------


async def test_only_health_answers_without_a_key(api):
    async with api.anonymous() as http:
        assert (await http.get("/health")).json() == {"status": "ok"}
        for path in ("/", "/v1/models", "/models", "/v1/system/status", "/nothing", "/health/x", "/docs"):
            response = await http.get(path)
            assert shape_of(response) == (401, "invalid_api_key"), path
            assert response.headers["www-authenticate"] == "Bearer"
        assert shape_of(await http.post("/v1/chat/completions", json=QUESTION)) == (401, "invalid_api_key")
    assert api.chat.heard == []


@pytest.mark.parametrize("given", ["Bearer wrong", "Bearer Ω", "Bearer", "Basic a2V5"])
async def test_a_wrong_key_is_401(api, given):
    async with api.anonymous() as http:
        headers = {"Authorization": given.encode()}
        assert shape_of(await http.get("/v1/models", headers=headers)) == (401, "invalid_api_key")


async def test_every_key_in_the_file_is_good_at_once(api):
    api.settings.api_key_file.write_text(f"# phone\nsecond\n\n{api.key}\n")
    for key in ("second", api.key):
        async with api.http(key) as http:
            assert (await http.get("/v1/models")).status_code == 200
    for key in ("# phone", "phone"):
        async with api.http(key) as http:
            assert (await http.get("/v1/models")).status_code == 401


async def test_an_unreadable_key_file_lets_nobody_in(api):
    api.settings.api_key_file.unlink()
    async with api.http() as http:
        response = await http.get("/v1/models")
    assert shape_of(response) == (503, "unavailable")
    assert int(response.headers["retry-after"]) > 0


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8083", "127.0.0.1.evil.example", "a@127.0.0.1", "["])
async def test_a_host_that_is_not_ours_is_403(api, host):
    async with api.http(Host=host) as http:
        assert shape_of(await http.get("/v1/models")) == (403, "host_not_allowed")
        assert shape_of(await http.get("/health")) == (403, "host_not_allowed")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9", "[::1]:8083", "127.0.0.1"])
async def test_our_own_names_are_welcome(api, host):
    async with api.http(Host=host) as http:
        assert (await http.get("/v1/models")).status_code == 200


async def test_pages_of_another_origin_are_403(api):
    async with api.http(Origin="http://evil.example") as http:
        assert shape_of(await http.get("/v1/models")) == (403, "origin_not_allowed")
        assert shape_of(await http.options("/v1/chat/completions")) == (403, "origin_not_allowed")
    async with api.http(Origin="null") as http:
        assert shape_of(await http.get("/v1/models")) == (403, "origin_not_allowed")
    async with api.http(Origin=api.url) as http:
        assert (await http.get("/v1/models")).status_code == 200


async def test_a_forwarded_header_makes_nobody_root(api):
    async with api.anonymous() as http:
        headers = {"X-Forwarded-For": "uid:0", "Forwarded": "for=uid:0", "X-Real-IP": "uid:0"}
        assert (await http.get("/v1/models", headers=headers)).status_code == 401


async def test_the_unix_socket_lets_its_own_user_in_without_a_key(api):
    async with api.local() as http:
        assert (await http.get("/v1/models")).status_code == 200
        assert (await http.get("/v1/system/status")).status_code == 200
    assert api.settings.api_socket.stat().st_mode & 0o777 == 0o666


STRANGER = """
import socket, sys
with socket.socket(socket.AF_UNIX) as sock:
    sock.connect(sys.argv[1])
    sock.sendall(b"GET /v1/system/status HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
    while chunk := sock.recv(65536):
        sys.stdout.buffer.write(chunk)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
async def test_the_unix_socket_turns_strangers_away():
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        async with running(Path(name)) as api:
            stranger = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-c", STRANGER, str(api.settings.api_socket)),
                stdout=asyncio.subprocess.PIPE,
                user=65534,
            )
            said, _ = await stranger.communicate()
    assert said.startswith(b"HTTP/1.1 403")
    assert b"not_an_operator" in said


# --- errors --------------------------------------------------------------------------------------------------


async def test_unknown_paths_and_methods_keep_the_shape(api):
    async with api.http() as http:
        assert shape_of(await http.get("/v1/nothing")) == (404, "unknown_path")
        assert shape_of(await http.put("/v1/models")) == (405, "unknown_path")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"[" * 100_000, None),
        (b'{"messages":[]}', "messages"),
        (b'{"messages":"hello"}', "messages"),
        (b'{"messages":[{"role":"wizard","content":"x"}]}', "messages.0.role"),
        (b'{"messages":[{"role":"user","content":3}]}', None),
        (b'{"messages":[{"role":"user","content":"  "}]}', "messages"),
        (b'{"messages":[{"role":"system","content":"be nice"}]}', "messages"),
        (b'{"messages":[{"role":"user","content":"x"}],"stream":"perhaps"}', "stream"),
        (b"\xff\xfe", None),
    ],
)
async def test_a_bad_body_is_400_and_says_where(api, body, param):
    async with api.http() as http:
        response = await http.post("/v1/chat/completions", content=body)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["message"]
    assert param is None or error["param"] == param
    assert api.chat.heard == []


async def test_an_oversized_body_is_413_announced_or_not(api):
    async def pieces():
        for _ in range(40):
            yield b"x" * 65536

    async with api.http() as http:
        big = b"x" * ((2 << 20) + 1)
        assert shape_of(await http.post("/v1/chat/completions", content=big)) == (413, "request_too_large")
        assert shape_of(await http.post("/v1/chat/completions", content=pieces())) == (413, "request_too_large")
        assert (await http.get("/v1/models")).status_code == 200


async def test_a_backend_that_is_away_is_503_with_retry_after(tmp_path):
    chat = ScriptedChat(pieces=(), failure=BackendUnavailable("the model is away"))
    async with running(tmp_path, chat=chat) as api, api.http() as http:
        response = await http.post("/chat/completions", json=QUESTION)
        assert shape_of(response) == (503, "unavailable")
        assert response.json()["error"]["message"] == "the model is away"
        assert int(response.headers["retry-after"]) > 0


async def test_a_bug_is_500_in_shape_and_the_server_lives_on(tmp_path):
    async with running(tmp_path, chat=ScriptedChat(failure=ZeroDivisionError("secret"))) as api, api.http() as http:
        response = await http.post("/v1/chat/completions", json=QUESTION)
        assert shape_of(response) == (500, "internal_error")
        assert "secret" not in response.text
        assert (await http.get("/v1/models")).status_code == 200


# --- chat ----------------------------------------------------------------------------------------------------


async def test_the_openai_package_gets_a_whole_answer(api):
    async with api.openai() as client:
        answer = await client.chat.completions.create(**QUESTION)
    assert answer.choices[0].message.content == "All is well."
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (40, 3)
    (heard,) = api.chat.heard
    assert [(m.role, m.content) for m in heard.messages] == [("user", "What is wrong?")]
    assert heard.caller.name


async def test_the_openai_package_streams(api):
    async with api.openai() as client:
        stream = await client.chat.completions.create(**QUESTION, stream=True, stream_options={"include_usage": True})
        chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "All is well."
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 3
    assert len({chunk.id for chunk in chunks}) == 1


async def test_the_openai_package_says_that_a_key_is_wrong(api):
    async with api.openai("wrong") as client:
        with pytest.raises(openai.AuthenticationError):
            await client.models.list()


async def test_tiny_deltas_are_coalesced(tmp_path):
    pieces = [f"{number} " for number in range(400)]
    async with running(tmp_path, chat=ScriptedChat(pieces, pause_seconds=0.0005)) as api, api.http() as http:
        response = await http.post("/v1/chat/completions", json=QUESTION | {"stream": True})
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert response.headers["content-type"].startswith("text/event-stream")
    assert lines[-1] == "[DONE]"
    deltas = [json.loads(line)["choices"][0]["delta"] for line in lines[:-1]]
    assert "".join(delta.get("content", "") for delta in deltas) == "".join(pieces)
    assert len(deltas) < 100


async def test_the_first_words_come_before_the_last(tmp_path):
    chat = ScriptedChat(["first", "second"], pause_seconds=0.3)
    async with running(tmp_path, chat=chat) as api, api.http() as http:
        loop = asyncio.get_running_loop()
        times = {}
        async with http.stream("POST", "/v1/chat/completions", json=QUESTION | {"stream": True}) as response:
            async for line in response.aiter_lines():
                for word in ("first", "second"):
                    if word in line:
                        times[word] = loop.time()
    assert times["second"] - times["first"] > 0.2


@pytest.mark.parametrize(
    ("failure", "code"), [(BackendUnavailable("the model went away"), "unavailable"), (KeyError("x"), "internal_error")]
)
async def test_an_answer_that_fails_midway_ends_in_an_error_frame(tmp_path, failure, code):
    async with running(tmp_path, chat=ScriptedChat(["half"], failure=failure)) as api:
        async with api.openai() as client:
            stream = await client.chat.completions.create(**QUESTION, stream=True)
            heard = []
            with pytest.raises(openai.APIError) as caught:
                async for chunk in stream:
                    heard += [chunk.choices[0].delta.content or ""]
        assert "".join(heard) == "half"
        assert caught.value.code == code


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_goes_away_ends_the_answer(tmp_path, stream):
    chat = ScriptedChat(["x"] * 1000, pause_seconds=0.05)
    async with running(tmp_path, chat=chat) as api:
        async with api.http() as http:
            asking = asyncio.create_task(http.post("/v1/chat/completions", json=QUESTION | {"stream": stream}))
            await until(lambda: chat.heard)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        await until(lambda: chat.cancelled)


async def test_an_answer_under_way_is_finished_before_the_server_ends(tmp_path):
    chat = ScriptedChat(["slow ", "but whole"], pause_seconds=0.4)
    settings_dir = tmp_path
    async with running(settings_dir, chat=chat) as api:
        http = api.http()
        asking = asyncio.create_task(http.post("/v1/chat/completions", json=QUESTION))
        await until(lambda: chat.heard)
    response = await asking
    await http.aclose()
    assert response.json()["choices"][0]["message"]["content"] == "slow but whole"


# --- what the command line asks ------------------------------------------------------------------------------


async def test_status_is_ok_when_everything_answers(api):
    await an_incident(api)
    async with api.local() as http:
        status = (await http.get("/v1/system/status")).json()
    assert (status["state"], status["reasons"]) == ("ok", [])
    assert status["incidents"] == {"open": 1}
    assert status["journal"]["entries_read"] == 7
    assert [b["layer"] for b in status["backends"]] == ["trigger", "review", "meta"]


async def test_status_says_what_is_degraded_and_what_it_costs(tmp_path):
    away = FixedHealth(ServerHealth(state="away", text="nobody listens"))
    slow = FixedHealth(after_seconds=30)
    probes = {"trigger": FixedHealth(), "review": away, "meta": slow}
    executor = FixedExecutor(ExecutorUnavailable("the executor does not answer"))
    async with running(tmp_path, probes=probes, executor=executor) as api, api.local() as http:
        begun = asyncio.get_running_loop().time()
        status = (await http.get("/v1/system/status")).json()
        assert asyncio.get_running_loop().time() - begun < 4
    assert status["state"] == "degraded"
    assert len(status["reasons"]) == 3
    assert "executor" in status["reasons"][0]
    assert "judged by rules" in status["reasons"][1]
    assert [b["state"] for b in status["backends"]] == ["ready", "away", "away"]


async def test_incidents_are_listed_by_state_and_shown_by_prefix(api):
    incident = await an_incident(api)
    async with api.local() as http:
        listed = (await http.get("/v1/system/incidents", params={"state": "open"})).json()["incidents"]
        assert [i["id"] for i in listed] == [incident.id]
        assert (await http.get("/v1/system/incidents", params={"state": "resolved"})).json() == {"incidents": []}
        shown = (await http.get(f"/v1/system/incidents/{incident.id[:4]}")).json()
        assert shown["incident"]["unit"] == "nginx.service"
        assert shape_of(await http.get("/v1/system/incidents/zzzzzz")) == (404, "not_found")
        assert shape_of(await http.get("/v1/system/incidents", params={"state": "odd"})) == (400, "unknown_state")
        assert shape_of(await http.get("/v1/system/actions/zzzzzz")) == (404, "not_found")
        assert (await http.get("/v1/system/actions", params={"state": "pending"})).json() == {"actions": []}
