"""What is known, over HTTP: search it, read it, add to it, take one's own away, have the index made anew."""

import asyncio
import re
import unicodedata
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Annotated, Final, Literal, Protocol

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from ai_sysadmin.context.knowledge import Search
from ai_sysadmin.context.knowledge.front_matter import FrontMatterWrong, has_head, heading_of
from ai_sysadmin.context.knowledge.gathered import imported_by, why_kept
from ai_sysadmin.context.knowledge.indexing import Synced
from ai_sysadmin.context.knowledge.runbooks import parse
from ai_sysadmin.context.redact import Redactor
from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.errors import AiSysadminError, IndexUnavailable, Refused
from ai_sysadmin.core.knowledge import Document, DocumentKind
from ai_sysadmin.core.records import Record
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.openai_api_server import wire
from ai_sysadmin.openai_api_server.errors import Fault, Faulty
from ai_sysadmin.openai_api_server.gate.gate import changed_by
from ai_sysadmin.openai_api_server.system.knowledge_views import (
    Added,
    Listed,
    Listing,
    NewFile,
    NewNote,
    Reindexing,
)
from ai_sysadmin.stores.knowledge_store import KnowledgeStore

MOST_LISTED: Final = 1000
MOST_FOUND: Final = 50
_MOST_DOCUMENTS: Final = 50_000

NO_EMBEDDINGS: Final = (
    "it holds nothing: without a model of embeddings (backends.embedding, knowledge.onnx_archive) knowledge is found by"
    " its words"
)

Reindex = Callable[[], Awaitable[str]]
"""Make the index of vectors anew, and say in a sentence what came of it. Raises: AiSysadminError."""


class Library:
    """The look-ups and changes behind ``/v1/system/knowledge``."""

    def __init__(self, store: KnowledgeStore, redactor: Redactor, clock: Clock) -> None:
        self._store = store
        self._redactor = redactor
        self._clock = clock

    async def listing(self, kinds: Sequence[DocumentKind], limit: int) -> Listing:
        every = await self._store.list(kinds, _MOST_DOCUMENTS)
        counts: dict[str, int] = {}
        for document in every:
            counts[document.kind.value] = counts.get(document.kind.value, 0) + 1
        shown = tuple(Listed.of(document) for document in every[: max(1, min(limit, MOST_LISTED))])
        return Listing(documents=shown, found=len(every), by_kind=counts)

    async def document(self, document_id: str) -> Document:
        """Raises: NotFound."""
        return await self._store.get(document_id)

    async def add_note(self, note: NewNote, by: str) -> Added:
        """Keep a note in the place of one of the same title. Raises: Faulty: 400, the title holds no letter."""
        name = slug(self._redactor.redact(note.title).text)
        if not name:
            raise Faulty(Fault(400, "title: it needs a letter or a digit", code="invalid_title", param="title"))
        return await self._put(self._document(DocumentKind.NOTE, name, note.title, note.text, by))

    async def add_file(self, file: NewFile, by: str) -> Added:
        """Keep a Markdown file. Raises: Faulty: 400, its head cannot be read."""
        stem = re.sub(r"\.(md|markdown)$", "", file.path.strip("/"), flags=re.IGNORECASE)
        name = f"imported/{stem}"
        if not has_head(file.text):
            title = heading_of(file.text) or stem.rpartition("/")[2].replace("-", " ")
            return await self._put(self._document(DocumentKind.NOTE, name, title, file.text, imported_by(by)))
        try:
            runbook = parse(file.text, name=name, source=imported_by(by), at=self._clock.now())
        except FrontMatterWrong as wrong:
            raise Faulty(Fault(400, f"{file.path}: {wrong}", code="invalid_front_matter")) from wrong
        return await self._put(runbook)

    async def remove(self, document_id: str) -> Document:
        """Raises: NotFound; Refused: it is made from something else, which would bring it back."""
        document = await self._store.get(document_id)
        if why := why_kept(document):
            raise Refused(f"{document.name} cannot be removed: {why}")
        return await self._store.remove(document.id)

    def _document(self, kind: DocumentKind, name: str, title: str, text: str, source: str) -> Document:
        now = self._clock.now()
        return Document(kind=kind, name=name, title=title, text=text, source=source, updated_at=now)

    async def _put(self, document: Document) -> Added:
        """Keep a document without its secrets, those in its name included."""
        title, text = self._redactor.redact(document.title), self._redactor.redact(document.text)
        name, (facts, _) = self._redactor.redact(document.name), self._redactor.mapping(document.facts)
        clean = document.model_copy(
            update={"name": name.text, "title": title.text, "text": text.text, "facts": facts},
        )
        is_known = clean.id in await self._store.by_ids([clean.id])
        changed = await self._store.put([clean])
        outcome: Literal["added", "changed", "unchanged"] = "unchanged"
        if changed:
            outcome = "changed" if is_known else "added"
        counts = {kind: title.counts.get(kind, 0) + text.counts.get(kind, 0) for kind in {*title.counts, *text.counts}}
        return Added(document=Listed.of(clean), outcome=outcome, redacted=dict(sorted(counts.items())))


