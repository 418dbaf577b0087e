"""The index on a real ChromaDB server: what it holds, and what becomes of it when the server or its files go."""

import asyncio
import os
import shutil
import signal
from contextlib import asynccontextmanager

import httpx
import pytest

from ai_sysadmin.context.knowledge.indexing import Indexer, Synced, document_of
from ai_sysadmin.context.knowledge.retrieval import Retrieval
from ai_sysadmin.core.errors import IndexUnavailable
from ai_sysadmin.runtime.commands import spawn
from ai_sysadmin.stores.chroma import ROUTE, ChromaIndex, collection_name
from ai_sysadmin.stores.chroma_server import argv, environment, program
from ai_sysadmin.testing.fake_embeddings import FakeEmbeddings
from tests.contracts import test_knowledge_stores as contract
from tests.contracts.test_knowledge_stores import document, fill, sqlite_knowledge
from tests.serving import says, serving, unused_port

pytestmark = pytest.mark.skipif(not program(), reason="ChromaDB is not installed (ai-sysadmin[vectors])")

DOCUMENTS = [document(f"{number:02}", f"subject {number} zebra" + " and more" * (number % 7)) for number in range(60)]


class Chroma:
    """A ChromaDB server on a directory, which can be killed and started again on its port."""

    def __init__(self, directory, port: int) -> None:
        self.directory = directory
        self.url = f"http://127.0.0.1:{port}"
        self._argv = argv(program(), directory, port)
        self.child = None

    async def start(self) -> None:
        self.child = await spawn(self._argv, env=environment())
        async with httpx.AsyncClient(base_url=self.url, trust_env=False) as client, asyncio.timeout(60):
            while True:
                try:
                    await client.get("/api/v2/heartbeat")
                    return
                except httpx.HTTPError:
                    await asyncio.sleep(0.05)

    async def kill(self) -> None:
        os.kill(self.child.pid, signal.SIGKILL)
        await self.child.wait()


@asynccontextmanager
async def chroma_on(directory):
    server = Chroma(directory, await unused_port())
    await server.start()
    try:
        yield server
    finally:
        await server.child.stop()


@pytest.fixture
async def chroma(tmp_path):
    async with chroma_on(tmp_path / "chroma") as server:
        yield server


@pytest.fixture
async def index(chroma):
    made = ChromaIndex(chroma.url, lambda: "fake")
    yield made
    await made.close()


@pytest.fixture
async def store(tmp_path):
    async with sqlite_knowledge(tmp_path / "state.db") as opened:
        await opened.put(DOCUMENTS)
        yield opened


@pytest.fixture
def embedder():
    return FakeEmbeddings()


@pytest.fixture
def indexer(store, index, embedder):
    return Indexer(store, index, embedder)


@pytest.fixture
def retrieval(store, index, embedder):
    return Retrieval(store, index, embedder, minimum_similarity=0.2)


# --- what every index does -----------------------------------------------------------------------------------


async def test_it_is_an_index_like_any_other(index):
    await contract.test_the_nearest_come_first_with_their_cosine(index)
    for assertions in (
        contract.test_vectors_are_narrowed_by_kind,
        contract.test_what_is_indexed_is_told_with_its_hash,
        contract.test_what_is_deleted_or_cleared_is_gone,
        contract.test_vectors_of_another_length_replace_those_there_are,
    ):
        await index.clear()
        await assertions(index)


async def test_more_records_than_one_page_holds(index, monkeypatch):
    monkeypatch.setattr("ai_sysadmin.stores.chroma._PAGE", 7)
    await fill(index, {f"r{number}": [1.0, number] for number in range(31)})
    assert len(await index.hashes()) == 31
    await index.delete([f"r{number}" for number in range(20)])
    assert len(await index.hashes()) == 11


async def test_each_model_has_a_collection_of_its_own_and_others_are_left_alone(chroma):
    async with httpx.AsyncClient(base_url=chroma.url, trust_env=False) as client:
        for name in ("logs", "knowledge"):
            assert (await client.post(ROUTE, json={"name": name})).is_success
        one, two = ChromaIndex(chroma.url, lambda: "one"), ChromaIndex(chroma.url, lambda: "two")
        await fill(one, {"a": [1, 0]})
        await fill(two, {"a": [1, 0, 0], "b": [0, 1, 0]})
        await two.clear()
        assert set(await one.hashes()) == {"a"}
        collections = (await client.get(ROUTE)).json()
        assert {each["name"] for each in collections} == {"logs", "knowledge", "knowledge-one"}
        (ours,) = (each for each in collections if each["name"] == "knowledge-one")
        assert ours["metadata"]["model"] == "one"
        assert ours["configuration_json"]["hnsw"]["space"] == "cosine"
        for each in (one, two):
            await each.close()


async def test_a_question_of_another_length_gives_up_what_is_of_no_use(index):
    await fill(index, {"c": [1, 0]})
    with pytest.raises(IndexUnavailable, match="does not fit the embedding model"):
        await index.nearest([1, 0, 0], 3)
    assert await index.hashes() == {}


# --- what can go wrong with it -------------------------------------------------------------------------------


async def by_text_only(retrieval) -> str:
    found = await retrieval.search("zebra subject")
    assert found.hits
    assert {hit.by for hit in found.hits} == {"text"}
    assert found.degraded.startswith("searched by full text only: ")
    return found.degraded


