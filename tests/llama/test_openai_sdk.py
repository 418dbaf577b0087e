"""OpenAI's own Python client drives every endpoint of the whole suite, on a real model server."""

import json
import threading
import time
from collections.abc import Iterator

import openai
import pytest
from openai import OpenAI

from tests.embedding_server import embedding_server, static_model
from tests.llama.server import serve
from tests.suite_up import MODEL_FLAGS, SuiteUp, suite_up, talkative_model

MODEL, FAST = "ai-sysadmin", "ai-sysadmin-fast"
SEED = 7
ASK = [{"role": "user", "content": "How is this host?"}]
JUNK_TOOLS = [
    {
        "type": "function",
        "function": {
            "name": f"front_end_tool_{number}",
            "description": "Something that only the front end can do. " * 10,
            "parameters": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
        },
    }
    for number in range(36)
]
VERDICT = {
    "type": "object",
    "properties": {
        "healthy": {"type": "boolean"},
        "level": {"enum": ["low", "high"]},
        "count": {"type": "integer", "minimum": 0, "maximum": 9},
    },
    "required": ["healthy", "level", "count"],
    "additionalProperties": False,
}
SLOT_FREE_SECONDS = 2.0
MOST_TOKENS = 6000


@pytest.fixture(scope="module")
def suite(tiny_model) -> Iterator[SuiteUp]:
    pytest.importorskip("xllamacpp", reason="the embedded model server needs x86-64 with AVX2", exc_type=ImportError)
    with serve(tiny_model, MODEL_FLAGS) as models, suite_up(models) as up:
        yield up


@pytest.fixture(scope="module")
def talkative(tmp_path_factory) -> Iterator[SuiteUp]:
    """A suite whose model talks until somebody stops listening."""
    pytest.importorskip("xllamacpp", reason="the embedded model server needs x86-64 with AVX2", exc_type=ImportError)
    model = talkative_model(tmp_path_factory.mktemp("talkative") / "tiny.gguf")
    settings = {"meta_model": {"max_reply_tokens": MOST_TOKENS}}
    with serve(model, MODEL_FLAGS) as models, suite_up(models, settings) as up:
        yield up


@pytest.fixture
def client(suite) -> Iterator[OpenAI]:
    with client_of(suite) as made:
        yield made


def client_of(suite: SuiteUp, key: str | None = None) -> OpenAI:
    return OpenAI(base_url=suite.base_url, api_key=suite.key if key is None else key, max_retries=0, timeout=60)


def until_free(suite: SuiteUp, within: float = SLOT_FREE_SECONDS) -> float:
    """Return after how long no slot works any more; fail the test if that takes longer."""
    started = time.monotonic()
    while suite.busy_slots():
        assert time.monotonic() - started < within, f"a slot still works after {within} s"
        time.sleep(0.1)
    return time.monotonic() - started


def test_the_models_are_the_sysadmin_and_the_fast_one(client):
    listed = {model.id: model for model in client.models.list()}
    assert set(listed) == {MODEL, FAST}
    for name in listed:
        one = client.models.retrieve(name)
        assert (one.id, one.object) == (name, "model")
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4o")


def test_an_answer_in_one_piece(client):
    answer = client.chat.completions.create(model=MODEL, messages=ASK, seed=SEED, max_tokens=64)
    assert answer.object == "chat.completion" and answer.model == MODEL
    (choice,) = answer.choices
    assert choice.message.role == "assistant" and choice.message.content
    assert choice.finish_reason in {"stop", "length"}
    assert answer.usage.prompt_tokens > 0 and answer.usage.completion_tokens > 0


def test_a_streamed_answer_is_one_role_many_pieces_and_one_reason(client):
    chunks = list(client.chat.completions.create(model=MODEL, messages=ASK, seed=SEED, max_tokens=64, stream=True))
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    choices = [choice for chunk in chunks for choice in chunk.choices]
    assert choices[0].delta.role == "assistant"
    assert "".join(choice.delta.content or "" for choice in choices)
    assert [choice.finish_reason for choice in choices if choice.finish_reason] == [choices[-1].finish_reason]
    assert all(chunk.usage is None for chunk in chunks)


