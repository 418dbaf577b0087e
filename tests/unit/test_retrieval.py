"""Keeping vectors in step with text, and finding things by both, by either, and when one of them is away."""

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.context.knowledge.indexing import NO_INDEX, Indexer, Synced, cut, document_of, parts
from ai_sysadmin.context.knowledge.retrieval import Retrieval, candidates, identifiers, ranked
from ai_sysadmin.context.knowledge.runbooks import shipped
from ai_sysadmin.core.errors import BackendUnavailable, StoreUnavailable
from ai_sysadmin.core.knowledge import Document, DocumentKind
from ai_sysadmin.core.settings import Backend
from ai_sysadmin.llm_backend.embeddings import ServerEmbeddings
from ai_sysadmin.testing.fake_embeddings import FakeEmbeddings
from ai_sysadmin.testing.memory_knowledge import MemoryIndex, MemoryKnowledge
from tests.contracts.test_knowledge_stores import document, sqlite_knowledge
from tests.embedding_server import embedding_server
from tests.recall import rank_all

RUNBOOK = DocumentKind.RUNBOOK
LONG = "\n\n".join(f"paragraph {number} " + "of many words " * 12 for number in range(12))


class Kit:
    """A store, an index and an embedding model, with what works on them."""

    def __init__(self) -> None:
        self.store = MemoryKnowledge()
        self.index = MemoryIndex()
        self.embedder = FakeEmbeddings()
        self.indexer = Indexer(self.store, self.index, self.embedder)
        self.retrieval = Retrieval(self.store, self.index, self.embedder, minimum_similarity=0.2)

    async def indexed(self, *documents: Document) -> "Kit":
        await self.store.put(documents)
        assert (await self.indexer.sync()).degraded == ""
        self.embedder.asked.clear()
        return self

    async def found(self, query: str, **how) -> list[str]:
        return [hit.document.name for hit in (await self.retrieval.search(query, **how)).hits]


@pytest.fixture
def kit() -> Kit:
    return Kit()


# --- indexing ------------------------------------------------------------------------------------------------


async def test_what_is_new_changed_and_gone_is_brought_in_step(kit):
    await kit.indexed(document("a"), document("b"), document("c"))
    await kit.store.put([document("b", "changed"), document("d")])
    gone = await kit.store.remove(document("c").id)
    synced = await kit.indexer.sync()
    assert (synced.added, synced.removed, synced.degraded) == (2, 1, "")
    assert await kit.index.hashes() == await kit.store.hashes()
    assert gone.id not in kit.index.records
    assert len(kit.embedder.asked) == 2


async def test_with_nothing_changed_no_model_is_asked(kit):
    await kit.indexed(document("a"), document("b"))
    kit.embedder.sleeps = True
    assert await kit.indexer.sync() == Synced()
    assert kit.embedder.asked == []
    assert kit.embedder.sleeps
    await kit.store.put([document("c")])
    assert (await kit.indexer.sync()).added == 1
    assert not kit.embedder.sleeps


async def test_a_run_that_is_broken_off_is_taken_up_where_it_was(kit):
    many = [document(f"{number:02}", f"text {number}") for number in range(30)]
    await kit.store.put(many)

    class Failing(FakeEmbeddings):
        async def embed(self, texts, kind):
            if len(self.asked) >= 16:
                self.away = "out of breath"
            return await super().embed(texts, kind)

    first = await Indexer(kit.store, kit.index, Failing()).sync()
    assert (first.added, first.degraded) == (16, "out of breath")
    second = await kit.indexer.sync()
    assert second.added == 14
    assert await kit.index.hashes() == await kit.store.hashes()


