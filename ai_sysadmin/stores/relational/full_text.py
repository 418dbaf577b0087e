"""Documents found by their words, ranked by BM25: FTS5 on SQLite, a tsvector with a GIN index on PostgreSQL.

SQLite's triggers keep its index in step. PostgreSQL is given the words: its own parser takes ``nginx.service`` for the
name of a host and ``/etc/nixos`` for a file, and what it calls a letter depends on how the database was made.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

from ai_sysadmin.core.knowledge import Document, DocumentKind
from ai_sysadmin.runtime.relational import Dialect, Row, Transaction

_TITLE_WEIGHT: Final = 4.0
_FACTS_WEIGHT: Final = 2.0
_IDENTIFIER_WEIGHT: Final = 3
_QUERY_CHARACTERS: Final = 4000
_MOST_IDENTIFIERS: Final = 12
_MOST_TERMS: Final = 64
_TEXT_BYTES: Final = 300_000
_BESIDE_BYTES: Final = 50_000
"""So much of a document's text, and of its title and its facts, PostgreSQL is given: a tsvector holds 1 MiB and may
take twice the bytes of its words."""
_WORD_CHARACTERS: Final = 250
"""A tsvector's words are shorter than 2 KiB."""

_WORD = re.compile(r"[^\W_]+")
_IDENTIFIER = re.compile(r"(?<![^\W_])[^\W_]+(?:[._/:@\\+-]+[^\W_]+)+")
_ACCENT = re.compile("[\u0300-\u036f]+")
_FUNCTION_WORDS = frozenset(
    _WORD.findall(
        "a an and are as at be been but by can could did do does for from had has have how i if in into is it its my no"
        " not of on or our out so than that the their them then there these they this to was we were what when where"
        " which while who why will with would you your"
    )
)
"""English words that say nothing of a subject; beside any other word they are left out of a query."""

_INDEX: Final = (
    "INSERT INTO documents_text (sequence, host, kind, name, words, length) SELECT sequence, host, kind, name,"
    " setweight(to_tsvector('words', CAST(? AS TEXT)), 'A') || setweight(to_tsvector('words', CAST(? AS TEXT)), 'B')"
    " || setweight(to_tsvector('words', CAST(? AS TEXT)), 'C'), ? FROM documents WHERE host = ? AND id = ?"
    " ON CONFLICT (sequence) DO UPDATE SET words = excluded.words, length = excluded.length"
)

_FTS5: Final = (
    f"SELECT body, -bm25(documents_text, {_TITLE_WEIGHT}, 1.0, {_FACTS_WEIGHT}) AS score"  # noqa: S608
    " FROM documents_text JOIN documents ON sequence = documents_text.rowid"
    " WHERE documents_text MATCH ? AND host = ?{kinds} ORDER BY score DESC, name LIMIT ?"
)

_PLACES: Final = f"'{{{{0, {1 / _TITLE_WEIGHT}, {_FACTS_WEIGHT / _TITLE_WEIGHT}, 1}}}}'"
"""The weights of D (nothing), C, B and A, as ts_rank takes them: none above 1."""

# BM25 with FTS5's constants, 1.2 and 0.75. What it counts, how often a term stands in a document by the weight of the
# place, is told here by ts_rank: 6 / pi² for a term that stands in one place of weight 1, and more for several.
_TSVECTOR: Final = f"""
WITH known AS MATERIALIZED (
    SELECT CAST(count(*) AS FLOAT8) AS documents, CAST(avg(length) AS FLOAT8) AS mean
    FROM documents_text WHERE host = ?{{kinds}}
), terms AS MATERIALIZED (
    SELECT phraseto_tsquery('words', term) AS term, times
    FROM unnest(CAST(? AS TEXT[]), CAST(? AS FLOAT8[])) AS given (term, times)
), held AS MATERIALIZED (
    SELECT term, times,
        (SELECT CAST(count(*) AS FLOAT8) FROM documents_text WHERE words @@ term AND host = ?{{kinds}}) AS held
    FROM terms WHERE numnode(term) > 0
), weighed AS MATERIALIZED (
    SELECT term, times * 2.2 * ln(1 + (documents - held + 0.5) / (held + 0.5)) AS weight FROM held CROSS JOIN known
), ranked AS MATERIALIZED (
    SELECT sequence, name, (
        SELECT sum(weight * frequency / (frequency + 1.2 * (0.25 + length / mean * 0.75))) FROM (
            SELECT weight, {_TITLE_WEIGHT} * pi() * pi() / 6 * ts_rank({_PLACES}, words, term) AS frequency
            FROM weighed WHERE words @@ term
        ) AS counted
    ) AS score
    FROM documents_text CROSS JOIN known
    WHERE words @@ (SELECT CAST(string_agg('(' || CAST(term AS TEXT) || ')', '|') AS TSQUERY) FROM weighed)
        AND host = ?{{kinds}}
    ORDER BY score DESC, name LIMIT ?
)
SELECT body, score FROM ranked JOIN documents USING (sequence) ORDER BY score DESC, ranked.name
"""  # noqa: S608


