"""What every store of knowledge and every index of vectors must do; the same assertions on every implementation."""

from contextlib import asynccontextmanager
from datetime import timedelta
from importlib.resources import files

import pytest

from ai_sysadmin.core.errors import IndexUnavailable, NotFound
from ai_sysadmin.core.knowledge import Document, DocumentKind
from ai_sysadmin.runtime.sqlite import Database, SqliteRelational
from ai_sysadmin.stores.relational import open_stores
from ai_sysadmin.stores.relational.knowledge import SqlKnowledge
from ai_sysadmin.testing.memory_knowledge import MemoryIndex, MemoryKnowledge
from tests.builders import HOST, NOW
from tests.contracts.places import EVERYWHERE, place_of

RUNBOOK, NOTE, CONFIGURATION = DocumentKind.RUNBOOK, DocumentKind.NOTE, DocumentKind.CONFIGURATION


def document(name: str, text: str = "some text", title: str = "", **changes) -> Document:
    given = {"kind": NOTE, "name": name, "title": title or name, "text": text, "source": "ann", "updated_at": NOW}
    return Document(**(given | changes))


@asynccontextmanager
async def sqlite_knowledge(path, host: str = HOST):
    database = Database(path, files("ai_sysadmin.stores.relational") / "migrations" / "sqlite")
    await database.open()
    try:
        yield SqlKnowledge(SqliteRelational(database), host)
    finally:
        await database.close()


@asynccontextmanager
async def knowledge_of(request, tmp_path):
    place = place_of(request, tmp_path)
    if place is None:
        yield MemoryKnowledge()
        return
    async with open_stores(place, HOST) as stores:
        yield stores.knowledge


@pytest.fixture(params=EVERYWHERE)
async def store(request, tmp_path):
    async with knowledge_of(request, tmp_path) as store:
        yield store


@pytest.fixture(params=["memory"])
def index(request):
    return MemoryIndex()


async def names(store, query: str, **how) -> list[str]:
    return [hit.name for hit, _ in await store.search_text(query, **how)]


# --- documents -----------------------------------------------------------------------------------------------


async def test_what_was_put_comes_back_as_it_was(store):
    kept = document("a", facts={"kinds": "disk_full", "path": "/etc/nixos/x.nix"})
    assert await store.put([kept]) == 1
    assert await store.get(kept.id) == kept
    assert await store.list() == (kept,)
    assert await store.by_ids([kept.id, "gone"]) == {kept.id: kept}
    assert await store.hashes() == {kept.id: kept.hash}


async def test_only_what_is_new_or_changed_counts(store):
    assert await store.put([document("a"), document("b")]) == 2
    assert await store.put([document("a"), document("b", "another"), document("c")]) == 2
    assert await store.put([]) == 0


async def test_what_was_merely_seen_again_takes_on_its_new_time_and_source(store):
    await store.put([document("a")])
    again = document("a", source="ben", updated_at=NOW + timedelta(days=1))
    assert await store.put([again]) == 0
    assert await store.get(again.id) == again
    assert await store.replace(NOTE, "ben", []) == 1


async def test_of_two_of_one_name_the_later_stays(store):
    assert await store.put([document("a", "first"), document("a", "second")]) == 1
    assert [each.text for each in await store.list()] == ["second"]


async def test_one_name_is_two_documents_in_two_kinds(store):
    await store.put([document("a"), document("a", kind=RUNBOOK)])
    assert [each.kind for each in await store.list()] == [NOTE, RUNBOOK]
    assert [each.kind for each in await store.list([RUNBOOK])] == [RUNBOOK]


async def test_the_list_is_ordered_by_kind_and_name_and_limited(store):
    await store.put([document("b"), document("a", kind=RUNBOOK), document("a"), document("c", kind=CONFIGURATION)])
    assert [each.name for each in await store.list()] == ["c", "a", "b", "a"]
    assert [each.name for each in await store.list([NOTE, RUNBOOK], limit=2)] == ["a", "b"]


async def test_replacing_makes_these_all_there_is_of_a_kind_from_a_source(store):
    await store.put([document("kept"), document("gone"), document("theirs", source="ben")])
    await store.put([document("other", kind=RUNBOOK)])
    assert await store.replace(NOTE, "ann", [document("kept"), document("new")]) == 2
    assert [each.name for each in await store.list()] == ["kept", "new", "theirs", "other"]
    assert await names(store, "gone") == []
    assert await store.replace(NOTE, "ann", [document("kept"), document("new", "changed")]) == 1
    assert await store.replace(NOTE, "ann", [document("kept"), document("new", "changed")]) == 0