async def test_a_text_that_the_model_refuses_keeps_out_only_its_few_neighbours(kit):
    class Squeamish(FakeEmbeddings):
        async def embed(self, texts, kind):
            if any("poison" in text for text in texts):
                raise BackendUnavailable("not that one")
            return await super().embed(texts, kind)

    await kit.store.put([document(f"{number:02}", "poison" if number == 3 else "food") for number in range(40)])
    synced = await Indexer(kit.store, kit.index, Squeamish()).sync()
    assert synced == Synced(added=32, degraded="a few documents are not indexed: not that one")


async def test_a_long_document_is_indexed_in_parts_and_shrinks_again(kit):
    await kit.indexed(document("a", LONG))
    assert len(kit.index.records) > 3
    await kit.store.put([document("a", "short")])
    synced = await kit.indexer.sync()
    assert set(kit.index.records) == {document("a").id}
    assert synced.removed > 2


@pytest.mark.parametrize("away", ["index", "embedder"])
async def test_what_is_away_is_a_condition_and_no_error(kit, away):
    await kit.indexed(document("a"))
    await kit.store.put([document("b")])
    getattr(kit, away).away = "somebody tripped over the cable"
    for verb in (kit.indexer.sync, kit.indexer.reindex):
        assert (await verb()).degraded == "somebody tripped over the cable"


async def test_without_an_embedding_model_there_is_nothing_to_do_and_without_an_index_it_says_so(kit):
    assert (await Indexer(kit.store, kit.index, None).sync()).degraded == ""
    assert (await Indexer(kit.store, None, None).reindex()).degraded == ""
    assert (await Indexer(kit.store, None, kit.embedder).sync()).degraded == NO_INDEX
    assert kit.embedder.asked == []


async def test_reindexing_makes_everything_anew(kit):
    await kit.indexed(document("a"), document("b", LONG))
    before = dict(kit.index.records)
    kit.index.records = {"rubbish": ([1.0], "x", "note"), document("a").id: ([0.0] * 64, document("a").hash, "note")}
    assert (await kit.indexer.reindex()).added == 2
    assert kit.index.records == before


