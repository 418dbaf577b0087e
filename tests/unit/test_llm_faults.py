"""Every fault of a llama-server, as the client and as everything around it say it."""

import time

import pytest

from ai_sysadmin.core.errors import BackendUnavailable
from ai_sysadmin.core.settings import Backend
from ai_sysadmin.llm_backend import BackendAway, BackendFailed, BackendLoading, Message
from ai_sysadmin.llm_backend.door import open_model
from ai_sysadmin.llm_backend.llama_cpp import LlamaCpp
from ai_sysadmin.testing.http_server import http_server
from ai_sysadmin.testing.misbehaving_server import Fault, MisbehavingServer
from tests.warm import warm

__all__ = ["warm"]

HELLO = (Message(role="user", content="hello"),)
KINDS = {
    Fault.LOADING: BackendLoading,
    Fault.HTML: BackendFailed,
    Fault.SERVER_ERROR: BackendFailed,
    Fault.FAULT_IN_STREAM: BackendFailed,
    Fault.NO_ANSWER: BackendUnavailable,
    Fault.TRICKLE: BackendUnavailable,
    Fault.DROPS_AT_ONCE: BackendAway,
    Fault.DROPS_IN_STREAM: BackendFailed,
    Fault.ENDS_IN_STREAM: BackendFailed,
    Fault.BINARY: BackendFailed,
    Fault.REFUSES_KEY: BackendUnavailable,
}


@pytest.mark.parametrize("opened", [LlamaCpp, open_model])
@pytest.mark.parametrize("fault", KINDS)
async def test_every_fault_is_typed_and_names_the_layer_and_the_place(fault, opened):
    async with MisbehavingServer(fault).serving() as url:
        client = opened("review", Backend(url=url, timeout_seconds=1))
        began = time.monotonic()
        with pytest.raises(KINDS[fault], match=rf"^review model at {url} ") as caught:
            await client.complete(HELLO, max_tokens=50)
        assert isinstance(caught.value, BackendUnavailable)
        assert time.monotonic() - began < 3
        await client.close()


async def test_an_answer_without_end_is_cut():
    async with MisbehavingServer(Fault.ENDLESS).serving() as url:
        client = LlamaCpp("review", Backend(url=url, timeout_seconds=5))
        done = await client.complete(HELLO, max_tokens=50)
        assert len(done.text) <= 50 * 64
        assert done.finish_reason == "length"
        await client.close()


@pytest.mark.parametrize("fault", [Fault.NO_ANSWER, Fault.SERVER_ERROR, Fault.DROPS_IN_STREAM, Fault.TRICKLE])
async def test_what_was_sent_is_not_sent_again_where_an_answer_may_be_under_way(fault):
    server = MisbehavingServer(fault)
    async with server.serving() as url:
        client = LlamaCpp("review", Backend(url=url, timeout_seconds=0.2))
        with pytest.raises(BackendUnavailable):
            await client.complete(HELLO, max_tokens=50)
        assert server.asked == 1
        await client.close()


async def test_what_is_asked_does_not_follow_a_redirection():
    elsewhere = []

    async def other(request, reply):
        elsewhere.append(request)
        await reply.json({})

    async with http_server(other) as target:

        async def redirects(request, reply):
            await reply.raw(
                f"HTTP/1.1 307 Moved\r\nLocation: {target}{request.path}\r\nContent-Length: 0\r\n\r\n".encode()
            )

        async with http_server(redirects) as url:
            client = LlamaCpp("review", Backend(url=url))
            with pytest.raises(BackendUnavailable, match="answers HTTP 307"):
                await client.complete(HELLO, max_tokens=50)
            assert (await client.health()).state == "away"
            await client.close()
    assert elsewhere == []


async def test_health_reads_no_more_than_a_status_can_be():
    async def endless(_, reply):
        await reply.begin("application/json")
        while True:
            await reply.raw(b" " * 65536)

    async with http_server(endless) as url:
        client = LlamaCpp("review", Backend(url=url))
        assert (await client.health()).state == "away"
        assert not (await client.count_tokens("some text")).exact
        await client.close()


async def test_counting_does_not_wait_for_a_server_that_did_not_count():
    asked = []

    async def odd(request, reply):
        asked.append(request.path)
        await reply.json({"unexpected": True})

    async with http_server(odd) as url:
        client = LlamaCpp("review", Backend(url=url))
        counts = [await client.count_tokens("some text") for _ in range(5)]
        assert counts == [counts[0]] * 5
        assert not counts[0].exact
        assert len(asked) == 2
        await client.close()


async def test_what_cannot_be_sent_to_a_tokenizer_is_estimated():
    async with MisbehavingServer(Fault.NONE).serving() as url:
        client = LlamaCpp("review", Backend(url=url))
        count = await client.count_tokens("x" * 300_000)
        assert (count.tokens, count.exact) == (100_000, False)
        await client.close()
