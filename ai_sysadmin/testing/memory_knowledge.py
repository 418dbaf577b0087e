"""Knowledge and an index of vectors in memory; they pass the contract suites of the real ones."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from ai_sysadmin.core.errors import IndexUnavailable, NotFound
from ai_sysadmin.core.knowledge import Document, DocumentKind


class MemoryKnowledge:
    """``KnowledgeStore`` in memory. Its full-text search counts words, those of the title four times."""

    def __init__(self) -> None:
        self._documents: dict[str, Document] = {}

    async def put(self, documents: Sequence[Document]) -> int:
        newest = {document.id: document for document in documents}
        hashes = await self.hashes()
        self._documents |= newest
        return sum(1 for each in newest.values() if hashes.get(each.id) != each.hash)

    async def replace(self, kind: DocumentKind, source: str, documents: Sequence[Document]) -> int:
        if any((each.kind, each.source) != (kind, source) for each in documents):
            raise ValueError(f"not of kind {kind.value} from {source!r}")
        wanted = {document.id for document in documents}
        same = [each.id for each in self._documents.values() if (each.kind, each.source) == (kind, source)]
        gone = [each for each in same if each not in wanted]
        for each in gone:
            del self._documents[each]
        return len(gone) + await self.put(documents)

    async def remove(self, document_id: str) -> Document:
        return self._documents.pop((await self.get(document_id)).id)

    async def get(self, document_id: str) -> Document:
        found = [each for each in self._documents.values() if document_id and each.id.startswith(document_id)]
        if len(found) != 1:
            raise NotFound(f"there is no document {document_id!r}, or more than one")
        return found[0]

    async def list(self, kinds: Sequence[DocumentKind] = (), limit: int = 1000) -> Sequence[Document]:
        chosen = [each for each in self._documents.values() if not kinds or each.kind in kinds]
        return tuple(sorted(chosen, key=lambda each: (each.kind.value, each.name))[:limit])

    async def by_ids(self, ids: Sequence[str]) -> Mapping[str, Document]:
        return {each: self._documents[each] for each in ids if each in self._documents}

    async def hashes(self) -> Mapping[str, str]:
        return {each.id: each.hash for each in self._documents.values()}

    async def search_text(
        self, query: str, kinds: Sequence[DocumentKind] = (), limit: int = 10
    ) -> Sequence[tuple[Document, float]]:
        wanted = set(_stems(query))
        scored = [(each, _overlap(wanted, each)) for each in await self.list(kinds, len(self._documents))]
        hits = [hit for hit in scored if hit[1] > 0]
        return tuple(sorted(hits, key=lambda hit: -hit[1])[:limit])


class MemoryIndex:
    """``VectorIndex`` in memory. ``away`` says why it does not answer; empty: it does."""

    def __init__(self) -> None:
        self.away = ""
        self.records: dict[str, tuple[Sequence[float], str, str]] = {}

    async def upsert(
        self, vectors: Mapping[str, Sequence[float]], hashes: Mapping[str, str], kinds: Mapping[str, str]
    ) -> None:
        self._answer()
        lengths = {len(vector) for vector in vectors.values()}
        if any(len(vector) not in lengths for vector, _, _ in self.records.values()):
            self.records.clear()
        self.records |= {each: (tuple(vector), hashes[each], kinds[each]) for each, vector in vectors.items()}

    async def delete(self, ids: Sequence[str]) -> None:
        self._answer()
        for each in ids:
            self.records.pop(each, None)

    async def hashes(self) -> Mapping[str, str]:
        self._answer()
        return {each: digest for each, (_, digest, _) in self.records.items()}

    async def nearest(
        self, vector: Sequence[float], limit: int, kinds: Sequence[DocumentKind] = ()
    ) -> Sequence[tuple[str, float]]:
        self._answer()
        if not self.records:
            raise IndexUnavailable("the vector index holds nothing yet")
        wanted = {kind.value for kind in kinds}
        near = [
            (each, cosine(vector, other))
            for each, (other, _, kind) in self.records.items()
            if not wanted or kind in wanted
        ]
        return tuple(sorted(near, key=lambda pair: -pair[1])[:limit])

    async def clear(self) -> None:
        self._answer()
        self.records.clear()

    def _answer(self) -> None:
        if self.away:
            raise IndexUnavailable(self.away)


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """Return how alike two directions are, 1 for the same; 0 where one has none."""
    lengths = math.hypot(*one) * math.hypot(*other)
    return sum(a * b for a, b in zip(one, other, strict=True)) / lengths if lengths else 0.0


def _overlap(wanted: set[str], document: Document) -> float:
    beside = " ".join(document.facts.values())
    counts = Counter(_stems(document.text)) + Counter(4 * _stems(document.title)) + Counter(_stems(beside))
    return float(sum(counts[word] for word in wanted))


def _stems(text: str) -> list[str]:
    words: list[str] = re.findall(r"[^\W_]+", text.lower())
    return [re.sub(r"(ing|ed|es|s)$", "", word) if len(word) > 4 else word for word in words]