@given(st.text(), st.integers(1, 60))
def test_cutting_loses_nothing_but_blank_ends_and_keeps_to_the_limit(text, most):
    pieces = cut(text, most)
    assert all(len(piece) <= most for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(text.split())


def test_a_document_is_cut_between_paragraphs_with_its_title_on_each_part():
    named = dict(parts(document("a", LONG, "The title")))
    assert list(named) == [document("a").id, *(f"{document('a').id}#{n}" for n in range(1, len(named)))]
    assert {document_of(name) for name in named} == {document("a").id}
    for text in named.values():
        head, _, body = text.partition("\n")
        assert head == "The title"
        assert body.startswith("paragraph")
        assert len(text) < 1000


def test_an_empty_document_has_a_part_too():
    assert list(parts(document("a", "", "Only a title"))) == [(document("a").id, "Only a title")]


# --- retrieval -----------------------------------------------------------------------------------------------


async def test_both_searches_find_and_each_hit_says_which(kit):
    await kit.indexed(document("disk", "the disk is full"), document("cert", "certificates expire"))
    found = await kit.retrieval.search("disk full")
    assert [(hit.document.name, hit.by) for hit in found.hits] == [("disk", "both")]
    assert found.degraded == ""


async def test_vectors_find_what_full_text_does_not(kit):
    await kit.indexed(document("a", "an alpha"), document("b", "a beta"))
    kit.store.search_text = nothing
    found = await kit.retrieval.search("alpha an")
    assert (found.hits[0].document.name, found.hits[0].by) == ("a", "vectors")


async def nothing(*_args, **_kwargs):
    return ()


async def test_what_is_less_alike_than_the_minimum_is_not_found_by_vectors(kit):
    await kit.indexed(document("a", "alpha beta gamma"), document("b", "delta epsilon"))
    strict = Retrieval(kit.store, kit.index, kit.embedder, minimum_similarity=0.99)
    kit.store.search_text = nothing
    assert (await strict.search("alpha beta")).hits == ()
    assert await kit.found("alpha beta") == ["a"]


async def test_a_document_is_found_once_however_many_of_its_parts_are_near(kit):
    await kit.indexed(document("long", LONG), *(document(f"n{number}", "of many other words") for number in range(8)))
    assert (await kit.found("of many words", limit=10)).count("long") == 1


async def test_kinds_and_limit_narrow_a_search(kit):
    await kit.indexed(document("n", "zebra"), document("r", "zebra", kind=RUNBOOK), document("m", "zebra"))
    assert await kit.found("zebra", kinds=[RUNBOOK]) == ["r"]
    assert len(await kit.found("zebra", limit=2)) == 2


async def test_vectors_of_documents_that_are_gone_are_ignored(kit):
    await kit.indexed(document("a", "zebra"), document("b", "zebra stripes"))
    await kit.store.remove(document("a", "zebra").id)
    assert await kit.found("zebra") == ["b"]


@pytest.mark.parametrize("part", ["index", "embedder"])
async def test_full_text_goes_on_alone_and_says_so(kit, part):
    await kit.indexed(document("a", "zebra"))
    getattr(kit, part).away = "it fell over"
    found = await kit.retrieval.search("zebra")
    assert [(hit.document.name, hit.by) for hit in found.hits] == [("a", "text")]
    assert found.degraded == "searched by full text only: it fell over"


async def test_a_model_that_sleeps_is_let_sleep(kit):
    await kit.indexed(document("a", "zebra"))
    kit.embedder.sleeps = True
    found = await kit.retrieval.search("zebra")
    assert [hit.by for hit in found.hits] == ["text"]
    assert "sleeps" in found.degraded
    assert kit.embedder.asked == []


async def test_a_model_that_never_answers_is_not_waited_for(kit, monkeypatch):
    monkeypatch.setattr("ai_sysadmin.context.knowledge.retrieval._VECTOR_SECONDS", 0.05)
    await kit.indexed(document("a", "zebra"))

    async def hangs(*_args):
        await asyncio.sleep(60)

    kit.embedder.embed = hangs
    found = await kit.retrieval.search("zebra")
    assert [hit.by for hit in found.hits] == ["text"]
    assert "longer than" in found.degraded


async def test_without_embeddings_full_text_is_all_there_should_be(kit):
    await kit.store.put([document("a", "zebra")])
    found = await Retrieval(kit.store, None, None, minimum_similarity=0.2).search("zebra")
    assert ([hit.document.name for hit in found.hits], found.degraded) == (["a"], "")
    half = await Retrieval(kit.store, None, kit.embedder, minimum_similarity=0.2).search("zebra")
    assert ([hit.document.name for hit in half.hits], half.degraded) == (["a"], NO_INDEX)


async def test_an_empty_query_finds_nothing_and_asks_nobody(kit):
    await kit.indexed(document("a", "zebra"))
    assert (await kit.retrieval.search("  ")).hits == ()
    assert kit.embedder.asked == []


async def test_only_the_database_can_make_a_search_fail(kit):
    await kit.indexed(document("a", "zebra"))

    async def breaks(*_args, **_kwargs):
        raise StoreUnavailable("gone")

    kit.store.search_text = breaks
    with pytest.raises(StoreUnavailable):
        await kit.retrieval.search("zebra")


# --- ranking -------------------------------------------------------------------------------------------------


def order(query: str, by_text: dict[str, float], alike: dict[str, float], minimum: float = 0.0, **texts) -> list[str]:
    made = {name: document(name, texts.get(name, "text")) for name in (*by_text, *alike)}
    found = candidates(
        [(made[name], score) for name, score in by_text.items()],
        [(made[name], cosine) for name, cosine in alike.items()],
        minimum,
    )
    return [hit.document.name for hit in ranked(query, found)]


@pytest.mark.parametrize(
    ("by_text", "alike", "expected"),
    [
        ({}, {"a": 0.5, "b": 0.6, "c": 0.1}, ["b", "a", "c"]),
        ({"a": 2.0, "b": 9.0}, {}, ["b", "a"]),
        ({"a": 9.0, "b": 8.0}, {"b": 0.5, "c": 0.1}, ["b", "a", "c"]),  # nearly as good in text and the nearest
        ({"a": 9.0, "b": 1.0}, {"b": 0.5, "a": 0.45, "c": 0.1}, ["a", "b", "c"]),  # text is sure, vectors hardly care
        ({"a": 9.0, "b": 8.8}, {"b": 0.9, "a": 0.2, "c": 0.1}, ["b", "a", "c"]),  # the other way about
    ],
)
def test_what_each_search_is_sure_of_comes_first(by_text, alike, expected):
    assert order("query", by_text, alike) == expected


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (0.2, 0.7)])
def test_how_a_models_cosines_are_spread_changes_nothing(scale, offset):
    alike = {name: offset + scale * value for name, value in {"a": 0.6, "b": 0.5, "c": 0.1, "d": 0.0}.items()}
    assert order("query", {"c": 5.0, "b": 3.0}, alike) == ["b", "c", "a", "d"]


