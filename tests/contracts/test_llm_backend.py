"""What every model server must do; the same assertions on the real llama-server and on the fake."""

import asyncio
import json
import time
from contextlib import aclosing

import httpx
import pytest

from ai_sysadmin.core.errors import BackendUnavailable
from ai_sysadmin.core.settings import Backend
from ai_sysadmin.llm_backend import Message, PromptTooLong
from ai_sysadmin.llm_backend.llama_cpp import LlamaCpp
from ai_sysadmin.testing.scripted_model import ScriptedModel
from tests.llama.server import llama, tiny_model

__all__ = ["llama", "tiny_model"]

HELLO = (Message(role="system", content="Answer in a word."), Message(role="user", content="hello"))
LONG_ANSWER = {"type": "array", "items": {"type": "integer"}, "minItems": 900, "maxItems": 1000}
SCHEMA = {
    "type": "object",
    "properties": {
        "verdict": {"type": "string", "enum": ["act", "escalate"]},
        "why": {"type": "string", "maxLength": 40},
        "severity": {"type": "integer", "minimum": 0, "maximum": 100},
    },
    "required": ["verdict", "why", "severity"],
    "additionalProperties": False,
}


class Scripted:
    """The fake, as the suite drives it."""

    def __init__(self) -> None:
        self.server = ScriptedModel(pause_seconds=0.001)

    def answers_for_long(self) -> None:
        self.server.enqueue("word " * 1000)

    async def busy(self) -> int:
        return self.server.busy

    def away(self) -> ScriptedModel:
        gone = ScriptedModel()
        gone.state = "away"
        return gone


class Real:
    """A llama-server process, as the suite drives it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.server = LlamaCpp("review", Backend(url=url))

    def answers_for_long(self) -> None:
        """It does so by itself, given LONG_ANSWER."""

    async def busy(self) -> int:
        async with httpx.AsyncClient(trust_env=False) as client:
            return sum(slot["is_processing"] for slot in (await client.get(f"{self._url}/slots")).json())

    def away(self) -> LlamaCpp:
        return LlamaCpp("review", Backend(url="http://127.0.0.1:9"))


@pytest.fixture(params=["scripted", pytest.param("llama-cpp", marks=pytest.mark.llama)])
async def rig(request):
    made = Scripted() if request.param == "scripted" else Real(request.getfixturevalue("llama"))
    yield made
    await made.server.close()


async def test_a_ready_server_says_its_model_and_its_context(rig):
    health = await rig.server.health()
    assert health.state == "ready"
    assert health.model
    assert health.context_tokens == 8192
    assert health.slots >= 1
    assert rig.server.url in health.text


async def test_an_answer_is_whole_and_counted(rig):
    done = await rig.server.complete(HELLO, max_tokens=64, seed=1)
    assert done.text
    assert done.model
    assert done.prompt_tokens > 0
    assert 0 < done.completion_tokens <= 64


async def test_an_answer_never_exceeds_max_tokens_and_says_so(rig):
    rig.answers_for_long()
    done = await rig.server.complete(HELLO, max_tokens=5, seed=1, schema=LONG_ANSWER)
    assert done.completion_tokens <= 5
    assert done.finish_reason == "length"


async def test_a_stream_is_the_answer_in_pieces_and_ends_with_the_whole(rig):
    pieces = [delta async for delta in rig.server.stream(HELLO, max_tokens=64, seed=1)]
    assert all(delta.text and delta.completion is None for delta in pieces[:-1])
    assert pieces[-1].completion.text == "".join(delta.text for delta in pieces)
    assert pieces[-1].completion.finish_reason in {"stop", "length"}


@pytest.mark.parametrize("seed", range(3))
async def test_a_schema_constrains_the_answer(rig, seed):
    done = await rig.server.complete(HELLO, max_tokens=300, schema=SCHEMA, seed=seed, temperature=1)
    said = json.loads(done.text)
    assert said["verdict"] in {"act", "escalate"}
    assert len(said["why"]) <= 40
    assert 0 <= said["severity"] <= 100
    assert set(said) == set(SCHEMA["required"])


async def test_many_answers_one_after_the_other(rig):
    for seed in range(20):
        assert (await rig.server.complete(HELLO, max_tokens=8, seed=seed)).completion_tokens > 0


async def test_answers_at_the_same_time(rig):
    done = await asyncio.gather(*(rig.server.complete(HELLO, max_tokens=8, seed=seed) for seed in range(6)))
    assert all(each.text for each in done)


async def _freed_within(rig, seconds: float) -> float:
    began = time.monotonic()
    while await rig.busy():
        assert time.monotonic() - began < seconds, "the slot is still held"
        await asyncio.sleep(0.25)
    return time.monotonic() - began


@pytest.mark.parametrize("after", [0.02, 0.3])
async def test_cancelling_an_answer_frees_the_server(rig, after):
    rig.answers_for_long()
    asking = asyncio.create_task(rig.server.complete(HELLO, max_tokens=4000, schema=LONG_ANSWER))
    await asyncio.sleep(after)
    assert not asking.done()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await _freed_within(rig, 2)


async def test_leaving_a_stream_frees_the_server(rig):
    rig.answers_for_long()
    async with aclosing(rig.server.stream(HELLO, max_tokens=4000, schema=LONG_ANSWER)) as deltas:
        assert (await anext(deltas)).text
    await _freed_within(rig, 2)


async def test_a_prompt_that_does_not_fit_is_a_typed_error(rig):
    with pytest.raises(PromptTooLong) as caught:
        await rig.server.complete([Message(role="user", content="word " * 20_000)], max_tokens=8)
    assert caught.value.n_ctx == 8192
    assert caught.value.n_prompt_tokens > 8192


async def test_a_server_that_is_away_is_named_with_layer_and_place(rig):
    gone = rig.away()
    health = await gone.health()
    assert health.state == "away"
    assert "review model at " in health.text
    with pytest.raises(BackendUnavailable, match=r"review model at .* is away"):
        await gone.complete(HELLO, max_tokens=8)
    with pytest.raises(BackendUnavailable, match=r"review model at .* is away"):
        await anext(gone.stream(HELLO, max_tokens=8))
    await gone.close()


@pytest.mark.llama
async def test_the_stable_head_of_a_prompt_is_served_from_the_cache(llama):
    server = LlamaCpp("review", Backend(url=llama))
    head = Message(role="system", content="The same words at the head of every prompt. " * 40)
    await server.complete([head, Message(role="user", content="first")], max_tokens=4)
    second = await server.complete([head, Message(role="user", content="another")], max_tokens=4)
    assert second.cached_tokens > 0.8 * second.prompt_tokens
    await server.close()
