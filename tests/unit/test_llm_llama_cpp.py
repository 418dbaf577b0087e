"""The llama.cpp client against servers that misbehave, over real sockets."""

import asyncio
import json
import time
from contextlib import asynccontextmanager, suppress

import pytest

from ai_sysadmin.core.errors import BackendUnavailable, SettingsError
from ai_sysadmin.core.settings import Backend
from ai_sysadmin.llm_backend import Message, PromptTooLong
from ai_sysadmin.llm_backend.llama_cpp import LlamaCpp
from tests.warm import warm

__all__ = ["warm"]

HELLO = (Message(role="user", content="hello"),)
LOADING = {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}
TOO_LONG = {
    "error": {"code": 400, "type": "exceed_context_size_error", "message": "", "n_prompt_tokens": 9, "n_ctx": 4}
}


def reply(status: str, body: object, kind: str = "application/json") -> bytes:
    text = (body if isinstance(body, str) else json.dumps(body)).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n"
    return head.encode() + text


def chunk(text: str = "", finish: str | None = None) -> str:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    body = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "/models/m.gguf", "choices": [choice]}
    return f"data: {json.dumps(body)}\n\n"


def stream(*chunks: str) -> bytes:
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    return (head + "".join(chunks)).encode()


WHOLE = stream(chunk("all "), chunk("well"), chunk(finish="stop"), "data: [DONE]\n\n")


@asynccontextmanager
async def server(*answers: bytes, then_hang: bool = False, timeout_seconds: float = 5, key_file=None):
    """Answer each connection with the next bytes, the last of them for ever; yield a client and what was asked."""
    asked: list[bytes] = []
    serving: list[asyncio.Task] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        head = await reader.readuntil(b"\r\n\r\n")
        length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")), 0)
        asked.append(head + await reader.readexactly(length))
        writer.write(answers[min(len(asked), len(answers)) - 1])
        await writer.drain()
        if then_hang:
            await reader.read()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    client = LlamaCpp("review", Backend(url=url, timeout_seconds=timeout_seconds, api_key_file=key_file))
    try:
        yield client, asked
    finally:
        await client.close()
        await asyncio.gather(*serving)
        listening.close()
        await listening.wait_closed()


async def test_a_request_is_bounded_streams_and_does_not_think():
    async with server(WHOLE) as (client, asked):
        done = await client.complete(HELLO, max_tokens=7, seed=3, schema={"type": "object"})
    body = json.loads(asked[0].partition(b"\r\n\r\n")[2])
    assert (done.text, done.model) == ("all well", "m")
    assert (body["max_tokens"], body["seed"], body["stream"]) == (7, 3, True)
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert body["response_format"]["json_schema"] == {"name": "reply", "strict": True, "schema": {"type": "object"}}
    assert b"connection: close" in asked[0].lower()


async def test_a_loading_server_says_for_how_long():
    async with server(reply("503 Service Unavailable", LOADING)) as (client, _):
        with pytest.raises(BackendUnavailable, match=rf"review model at {client.url} is loading, 0 s so far"):
            await client.complete(HELLO, max_tokens=8)
        await asyncio.sleep(1.1)
        health = await client.health()
        assert health.state == "loading"
        assert "is loading, 1 s so far" in health.text


async def test_a_prompt_that_is_too_long_carries_both_numbers():
    async with server(reply("400 Bad Request", TOO_LONG)) as (client, _):
        with pytest.raises(PromptTooLong) as caught:
            await client.complete(HELLO, max_tokens=8)
    assert (caught.value.n_prompt_tokens, caught.value.n_ctx) == (9, 4)


async def test_a_connection_dropped_before_any_byte_is_tried_once_more():
    async with server(b"", WHOLE) as (client, asked):
        assert (await client.complete(HELLO, max_tokens=8)).text == "all well"
    assert len(asked) == 2


async def test_it_is_tried_once_more_only():
    async with server(b"") as (client, asked):
        with pytest.raises(BackendUnavailable, match="is away"):
            await client.complete(HELLO, max_tokens=8)
    assert len(asked) == 2


@pytest.mark.parametrize("cut", [stream(chunk("all ")), stream(chunk("all "), "data: {")])
async def test_an_answer_that_breaks_off_is_no_answer_and_not_asked_again(cut):
    async with server(cut) as (client, asked):
        with pytest.raises(BackendUnavailable):
            await client.complete(HELLO, max_tokens=8)
    assert len(asked) == 1


async def test_the_whole_answer_has_one_deadline():
    async with server(stream(chunk("all ")), then_hang=True, timeout_seconds=0.4) as (client, _):
        began = time.monotonic()
        with pytest.raises(BackendUnavailable, match=r"did not finish its answer in 0 s"):
            await client.complete(HELLO, max_tokens=8)
        assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    "answer",
    [reply("200 OK", "<html>hello</html>", "text/html"), reply("200 OK", {"all": "well"}), stream("data: x\n\n")],
)
async def test_another_kind_of_server_is_not_taken_for_a_model(answer):
    async with server(answer) as (client, _):
        with pytest.raises(BackendUnavailable):
            await client.complete(HELLO, max_tokens=8)
        assert (await client.health()).state == "away"


async def test_a_server_error_is_said_with_its_text():
    async with server(reply("501 Not Implemented", {"error": {"code": 501, "message": "not on"}})) as (client, _):
        with pytest.raises(BackendUnavailable, match="answers HTTP 501: not on"):
            await client.complete(HELLO, max_tokens=8)


async def test_the_key_is_sent_and_its_refusal_names_the_setting(tmp_path):
    key_file = tmp_path / "key"
    key_file.write_text("secret\n")
    refusal = reply("401 Unauthorized", {"error": {"code": 401, "message": "Invalid API Key"}})
    async with server(refusal, key_file=key_file) as (client, asked):
        with pytest.raises(BackendUnavailable, match=r"backends\.review\.api_key_file"):
            await client.complete(HELLO, max_tokens=8)
    assert b"authorization: bearer secret" in asked[0].lower()


def test_a_key_file_that_cannot_be_read_is_a_mistake_in_the_settings(tmp_path):
    with pytest.raises(SettingsError, match=r"backends\.review\.api_key_file"):
        LlamaCpp("review", Backend(url="http://127.0.0.1:9", api_key_file=tmp_path / "none"))


async def test_a_proxy_of_the_environment_does_not_see_what_this_host_is_asked(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with server(WHOLE) as (client, asked):
        await client.complete(HELLO, max_tokens=8)
    assert asked