def test_a_document_that_names_exactly_what_is_asked_for_is_moved_up():
    alike = {"a": 0.6, "b": 0.5, "c": 0.1}
    assert order("why does web.service fail", {}, alike) == ["a", "b", "c"]
    assert order("why does web.service fail", {}, alike, b="we had web.service down") == ["b", "a", "c"]
    assert order("why does web.service fail", {}, alike, b="other-web.service is well") == ["a", "b", "c"]


def test_what_is_too_unlike_is_left_out_but_for_its_text():
    assert order("query", {"b": 1.0}, {"a": 0.5, "b": 0.1, "c": 0.05}, minimum=0.2) == ["b", "a"]
    made = document("b")
    (found,) = candidates([(made, 1.0)], [(made, 0.1)], 0.2)
    assert found.by == "text"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("nginx.service failed on /var/log and E1234", ["nginx.service", "/var/log", "E1234"]),
        ("user@1000.service exited, code 0xdeadbeef.", ["user@1000.service", "0xdeadbeef"]),
        ("nothing here is named, really", []),
        ("an out-of-memory I/O error, e.g. at 9:30", []),
    ],
)
def test_identifiers_are_told_from_words(text, named):
    assert list(identifiers(text)) == named


@pytest.mark.parametrize("text", ["x" * 200_000, "@" * 200_000, "a." * 100_000, "\n " * 100_000])
async def test_a_hostile_query_costs_little(tmp_path, text):
    async with sqlite_knowledge(tmp_path / "s.db") as store:
        await store.put([document(f"{number}", LONG) for number in range(20)])
        began = time.process_time()
        await Retrieval(store, None, None, minimum_similarity=0.2).search(text)
        list(parts(document("a", text)))
        assert time.process_time() - began < 1


# --- how well it finds ---------------------------------------------------------------------------------------


async def test_both_searches_together_are_at_least_as_good_as_the_better_one(tmp_path):
    """On the shipped runbooks, with a small model that really is one, over HTTP; see ``bench/retrieval.py``."""
    with embedding_server() as server:
        embedder = ServerEmbeddings(Backend(url=server.url))
        async with sqlite_knowledge(tmp_path / "s.db") as store:
            await store.put(shipped().documents)
            index = MemoryIndex()
            assert (await Indexer(store, index, embedder).sync()).degraded == ""
            rankings = await rank_all(store, index, embedder)
        await embedder.close()
    assert len(rankings.pairs) >= 40
    for first in (1, 3):
        singles = rankings.recall("vectors", first), rankings.recall("text", first)
        assert rankings.recall("shipped", first) >= max(singles)
    assert rankings.recall("shipped", 3) >= 0.7 * len(rankings.pairs)
