"""Servers that only speak like OpenAI's: which model, what they do not know, what they say of a prompt too long."""

import pytest

from ai_sysadmin.core.settings import Backend
from ai_sysadmin.llm_backend import BackendBusy, BackendFailed, BackendLoading, Message, ModelMissing, PromptTooLong
from ai_sysadmin.llm_backend.openai_compatible import OpenAICompatible
from ai_sysadmin.llm_backend.openai_wire import to_leave_out
from ai_sysadmin.llm_backend.server_words import ServerWords, too_long
from ai_sysadmin.testing.fake_openai import FakeOpenAI
from ai_sysadmin.testing.http_server import http_server
from ai_sysadmin.testing.scripted_model import ScriptedModel
from tests.serving import make, says_hello, tls_server

HELLO = (Message(role="user", content="hello"),)
SCHEMA = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}


def client_of(url: str, **settings) -> OpenAICompatible:
    return OpenAICompatible("meta", Backend(url=url, type="openai", **settings))


async def test_the_only_model_there_is_the_one():
    async with FakeOpenAI(models=("llama-3",)).serving() as url:
        client = client_of(url)
        assert (await client.complete(HELLO, max_tokens=8)).model == "llama-3"
        health = await client.health()
        assert (health.state, health.model, health.context_tokens, health.slots) == ("ready", "llama-3", 0, 0)
        assert "set backends.meta.context_tokens" in health.text
        await client.close()


async def test_several_models_and_none_chosen_names_them():
    async with FakeOpenAI(models=("b", "a")).serving() as url:
        client = client_of(url)
        with pytest.raises(ModelMissing, match=r"has 2 models \(a, b\): set backends\.meta\.model"):
            await client.complete(HELLO, max_tokens=8)
        assert (await client.health()).state == "away"
        await client.close()


async def test_a_model_that_is_not_there_is_said_so():
    async with FakeOpenAI(models=("a",)).serving() as url:
        client = client_of(url, model="b")
        with pytest.raises(ModelMissing, match="does not have the model b"):
            await client.complete(HELLO, max_tokens=8)
        health = await client.health()
        assert (health.state, "it has a; set backends.meta.model" in health.text) == ("away", True)
        await client.close()


@pytest.mark.parametrize(
    "refused",
    [
        ("stream_options",),
        ("chat_template_kwargs",),
        ("chat_template_kwargs", "stream_options"),
        ("seed", "temperature"),
        ("response_format",),
        ("max_tokens",),
    ],
)
async def test_what_the_server_does_not_know_is_learnt_once(refused):
    fake = FakeOpenAI(refuses=refused)
    if refused == ("max_tokens",):
        fake = RenamedMaxTokens()
    async with fake.serving() as url:
        client = client_of(url)
        done = await client.complete(HELLO, max_tokens=8, seed=1, schema=SCHEMA)
        assert done.text
        tries = len(fake.asked)
        assert tries == 1 + len(refused)
        again = await client.complete(HELLO, max_tokens=8, seed=1, schema=SCHEMA)
        assert len(fake.asked) == tries + 1
        assert again.completion_tokens > 0
        assert not set(refused) & fake.asked[-1].keys()
        await client.close()


class RenamedMaxTokens(FakeOpenAI):
    """Takes ``max_completion_tokens`` only, as some models do."""

    async def chat(self, asked, reply):
        if "max_tokens" in asked:
            self.asked.append(asked)
            text = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
            await reply.json({"error": {"message": text, "code": "unsupported_parameter"}}, 400)
        else:
            await super().chat(asked | {"max_tokens": asked["max_completion_tokens"]}, reply)
            self.asked[-1] = asked


CHOICE = {"anyOf": [SCHEMA]}


async def test_a_server_that_takes_no_choice_of_objects_is_still_asked_for_one_object():
    fake = TakesNoChoice()
    async with fake.serving() as url:
        client = client_of(url)
        for schema, sent in ((CHOICE, False), (SCHEMA, True), (CHOICE, False)):
            assert (await client.complete(HELLO, max_tokens=8, schema=schema)).text
            assert ("response_format" in fake.asked[-1]) == sent
        assert len(fake.asked) == 4
        await client.close()


class TakesNoChoice(FakeOpenAI):
    """Takes a schema only where its top is one object, as OpenAI does."""

    async def chat(self, asked, reply):
        if "anyOf" in asked.get("response_format", {}).get("json_schema", {}).get("schema", {}):
            self.asked.append(asked)
            text = "Invalid schema for response_format 'reply': schema must be a JSON Schema of 'type: \"object\"'"
            await reply.json({"error": {"message": text, "code": None}}, 400)
        else:
            await super().chat(asked, reply)


