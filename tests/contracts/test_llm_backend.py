"""What every model server must do; the same assertions on the real llama-server, the other kinds and the fake."""

import asyncio
import json
import time
from contextlib import aclosing

import httpx
import pytest

from ai_sysadmin.core.errors import BackendUnavailable
from ai_sysadmin.core.settings import Backend
from ai_sysadmin.llm_backend import BackendAway, Extras, Message, PromptTooLong, ToolCall, ToolSpec
from ai_sysadmin.llm_backend.llama_cpp import LlamaCpp
from ai_sysadmin.llm_backend.tokens import estimate
from ai_sysadmin.testing.scripted_model import Scripted
from tests.contracts.model_servers import rig
from tests.llama.server import llama, tiny_model

__all__ = ["llama", "rig", "tiny_model"]

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


UNIT_LOG = ToolSpec(
    name="unit_log",
    description="Shows the last lines of a unit's log.",
    parameters={
        "type": "object",
        "properties": {"unit": {"type": "string", "maxLength": 20}},
        "required": ["unit"],
        "additionalProperties": False,
    },
)
DISK = ToolSpec(
    name="disk", description="Says how full the disks are.", parameters={"type": "object", "properties": {}}
)


async def test_a_ready_server_says_its_model_and_its_context(rig):
    health = await rig.server.health()
    assert health.state == "ready"
    assert health.model
    assert health.context_tokens == rig.context_tokens
    assert (health.slots >= 1) == rig.knows_slots
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


async def test_an_answer_ends_before_a_stop(rig):
    if rig.script:
        rig.script.enqueue("[1, 2, 3, 4]")
    extras = Extras(stop=("x y z", ","))
    done = (await _all(rig.server.stream(HELLO, max_tokens=4000, schema=LONG_ANSWER, seed=1, extras=extras)))[-1]
    assert done.completion.text.strip().startswith("[")
    assert "," not in done.completion.text
    assert done.completion.finish_reason == "stop"
    if rig.script:
        assert rig.script.asked[-1].extras.stop == extras.stop


@pytest.mark.parametrize("thinking", [True, False])
async def test_what_a_model_thinks_is_no_part_of_its_answer(rig, thinking):
    if rig.script:
        rig.script.enqueue(Scripted("all is well", reasoning="hm, let me see"))
    deltas = await _all(rig.server.stream(HELLO, max_tokens=64, seed=1, extras=Extras(thinking=thinking)))
    done = deltas[-1].completion
    assert done.text
    assert "think>" not in done.text
    assert "".join(delta.text for delta in deltas) == done.text
    assert "".join(delta.reasoning for delta in deltas) == done.reasoning
    assert [delta for delta in deltas[:-1] if not (delta.text or delta.reasoning)] == []
    if rig.script:
        assert (done.text, done.reasoning.strip()) == ("all is well", "hm, let me see")
        assert rig.script.asked[-1].extras.thinking == thinking


async def test_tools_are_called_and_answered(rig):
    if rig.script:
        call = ToolCall(id="c1", name="unit_log", arguments='{"unit": "web.service"}')
        rig.script.enqueue(Scripted(tool_calls=(call,)), "it exited")
    extras = Extras(tools=(UNIT_LOG, DISK))
    asked = (await _all(rig.server.stream(HELLO, max_tokens=200, seed=1, extras=extras)))[-1].completion
    assert asked.tool_calls
    assert asked.completion_tokens > 0
    for each in asked.tool_calls:
        assert each.id
        assert each.name in {"unit_log", "disk"}
        assert isinstance(json.loads(each.arguments), dict)
    results = [Message(role="tool", content="nothing", tool_call_id=each.id) for each in asked.tool_calls]
    talk = [*HELLO, Message(role="assistant", content=asked.text, tool_calls=asked.tool_calls), *results]
    done = (await _all(rig.server.stream(talk, max_tokens=64, seed=1, extras=extras)))[-1].completion
    assert done.text
    assert done.tool_calls == ()
    if rig.script:
        assert asked.tool_calls == (call,)
        assert rig.script.asked[-1].messages == tuple(talk)
        assert rig.script.asked[-1].extras.tools == extras.tools


async def _all(deltas):
    return [delta async for delta in deltas]


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
    gone = rig.gone
    health = await gone.health()
    assert health.state == "away"
    assert "review model at " in health.text
    with pytest.raises(BackendUnavailable, match=r"review model at .* is away"):
        await gone.complete(HELLO, max_tokens=8)
    with pytest.raises(BackendUnavailable, match=r"review model at .* is away"):
        await anext(gone.stream(HELLO, max_tokens=8))
    with pytest.raises(BackendAway):
        await gone.complete(HELLO, max_tokens=8)
    assert await gone.count_tokens("still here") == (estimate("still here"), False)


async def test_tokens_are_counted_and_never_less_for_more_text(rig):
    short, long = await rig.server.count_tokens("nginx"), await rig.server.count_tokens("nginx failed " * 50)
    assert 0 < short.tokens < long.tokens
    assert short.exact == long.exact


@pytest.mark.llama
async def test_a_count_by_the_server_is_its_own_tokenizers(llama):
    server = LlamaCpp("review", Backend(url=llama))
    text = "web.service: Main process exited, code=exited, status=1/FAILURE"
    async with httpx.AsyncClient(trust_env=False) as client:
        tokens = (await client.post(f"{llama}/tokenize", json={"content": text})).json()["tokens"]
    assert await server.count_tokens(text) == (len(tokens), True)
    await server.close()


@pytest.mark.llama
async def test_the_stable_head_of_a_prompt_is_served_from_the_cache(llama):
    server = LlamaCpp("review", Backend(url=llama))
    head = Message(role="system", content="The same words at the head of every prompt. " * 40)
    await server.complete([head, Message(role="user", content="first")], max_tokens=4)
    second = await server.complete([head, Message(role="user", content="another")], max_tokens=4)
    assert second.cached_tokens > 0.8 * second.prompt_tokens
    await server.close()
