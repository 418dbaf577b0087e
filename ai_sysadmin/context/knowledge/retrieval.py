"""Find what is known: by vectors first, by full text beside them and where there are none.

Vectors understand what is meant, full text finds what is named. Each search's scores are put on a scale of their own
from 0 to 1 and added up, because cosines of one model are spread otherwise than those of another; a document that
names exactly what the query names (a unit, a path, a code) is moved up further. ``bench/retrieval.py`` measures it.
"""

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from ai_sysadmin.context.knowledge.indexing import NO_INDEX, document_of
from ai_sysadmin.core.errors import BackendUnavailable, IndexUnavailable
from ai_sysadmin.core.knowledge import Document, DocumentKind, Found, Hit
from ai_sysadmin.llm_backend.embeddings import Embedder
from ai_sysadmin.stores.knowledge_store import KnowledgeStore, VectorIndex

VECTORS: Final = "vectors"
TEXT: Final = "text"
BOTH: Final = "both"

_POOL: Final = 20
_PARTS_FOR_EACH: Final = 3
_QUERY_CHARACTERS: Final = 2000
_VECTOR_SECONDS: Final = 5.0
_TEXT_WEIGHT: Final = 1.0
_NAMED_WEIGHT: Final = 0.5
_IDENTIFIER = re.compile(r"(?<!\w)/?[\w@\\-]+(?:[._/:@\\]+[\w@\\-]+)+|\b[A-Z]+[0-9]{2,}\b|\b0x[0-9a-fA-F]+\b")
_MOST_IDENTIFIERS: Final = 12
_SHORTEST_IDENTIFIER: Final = 5  # shorter ones (I/O, e.g) are words like others


class Retrieval:
    """``Search`` over a store of text and, where there is one, an index of vectors."""

    def __init__(
        self,
        store: KnowledgeStore,
        index: VectorIndex | None,
        embedder: Embedder | None,
        *,
        minimum_similarity: float,
    ) -> None:
        self._store = store
        self._index = index
        self._embedder = embedder
        self._minimum_similarity = minimum_similarity

    async def search(self, query: str, kinds: Sequence[DocumentKind] = (), limit: int = 5) -> Found:
        pool = max(limit, _POOL)
        by_text = await self._store.search_text(query, kinds, pool)
        near, why = await self._near(query, kinds, pool)
        known = await self._store.by_ids(tuple(near))  # a vector may outlive its document by a moment
        alike = [(document, near[each]) for each, document in known.items()]
        found = candidates(by_text, alike, self._minimum_similarity)
        return Found(hits=tuple(ranked(query, found)[:limit]), degraded=why)

    async def _near(self, query: str, kinds: Sequence[DocumentKind], most: int) -> tuple[Mapping[str, float], str]:
        """Return the documents that are alike, with their cosine, and why that is not known (empty: it is)."""
        if self._embedder is None or not query.strip():
            return {}, ""
        if self._index is None:
            return {}, NO_INDEX
        try:
            async with asyncio.timeout(_VECTOR_SECONDS):
                return await self._asked(self._embedder, self._index, query, kinds, most)
        except (BackendUnavailable, IndexUnavailable) as error:
            return {}, f"searched by full text only: {error}"
        except TimeoutError:
            return {}, f"searched by full text only: vectors took longer than {_VECTOR_SECONDS:.0f} s"

    async def _asked(
        self, embedder: Embedder, index: VectorIndex, query: str, kinds: Sequence[DocumentKind], most: int
    ) -> tuple[Mapping[str, float], str]:
        if await embedder.asleep():
            return {}, "searched by full text only: the embedding model sleeps"
        (vector,) = await embedder.embed([query[:_QUERY_CHARACTERS]], "query")
        best: dict[str, float] = {}
        for record, alike in await index.nearest(vector, most * _PARTS_FOR_EACH, kinds):
            best.setdefault(document_of(record), alike)
        return dict(list(best.items())[:most]), ""


@dataclass(frozen=True)
class Candidate:
    """A document, by which search it was found, and its place in each: from 0 to 1 for the best."""

    document: Document
    by: str
    likeness: float = 0.0
    text_share: float = 0.0


def candidates(
    by_text: Sequence[tuple[Document, float]], alike: Sequence[tuple[Document, float]], minimum_similarity: float
) -> Sequence[Candidate]:
    """Put together what the two searches found.

    What is less alike than the minimum counts as found only where full text finds it too; how alike it is then still
    tells it from the others.
    """
    best = max((score for _, score in by_text), default=0.0) or 1.0
    found = {document.id: Candidate(document, TEXT, text_share=score / best) for document, score in by_text}
    cosines = [cosine for _, cosine in alike]
    least, most = min(cosines, default=0.0), max(cosines, default=0.0)
    for document, cosine in alike:
        named = found.get(document.id)
        is_near = cosine >= minimum_similarity
        if is_near or named:
            by = BOTH if is_near and named else VECTORS if is_near else TEXT
            likeness = (cosine - least) / (most - least) if most > least else 1.0
            found[document.id] = Candidate(document, by, likeness, named.text_share if named else 0.0)
    return tuple(found.values())


def ranked(query: str, found: Sequence[Candidate]) -> Sequence[Hit]:
    """Return the candidates as hits, the best first."""
    named = [_whole(each) for each in islice(dict.fromkeys(identifiers(query)), _MOST_IDENTIFIERS)]
    hits = [Hit(document=each.document, score=_score(each, named), by=each.by) for each in found]
    return sorted(hits, key=lambda hit: (-hit.score, hit.document.kind.value, hit.document.name))


def _score(candidate: Candidate, named: Sequence[re.Pattern[str]]) -> float:
    document = candidate.document
    whole = "\n".join((document.name, document.title, document.text, *document.facts.values()))
    names_it = any(pattern.search(whole) for pattern in named)
    return candidate.likeness + _TEXT_WEIGHT * candidate.text_share + (_NAMED_WEIGHT if names_it else 0.0)


def identifiers(text: str) -> Iterator[str]:
    """Yield what a text names exactly: units, paths, host names, codes."""
    found = (match.group() for match in _IDENTIFIER.finditer(text[:_QUERY_CHARACTERS]))
    return (each for each in found if len(each) >= _SHORTEST_IDENTIFIER)


def _whole(identifier: str) -> re.Pattern[str]:
    """Return what finds an identifier that is not a part of a longer one."""
    return re.compile(rf"(?<![\w/.@-]){re.escape(identifier)}(?![\w/@-])", re.IGNORECASE)