async def test_a_refusal_about_something_else_is_said_and_not_asked_for_ever():
    asked = 0

    async def answer(request, reply):
        nonlocal asked
        asked += 1
        if request.path == "/v1/models":
            await reply.json({"data": [{"id": "m"}]})
        else:
            await reply.json({"error": {"message": "no images, please"}}, 400)

    async with http_server(answer) as url:
        client = client_of(url)
        for _ in range(2):  # nothing was learnt of it
            with pytest.raises(Exception, match="answers HTTP 400: no images, please"):
                await client.complete(HELLO, max_tokens=8)
        assert asked <= 1 + 2 * 2
        await client.close()


async def test_a_known_context_is_kept_to_before_anything_is_sent():
    fake = FakeOpenAI()
    async with fake.serving() as url:
        client = client_of(url, context_tokens=512)
        with pytest.raises(PromptTooLong):
            await client.complete([Message(role="user", content="word " * 600)], max_tokens=8)
        assert fake.asked == []
        await client.close()


async def test_an_unknown_context_is_the_servers_to_refuse():
    async with FakeOpenAI(ScriptedModel(context_tokens=100)).serving() as url:
        client = client_of(url)
        with pytest.raises(PromptTooLong) as caught:
            await client.complete([Message(role="user", content="word " * 600)], max_tokens=8)
        assert (caught.value.n_ctx, caught.value.n_prompt_tokens) == (100, 751)
        await client.close()


MAXIMUM = "This model's maximum context length is"


@pytest.mark.parametrize(
    ("message", "numbers"),
    [
        (f"{MAXIMUM} 8192 tokens. However, your messages resulted in 9001 tokens.", (9001, 8192)),
        (f"{MAXIMUM} 4096 tokens. However, you requested 5000 tokens (4000 in the messages …).", (5000, 4096)),
        ("the request exceeds the available context size, try increasing it", (0, 0)),
        ("the input length exceeds the context length", (0, 0)),
        ("Trying to keep the first 6402 tokens when context the overflows. Provide a shorter input.", None),
        ("model 'x' not found", None),
        ("invalid context", None),
        ("", None),
    ],
)
def test_what_is_said_of_a_prompt_that_is_too_long(message, numbers):
    error = too_long(message)
    assert (error and (error.n_prompt_tokens, error.n_ctx)) == numbers


@pytest.mark.parametrize(
    ("sent", "refusal", "left_out"),
    [
        ({"stream_options", "seed"}, "unknown field: stream_options", {"stream_options"}),
        ({"chat_template_kwargs"}, 'extra inputs: "enable_thinking"', {"chat_template_kwargs"}),
        ({"reasoning_effort"}, '"tinyllama" does not support thinking', {"reasoning_effort"}),
        ({"messages", "seed", "stream_options"}, "bad request", {"stream_options"}),
        ({"messages", "seed"}, "bad request", set()),
        ({"seed"}, "the stream_options are bad", set()),
    ],
)
def test_which_parameter_a_refusal_is_about(sent, refusal, left_out):
    assert to_leave_out(sent, refusal) == left_out


@pytest.mark.parametrize(
    ("status", "message", "kind", "said"),
    [
        (429, "Rate limit reached", BackendBusy, "is busy: Rate limit reached"),
        (503, "The model is loading", BackendLoading, "is loading, 0 s so far"),
        (503, "no healthy upstream", BackendFailed, "answers HTTP 503: no healthy upstream"),
        (502, "Bad Gateway", BackendFailed, "answers HTTP 502: Bad Gateway"),
        (500, "x" * 9999, BackendFailed, r"HTTP 500: x{300}…$"),
    ],
)
async def test_what_a_status_means(status, message, kind, said):
    async def answer(request, reply):
        await reply.json({"error": {"message": message}}, status)

    async with http_server(answer) as url:
        client = client_of(url, model="m")
        with pytest.raises(kind, match=said):
            await client.complete(HELLO, max_tokens=8)
        assert (await client.health()).state in {"away", "loading"}
        await client.close()


async def test_a_certificate_that_nobody_signed_says_what_to_do(tmp_path):
    async with tls_server(tmp_path, make("localhost", 30), talk=says_hello) as port:
        client = client_of(f"https://127.0.0.1:{port}", model="m")
        with pytest.raises(Exception, match=r"is away \(TLS: .*put the authority that signed its certificate"):
            await client.complete(HELLO, max_tokens=8)
        assert "TLS" in (await client.health()).text
        await client.close()


async def test_cached_tokens_are_reported_as_openai_reports_them():
    class Cached(FakeOpenAI):
        def _events(self, asked, delta):
            if delta.completion:
                delta = delta.model_copy(
                    update={"completion": delta.completion.model_copy(update={"cached_tokens": 7})}
                )
            return super()._events(asked, delta)

    async with Cached().serving() as url:
        client = client_of(url)
        assert (await client.complete(HELLO, max_tokens=8)).cached_tokens == 7
        await client.close()


def test_a_servers_own_words_cannot_play_on_a_terminal():
    words = ServerWords("review", "http://127.0.0.1:9", "a server", "start it")
    assert "\x1b" not in str(words.failed("\x1b[2Jgone\r\nnext line"))
    assert "\n" not in str(words.failed("\x1b[2Jgone\r\nnext line"))
