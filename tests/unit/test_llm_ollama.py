"""Ollama through its own API: models that are missing, asleep, elsewhere, and a context that is never overrun."""

import json

import httpx
import pytest

from ai_sysadmin.core.settings import Backend
from ai_sysadmin.llm_backend import BackendBusy, Message, ModelMissing, PromptTooLong
from ai_sysadmin.llm_backend.ollama import LEAST_CONTEXT_TOKENS, Ollama
from ai_sysadmin.testing.fake_ollama import FakeOllama, OllamaModel
from ai_sysadmin.testing.http_server import http_server

HELLO = (Message(role="user", content="hello"),)
SMALL, LARGE = OllamaModel("qwen3:0.6b"), OllamaModel("qwen3:14b")
EMBEDDING = OllamaModel("nomic-embed-text:latest", capabilities=("embedding",))
CLOUD = OllamaModel("gpt-oss:120b-cloud", remote_host="https://ollama.com:443")


class Rig:
    def __init__(self, fake: FakeOllama, url: str) -> None:
        self.fake, self.url = fake, url
        self.clients: list[Ollama] = []

    def client(self, **settings) -> Ollama:
        self.clients.append(Ollama("review", Backend(url=self.url, type="ollama", **settings)))
        return self.clients[-1]


@pytest.fixture
async def rig_of():
    rigs, contexts = [], []

    async def make(*models: OllamaModel) -> Rig:
        fake = FakeOllama(models)
        contexts.append(fake.serving())
        rigs.append(Rig(fake, await contexts[-1].__aenter__()))
        return rigs[-1]

    yield make
    for rig in rigs:
        for client in rig.clients:
            await client.close()
    for context in contexts:
        await context.__aexit__(None, None, None)


async def test_a_model_that_is_not_loaded_is_asleep_and_no_question_wakes_it(rig_of):
    rig = await rig_of(SMALL)
    client = rig.client()
    health = await client.health()
    assert (health.state, health.model) == ("asleep", "qwen3:0.6b")
    assert not (await client.count_tokens("some text")).exact
    assert rig.fake.loaded == set()
    assert (await client.complete(HELLO, max_tokens=8)).text == "some words"
    assert (await client.health()).state == "ready"
    rig.fake.unload()
    assert (await client.health()).state == "asleep"


async def test_a_missing_model_says_how_to_get_it(rig_of):
    client = (await rig_of(SMALL)).client(model="qwen3:4b")
    health = await client.health()
    assert health.state == "away"
    for said in (health.text, await _refusal(client, ModelMissing)):
        assert "does not have the model qwen3:4b: ollama pull qwen3:4b" in said


async def _refusal(client: Ollama, kind: type[Exception]) -> str:
    with pytest.raises(kind) as caught:
        await client.complete(HELLO, max_tokens=8)
    return str(caught.value)


async def test_a_model_that_is_removed_meanwhile_is_found_missing(rig_of):
    rig = await rig_of(SMALL)
    client = rig.client(model="qwen3:0.6b")
    await client.complete(HELLO, max_tokens=8)
    del rig.fake.models["qwen3:0.6b"]
    rig.fake.openai.models = ()
    assert "ollama pull qwen3:0.6b" in await _refusal(client, ModelMissing)


async def test_the_only_model_is_looked_for_again_once_it_is_gone(rig_of):
    rig = await rig_of(SMALL)
    client = rig.client()
    await client.complete(HELLO, max_tokens=8)
    rig.fake.models = {LARGE.name: LARGE}
    rig.fake.openai.models = (LARGE.name,)
    with pytest.raises(ModelMissing):
        await client.complete(HELLO, max_tokens=8)
    assert (await client.complete(HELLO, max_tokens=8)).model == LARGE.name


@pytest.mark.parametrize(
    ("models", "wanted", "found"),
    [
        ((SMALL,), "", "qwen3:0.6b"),
        ((SMALL, EMBEDDING), "", "qwen3:0.6b"),
        ((SMALL, LARGE), "qwen3:14b", "qwen3:14b"),
        ((OllamaModel("mine:latest"), SMALL), "mine", "mine:latest"),
    ],
)
async def test_which_model_is_meant(rig_of, models, wanted, found):
    assert (await (await rig_of(*models)).client(model=wanted).complete(HELLO, max_tokens=8)).model == found


async def test_several_models_and_none_chosen_names_them(rig_of):
    client = (await rig_of(SMALL, LARGE)).client()
    assert "qwen3:0.6b, qwen3:14b): set backends.review.model" in await _refusal(client, ModelMissing)
    assert "ollama pull" in await _refusal((await rig_of()).client(), ModelMissing)


async def test_a_model_that_runs_elsewhere_gets_no_log_text_unless_it_may(rig_of):
    rig = await rig_of(CLOUD)
    assert "log text would leave this host" in await _refusal(rig.client(), ModelMissing)
    assert rig.fake.openai.asked == []
    assert (await rig.client(allow_remote=True).complete(HELLO, max_tokens=8)).text


