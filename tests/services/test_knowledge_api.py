"""Knowledge over the API's Unix socket and from the command line."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI
from starlette.responses import Response
from typer.testing import CliRunner

from ai_sysadmin.cli.api import Api as Client
from ai_sysadmin.cli.knowledge import app as command
from ai_sysadmin.cli.outcome import report
from ai_sysadmin.context.knowledge.gathered import SHIPPED
from ai_sysadmin.context.knowledge.indexing import Synced
from ai_sysadmin.context.redact import Redactor
from ai_sysadmin.core.clock import SystemClock
from ai_sysadmin.core.context_settings import RedactionRule
from ai_sysadmin.core.errors import AiSysadminError, IndexUnavailable, NotFound, Refused
from ai_sysadmin.core.knowledge import Document, DocumentKind, Found, Hit
from ai_sysadmin.core.settings import Api, Settings
from ai_sysadmin.openai_api_server.errors import Faulty, fault_of
from ai_sysadmin.openai_api_server.gate.gate import Gate
from ai_sysadmin.openai_api_server.gate.keys import ensure_api_key
from ai_sysadmin.openai_api_server.server import serve, sockets
from ai_sysadmin.openai_api_server.system import knowledge
from ai_sysadmin.openai_api_server.system.knowledge import reindexing
from ai_sysadmin.openai_api_server.system.knowledge_views import Added, Listed, Listing, NewFile, NewNote, Reindexing
from ai_sysadmin.stores.relational import open_stores
from tests.builders import NOW
from tests.services.api_harness import Running, free_port

REDACTOR = Redactor([RedactionRule(name="own", pattern="zq-[0-9]+")])


class TextSearch:
    """Finds by full text alone, and says so where it is told to."""

    def __init__(self, store, degraded=""):
        self.store, self.degraded = store, degraded

    async def search(self, query, kinds=(), limit=5):
        found = await self.store.search_text(query, kinds, limit)
        return Found(hits=tuple(Hit(document=d, score=s, by="text") for d, s in found), degraded=self.degraded)


class Index:
    """An index that takes as long as it is told to be made."""

    def __init__(self):
        self.made, self.failure, self.may_end = 0, None, asyncio.Event()
        self.may_end.set()

    async def reindex(self):
        self.made += 1
        await self.may_end.wait()
        if self.failure is not None:
            raise self.failure
        return "3 documents"


def an_app(settings, store, search, index):
    app = FastAPI()
    router = knowledge.router(store, search, index.reindex, settings, SystemClock(), REDACTOR)
    app.include_router(router, prefix="/v1/system")

    @app.exception_handler(Faulty)
    async def faulty(_request, error) -> Response:
        return error.fault.response()

    @app.exception_handler(AiSysadminError)
    async def ours(_request, error) -> Response:
        return fault_of(error).response()

    return Gate(app, settings)


@asynccontextmanager
async def running(tmp_path):
    settings = Settings(
        host_name="thishost", state_dir=tmp_path, runtime_dir=tmp_path / "run", api=Api(port=free_port())
    )
    async with open_stores(settings.store_place, "thishost") as stores:
        index, search = Index(), TextSearch(stores.knowledge)
        key = ensure_api_key(settings.api_key_file)
        with sockets(settings) as listening:
            serving = asyncio.create_task(serve(an_app(settings, stores.knowledge, search, index), listening))
            server = Running(settings, key, None, stores)
            server.index, server.search, server.client = index, search, Client(settings)
            try:
                yield server
            finally:
                serving.cancel()
                await asyncio.gather(serving, return_exceptions=True)


@pytest.fixture
async def api(tmp_path):
    async with running(tmp_path) as server:
        yield server


def a_document(name="disk-full", kind=DocumentKind.RUNBOOK, source=SHIPPED, **changes):
    given = {"title": f"About {name}", "text": f"what helps with {name}\n", "updated_at": NOW}
    return Document(kind=kind, name=name, source=source, **(given | changes))


PIECE = a_document(
    "hosts/web.nix:10-20", DocumentKind.CONFIGURATION, "/etc/nixos", title="hosts/web.nix: services.nginx"
)


async def add(api, title, text):
    return await api.client.request("POST", "knowledge/notes", Added, NewNote(title=title, text=text))


# --- the API


async def test_a_note_is_kept_found_shown_replaced_and_forgotten(api):
    added = await add(api, "The Printer: where?", "It stands in the cellar.")
    assert (added.outcome, added.document.kind, added.document.name) == (
        "added",
        DocumentKind.NOTE,
        "the-printer-where",
    )
    found = await api.client.request("GET", "knowledge/search", Found, query={"query": "cellar", "kind": ["note"]})
    assert [hit.document.id for hit in found.hits] == [added.document.id]
    assert (await add(api, "The Printer: where?", "It stands in the cellar.")).outcome == "unchanged"
    assert (await add(api, "the printer, where", "Upstairs now.")).outcome == "changed"
    shown = await api.client.request("GET", f"knowledge/documents/{added.document.id[:6]}", Document)
    assert shown.text == "Upstairs now."
    await api.client.request("DELETE", f"knowledge/documents/{added.document.id}", Listed)
    with pytest.raises(NotFound):
        await api.client.request("GET", f"knowledge/documents/{added.document.id}", Document)


async def test_secrets_are_taken_out_and_counted(api):
    added = await add(api, "Access zq-1", "the code is zq-22 or zq-333")
    assert added.redacted == {"own": 3}
    assert "zq-" not in (await api.stores.knowledge.get(added.document.id)).model_dump_json()


async def test_a_list_counts_all_and_shows_no_texts(api):
    await api.stores.knowledge.put([a_document(), a_document("oom"), PIECE])
    listing = await api.client.request("GET", "knowledge", Listing, query={"limit": 1})
    assert (len(listing.documents), listing.found) == (1, 3)
    assert listing.by_kind == {"configuration": 1, "runbook": 2}
    narrow = await api.client.request("GET", "knowledge", Listing, query={"kind": ["runbook"]})
    assert {each.name for each in narrow.documents} == {"disk-full", "oom"}


async def test_what_is_made_from_something_else_is_not_removed(api):
    await api.stores.knowledge.put([a_document(), PIECE])
    for document, why in ((a_document(), "shipped with ai-sysadmin"), (PIECE, "made from /etc/nixos")):
        with pytest.raises(Refused, match=why):
            await api.client.request("DELETE", f"knowledge/documents/{document.id}", Listed)
    assert len(await api.stores.knowledge.list()) == 2


async def test_a_file_is_a_runbook_with_a_head_and_a_note_without(api):
    text = "---\ntitle: Ours\nkinds: crashed\n---\nDo zq-9 this.\n"
    runbook = await api.client.request("POST", "knowledge/files", Added, NewFile(path="a/disk-full.md", text=text))
    assert (runbook.document.kind, runbook.document.name) == (DocumentKind.RUNBOOK, "imported/a/disk-full")
    assert runbook.redacted == {"own": 1}
    kept = await api.stores.knowledge.get(runbook.document.id)
    assert (kept.title, kept.facts) == ("Ours", {"kinds": "crashed"})
    note = await api.client.request("POST", "knowledge/files", Added, NewFile(path="n.md", text="# A heading\nx"))
    assert (note.document.kind, note.document.title) == (DocumentKind.NOTE, "A heading")
    with pytest.raises(AiSysadminError, match=r"b\.md: line 2: the key 'kind' is not known"):
        wrong = NewFile(path="b.md", text="---\nkind: crashed\n---\n")
        await api.client.request("POST", "knowledge/files", Added, wrong)
    for each in (runbook, note):
        await api.client.request("DELETE", f"knowledge/documents/{each.document.id}", Listed)


async def test_a_key_may_search_but_not_change(api):
    await api.stores.knowledge.put([a_document()])
    async with api.http() as http:
        assert (await http.get("/v1/system/knowledge/search", params={"query": "disk"})).status_code == 200
        for method, path in (
            ("POST", "notes"),
            ("POST", "files"),
            ("POST", "index"),
            ("DELETE", f"documents/{a_document().id}"),
        ):
            answer = await http.request(method, f"/v1/system/knowledge/{path}", json={"title": "a", "text": "b"})
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "not_an_operator"), path
    async with api.anonymous() as http:
        assert (await http.get("/v1/system/knowledge")).status_code == 401
    assert api.index.made == 0


@pytest.mark.parametrize(
    "body", [{"title": " ", "text": "x"}, {"title": "x", "text": ""}, {"title": "?!", "text": "x"}]
)
async def test_a_note_without_title_or_text_is_refused(api, body):
    async with api.local() as http:
        answer = await http.post("/v1/system/knowledge/notes", json=body)
    assert answer.status_code == 400
    assert await api.stores.knowledge.list() in ((), [])


async def test_an_empty_query_is_refused(api):
    async with api.local() as http:
        assert (await http.get("/v1/system/knowledge/search", params={"query": " "})).status_code == 400


async def test_one_index_is_made_at_a_time(api):
    api.index.may_end.clear()
    ask = ("POST", "knowledge/index", Reindexing)
    assert (await api.client.request("GET", "knowledge/index", Reindexing)).state == "never"
    assert [(await api.client.request(*ask)).state for _ in range(2)] == ["running", "running"]
    api.index.may_end.set()
    while (state := await api.client.request("GET", "knowledge/index", Reindexing)).state == "running":
        await asyncio.sleep(0.01)
    assert (state.state, state.text, api.index.made) == ("done", "3 documents", 1)
    api.index.failure = IndexUnavailable("Chroma is away")
    await api.client.request(*ask)
    while (state := await api.client.request("GET", "knowledge/index", Reindexing)).state == "running":
        await asyncio.sleep(0.01)
    assert (state.state, state.text) == ("failed", "Chroma is away")
    assert state.ended_at >= state.started_at


class FixedIndexer:
    def __init__(self, done):
        self.done = done

    async def reindex(self):
        return self.done


async def test_what_came_of_the_index_is_told_in_words():
    assert await reindexing(FixedIndexer(Synced(added=1)))() == "1 document"
    assert "without a model of embeddings" in await reindexing(FixedIndexer(Synced()))()
    with pytest.raises(IndexUnavailable, match="Chroma is away; 2 documents went in before"):
        await reindexing(FixedIndexer(Synced(added=2, degraded="Chroma is away")))()


# --- the command line


async def cli(api, *arguments, stdin=""):
    """Run a command as a person would, beside the server; return exit code and output."""
    file = api.settings.state_dir / "settings.json"
    file.write_text(api.settings.model_dump_json(exclude_defaults=True))

    def run():
        result = CliRunner().invoke(command, [*arguments, "--settings", str(file)], input=stdin)
        if isinstance(result.exception, AiSysadminError):
            return report(result.exception, as_json=False), str(result.exception)
        return result.exit_code, result.output

    return await asyncio.to_thread(run)


async def test_a_person_adds_finds_shows_and_removes(api, tmp_path):
    code, said = await cli(api, "add", "Where the printer is", stdin="In the cellar, code zq-1.")
    assert code == 0
    assert "Remembered: Where the printer is" in said
    assert "1 secret was taken out before anything was kept: 1 own." in said
    code, said = await cli(api, "search", "printer", "cellar")
    assert code == 0
    assert "In the cellar" in said
    (document,) = await api.stores.knowledge.list()
    code, said = await cli(api, "show", document.id[:5])
    assert code == 0
    assert "In the cellar" in said
    assert "zq-1" not in said
    code, said = await cli(api, "remove", document.id, "--json")
    assert json.loads(said)["id"] == document.id
    code, said = await cli(api, "list")
    assert "Nothing is known yet" in said


async def test_a_directory_is_taken_in_and_what_is_broken_is_said(api, tmp_path):
    books = tmp_path / "books"
    books.mkdir()
    (books / "good.md").write_text("---\ntitle: Good\n---\ntext\n")
    (books / "note.md").write_text("# Note\ntext\n")
    (books / "bad.md").write_text("---\ntitle: Bad\nkinds: nonsense\n---\n")
    (books / "empty.md").write_text(" \n")
    code, said = await cli(api, "import", str(books))
    assert code == 1
    assert "Taken in: 1 runbook, 1 note." in said
    assert "not taken: bad.md: line 3: kinds: 'nonsense' is no kind of symptom" in " ".join(said.split())
    assert "not taken: empty.md: is empty" in said
    code, said = await cli(api, "import", str(books), "--json")
    assert [each["outcome"] for each in json.loads(said)["added"]] == ["unchanged", "unchanged"]
    assert (await cli(api, "import", str(tmp_path / "nowhere")))[0] != 0


async def test_removing_what_is_shipped_is_refused_with_the_reason(api):
    await api.stores.knowledge.put([a_document()])
    code, said = await cli(api, "remove", a_document().id)
    assert code != 0
    assert "it is shipped with ai-sysadmin" in said


async def test_reindex_waits_for_its_end(api):
    code, said = await cli(api, "reindex")
    assert (code, said.strip()) == (0, "The index was made anew: 3 documents")
    api.index.failure = IndexUnavailable("Chroma is away")
    code, said = await cli(api, "reindex")
    assert (code, said.strip()) == (1, "The index was not made: Chroma is away")


@pytest.mark.parametrize(("stdin", "title"), [("", "a"), ("text", " "), ("text", "x" * 201)])
async def test_a_note_needs_title_and_text(api, stdin, title):
    assert (await cli(api, "add", title, stdin=stdin))[0] == 2
