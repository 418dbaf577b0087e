"""What every model server must do; the same assertions on the real llama-server, the other kinds and the fake."""

import asyncio
import json
import time
from contextlib import aclosing, asynccontextmanager

import httpx
import pytest

from ai_sysadmin.core.clock import SystemClock
from ai_sysadmin.core.errors import BackendUnavailable
from ai_sysadmin.core.settings import Backend
from ai_sysadmin.llm_backend import BackendAway, Message, PromptTooLong
from ai_sysadmin.llm_backend.door import open_model
from ai_sysadmin.llm_backend.llama_cpp import LlamaCpp
from ai_sysadmin.llm_backend.ollama import Ollama
from ai_sysadmin.llm_backend.openai_compatible import OpenAICompatible
from ai_sysadmin.llm_backend.tokens import estimate
from ai_sysadmin.testing.fake_ollama import FakeOllama, OllamaModel
from ai_sysadmin.testing.fake_openai import FakeOpenAI
from ai_sysadmin.testing.memory_leases import MemoryLeases
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


class Rig:
    """A server as the suite drives it. ``script`` is what answers, where a script does."""

    script: ScriptedModel | None = None
    context_tokens = 8192
    knows_slots = True

    def __init__(self, server, gone) -> None:
        self.server = server
        self.gone = gone

    def answers_for_long(self) -> None:
        if self.script:  # a real model does so by itself, given LONG_ANSWER
            self.script.enqueue("word " * 1000)

    async def busy(self) -> int:
        assert self.script is not None
        return self.script.busy


class Scripted(Rig):
    def __init__(self) -> None:
        self.script = ScriptedModel(pause_seconds=0.001)
        super().__init__(self.script, ScriptedModel())
        self.gone.state = "away"


class Real(Rig):
    """A llama-server process; ``url`` is where it is asked how busy it is."""

    def __init__(self, url: str, server, gone) -> None:
        super().__init__(server, gone)
        self._url = url

    async def busy(self) -> int:
        async with httpx.AsyncClient(trust_env=False) as client:
            return sum(slot["is_processing"] for slot in (await client.get(f"{self._url}/slots")).json())


NOBODY = "http://127.0.0.1:9"
OLLAMA_MODEL = OllamaModel(name="qwen3:4b", num_ctx=8192)


@asynccontextmanager
async def _scripted(_):
    yield Scripted()


@asynccontextmanager
async def _llama_cpp(request):
    url = request.getfixturevalue("llama")
    yield Real(url, LlamaCpp("review", Backend(url=url)), LlamaCpp("review", Backend(url=NOBODY)))


@asynccontextmanager
async def _through_the_door(request):
    url = request.getfixturevalue("llama")
    around = {"leases": MemoryLeases(), "clock": SystemClock(), "turn": request.param.rpartition(" ")[2]}
    rig = Real(
        url, open_model("review", Backend(url=url), **around), open_model("review", Backend(url=NOBODY), **around)
    )
    yield rig


@asynccontextmanager
async def _llama_as_openai(request):
    url = request.getfixturevalue("llama")
    settings = {"type": "openai", "context_tokens": 8192}
    rig = Real(
        url,
        OpenAICompatible("review", Backend(url=url, **settings)),
        OpenAICompatible("review", Backend(url=NOBODY, **settings)),
    )
    rig.knows_slots = False
    yield rig


@asynccontextmanager
async def _openai(_):
    fake = FakeOpenAI(ScriptedModel(pause_seconds=0.001))
    settings = {"type": "openai", "context_tokens": 8192}
    async with fake.serving() as url:
        rig = Rig(
            OpenAICompatible("review", Backend(url=url, **settings)),
            OpenAICompatible("review", Backend(url=NOBODY, **settings)),
        )
        rig.script, rig.knows_slots = fake.script, False
        yield rig


def _ollama_at(url: str) -> Ollama:
    return Ollama("review", Backend(url=url, type="ollama"))


@asynccontextmanager
async def _ollama(_):
    fake = FakeOllama([OLLAMA_MODEL], ScriptedModel(pause_seconds=0.001, context_tokens=1 << 30))
    fake.loaded.add(OLLAMA_MODEL.name)
    async with fake.serving() as url:
        rig = Rig(_ollama_at(url), _ollama_at(NOBODY))
        rig.script = fake.script
        yield rig


@asynccontextmanager
async def _ollama_on_llama(request):
    llama = request.getfixturevalue("llama")
    fake = FakeOllama([OLLAMA_MODEL], proxy_to=llama)
    fake.loaded.add(OLLAMA_MODEL.name)
    async with fake.serving() as url:
        yield Real(llama, _ollama_at(url), _ollama_at(NOBODY))


KINDS = {
    "scripted": _scripted,
    "openai": _openai,
    "ollama": _ollama,
    "llama-cpp": _llama_cpp,
    "llama-cpp as openai": _llama_as_openai,
    "ollama on llama-cpp": _ollama_on_llama,
    "llama-cpp, plain": _through_the_door,
    "llama-cpp, foreground": _through_the_door,
    "llama-cpp, background": _through_the_door,
}


@pytest.fixture(params=[pytest.param(kind, marks=pytest.mark.llama if "llama-cpp" in kind else ()) for kind in KINDS])
async def rig(request):
    async with KINDS[request.param](request) as made:
        yield made
        await made.server.close()
        await made.gone.close()


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
