"""Knowledge: how often the right runbook is found, how fast documents are indexed, how long a question takes.

Recall: over the shipped runbooks and the questions of ``tests/fixtures/retrieval``, by vectors alone, by full text
alone, and as shipped; ``chosen on`` is the half that the way of combining them was chosen on. The embedding model is a
small static one (see ``tests/embedding_server.py``); a better one finds more.

Speed: documents are configuration-like texts. Peer: a bare sqlite3 connection with the same FTS5 table and expression,
in the same run. Vectors: a real ChromaDB where it is installed; the server of embeddings is on the same machine.
"""

import asyncio
import random
import re
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from ai_sysadmin.context.knowledge.indexing import Indexer
from ai_sysadmin.context.knowledge.retrieval import Retrieval
from ai_sysadmin.context.knowledge.runbooks import shipped
from ai_sysadmin.core.knowledge import Document, DocumentKind
from ai_sysadmin.core.settings import Backend, Backends, Settings
from ai_sysadmin.llm_backend.embeddings import ServerEmbeddings
from ai_sysadmin.stores.chroma import ChromaIndex
from ai_sysadmin.stores.chroma_server import own_chroma, program
from ai_sysadmin.stores.knowledge_store import KnowledgeStore, VectorIndex
from ai_sysadmin.stores.relational.knowledge import SqlKnowledge, match_expression
from ai_sysadmin.testing.memory_knowledge import MemoryIndex
from tests.contracts.test_knowledge_stores import sqlite_knowledge
from tests.embedding_server import embedding_server
from tests.recall import MINIMUM_SIMILARITY, rank_all

DOCUMENTS = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
QUESTIONS = 50
WORDS = re.findall(
    r"\w+",
    "services enable virtualHosts forceSSL acme postgresql package networking firewall allowedTCPPorts systemd timers"
    " serviceConfig ExecStart restart backup borg paths fileSystems device options environment users groups home nginx"
    " root proxyPass database ensure module import lib mkIf config hardware kernel boot loader disk mount log level",
)


def many_documents() -> list[Document]:
    rng = random.Random(1)
    now = datetime(2026, 11, 20, tzinfo=UTC)
    return [
        Document(
            kind=DocumentKind.CONFIGURATION,
            name=f"hosts/web/{number}.nix:1-20",
            title=f"{rng.choice(WORDS)} {rng.choice(WORDS)} of {number}.nix",
            text=" ".join(rng.choices(WORDS, k=60)) + f" value-{number}",
            source="/etc/nixos",
            updated_at=now,
        )
        for number in range(DOCUMENTS)
    ]


async def recall(store: KnowledgeStore, index: VectorIndex, embedder: ServerEmbeddings) -> None:
    rankings = await rank_all(store, index, embedder)
    halves = (0, 1, None)
    sizes = [sum(half in (None, pair.half) for pair in rankings.pairs) for half in halves]
    print(f"{len(rankings.pairs)} questions, {len(await store.list())} runbooks; found first, found among three:")
    print(f"  {'':12} {'chosen on':>16} {'held out':>16} {'all':>16}")
    for which in ("vectors", "text", "shipped"):
        cells = [
            f"{rankings.recall(which, 1, half)}, {rankings.recall(which, 3, half)} of {size}"
            for half, size in zip(halves, sizes, strict=True)
        ]
        print(f"  {which:12} " + " ".join(f"{cell:>16}" for cell in cells))


async def p50(ask: Callable[[str], Awaitable[object]], questions: list[str]) -> float:
    times = []
    for question in questions:
        began = time.perf_counter()
        await ask(question)
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times)


def bare_p50(path: Path, questions: list[str]) -> float:
    connection = sqlite3.connect(path)
    times = []
    for question in questions:
        began = time.perf_counter()
        connection.execute(
            "SELECT body FROM documents_text JOIN documents ON sequence = documents_text.rowid"
            " WHERE documents_text MATCH ? ORDER BY bm25(documents_text, 4.0, 1.0) LIMIT 10",
            (match_expression(question),),
        ).fetchall()
        times.append(1000 * (time.perf_counter() - began))
    connection.close()
    return statistics.median(times)


async def speed(directory: Path, store: SqlKnowledge, index: VectorIndex, embedder: ServerEmbeddings) -> None:
    documents = many_documents()
    began = time.perf_counter()
    await store.put(documents)
    put = DOCUMENTS / (time.perf_counter() - began)
    began = time.perf_counter()
    synced = await Indexer(store, index, embedder).sync()
    indexed = synced.added / (time.perf_counter() - began)
    rng = random.Random(2)
    questions = [" ".join(rng.sample(WORDS, 4)) for _ in range(QUESTIONS)]
    shipped_way = Retrieval(store, index, embedder, minimum_similarity=MINIMUM_SIMILARITY)
    peer = bare_p50(directory / "state.db", questions)
    by_text = await p50(store.search_text, questions)
    whole = await p50(shipped_way.search, questions)
    print(f"{DOCUMENTS} documents, {type(index).__name__}{': ' + synced.degraded if synced.degraded else ''}:")
    print(f"  {'kept with full text':36} {put:>9,.0f} documents/s")
    print(f"  {'embedded and indexed':36} {indexed:>9,.0f} documents/s")
    print(f"  {'question, bare sqlite3 FTS5 (peer)':36} {peer:>9.2f} ms p50")
    print(f"  {'question, SqlKnowledge':36} {by_text:>9.2f} ms p50 {by_text / peer:>6.2f} of the peer")
    print(f"  {'question, vectors and text':36} {whole:>9.2f} ms p50")


@asynccontextmanager
async def an_index(directory: Path, embedder: ServerEmbeddings) -> AsyncIterator[VectorIndex]:
    if not program():
        print("ChromaDB is not installed (ai-sysadmin[vectors]): vectors are kept in memory")
        yield MemoryIndex()
        return
    settings = Settings(state_dir=directory, backends=Backends(embedding=Backend(url=embedder.url)))
    began = time.perf_counter()
    async with own_chroma(settings) as chroma:
        print(f"ChromaDB answers after {time.perf_counter() - began:.1f} s")
        index = ChromaIndex(chroma.url, lambda: embedder.id)
        yield index
        await index.close()


async def main() -> None:
    with tempfile.TemporaryDirectory() as name, embedding_server() as server:
        directory = Path(name)
        embedder = ServerEmbeddings(Backend(url=server.url))
        async with sqlite_knowledge(directory / "runbooks.db") as store:
            await store.put(shipped().documents)
            in_memory = MemoryIndex()
            await Indexer(store, in_memory, embedder).sync()
            await recall(store, in_memory, embedder)
        async with sqlite_knowledge(directory / "state.db") as store, an_index(directory, embedder) as index:
            await speed(directory, store, index, embedder)
        await embedder.close()


if __name__ == "__main__":
    asyncio.run(main())