@pytest.mark.parametrize(
    ("model", "loaded", "settings", "context"),
    [
        (OllamaModel(given=16384), True, {}, 16384),
        (OllamaModel(given=16384), False, {}, LEAST_CONTEXT_TOKENS),
        (OllamaModel(num_ctx=8192), False, {}, 8192),
        (OllamaModel(num_ctx=8192), True, {}, 8192),
        (OllamaModel(num_ctx=8192), True, {"context_tokens": 2048}, 2048),
        (OllamaModel(given=4096), True, {"context_tokens": 32768}, 4096),
        (OllamaModel(num_ctx=8192, trained_for=2048), False, {}, 2048),
    ],
)
async def test_the_context_is_what_ollama_gives(rig_of, model, loaded, settings, context):
    rig = await rig_of(model)
    rig.fake.loaded = {model.name} if loaded else set()
    assert (await rig.client(**settings).health()).context_tokens == context


async def test_an_assumed_context_says_what_to_do(rig_of):
    assert "set OLLAMA_CONTEXT_LENGTH" in (await (await rig_of(SMALL)).client().health()).text
    told = await rig_of(OllamaModel(num_ctx=8192))
    assert "OLLAMA_CONTEXT_LENGTH" not in (await told.client().health()).text


async def test_a_prompt_that_ollama_would_cut_is_not_sent(rig_of):
    rig = await rig_of(OllamaModel(num_ctx=2048))
    with pytest.raises(PromptTooLong) as caught:
        await rig.client().complete([*HELLO, Message(role="user", content="word " * 3000)], max_tokens=8)
    assert caught.value.n_ctx == 2048
    with pytest.raises(PromptTooLong, match="its answer may take 2000"):
        await rig.client().complete([Message(role="user", content="word " * 100)], max_tokens=2000)
    assert rig.fake.openai.asked == []


async def test_the_request_is_in_ollamas_own_terms(rig_of):
    rig = await rig_of(SMALL)
    await rig.client().complete(HELLO, max_tokens=8, schema={"type": "object", "properties": {}}, seed=3)
    (asked,) = rig.fake.openai.asked
    assert (asked["model"], asked["reasoning_effort"], asked["max_tokens"]) == ("qwen3:0.6b", "none", 8)
    assert asked["response_format"]["type"] == "json_schema"
    assert "chat_template_kwargs" not in asked


async def test_a_model_that_cannot_think_or_not_think_is_asked_without_a_word_of_it(rig_of):
    rig = await rig_of(SMALL)
    rig.fake.openai.refuses = frozenset({"reasoning_effort"})
    client = rig.client()
    assert (await client.complete(HELLO, max_tokens=8)).text
    assert (await client.complete(HELLO, max_tokens=8)).text
    assert len(rig.fake.openai.asked) == 3


@pytest.mark.parametrize("page", [b"<html>", b"[]", b'{"models": 5}', b'{"models": [{"size": 1}]}'])
async def test_another_server_is_not_taken_for_ollama(page):
    async def answer(_, reply):
        await reply.whole(page, "application/json")

    async with http_server(answer) as url:
        client = Ollama("review", Backend(url=url, type="ollama"))
        health = await client.health()
        assert (health.state, "not as Ollama does" in health.text) == ("away", True)
        await client.close()


async def test_a_full_queue_is_busy_and_not_away():
    fake = FakeOllama([SMALL])

    async def answer(request, reply):
        if request.path.startswith("/v1"):
            await reply.json({"error": {"message": "server busy, please try again. maximum pending requests"}}, 503)
        else:
            await fake.handle(request, reply)

    async with http_server(answer) as url:
        client = Ollama("review", Backend(url=url, type="ollama"))
        with pytest.raises(BackendBusy, match="is busy: server busy"):
            await client.complete(HELLO, max_tokens=8)
        await client.close()


async def test_the_fake_speaks_as_ollama_does(rig_of):
    rig = await rig_of(OllamaModel("m:latest", num_ctx=64), EMBEDDING)
    async with httpx.AsyncClient(base_url=rig.url, trust_env=False) as http:
        assert "version" in (await http.get("/api/version")).json()
        missing = await http.post("/api/show", json={"model": "none"})
        assert (missing.status_code, missing.json()) == (404, {"error": "model 'none' not found"})
        embedded = await http.post("/api/embed", json={"model": "nomic-embed-text", "input": ["a", "b"]})
        first, second = embedded.json()["embeddings"]
        assert len(first) == len(second)
        assert first != second
        talk = [{"role": "user", "content": f"{n} " + "x" * 200} for n in range(3)]
        said = await http.post("/api/chat", json={"model": "m", "messages": talk})
        lines = [json.loads(line) for line in said.text.splitlines()]
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    assert "".join(line["message"]["content"] for line in lines) == "some words"
    assert rig.fake.script.asked[-1].messages[0].content.startswith("2 ")  # cut from the front, without a word
