"""Embeddings by a real llama-server: the shapes on the wire, what is too long, and a model that sleeps."""

import asyncio
import math

import gguf
import numpy as np
import pytest

from ai_sysadmin.core.errors import BackendUnavailable
from ai_sysadmin.core.settings import Backend
from ai_sysadmin.llm_backend.embeddings import ServerEmbeddings
from tests.llama.make_tiny_gguf import Weights, describe, make_vocabulary
from tests.llama.server import serve

pytestmark = pytest.mark.llama

FLAGS = ("--port", "0", "-c", "2048", "-np", "2", "-t", "1", "--embeddings")


@pytest.fixture(scope="module")
def pooling_model(tmp_path_factory):
    """A tiny model whose file says that a text's vector is the mean of its tokens'."""
    path = tmp_path_factory.mktemp("models") / "tiny-pooling.gguf"
    vocabulary = make_vocabulary()
    writer = gguf.GGUFWriter(str(path), "qwen3")
    describe(writer, vocabulary, "tiny-pooling")
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    for name, tensor in Weights(vocabulary, 1, False).build().items():
        writer.add_tensor(name, np.ascontiguousarray(tensor, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def url(pooling_model):
    pytest.importorskip("xllamacpp", reason="the embedded model server needs x86-64 with AVX2", exc_type=ImportError)
    with serve(pooling_model, (*FLAGS, "--sleep-idle-seconds", "2")) as running:
        yield running


@pytest.fixture
async def embedder(url):
    made = ServerEmbeddings(Backend(url=url))
    yield made
    await made.close()


async def test_each_text_has_its_vector(embedder):
    texts = [f"unit {number} failed with result exit-code" for number in range(40)]
    together = await embedder.embed(texts, "document")
    assert embedder.id == "tiny-pooling"
    assert {len(vector) for vector in together} == {64}
    assert all(math.hypot(*vector) == pytest.approx(1) for vector in together)
    (alone,) = await embedder.embed([texts[7]], "query")
    assert alone == pytest.approx(together[7], abs=1e-3)


async def test_a_text_beyond_the_window_is_cut_and_an_empty_one_is_no_error(embedder):
    long = "x y " * 3000
    vectors = await embedder.embed([long, "", "short"], "document")
    assert len(vectors) == 3
    (short,) = await embedder.embed(["short"], "document")
    assert vectors[2] == pytest.approx(short, abs=1e-3)


async def test_a_sleeping_model_is_seen_to_sleep_and_woken_by_a_text_only(embedder):
    await embedder.embed(["awake"], "query")
    async with asyncio.timeout(20):
        while not await embedder.asleep():
            await asyncio.sleep(0.3)
    assert await embedder.identify() == "tiny-pooling"
    assert await embedder.asleep()
    await embedder.embed(["awake"], "query")
    assert not await embedder.asleep()


async def test_a_model_that_makes_no_vectors_of_texts_says_why(tiny_model):
    pytest.importorskip("xllamacpp", reason="the embedded model server needs x86-64 with AVX2", exc_type=ImportError)
    with serve(tiny_model, FLAGS) as url:
        embedder = ServerEmbeddings(Backend(url=url))
        with pytest.raises(BackendUnavailable, match="Pooling type"):
            await embedder.embed(["x"], "query")
        await embedder.close()
