"""Keep the index of vectors in step with the text: embed what is new or changed, forget what is gone.

What is indexed stands in the index itself, by each document's hash, so a run that was broken off is simply taken up
by the next. The text is whole without the index: its absence is a condition, never an error.
"""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ai_sysadmin.core.errors import BackendUnavailable, IndexUnavailable
from ai_sysadmin.core.knowledge import Document
from ai_sysadmin.llm_backend.embeddings import Embedder
from ai_sysadmin.stores.knowledge_store import KnowledgeStore, VectorIndex

log = logging.getLogger(__name__)

_PART_CHARACTERS: Final = 500
"""With its title about 150 tokens: one thought rather than a page, and within the smallest models' window."""

_MOST_PARTS: Final = 24
_TITLE_CHARACTERS: Final = 200
_DOCUMENTS_AT_ONCE: Final = 8
_MOST_FAILURES: Final = 3
_PART_MARK: Final = "#"
NO_INDEX: Final = (
    "embeddings are configured, but no vector index is: set knowledge.chroma_url, or install ai-sysadmin[vectors]"
    " where `up` runs"
)


@dataclass(frozen=True)
class Synced:
    """What one run did, in documents and in the index's records. ``degraded`` says why it could not do it all."""

    added: int = 0
    removed: int = 0
    degraded: str = ""


class Indexer:
    """Writes the index; one process on a host does. Without an embedder there is nothing to do, and nothing amiss."""

    def __init__(self, store: KnowledgeStore, index: VectorIndex | None, embedder: Embedder | None) -> None:
        self._store = store
        self._index = index
        self._embedder = embedder

    async def sync(self) -> Synced:
        """Bring the index up to date. An embedding model that sleeps is woken only when something has changed.

        Raises: StoreUnavailable.
        """
        return await self._run(anew=False)

    async def reindex(self) -> Synced:
        """Forget all vectors of this model and make them again. Raises: StoreUnavailable."""
        return await self._run(anew=True)

    async def _run(self, *, anew: bool) -> Synced:
        if self._embedder is None:
            return Synced()
        if self._index is None:
            return Synced(degraded=NO_INDEX)
        run = _Run(self._store, self._index, self._embedder)
        why = ""
        try:
            await run.go(anew=anew)
        except (IndexUnavailable, BackendUnavailable) as error:
            why = str(error)
        why = why or run.passed_over
        if run.added or run.removed:
            log.info(
                "indexed %d documents, %d records removed", run.added, run.removed, extra={"event": "knowledge_indexed"}
            )
        return Synced(run.added, run.removed, why)


class _Run:
    """One run, and how far it has come."""

    def __init__(self, store: KnowledgeStore, index: VectorIndex, embedder: Embedder) -> None:
        self.added = self.removed = 0
        self.passed_over = ""
        self._failures = 0
        self._store = store
        self._index = index
        self._embedder = embedder

    async def go(self, *, anew: bool) -> None:
        await self._embedder.identify()
        if anew:
            await self._index.clear()
        wanted = await self._store.hashes()
        there = await self._index.hashes()
        missing = [each for each, digest in wanted.items() if there.get(each) != digest]
        written: set[str] = set()
        for start in range(0, len(missing), _DOCUMENTS_AT_ONCE):
            documents = await self._store.by_ids(missing[start : start + _DOCUMENTS_AT_ONCE])
            try:
                written |= await self._add(tuple(documents.values()))
            except BackendUnavailable as error:
                await self._pass_over(error)
        stale = [each for each in outdated(there, wanted) if each not in written]
        await self._index.delete(stale)
        self.removed = len(stale)

    async def _pass_over(self, error: BackendUnavailable) -> None:
        """Go on without a few documents: a text that a model refuses must not keep out all that come after it.

        Raises: BackendUnavailable, where it is the server that is away, or there are too many.
        """
        self._failures += 1
        if self._failures >= _MOST_FAILURES:
            raise error
        await self._embedder.identify()
        self.passed_over = self.passed_over or f"a few documents are not indexed: {error}"

    async def _add(self, documents: Sequence[Document]) -> set[str]:
        """Embed documents, all parts of one in the same write; return the names of the records."""
        texts = {record: (text, document) for document in documents for record, text in parts(document)}
        vectors = await self._embedder.embed([text for text, _ in texts.values()], "document")
        await self._index.upsert(
            dict(zip(texts, vectors, strict=True)),
            {record: document.hash for record, (_, document) in texts.items()},
            {record: document.kind.value for record, (_, document) in texts.items()},
        )
        self.added += len(documents)
        return set(texts)


def outdated(there: Mapping[str, str], wanted: Mapping[str, str]) -> Iterator[str]:
    """Yield the records whose document is gone or has another hash now."""
    return (record for record, digest in there.items() if wanted.get(document_of(record)) != digest)


def document_of(record: str) -> str:
    """Return the id of the document that a record is a part of."""
    return record.partition(_PART_MARK)[0]


def parts(document: Document) -> Iterator[tuple[str, str]]:
    """Yield a document's records: each a name and a text that fits a small model, headed by the title.

    The first is named as the document is. Of a very long document the end is left out.
    """
    head = document.title[:_TITLE_CHARACTERS]
    for number, part in enumerate(cut(document.text, _PART_CHARACTERS)[:_MOST_PARTS]):
        name = document.id if number == 0 else f"{document.id}{_PART_MARK}{number}"
        yield name, f"{head}\n{part}".strip()


def cut(text: str, most: int) -> Sequence[str]:
    """Cut a text into pieces of at most so many characters: between paragraphs, else lines, else anywhere."""
    pieces: list[str] = []
    for block in _blocks(text, most):
        if pieces and len(pieces[-1]) + len(block) <= most:
            pieces[-1] += block
        else:
            pieces.append(block)
    return tuple(piece.strip("\n") for piece in pieces) or ("",)


def _blocks(text: str, most: int) -> Iterator[str]:
    for paragraph in re.findall(r".+?(?:\n\s*\n|\Z)", text, re.DOTALL):
        if len(paragraph) <= most:
            yield paragraph
            continue
        for line in paragraph.splitlines(keepends=True):
            yield from (line[start : start + most] for start in range(0, len(line), most))