@pytest.mark.parametrize("stream", [False, True])
def test_the_usage_is_the_model_servers_own_count(suite, client, stream):
    until_free(suite)
    read, written = suite.tokens()
    if stream:
        options = {"include_usage": True}
        *_, last = client.chat.completions.create(
            model=MODEL, messages=ASK, max_tokens=40, stream=True, stream_options=options
        )
        assert last.choices == []
    else:
        last = client.chat.completions.create(model=MODEL, messages=ASK, max_tokens=40)
    until_free(suite)
    read_after, written_after = suite.tokens()
    usage = last.usage
    assert usage.completion_tokens == written_after - written
    assert usage.prompt_tokens - usage.prompt_tokens_details.cached_tokens == read_after - read
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_an_answer_cut_short_says_so_in_words_too(talkative, name):
    with client_of(talkative) as client:
        (choice,) = client.chat.completions.create(model=MODEL, messages=ASK, **{name: 8}).choices
    assert choice.finish_reason == "length"
    assert "cut off" in choice.message.content


def test_the_answer_ends_before_a_stop_word(client):
    def text(**more) -> str:
        answer = client.chat.completions.create(
            model=FAST, messages=ASK, seed=SEED, temperature=1.0, max_tokens=200, **more
        )
        return answer.choices[0].message.content

    whole = text()
    places = range(len(whole) // 4, len(whole) // 2)
    at = next(at for at in places if whole.index(whole[at : at + 4]) == at and whole[at : at + 4].isascii())
    assert text(stop=[whole[at : at + 4]]).rstrip() == whole[:at].rstrip()


def test_a_seed_repeats_an_answer(client):
    def text(seed: int) -> str:
        answer = client.chat.completions.create(model=FAST, messages=ASK, seed=seed, temperature=1.0, max_tokens=48)
        return answer.choices[0].message.content

    assert text(SEED) == text(SEED)
    assert len({text(seed) for seed in range(4)}) > 1


@pytest.mark.parametrize("model", [MODEL, FAST])
def test_a_schema_is_kept(client, model):
    wanted = {"type": "json_schema", "json_schema": {"name": "verdict", "strict": True, "schema": VERDICT}}
    answer = client.chat.completions.create(
        model=model, messages=ASK, seed=SEED, max_tokens=200, response_format=wanted
    )
    verdict = json.loads(answer.choices[0].message.content)
    assert isinstance(verdict["healthy"], bool)
    assert verdict["level"] in {"low", "high"} and 0 <= verdict["count"] <= 9


def test_json_object_is_an_object(client):
    answer = client.chat.completions.create(
        model=FAST, messages=ASK, seed=SEED, max_tokens=300, response_format={"type": "json_object"}
    )
    (choice,) = answer.choices
    if choice.finish_reason == "stop":
        assert isinstance(json.loads(choice.message.content), dict)


def test_texts_in_parts_and_system_prompts_are_read(client):
    parts = [{"type": "text", "text": "How is"}, {"type": "text", "text": "this host?"}]
    messages = [
        {"role": "system", "content": "Answer in one sentence."},
        {"role": "developer", "content": "Be exact."},
        {"role": "user", "content": parts},
    ]
    more = client.chat.completions.create(model=FAST, messages=messages, max_tokens=8).usage.prompt_tokens
    less = client.chat.completions.create(model=FAST, messages=ASK, max_tokens=8).usage.prompt_tokens
    assert more > less


def test_a_front_ends_own_tools_are_never_called_nor_read(client):
    plain = client.chat.completions.create(model=FAST, messages=ASK, seed=SEED, max_tokens=32)
    answer = client.chat.completions.create(model=FAST, messages=ASK, seed=SEED, max_tokens=32, tools=JUNK_TOOLS)
    (choice,) = answer.choices
    assert choice.message.content and not choice.message.tool_calls
    assert choice.finish_reason != "tool_calls"
    assert answer.usage.prompt_tokens == plain.usage.prompt_tokens


def test_errors_are_the_clients_own_kinds(suite, client):
    with client_of(suite, "sk-wrong") as stranger, pytest.raises(openai.AuthenticationError):
        stranger.models.list()
    with client_of(suite, suite.ingest_key) as monitoring, pytest.raises(openai.PermissionDeniedError):
        monitoring.chat.completions.create(model=MODEL, messages=ASK)
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="gpt-4o", messages=ASK)
    assert "gpt-4o" in missing.value.message
    with pytest.raises(openai.BadRequestError) as empty:
        client.chat.completions.create(model=MODEL, messages=[])
    assert empty.value.param == "messages"
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=MODEL, messages=ASK, max_tokens=-1)
    with pytest.raises(openai.NotFoundError):
        client.files.list()


