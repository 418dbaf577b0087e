"""What is known, as text that can be searched: documents in a table, their full text beside it."""

from collections.abc import Mapping, Sequence
from typing import Final

from ai_sysadmin.core.errors import NotFound
from ai_sysadmin.core.knowledge import Document, DocumentKind
from ai_sysadmin.runtime.relational import Relational, Row, Transaction
from ai_sysadmin.stores.relational.full_text import find_text, index_text, match_expression, only, values
from ai_sysadmin.stores.relational.rows import stamp

__all__ = ["SqlKnowledge", "match_expression"]

_VARIABLES: Final = 500
"""How many values one statement is given; SQLite's own limit was once 999."""


class SqlKnowledge:
    """``KnowledgeStore`` on a relational database."""

    def __init__(self, database: Relational, host: str) -> None:
        self._database = database
        self._host = host

    async def put(self, documents: Sequence[Document]) -> int:
        newest = {document.id: document for document in documents}
        return await self._database.write(lambda tx: self._put(tx, newest))

    async def replace(self, kind: DocumentKind, source: str, documents: Sequence[Document]) -> int:
        """As the protocol says. Raises: ValueError, where a document is of another kind or source."""
        strange = [each.name for each in documents if (each.kind, each.source) != (kind, source)]
        if strange:
            raise ValueError(f"not of kind {kind.value} from {source!r}: {', '.join(strange)}")
        wanted = {document.id: document for document in documents}

        async def work(tx: Transaction) -> int:
            rows = await tx.all(
                "SELECT id FROM documents WHERE host = ? AND kind = ? AND source = ?", (self._host, kind.value, source)
            )
            gone = [row["id"] for row in rows if row["id"] not in wanted]
            await self._delete(tx, gone)
            return len(gone) + await self._put(tx, wanted)

        return await self._database.write(work)

    async def remove(self, document_id: str) -> Document:
        async def work(tx: Transaction) -> Document:
            document = await self._one(tx, document_id)
            await self._delete(tx, [document.id])
            return document

        return await self._database.write(work)

    async def get(self, document_id: str) -> Document:
        return await self._database.read(lambda tx: self._one(tx, document_id))

    async def list(self, kinds: Sequence[DocumentKind] = (), limit: int = 1000) -> Sequence[Document]:
        async def work(tx: Transaction) -> Sequence[Document]:
            rows = await tx.all(
                f"SELECT body FROM documents WHERE host = ?{only(kinds)} ORDER BY kind, name LIMIT ?",  # noqa: S608
                (self._host, *values(kinds), limit),
            )
            return tuple(Document.model_validate_json(row["body"]) for row in rows)

        return await self._database.read(work)

    async def by_ids(self, ids: Sequence[str]) -> Mapping[str, Document]:
        async def work(tx: Transaction) -> Mapping[str, Document]:
            rows = await self._rows(tx, "id, body", ids)
            return {row["id"]: Document.model_validate_json(row["body"]) for row in rows}

        return await self._database.read(work)

    async def hashes(self) -> Mapping[str, str]:
        async def work(tx: Transaction) -> Mapping[str, str]:
            rows = await tx.all("SELECT id, hash FROM documents WHERE host = ?", (self._host,))
            return {row["id"]: row["hash"] for row in rows}

        return await self._database.read(work)

    async def search_text(
        self, query: str, kinds: Sequence[DocumentKind] = (), limit: int = 10
    ) -> Sequence[tuple[Document, float]]:
        return await self._database.read(lambda tx: find_text(tx, self._host, query, kinds, limit))

    async def _put(self, tx: Transaction, documents: Mapping[str, Document]) -> int:
        kept = {row["id"]: row for row in await self._rows(tx, "id, hash, body", tuple(documents))}
        changed, seen = [], []
        for document in documents.values():
            row = kept.get(document.id)
            if row is None or row["hash"] != document.hash:
                changed.append(document)
            elif row["body"] != document.model_dump_json():
                seen.append(document)
        await self._write(tx, changed)
        await self._see_again(tx, seen)
        return len(changed)

    async def _write(self, tx: Transaction, documents: Sequence[Document]) -> None:
        await tx.many(
            "INSERT INTO documents (host, id, kind, name, source, title, text, facts, hash, updated_at, body)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (host, id) DO UPDATE SET source = excluded.source,"
            " title = excluded.title, text = excluded.text, facts = excluded.facts, hash = excluded.hash,"
            " updated_at = excluded.updated_at, body = excluded.body",
            (_columns(self._host, each) for each in documents),
        )
        await index_text(tx, self._host, documents)

    async def _see_again(self, tx: Transaction, documents: Sequence[Document]) -> None:
        """Write what is not found by: neither the full text nor a vector has to be made anew."""
        await tx.many(
            "UPDATE documents SET source = ?, updated_at = ?, body = ? WHERE host = ? AND id = ?",
            [(each.source, stamp(each.updated_at), each.model_dump_json(), self._host, each.id) for each in documents],
        )

    async def _delete(self, tx: Transaction, ids: Sequence[str]) -> None:
        await tx.many("DELETE FROM documents WHERE host = ? AND id = ?", [(self._host, each) for each in ids])

    async def _rows(self, tx: Transaction, columns: str, ids: Sequence[str]) -> Sequence[Row]:
        rows: list[Row] = []
        for start in range(0, len(ids), _VARIABLES):
            some = ids[start : start + _VARIABLES]
            rows += await tx.all(
                f"SELECT {columns} FROM documents WHERE host = ? AND id IN ({_marks(some)})",  # noqa: S608
                (self._host, *some),
            )
        return rows

    async def _one(self, tx: Transaction, id_or_prefix: str) -> Document:
        rows = await tx.all(
            "SELECT id, body FROM documents WHERE host = ? AND substr(id, 1, ?) = ? LIMIT 2",
            (self._host, len(id_or_prefix), id_or_prefix),
        )
        if not rows or not id_or_prefix:
            raise NotFound(f"there is no document {id_or_prefix!r}; `ai-sysadmin knowledge` lists them")
        if len(rows) > 1:
            raise NotFound(f"more than one document begins with {id_or_prefix!r}; give more of its id")
        return Document.model_validate_json(rows[0]["body"])


def _columns(host: str, document: Document) -> tuple[str, ...]:
    return (
        host,
        document.id,
        document.kind.value,
        document.name,
        document.source,
        document.title,
        document.text,
        "\n".join(document.facts.values()),
        document.hash,
        stamp(document.updated_at),
        document.model_dump_json(),
    )


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))