async def test_replacing_with_another_kind_or_source_is_refused_and_changes_nothing(store):
    await store.put([document("a")])
    with pytest.raises(ValueError, match="not of kind note"):
        await store.replace(NOTE, "ann", [document("b", source="ben")])
    assert [each.name for each in await store.list()] == ["a"]


async def test_what_is_removed_is_neither_found_nor_listed(store):
    kept = document("a", "zebra")
    await store.put([kept])
    assert await store.remove(kept.id[:4]) == kept
    assert await store.list() == ()
    assert await names(store, "zebra") == []
    for verb in (store.get, store.remove):
        with pytest.raises(NotFound):
            await verb(kept.id)


async def test_a_prefix_must_be_unique(store):
    many = [document(str(number)) for number in range(40)]
    await store.put(many)
    first = many[0].id[0]
    for unclear in (first, "", "%", "zz"):
        with pytest.raises(NotFound):
            await store.get(unclear)
    assert await store.get(many[0].id) == many[0]


async def test_many_documents_at_once(store):
    many = [document(str(number)) for number in range(1500)]
    assert await store.put(many) == 1500
    assert len(await store.by_ids([each.id for each in many])) == 1500
    assert len(await store.hashes()) == 1500
    assert await store.replace(NOTE, "ann", many[:10]) == 1490


async def test_another_host_has_its_own(place):
    async with open_stores(place, "one") as first, open_stores(place, "two") as second:
        one, two = first.knowledge, second.knowledge
        await one.put([document("a", "zebra of one")])
        await two.put([document("a", "zebra of two"), document("b")])
        assert [hit.text for hit, _ in await one.search_text("zebra")] == ["zebra of one"]
        assert await two.replace(NOTE, "ann", []) == 2
        assert len(await one.list()) == 1
        assert await names(one, "zebra") == ["a"]


# --- vectors -------------------------------------------------------------------------------------------------


async def test_the_nearest_come_first_with_their_cosine(index):
    await fill(index, {"a": [1, 0, 0], "b": [3, 3, 0], "c": [0, 0, 1], "d": [-1, 0, 0]})
    near = await index.nearest([2, 0, 0], 10)
    assert [each for each, _ in near] == ["a", "b", "c", "d"]
    assert [score for _, score in near] == pytest.approx([1, 0.5**0.5, 0, -1], abs=1e-5)
    assert [each for each, _ in await index.nearest([2, 0, 0], 2)] == ["a", "b"]


async def test_vectors_are_narrowed_by_kind(index):
    await fill(index, {"a": [1, 0, 0], "b": [1, 1, 0]}, {"b": "runbook"})
    assert [each for each, _ in await index.nearest([1, 0, 0], 10, [RUNBOOK])] == ["b"]
    assert [each for each, _ in await index.nearest([1, 0, 0], 10, [RUNBOOK, NOTE])] == ["a", "b"]
    assert await index.nearest([1, 0, 0], 10, [CONFIGURATION]) == ()


async def test_what_is_indexed_is_told_with_its_hash(index):
    assert await index.hashes() == {}
    with pytest.raises(IndexUnavailable, match="nothing yet"):
        await index.nearest([1, 0, 0], 3)
    await fill(index, {"a": [1, 0, 0], "b": [0, 1, 0]})
    await index.upsert({"a": [0, 0, 1]}, {"a": "changed"}, {"a": "note"})
    assert await index.hashes() == {"a": "changed", "b": "hash of b"}
    assert (await index.nearest([0, 0, 1], 1))[0][0] == "a"


async def test_what_is_deleted_or_cleared_is_gone(index):
    await fill(index, {"a": [1, 0, 0], "b": [0, 1, 0], "c": [0, 0, 1]})
    await index.delete(["a", "not there"])
    await index.delete([])
    assert set(await index.hashes()) == {"b", "c"}
    await index.clear()
    assert await index.hashes() == {}
    await index.clear()
    await fill(index, {"d": [1, 0, 0]})
    assert set(await index.hashes()) == {"d"}


async def test_vectors_of_another_length_replace_those_there_are(index):
    await fill(index, {"a": [1, 0, 0], "b": [0, 1, 0]})
    await fill(index, {"c": [1, 0]})
    assert set(await index.hashes()) == {"c"}


async def fill(index, vectors: dict[str, list[float]], kinds: dict[str, str] | None = None) -> None:
    hashes = {each: f"hash of {each}" for each in vectors}
    await index.upsert(vectors, hashes, {each: (kinds or {}).get(each, "note") for each in vectors})
