"""A model that thinks before it answers."""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import aclosing

import httpx
import pytest

from ai_sysadmin.core.settings import Backend
from ai_sysadmin.llm_backend import Completion, Extras, Message
from ai_sysadmin.llm_backend.door import open_model
from ai_sysadmin.llm_backend.llama_cpp import LlamaCpp
from ai_sysadmin.testing.memory_leases import MemoryLeases
from tests.llama import make_tiny_gguf
from tests.llama.server import serve

pytestmark = pytest.mark.llama

QUESTION = [Message(role="user", content="judge")]
THINKING = Extras(thinking=True)
SCHEMA = {
    "type": "object",
    "properties": {"verdict": {"type": "string", "enum": ["act", "escalate"]}},
    "required": ["verdict"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def thinking_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "thinking.gguf"
    make_tiny_gguf.main([str(path), "--think"])
    return path


@pytest.fixture(scope="module")
def url(thinking_model) -> Iterator[str]:
    with serve(thinking_model) as url:
        yield url


async def answer(server, *, seed=1, most=300, schema=None, extras=THINKING) -> Completion:
    stream = server.stream(QUESTION, max_tokens=most, seed=seed, schema=schema, temperature=1, extras=extras)
    deltas = [delta async for delta in stream]
    done = deltas[-1].completion
    assert "".join(delta.text for delta in deltas) == done.text
    assert "".join(delta.reasoning for delta in deltas) == done.reasoning
    return done


async def test_a_thinking_model_does_not_spend_its_answer_on_thoughts(url):
    server = LlamaCpp("review", Backend(url=url))
    done = await server.complete(QUESTION, max_tokens=30, schema=SCHEMA, seed=1)
    assert json.loads(done.text)["verdict"] in {"act", "escalate"}
    plain = await server.complete(QUESTION, max_tokens=30, seed=1)
    assert ("think>" in plain.text, plain.reasoning) == (False, "")
    await server.close()


async def test_a_model_that_may_think_does_and_its_thoughts_are_kept_apart(url):
    server = LlamaCpp("meta", Backend(url=url))
    for seed in range(5):
        done = await answer(server, seed=seed)
        assert done.reasoning
        assert "think>" not in done.text + done.reasoning
        assert done.completion_tokens > 1
    await server.close()


class WithMarks(LlamaCpp):
    """Asks the server to leave thoughts in the text, as servers do that know nothing of them."""

    let_think = {"reasoning_format": "none"}  # noqa: RUF012 - a mapping that nobody changes


async def test_thoughts_are_recognised_in_the_text_too(url):
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        body = {"messages": [QUESTION[0].model_dump(include={"role", "content"})], "max_tokens": 300, "seed": 1}
        said = (await client.post("/v1/chat/completions", json=body | WithMarks.let_think)).json()
    assert said["choices"][0]["message"]["content"].startswith("<think>")
    server = WithMarks("meta", Backend(url=url))
    for seed in range(3):
        done = await answer(server, seed=seed)
        assert done.reasoning
        assert "think>" not in done.text + done.reasoning
    await server.close()


async def test_a_schema_is_kept_to_also_where_the_model_might_think(url):
    server = open_model("meta", Backend(url=url))
    for seed in range(3):
        done = await answer(server, seed=seed, schema=SCHEMA, most=30)
        assert json.loads(done.text)["verdict"] in {"act", "escalate"}
        assert done.reasoning == ""
    await server.close()


async def test_a_model_that_is_cut_off_in_its_thoughts_has_no_answer(url):
    server = LlamaCpp("meta", Backend(url=url))
    done = await answer(server, most=1)
    assert (done.text, done.finish_reason) == ("", "length")
    await server.close()


async def test_leaving_it_in_its_thoughts_frees_the_slot(url):
    server = open_model("meta", Backend(url=url), leases=MemoryLeases(), turn="foreground")
    async with aclosing(server.stream(QUESTION, max_tokens=6000, seed=1, temperature=1, extras=THINKING)) as deltas:
        assert (await anext(deltas)).reasoning
    left = time.monotonic()
    async with httpx.AsyncClient(trust_env=False) as client:
        while any(slot["is_processing"] for slot in (await client.get(f"{url}/slots")).json()):
            assert time.monotonic() - left < 2
            await asyncio.sleep(0.1)
    await server.close()
