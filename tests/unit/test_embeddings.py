"""Vectors of texts: by a server over HTTP, and by a model file in this process."""

import io
import math
import sys
import tarfile
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from ai_sysadmin.core.context_settings import Knowledge
from ai_sysadmin.core.errors import BackendUnavailable, SettingsError
from ai_sysadmin.core.settings import Backend, Backends, Settings
from ai_sysadmin.llm_backend.door import open_embedder
from ai_sysadmin.llm_backend.embeddings import ServerEmbeddings, instruction
from ai_sysadmin.llm_backend.onnx_embeddings import MINILM_SHA256, MODEL, OnnxEmbeddings
from tests.embedding_server import MODEL as SERVED
from tests.embedding_server import embedding_server, static_model
from tests.serving import says, serving, unused_port

WIDTH = 4
WORDS = {"[PAD]": 0, "[UNK]": 1, "disk": 2, "full": 3, "unit": 4}


@pytest.fixture
def server():
    with embedding_server() as running:
        yield running


@pytest.fixture
async def embedder(server):
    made = ServerEmbeddings(Backend(url=server.url))
    yield made
    await made.close()


# --- a server ------------------------------------------------------------------------------------------------


async def test_texts_come_back_as_vectors_in_their_order(server, embedder):
    texts = ["the disk is full", "a certificate has expired"]
    vectors = await embedder.embed(texts, "document")
    for vector, expected in zip(vectors, static_model().vectors(texts), strict=True):
        assert vector == pytest.approx(expected, abs=1e-6)
        assert math.hypot(*vector) == pytest.approx(1)
    assert await embedder.embed([], "document") == []


async def test_many_texts_are_asked_for_in_batches(server, embedder):
    texts = [f"text {number}" for number in range(70)]
    assert len(await embedder.embed(texts, "document")) == 70
    assert server.texts == texts
    asked = [len(body["input"]) for path, _, body in server.requests if path == "/v1/embeddings"]
    assert asked == [32, 32, 6]


async def test_the_server_names_its_model(embedder, server):
    assert embedder.id == ""
    assert await embedder.identify() == SERVED
    server.model = "/var/lib/models/bge-small.gguf"
    assert await embedder.identify() == embedder.id == "bge-small"


async def test_another_model_behind_the_same_url_is_noticed_by_its_answer(embedder, server):
    await embedder.embed(["x"], "query")
    server.model = "/models/nomic-embed-text.gguf"
    server.texts.clear()
    assert len(await embedder.embed(["y"], "query")) == 1
    assert embedder.id == "nomic-embed-text"
    assert server.texts[-1] == "search_query: y"


async def test_a_model_that_is_set_is_asked_for_by_its_name(server):
    embedder = ServerEmbeddings(Backend(url=server.url, model="mine", type="ollama"))
    await embedder.embed(["x"], "query")
    assert embedder.id == "mine"
    ((path, _, body),) = server.requests
    assert (path, body["model"]) == ("/v1/embeddings", "mine")
    await embedder.close()


async def test_a_text_that_is_too_long_is_cut_and_the_others_stay_whole(server, embedder):
    server.most = 100
    vectors = await embedder.embed(["short", "long " * 100, "also short"], "document")
    assert len(vectors) == 3
    assert server.texts[0] == "short"
    assert server.texts[-1] == "also short"
    assert 50 <= len(server.texts[1]) <= 100


async def test_texts_that_no_server_takes_are_sent_as_something(server, embedder):
    assert len(await embedder.embed(["", "  ", "half \ud800 a pair"], "document")) == 3
    assert all(text.strip() for text in server.texts)


async def test_a_connection_that_broke_is_tried_once_more(server, embedder):
    await embedder.identify()
    server.drops = 1
    assert len(await embedder.embed(["x"], "query")) == 1
    server.drops = 2
    with pytest.raises(BackendUnavailable, match="is away"):
        await embedder.embed(["x"], "query")


@pytest.mark.parametrize(
    ("status", "message", "says"),
    [
        (401, "Invalid API Key", "backends.embedding.api_key_file"),
        (503, "Loading model", "is loading"),
        (501, "no embeddings", "--embeddings"),
        (400, "Pooling type 'none' is not OAI compatible", "Pooling type"),
        (500, "input is too large to process", "too large"),
    ],
)
async def test_what_is_wrong_is_said(server, embedder, status, message, says):
    await embedder.identify()
    server.fault = (status, message)
    with pytest.raises(BackendUnavailable, match=says) as told:
        await embedder.embed(["a text"], "document")
    assert server.url in str(told.value)


