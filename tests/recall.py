"""How often a search finds the right runbook: the share of questions whose runbook is among the first few.

The questions (``fixtures/retrieval/pairs.json``) were written before anything was chosen. How long a part of a document
is and how the two searches are put together were chosen on the half of the runbooks that ``half`` calls 0.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ai_sysadmin.context.knowledge.indexing import document_of
from ai_sysadmin.context.knowledge.retrieval import Retrieval
from ai_sysadmin.llm_backend.embeddings import Embedder
from ai_sysadmin.stores.knowledge_store import KnowledgeStore, VectorIndex

PAIRS = Path(__file__).parent / "fixtures" / "retrieval" / "pairs.json"
MINIMUM_SIMILARITY = 0.2
EVERYTHING = 10_000


@dataclass(frozen=True)
class Pair:
    query: str
    runbook: str

    @property
    def half(self) -> int:
        return hashlib.sha256(self.runbook.encode()).digest()[-1] % 2


@dataclass(frozen=True)
class Rankings:
    """For each pair, the runbooks that each way of searching finds, the best first."""

    pairs: Sequence[Pair]
    vectors: Sequence[Sequence[str]]
    text: Sequence[Sequence[str]]
    shipped: Sequence[Sequence[str]]

    def recall(self, which: str, first: int, half: int | None = None) -> int:
        found = zip(self.pairs, getattr(self, which), strict=True)
        return sum(pair.runbook in names[:first] for pair, names in found if half in (None, pair.half))


def pairs() -> list[Pair]:
    return [Pair(**pair) for pair in json.loads(PAIRS.read_text())]


async def rank_all(store: KnowledgeStore, index: VectorIndex, embedder: Embedder) -> Rankings:
    """Search for every question in three ways: by vectors alone, by full text alone, as it is shipped."""
    retrieval = Retrieval(store, index, embedder, minimum_similarity=MINIMUM_SIMILARITY)
    names = {document.id: document.name for document in await store.list(limit=EVERYTHING)}
    asked = pairs()
    vectors, text, shipped = [], [], []
    for pair in asked:
        (vector,) = await embedder.embed([pair.query], "query")
        records = [document_of(record) for record, _ in await index.nearest(vector, 100)]
        vectors.append([names[each] for each in dict.fromkeys(records)])
        text.append([document.name for document, _ in await store.search_text(pair.query)])
        found = await retrieval.search(pair.query)
        assert found.degraded == ""
        shipped.append([hit.document.name for hit in found.hits])
    return Rankings(asked, vectors, text, shipped)