async def is_whole(store, index, retrieval, expected) -> None:
    wanted = await store.hashes()
    records = await index.hashes()
    assert {document_of(record) for record in records} == set(wanted)
    assert all(digest == wanted[document_of(record)] for record, digest in records.items())
    assert await sample(retrieval) == expected


async def sample(retrieval) -> list[tuple[str, str]]:
    found = await retrieval.search("subject 17 zebra", limit=8)
    assert found.degraded == ""
    return [(hit.document.name, hit.by) for hit in found.hits]


async def test_killed_while_it_writes(chroma, index, store, indexer, retrieval):
    """What was acknowledged is there after a SIGKILL, and the next run takes up the rest."""
    await indexer.sync()
    expected = await sample(retrieval)
    for _ in range(3):
        await index.clear()
        running = asyncio.create_task(indexer.sync())
        while not await index.hashes():
            await asyncio.sleep(0)
        await chroma.kill()
        broken = await running
        assert "is away" in broken.degraded
        assert "is away" in await by_text_only(retrieval)
        assert "is away" in (await indexer.sync()).degraded
        await chroma.start()
        kept = len(await index.hashes())
        assert broken.added <= kept < len(DOCUMENTS)
        assert await indexer.sync() == Synced(added=len(DOCUMENTS) - kept)
        await is_whole(store, index, retrieval, expected)


async def test_its_directory_is_deleted_under_it(chroma, index, store, indexer, retrieval):
    await indexer.sync()
    expected = await sample(retrieval)
    shutil.rmtree(chroma.directory)
    await store.put([document("late", "a late zebra")])
    assert "restarted" in (await indexer.sync()).degraded
    assert (await retrieval.search("zebra")).hits
    await store.remove(document("late").id)
    await chroma.kill()
    await chroma.start()
    assert "holds nothing yet" in await by_text_only(retrieval)
    assert (await indexer.reindex()).degraded == ""
    await is_whole(store, index, retrieval, expected)


async def test_its_directory_is_emptied_while_it_is_down(chroma, index, store, indexer, retrieval):
    await indexer.sync()
    expected = await sample(retrieval)
    await chroma.kill()
    shutil.rmtree(chroma.directory)
    await chroma.start()
    await by_text_only(retrieval)
    assert (await indexer.sync()).added == len(DOCUMENTS)
    await is_whole(store, index, retrieval, expected)


async def test_its_collection_is_deleted_by_somebody(chroma, index, store, indexer, retrieval):
    await indexer.sync()
    expected = await sample(retrieval)
    async with httpx.AsyncClient(base_url=chroma.url, trust_env=False) as client:
        assert (await client.delete(f"{ROUTE}/{collection_name('fake')}")).is_success
    assert "holds nothing yet" in await by_text_only(retrieval)
    assert (await indexer.reindex()).added == len(DOCUMENTS)
    await is_whole(store, index, retrieval, expected)


async def test_its_collection_was_made_again_by_another_process(chroma, index, store, indexer, retrieval, embedder):
    await indexer.sync()
    expected = await sample(retrieval)
    other = ChromaIndex(chroma.url, lambda: "fake")
    await Indexer(store, other, embedder).reindex()
    await other.close()
    assert await sample(retrieval) == expected
    assert await indexer.sync() == Synced()


async def test_its_port_refuses(store, embedder):
    index = ChromaIndex(f"http://127.0.0.1:{await unused_port()}", lambda: "fake")
    assert "is away" in await by_text_only(Retrieval(store, index, embedder, minimum_similarity=0.2))
    for verb in (Indexer(store, index, embedder).sync, Indexer(store, index, embedder).reindex):
        assert "is away" in (await verb()).degraded
    await index.close()


@pytest.mark.parametrize(
    ("answer", "says_so"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", "HTTP 404, but not as a ChromaDB"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", "not as a ChromaDB"),
        (b"SSH-2.0-OpenSSH\r\n", "is away"),
    ],
)
async def test_something_else_answers_at_its_port(store, embedder, answer, says_so):
    async with serving(says(answer)) as port:
        index = ChromaIndex(f"http://127.0.0.1:{port}", lambda: "fake")
        assert says_so in await by_text_only(Retrieval(store, index, embedder, minimum_similarity=0.2))
        await index.close()


async def test_a_server_that_never_answers_has_a_deadline(monkeypatch):
    monkeypatch.setattr("ai_sysadmin.stores.chroma._REQUEST_SECONDS", 0.1)

    async def silent(reader, _writer):
        await reader.read()

    async with serving(silent) as port:
        index = ChromaIndex(f"http://127.0.0.1:{port}", lambda: "fake")
        with pytest.raises(IndexUnavailable, match="does not answer"):
            await index.hashes()
        await index.close()


async def test_while_the_model_is_not_known_nothing_is_looked_up():
    index = ChromaIndex("http://127.0.0.1:1", lambda: "")
    with pytest.raises(IndexUnavailable, match="not known yet"):
        await index.hashes()


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("all-MiniLM-L6-v2", "knowledge-all-MiniLM-L6-v2"),
        ("nomic-embed-text:latest", "knowledge-nomic-embed-text-latest-"),
        ("/x/ü.gguf", "knowledge-x-.gguf-"),
        ("ü", "knowledge-"),
        ("m" * 600, "knowledge-" + "m" * 80),
    ],
)
def test_a_collections_name_is_one_that_chromadb_allows(model, name):
    made = collection_name(model)
    assert made.startswith(name)
    assert len(made) < 120
    assert made[-1].isalnum()
    assert made != collection_name(model + "2")