class Indexes(Protocol):
    """What of ``context.knowledge.indexing.Indexer`` is asked here."""

    async def reindex(self) -> Synced: ...


def reindexing(indexer: Indexes) -> Reindex:
    """Return how the index is made anew, and told. It raises IndexUnavailable where it was not made whole."""

    async def reindex() -> str:
        done = await indexer.reindex()
        count = f"{done.added} document{'s' * (done.added != 1)}"
        if done.degraded:
            raise IndexUnavailable(f"{done.degraded}; {count} went in before")
        return count if done.added else NO_EMBEDDINGS

    return reindex


def slug(title: str) -> str:
    """Return a title as a name: small letters, digits and dashes; empty where it has neither letter nor digit."""
    plain = unicodedata.normalize("NFKC", title).lower()
    return re.sub(r"[\W_]+", "-", plain).strip("-")[:80].strip("-")


class Reindexer:
    """Runs one making of the index at a time, beside the requests; who asks meanwhile joins it."""

    def __init__(self, reindex: Reindex, clock: Clock) -> None:
        self._reindex = reindex
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self.state = Reindexing()

    def start(self) -> Reindexing:
        if self._task is None or self._task.done():
            self.state = Reindexing(state="running", started_at=self._clock.now())
            self._task = asyncio.create_task(self._run(self._clock.now()))
        return self.state

    async def _run(self, started_at: datetime) -> None:
        state: Literal["done", "failed"] = "failed"
        text = "it was broken off"
        try:
            text = await self._reindex()
            state = "done"
        except AiSysadminError as error:
            text = str(error)
        finally:
            self.state = Reindexing(state=state, text=text, started_at=started_at, ended_at=self._clock.now())


def router(
    store: KnowledgeStore, search: Search, reindex: Reindex, settings: Settings, clock: Clock, redactor: Redactor
) -> APIRouter:
    """Return the paths below ``/knowledge``; changes are the operators' alone."""
    made = APIRouter(prefix="/knowledge")
    library, reindexer = Library(store, redactor, clock), Reindexer(reindex, clock)
    _add_reading(made, library, search)
    _add_changes(made, library, reindexer, settings)
    return made


def _add_reading(made: APIRouter, library: Library, search: Search) -> None:
    Kinds = Annotated[list[DocumentKind] | None, Query()]  # noqa: N806

    @made.get("")
    async def listing(kind: Kinds = None, limit: int = 100) -> Response:
        return _record(await library.listing(kind or (), limit))

    @made.get("/search")
    async def found(query: str, kind: Kinds = None, limit: int = 5) -> Response:
        if not query.strip():
            raise Faulty(Fault(400, "query: say what is looked for", code="no_query", param="query"))
        return _record(await search.search(query, kind or (), max(1, min(limit, MOST_FOUND))))

    @made.get("/documents/{document_id}")
    async def document(document_id: str) -> Response:
        return _record(await library.document(document_id))


def _add_changes(made: APIRouter, library: Library, reindexer: Reindexer, settings: Settings) -> None:
    @made.post("/notes")
    async def note(request: Request) -> Response:
        by = changed_by(request.scope, settings)
        return _record(await library.add_note(wire.parse(NewNote, await request.body()), by))

    @made.post("/files")
    async def file(request: Request) -> Response:
        by = changed_by(request.scope, settings)
        return _record(await library.add_file(wire.parse(NewFile, await request.body()), by))

    @made.get("/index")
    async def index() -> Response:
        return _record(reindexer.state)

    @made.post("/index")
    async def make_index(request: Request) -> Response:
        changed_by(request.scope, settings)
        return _record(reindexer.start())

    @made.delete("/documents/{document_id}")
    async def remove(document_id: str, request: Request) -> Response:
        changed_by(request.scope, settings)
        return _record(Listed.of(await library.remove(document_id)))


def _record(record: Record) -> Response:
    return Response(record.model_dump_json(), media_type="application/json")
