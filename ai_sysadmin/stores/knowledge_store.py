"""Knowledge as text, and its index of vectors, as protocols.

``stores.relational.knowledge`` keeps the text, which is canonical, with its full-text search; ``stores.chroma`` keeps
vectors, which can be made again from it at any time.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from ai_sysadmin.core.knowledge import Document, DocumentKind


class KnowledgeStore(Protocol):
    """Every method raises ``StoreUnavailable`` when the database does not answer."""

    async def put(self, documents: Sequence[Document]) -> int:
        """Keep documents, each in the place of the one of its kind and name; return how many were new or changed."""
        ...

    async def replace(self, kind: DocumentKind, source: str, documents: Sequence[Document]) -> int:
        """Make these all that there is of a kind from a source; return how many were new, changed or removed."""
        ...

    async def remove(self, document_id: str) -> Document:
        """Forget a document, by its id or a prefix of it that is unique. Raises: NotFound."""
        ...

    async def get(self, document_id: str) -> Document:
        """Return a document, by its id or a prefix of it that is unique. Raises: NotFound."""
        ...

    async def list(self, kinds: Sequence[DocumentKind] = (), limit: int = 1000) -> Sequence[Document]:
        """Return documents, ordered by kind and name."""
        ...

    async def by_ids(self, ids: Sequence[str]) -> Mapping[str, Document]:
        """Return those of the documents that there are, by id."""
        ...

    async def hashes(self) -> Mapping[str, str]:
        """Return every document's hash, by id."""
        ...

    async def search_text(
        self, query: str, kinds: Sequence[DocumentKind] = (), limit: int = 10
    ) -> Sequence[tuple[Document, float]]:
        """Return what full-text search finds, the best (highest score) first. Any text is a valid query."""
        ...


class VectorIndex(Protocol):
    """Vectors of one embedding model. Every method raises ``IndexUnavailable`` when the index does not answer."""

    async def upsert(
        self, vectors: Mapping[str, Sequence[float]], hashes: Mapping[str, str], kinds: Mapping[str, str]
    ) -> None:
        """Keep vectors by document id, with each document's hash and kind.

        Vectors of another length than those there are replace them all: they are another model's.
        """
        ...

    async def delete(self, ids: Sequence[str]) -> None: ...

    async def hashes(self) -> Mapping[str, str]:
        """Return what is indexed: each document's hash, by id."""
        ...

    async def nearest(
        self, vector: Sequence[float], limit: int, kinds: Sequence[DocumentKind] = ()
    ) -> Sequence[tuple[str, float]]:
        """Return the ids of the nearest documents with their cosine similarity, the nearest first.

        Raises: IndexUnavailable, also while nothing at all is indexed: that nothing is near would be untrue.
        """
        ...

    async def clear(self) -> None:
        """Forget everything of this embedding model, as where the index is to be made anew."""
        ...