def test_a_response_in_one_piece_and_streamed(client):
    answer = client.responses.create(
        model=FAST, instructions="Answer in one sentence.", input="How is this host?", max_output_tokens=32
    )
    assert answer.object == "response" and answer.output_text
    assert answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0

    with client.responses.create(model=MODEL, input=ASK, max_output_tokens=64, stream=True) as stream:
        events = list(stream)
    assert events[0].type == "response.created"
    assert events[-1].type in {"response.completed", "response.incomplete"}
    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert said and said == events[-1].response.output_text
    assert [event.sequence_number for event in events] == sorted({event.sequence_number for event in events})


def test_without_an_embedder_embeddings_say_what_is_missing(client):
    with pytest.raises(openai.NotFoundError) as missing:
        client.embeddings.create(model="any", input="disk full")
    assert "embed" in missing.value.message.lower()


def test_embeddings_are_the_embedders_own(suite):
    with embedding_server() as embedder:
        texts = ["disk full", "no space left on device"]
        settings = {"backends": {"embedding": {"type": "openai", "url": embedder.url}}}
        with suite_up(suite.models, settings) as up, client_of(up) as client:
            vectors = [each.embedding for each in client.embeddings.create(model="any", input=texts).data]
            plain = client.embeddings.create(model="any", input=texts[0], encoding_format="float").data[0].embedding
        wanted = static_model().vectors(texts)
    assert vectors == [pytest.approx(vector, abs=1e-5) for vector in wanted]
    assert plain == pytest.approx(wanted[0], abs=1e-5)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("model", [MODEL, FAST])
def test_leaving_frees_the_slot(talkative, model, stream):
    until_free(talkative, 10)
    _, before = talkative.tokens()
    with client_of(talkative) as client:
        if stream:
            answer = client.chat.completions.create(model=model, messages=ASK, max_tokens=MOST_TOKENS, stream=True)
            next(iter(answer))
            busy_within(talkative, 5)
            answer.close()
        else:
            with pytest.raises(openai.APITimeoutError):
                client.with_options(timeout=0.8).chat.completions.create(
                    model=model, messages=ASK, max_tokens=MOST_TOKENS
                )
    until_free(talkative)
    _, written = talkative.tokens()
    assert written - before < MOST_TOKENS, "the model wrote on for nobody"
    time.sleep(1)
    assert talkative.tokens()[1] == written, "the model is still asked for an answer that nobody reads"


def busy_within(suite: SuiteUp, seconds: float) -> None:
    until = time.monotonic() + seconds
    while not suite.busy_slots():
        assert time.monotonic() < until, "the model was never asked"
        time.sleep(0.005)


def test_two_chats_at_once_are_both_answered(suite, client):
    answers: list[str] = []

    def ask(model: str) -> None:
        answer = client.chat.completions.create(model=model, messages=ASK, max_tokens=64)
        answers.append(answer.choices[0].message.content)

    asking = [threading.Thread(target=ask, args=(model,)) for model in (MODEL, FAST)]
    for each in asking:
        each.start()
    for each in asking:
        each.join(60)
    assert len(answers) == len(asking) and all(answers)


def test_the_same_paths_answer_without_v1(suite):
    with OpenAI(base_url=suite.url, api_key=suite.key, max_retries=0, timeout=60) as rootly:
        assert MODEL in {model.id for model in rootly.models.list()}
        assert rootly.chat.completions.create(model=MODEL, messages=ASK, max_tokens=16).choices[0].message.content
