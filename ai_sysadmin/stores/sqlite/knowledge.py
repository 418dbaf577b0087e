"""What is known, as text that can be searched: documents in a table, FTS5 beside it."""

import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from ai_sysadmin.core.errors import NotFound
from ai_sysadmin.core.knowledge import Document, DocumentKind
from ai_sysadmin.runtime.sqlite import Database
from ai_sysadmin.stores.sqlite.rows import stamp

_TITLE_WEIGHT: Final = 4.0
_FACTS_WEIGHT: Final = 2.0
_IDENTIFIER_WEIGHT: Final = 3
_QUERY_CHARACTERS: Final = 4000
_MOST_IDENTIFIERS: Final = 12
_MOST_TERMS: Final = 64
_VARIABLES: Final = 500
"""How many values one statement is given; SQLite's own limit was once 999."""

_WORD = re.compile(r"[^\W_]+")
_IDENTIFIER = re.compile(r"(?<![^\W_])[^\W_]+(?:[._/:@\\+-]+[^\W_]+)+")
_FUNCTION_WORDS = frozenset(
    _WORD.findall(
        "a an and are as at be been but by can could did do does for from had has have how i if in into is it its my no"
        " not of on or our out so than that the their them then there these they this to was we were what when where"
        " which while who why will with would you your"
    )
)
"""English words that say nothing of a subject; beside any other word they are left out of a query."""