async def test_a_server_that_is_away_is_named_with_what_to_do():
    embedder = ServerEmbeddings(Backend(url=f"http://127.0.0.1:{await unused_port()}"))
    for ask in (embedder.identify(), embedder.embed(["x"], "query")):
        with pytest.raises(BackendUnavailable, match=r"is away.*backends\.embedding\.url"):
            await ask
    assert not await embedder.asleep()
    await embedder.close()


@pytest.mark.parametrize(
    "body",
    [b"hello", b"[]", b'{"data": [{}]}', b'{"data": [{"index": 0, "embedding": [0, 0]}]}', b'{"data": []}', b"{}"],
)
async def test_what_is_no_vector_is_refused(body):
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"

    async def talk(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        await says(head.encode(), body)(reader, writer)

    async with serving(talk) as port:
        embedder = ServerEmbeddings(Backend(url=f"http://127.0.0.1:{port}", model="m"))
        with pytest.raises(BackendUnavailable):
            await embedder.embed(["x"], "query")
        await embedder.close()


async def test_an_answer_has_a_deadline():
    async def silent(reader, _writer):
        await reader.read()

    async with serving(silent) as port:
        backend = Backend(url=f"http://127.0.0.1:{port}", model="m", timeout_seconds=0.1)
        embedder = ServerEmbeddings(backend)
        with pytest.raises(BackendUnavailable, match="does not answer in"):
            await embedder.embed(["x"], "document")
        await embedder.close()


async def test_asking_how_it_is_wakes_no_model(server, embedder):
    server.is_sleeping = True
    assert await embedder.asleep()
    await embedder.identify()
    assert server.is_sleeping
    await embedder.embed(["x"], "query")
    assert not await embedder.asleep()


async def test_the_key_is_sent_and_a_missing_key_file_is_a_fault_of_the_settings(server, tmp_path):
    (tmp_path / "key").write_text("secret\n")
    embedder = ServerEmbeddings(Backend(url=server.url, api_key_file=tmp_path / "key"))
    await embedder.identify()
    assert server.requests[0][1]["Authorization"] == "Bearer secret"
    await embedder.close()
    with pytest.raises(SettingsError, match=r"backends\.embedding\.api_key_file"):
        ServerEmbeddings(Backend(url=server.url, api_key_file=tmp_path / "none"))


@pytest.mark.parametrize(
    ("model", "query", "document"),
    [
        ("nomic-embed-text:latest", "search_query: ", "search_document: "),
        ("intfloat/multilingual-e5-small", "query: ", "passage: "),
        ("all-MiniLM-L6-v2", "", ""),
    ],
)
async def test_a_model_is_given_what_it_was_trained_to_see(server, model, query, document):
    assert (instruction(model, "query"), instruction(model, "document")) == (query, document)
    embedder = ServerEmbeddings(Backend(url=server.url, model=model))
    await embedder.embed(["one"], "query")
    await embedder.embed(["two"], "document")
    assert server.texts == [f"{query}one", f"{document}two"]
    await embedder.close()


def test_the_settings_say_what_makes_vectors(tmp_path):
    assert open_embedder(Settings()) is None
    backend = Backend(url="http://127.0.0.1:8084")
    assert isinstance(open_embedder(Settings(backends=Backends(embedding=backend))), ServerEmbeddings)
    knowledge = Knowledge(onnx_archive=tmp_path / "onnx.tar.gz")
    assert isinstance(open_embedder(Settings(knowledge=knowledge)), OnnxEmbeddings)


# --- in this process -----------------------------------------------------------------------------------------


def tiny_onnx() -> bytes:
    """Make a model that gives each token the vector of its number in a small table."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    table = np.eye(len(WORDS), WIDTH, k=-1, dtype=np.float32) + 0.1
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
        for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    output = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", "tokens", WIDTH])
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["last_hidden_state"])]
    graph = helper.make_graph(nodes, "tiny", inputs, [output], [numpy_helper.from_array(table, "table")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.checker.check_model(model)
    return model.SerializeToString()


def tiny_tokenizer() -> bytes:
    tokenizer = Tokenizer(models.WordLevel(WORDS, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer.to_str().encode()


def packed(path, **members: bytes):
    """Write an archive as ChromaDB's; return it with its hash."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path, sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def archive(tmp_path):
    return packed(
        tmp_path / "onnx.tar.gz",
        **{"onnx/config.json": b"{}", "onnx/model.onnx": tiny_onnx(), "onnx/tokenizer.json": tiny_tokenizer()},
    )


async def test_the_mean_of_the_tokens_is_taken_without_the_padding(archive, tmp_path):
    embedder = OnnxEmbeddings(archive[0], tmp_path / "state", archive[1])
    alone = await embedder.embed(["disk full"], "document")
    beside = await embedder.embed(["disk full", "unit unit unit disk full disk"], "query")
    raw = [0.1, 0.6, 0.6, 0.1]
    assert alone[0] == pytest.approx([value / math.hypot(*raw) for value in raw], abs=1e-6)
    assert beside[0] == pytest.approx(alone[0], abs=1e-6)
    assert (embedder.id, await embedder.identify(), await embedder.asleep()) == (MODEL, MODEL, False)
    assert len(await embedder.embed(["unit"] * 40, "document")) == 40
    await embedder.close()


async def test_a_very_long_text_is_cut_to_the_models_window(archive, tmp_path):
    embedder = OnnxEmbeddings(archive[0], tmp_path / "state", archive[1])
    whole, cut = await embedder.embed(["disk " * 256, "disk " * 256 + "full " * 1000], "document")
    assert whole == pytest.approx(cut)


async def test_the_archive_is_unpacked_once_and_not_needed_again(archive, tmp_path):
    await OnnxEmbeddings(archive[0], tmp_path / "state", archive[1]).embed(["disk"], "query")
    archive[0].unlink()
    assert await OnnxEmbeddings(archive[0], tmp_path / "state", archive[1]).embed(["disk"], "query")
    (unpacked,) = (tmp_path / "state").iterdir()
    assert sorted(each.name for each in unpacked.iterdir()) == ["model.onnx", "tokenizer.json"]


async def test_only_the_archive_that_chromadb_publishes_is_taken(archive, tmp_path):
    embedder = OnnxEmbeddings(archive[0], tmp_path / "state")
    for _ in range(2):
        with pytest.raises(BackendUnavailable, match=f"{archive[1]}, not {MINILM_SHA256}"):
            await embedder.embed(["x"], "query")
    assert not (tmp_path / "state").exists()
    assert await OnnxEmbeddings(archive[0], tmp_path / "state", archive[1]).embed(["x"], "query")


async def test_no_member_of_an_archive_gets_out_of_its_directory(tmp_path):
    path, digest = packed(
        tmp_path / "evil.tar.gz",
        **{"../../model.onnx": tiny_onnx(), "/tmp/x/tokenizer.json": tiny_tokenizer(), "../evil": b"x"},
    )
    await OnnxEmbeddings(path, tmp_path / "deep" / "state", digest).embed(["disk"], "query")
    assert sorted(each.name for each in tmp_path.rglob("*") if each.is_file()) == [
        "evil.tar.gz",
        "model.onnx",
        "tokenizer.json",
    ]
    assert not (tmp_path / "model.onnx").exists()


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"onnx/model.onnx": b"x"}, "holds no tokenizer.json"),
        ({"onnx/model.onnx": b"x", "onnx/tokenizer.json": tiny_tokenizer()}, "cannot be loaded"),
        ({"onnx/model.onnx": b"x", "onnx/tokenizer.json": b"{}"}, "cannot be loaded"),
    ],
)
async def test_a_broken_archive_is_named(tmp_path, members, says):
    path, digest = packed(tmp_path / "a.tar.gz", **members)
    with pytest.raises(BackendUnavailable, match=says):
        await OnnxEmbeddings(path, tmp_path / "state", digest).embed(["x"], "query")


async def test_a_missing_archive_and_one_that_is_none_are_named(tmp_path):
    with pytest.raises(BackendUnavailable, match="No such file"):
        await OnnxEmbeddings(tmp_path / "none.tar.gz", tmp_path / "state").embed(["x"], "query")
    (tmp_path / "odd.tar.gz").write_bytes(b"not an archive")
    digest = sha256(b"not an archive").hexdigest()
    with pytest.raises(BackendUnavailable, match=r"odd\.tar\.gz"):
        await OnnxEmbeddings(tmp_path / "odd.tar.gz", tmp_path / "state", digest).embed(["x"], "query")


async def test_a_missing_runtime_is_named(archive, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BackendUnavailable, match=r"install ai-sysadmin\[vectors\]"):
        await OnnxEmbeddings(archive[0], tmp_path / "state", archive[1]).embed(["x"], "query")


def test_the_hash_is_the_one_in_chromadbs_source():
    package = find_spec("chromadb")
    if package is None or package.origin is None:
        pytest.skip("chromadb is not installed")
    source = Path(package.origin).parent / "utils" / "embedding_functions" / "onnx_mini_lm_l6_v2.py"
    assert f'_MODEL_SHA256 = "{MINILM_SHA256}"' in source.read_text()