async def index_text(tx: Transaction, host: str, documents: Iterable[Document]) -> None:
    """Let documents be found that were just written, by the text they have now."""
    if tx.dialect is Dialect.POSTGRES:
        await tx.many(_INDEX, [(*_columns(each), host, each.id) for each in documents])


async def find_text(
    tx: Transaction, host: str, query: str, kinds: Sequence[DocumentKind], limit: int
) -> Sequence[tuple[Document, float]]:
    """Return the documents that hold any of a query's terms with their score, the best (highest) first."""
    if tx.dialect is Dialect.POSTGRES:
        rows = await _by_tsvector(tx, host, query, kinds, limit)
    else:
        rows = await _by_fts5(tx, host, query, kinds, limit)
    return tuple((Document.model_validate_json(row["body"]), float(row["score"])) for row in rows)


async def _by_fts5(tx: Transaction, host: str, query: str, kinds: Sequence[DocumentKind], limit: int) -> Sequence[Row]:
    expression = match_expression(query)
    if not expression:
        return ()
    return await tx.all(_FTS5.format(kinds=only(kinds)), (expression, host, *values(kinds), limit))


async def _by_tsvector(
    tx: Transaction, host: str, query: str, kinds: Sequence[DocumentKind], limit: int
) -> Sequence[Row]:
    terms = [(words, float(times)) for term, times in query_terms(query) if (words := plain_words(term))]
    if not terms:
        return ()
    which = (host, *values(kinds))
    given = ([words for words, _ in terms], [times for _, times in terms])
    return await tx.all(_TSVECTOR.format(kinds=only(kinds)), (*which, *given, *which, *which, limit))


def match_expression(query: str) -> str:
    """Return an FTS5 expression for any text; empty: there is no word in it.

    Only letters and digits between quotes reach FTS5, so nothing in a query is an operator to it.
    """
    # BM25 adds up over the phrases of an expression: one that stands there several times weighs as much more
    phrases = [f'"{term}"' for term, times in query_terms(query) for _ in range(times)]
    return " OR ".join(phrases[:_MOST_TERMS])


def query_terms(query: str) -> Sequence[tuple[str, int]]:
    """Return what is looked for, with its weight: identifiers, their words divided by blanks, and each word."""
    query = query[:_QUERY_CHARACTERS]
    identifiers = _distinct(" ".join(_WORD.findall(each)) for each in _IDENTIFIER.findall(query))[:_MOST_IDENTIFIERS]
    words = _distinct(_WORD.findall(query))
    telling = [word for word in words if word not in _FUNCTION_WORDS]
    terms = [(each, _IDENTIFIER_WEIGHT) for each in identifiers] + [(each, 1) for each in telling or words]
    return terms[:_MOST_TERMS]


def plain_words(text: str, most_bytes: int = _TEXT_BYTES) -> str:
    """Return a text's words divided by blanks, without case and accents, as many as there is room for."""
    decomposed = unicodedata.normalize("NFKD", text[:most_bytes])
    bare = unicodedata.normalize("NFC", _ACCENT.sub("", decomposed)).lower()
    words = " ".join(word[:_WORD_CHARACTERS] for word in _WORD.findall(bare))
    return words.encode()[:most_bytes].decode(errors="ignore")


def only(kinds: Sequence[DocumentKind]) -> str:
    """Return the condition that a document is of one of these kinds; of any, where none is named."""
    return f" AND kind IN ({','.join('?' * len(kinds))})" if kinds else ""


def values(kinds: Sequence[DocumentKind]) -> tuple[str, ...]:
    return tuple(kind.value for kind in kinds)


def _columns(document: Document) -> tuple[str, str, str, int]:
    """Return a document's title, facts and text as words, and how many these are."""
    title = plain_words(document.title, _BESIDE_BYTES)
    facts = plain_words("\n".join(document.facts.values()), _BESIDE_BYTES)
    text = plain_words(document.text)
    return title, facts, text, sum(len(each.split()) for each in (title, facts, text))


def _distinct(terms: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(term.lower() for term in terms))