class SqliteKnowledge:
    """``KnowledgeStore`` on SQLite."""

    def __init__(self, database: Database, host: str) -> None:
        self._database = database
        self._host = host

    async def put(self, documents: Sequence[Document]) -> int:
        newest = {document.id: document for document in documents}
        return await self._database.write(lambda connection: self._put(connection, newest))

    async def replace(self, kind: DocumentKind, source: str, documents: Sequence[Document]) -> int:
        """As the protocol says. Raises: ValueError, where a document is of another kind or source."""
        strange = [each.name for each in documents if (each.kind, each.source) != (kind, source)]
        if strange:
            raise ValueError(f"not of kind {kind.value} from {source!r}: {', '.join(strange)}")
        wanted = {document.id: document for document in documents}

        def work(connection: sqlite3.Connection) -> int:
            rows = connection.execute(
                "SELECT id FROM documents WHERE host = ? AND kind = ? AND source = ?", (self._host, kind.value, source)
            )
            gone = [row["id"] for row in rows if row["id"] not in wanted]
            self._delete(connection, gone)
            return len(gone) + self._put(connection, wanted)

        return await self._database.write(work)

    async def remove(self, document_id: str) -> Document:
        def work(connection: sqlite3.Connection) -> Document:
            document = self._one(connection, document_id)
            self._delete(connection, [document.id])
            return document

        return await self._database.write(work)

    async def get(self, document_id: str) -> Document:
        return await self._database.read(lambda connection: self._one(connection, document_id))

    async def list(self, kinds: Sequence[DocumentKind] = (), limit: int = 1000) -> Sequence[Document]:
        def work(connection: sqlite3.Connection) -> Sequence[Document]:
            rows = connection.execute(
                f"SELECT body FROM documents WHERE host = ?{_only(kinds)} ORDER BY kind, name LIMIT ?",  # noqa: S608
                (self._host, *_values(kinds), limit),
            )
            return tuple(Document.model_validate_json(row["body"]) for row in rows)

        return await self._database.read(work)

    async def by_ids(self, ids: Sequence[str]) -> Mapping[str, Document]:
        def work(connection: sqlite3.Connection) -> Mapping[str, Document]:
            rows = self._rows(connection, "id, body", ids)
            return {row["id"]: Document.model_validate_json(row["body"]) for row in rows}

        return await self._database.read(work)

    async def hashes(self) -> Mapping[str, str]:
        def work(connection: sqlite3.Connection) -> Mapping[str, str]:
            rows = connection.execute("SELECT id, hash FROM documents WHERE host = ?", (self._host,))
            return {row["id"]: row["hash"] for row in rows}

        return await self._database.read(work)

    async def search_text(
        self, query: str, kinds: Sequence[DocumentKind] = (), limit: int = 10
    ) -> Sequence[tuple[Document, float]]:
        expression = match_expression(query)
        if not expression:
            return ()

        def work(connection: sqlite3.Connection) -> Sequence[tuple[Document, float]]:
            rows = connection.execute(
                f"SELECT body, -bm25(documents_text, {_TITLE_WEIGHT}, 1.0, {_FACTS_WEIGHT}) AS score"  # noqa: S608
                " FROM documents_text JOIN documents ON sequence = documents_text.rowid"
                f" WHERE documents_text MATCH ? AND host = ?{_only(kinds)} ORDER BY score DESC, name LIMIT ?",
                (expression, self._host, *_values(kinds), limit),
            )
            return tuple((Document.model_validate_json(row["body"]), float(row["score"])) for row in rows)

        return await self._database.read(work)

    def _put(self, connection: sqlite3.Connection, documents: Mapping[str, Document]) -> int:
        kept = {row["id"]: row for row in self._rows(connection, "id, hash, body", tuple(documents))}
        changed = 0
        for document in documents.values():
            row = kept.get(document.id)
            if row is None or row["hash"] != document.hash:
                changed += 1
                self._write(connection, document)
            elif row["body"] != (body := document.model_dump_json()):
                # its content is the same: neither the full text nor a vector has to be made anew
                connection.execute(
                    "UPDATE documents SET source = ?, updated_at = ?, body = ? WHERE host = ? AND id = ?",
                    (document.source, stamp(document.updated_at), body, self._host, document.id),
                )
        return changed

    def _write(self, connection: sqlite3.Connection, document: Document) -> None:
        connection.execute(
            "INSERT INTO documents (host, id, kind, name, source, title, text, facts, hash, updated_at, body)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (host, id) DO UPDATE SET source = excluded.source,"
            " title = excluded.title, text = excluded.text, facts = excluded.facts, hash = excluded.hash,"
            " updated_at = excluded.updated_at, body = excluded.body",
            (
                self._host,
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
            ),
        )

    def _delete(self, connection: sqlite3.Connection, ids: Sequence[str]) -> None:
        connection.executemany("DELETE FROM documents WHERE host = ? AND id = ?", [(self._host, each) for each in ids])

    def _rows(self, connection: sqlite3.Connection, columns: str, ids: Sequence[str]) -> Iterator[sqlite3.Row]:
        for start in range(0, len(ids), _VARIABLES):
            some = ids[start : start + _VARIABLES]
            yield from connection.execute(
                f"SELECT {columns} FROM documents WHERE host = ? AND id IN ({_marks(some)})",  # noqa: S608
                (self._host, *some),
            )

    def _one(self, connection: sqlite3.Connection, id_or_prefix: str) -> Document:
        rows = connection.execute(
            "SELECT id, body FROM documents WHERE host = ? AND substr(id, 1, ?) = ? LIMIT 2",
            (self._host, len(id_or_prefix), id_or_prefix),
        ).fetchall()
        if not rows or not id_or_prefix:
            raise NotFound(f"there is no document {id_or_prefix!r}; `ai-sysadmin knowledge` lists them")
        if len(rows) > 1:
            raise NotFound(f"more than one document begins with {id_or_prefix!r}; give more of its id")
        return Document.model_validate_json(rows[0]["body"])


def match_expression(query: str) -> str:
    """Return an FTS5 expression for any text: its identifiers as phrases, its words, any of them; empty: neither.

    Only letters and digits between quotes reach FTS5, so nothing in a query is an operator to it.
    """
    query = query[:_QUERY_CHARACTERS]
    identifiers = _distinct(" ".join(_WORD.findall(each)) for each in _IDENTIFIER.findall(query))[:_MOST_IDENTIFIERS]
    words = _distinct(_WORD.findall(query))
    telling = [word for word in words if word not in _FUNCTION_WORDS]
    # BM25 adds up over the phrases of an expression: one that stands there several times weighs as much more
    terms = (*identifiers * _IDENTIFIER_WEIGHT, *(telling or words))
    return " OR ".join(f'"{term}"' for term in terms[:_MOST_TERMS])


def _distinct(terms: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(term.lower() for term in terms))


def _only(kinds: Sequence[DocumentKind]) -> str:
    return f" AND kind IN ({_marks(kinds)})" if kinds else ""


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


def _values(kinds: Sequence[DocumentKind]) -> tuple[str, ...]:
    return tuple(kind.value for kind in kinds)
