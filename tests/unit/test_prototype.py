"""The prototype's data: what it is read as, what it becomes, and that it is imported once."""

import json
import os
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.cli.migration import SOURCE, cleaner
from ai_sysadmin.context.knowledge.gathered import why_kept
from ai_sysadmin.context.redact import Redactor
from ai_sysadmin.core.errors import IndexUnavailable, Refused, StoreUnavailable
from ai_sysadmin.core.knowledge import DocumentKind
from ai_sysadmin.stores.prototype import Entry, Origin, Reading
from ai_sysadmin.stores.prototype.chroma import answers, read_collections
from ai_sysadmin.stores.prototype.directory import _copy
from ai_sysadmin.stores.prototype.files import left_alone, read_files
from ai_sysadmin.stores.prototype.importing import take_in
from ai_sysadmin.stores.prototype.mapping import document_of
from ai_sysadmin.stores.prototype.shelves import DryShelf, StoreShelf
from ai_sysadmin.stores.prototype.values import flat, moment, moment_of
from ai_sysadmin.testing.memory_knowledge import MemoryKnowledge
from tests.builders import NOW
from tests.prototype_data import SECRET, collections, fill_files
from tests.serving import says, serving

CLEAN = cleaner(Redactor())


def entry(origin=Origin.ISSUES, key="i1", text="", **values):
    return Entry(origin=origin, key=key, text=text, values=values)


def entries_of(name, documents=100):
    origin = Origin(name)
    return [
        Entry(origin=origin, key=key, text=text, values=flat(values), at=moment_of(flat(values)))
        for key, text, values in collections(documents)[name]
    ]


def reading(entries, origin=Origin.ISSUES, **changes):
    return Reading(origin=origin, where="there", found=len(entries), digest="d", entries=tuple(entries), **changes)


def document(each):
    return document_of(each, SOURCE, NOW)


# --- values


def test_fields_become_flat_text_by_their_path():
    fields = {"action": {"command": "ls", "args": ["-l", 3]}, "ok": True, "none": None, "empty": " ", "n": 0.5}
    assert flat(fields) == {"action.command": "ls", "action.args": "-l, 3", "ok": "true", "n": "0.5"}
    assert flat({"tags": '["a", "b"]', "steps": '[{"x": 1}]', "brace": "{no json"}) == {
        "tags": "a, b",
        "steps.1.x": "1",
        "brace": "{no json",
    }


def test_what_is_very_deep_or_very_much_is_bounded():
    deep: object = "x"
    for _ in range(50):
        deep = {"a": deep}
    assert flat({"deep": deep, "flat": "y"}) == {"flat": "y"}
    assert len(flat({str(n): "v" for n in range(5000)})) == 200


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_any_json_becomes_text(value):
    values = flat({"v": value})
    assert all(isinstance(each, str) and each.strip() for each in values.values())
    found = moment_of(values | {"timestamp": str(value)})
    assert found is None or found.tzinfo is not None


def test_moments_are_read_as_the_prototype_wrote_them():
    expected = "2026-09-01T12:00:00+00:00"
    written = (
        "2026-09-01T12:00:00",
        "2026-09-01T12:00:00Z",
        "2026-09-01T14:00:00+02:00",
        "1788264000",
        "1788264000000",
    )
    assert [moment(each).isoformat() for each in written] == [expected] * len(written)
    assert [moment(each) for each in ("soon", "12", "nan", "inf", "-5", "0001-01-01T00:00+14:00", "")] == [None] * 7
    assert moment_of({"created_at": "2026-01-01", "updated_at": "2026-02-01"}).month == 2


# --- what entries become


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("systems", DocumentKind.SYSTEM),
        ("relationships", DocumentKind.DISCOVERY),
        ("issues", DocumentKind.INCIDENT),
        ("decisions", DocumentKind.NOTE),
        ("config_files", DocumentKind.NOTE),
        ("knowledge", DocumentKind.NOTE),
    ],
)
def test_a_collection_becomes_documents_with_its_text_and_metadata(name, kind):
    for each in entries_of(name):
        made = document(each)
        assert (made.kind, made.source, made.facts["prototype_id"]) == (kind, SOURCE, each.key[:300])
        assert each.text.strip() in made.text
        for field, value in each.values.items():
            assert made.facts.get(field) == value or value in made.text
        assert made.updated_at == (each.at or NOW)
        assert why_kept(made) == ""


def test_titles_say_what_it_is():
    titles = [document(entries_of(name)[3]).title for name in ("systems", "relationships", "issues", "knowledge")]
    assert titles == [
        "host3.lan",
        "host3.lan→host4.lan:depends_on",
        "grafana: out of memory (3)",
        "grafana and out of memory 3",
    ]
    assert document(entry(text="# Of a text\nthe first line")).title == "Of a text"
    assert document(entry(key="only a key")).title == "only a key"
    queued = entry(Origin.APPROVAL_QUEUE, **{"action.proposed_action": "rm -rf /"})
    assert document(queued).title == "proposed: rm -rf /"
    assert "nothing of it ever runs" in document(queued).text


def test_what_is_long_stands_in_the_text():
    made = document(entry(text="short", output="line\n" * 100, status="open"))
    assert (made.facts["status"], "output" in made.facts, "line\nline" in made.text) == ("open", False, True)
    huge = document(entry(text="x" * 1_000_000))
    assert len(huge.text) < 270_000
    assert "characters more are left out" in huge.text


def test_every_key_has_a_name_of_its_own():
    keys = ["a", "a ", "a\nb", "a b", "x" * 500, "x" * 499 + "y", ""]
    names = {document(entry(key=key)).name for key in keys}
    assert len(names) == len(keys)
    assert all(len(name) < 250 and "\n" not in name for name in names)


# --- files


def test_files_are_read_and_broken_lines_told_by_number(tmp_path):
    fill_files(tmp_path, entries=10)
    readings, unread = read_files(tmp_path, 100)
    assert unread == ()
    by_origin = {each.origin: each for each in readings}
    assert {origin: (each.found, len(each.entries)) for origin, each in by_origin.items()} == {
        Origin.APPROVAL_QUEUE: (5, 5),
        Origin.ACTIONS_LOG: (14, 11),
        Origin.DECISIONS_LOG: (10, 10),
        Origin.CLOSED_ISSUES: (10, 10),
    }
    broken = by_origin[Origin.ACTIONS_LOG].left
    path = tmp_path / "actions.jsonl"
    assert [(each.where, each.why) for each in broken] == [
        (f"{path}, line 4", "is no JSON"),
        (f"{path}, line 5", "is no JSON object"),
        (f"{path}, line 15", "is no JSON"),
    ]


def test_the_newest_entries_of_a_log_are_taken(tmp_path):
    fill_files(tmp_path, entries=10)
    readings, _ = read_files(tmp_path, 4)
    decisions = next(each for each in readings if each.origin is Origin.DECISIONS_LOG)
    assert [each.values["overall_assessment"][-9:] for each in decisions.entries] == [
        f"review {n})" for n in (6, 7, 8, 9)
    ]
    assert "the 6 entries before the newest 4" in decisions.left[0].why


@pytest.mark.parametrize(
    ("queue", "found"),
    [
        ([{"command": "a"}, {"command": "b"}], 2),
        ({"pending": [{"command": "a"}], "version": 1}, 1),
        ({"p1": {"command": "a"}, "p2": {"command": "b"}}, 2),
        ({"command": "a"}, 1),
        ([], 0),
        ({}, 0),
    ],
)
def test_a_queue_is_read_in_any_of_its_shapes(tmp_path, queue, found):
    (tmp_path / "approval_queue.json").write_text(json.dumps(queue))
    (reading,), _ = read_files(tmp_path, 10)
    assert (reading.found, len({each.key for each in reading.entries})) == (found, found)
    assert all(each.values["command"] in "ab" for each in reading.entries)


@pytest.mark.parametrize(
    ("content", "found", "why"),
    [
        (b"", 0, ""),
        (b'[{"a": 1},', 1, "is no JSON"),
        (b"\xff\xfe\xfa", 1, "is no JSON in UTF-8"),
        (b"[3]", 1, "is no JSON object"),
    ],
)
def test_a_broken_queue_is_told(tmp_path, content, found, why):
    (tmp_path / "approval_queue.json").write_bytes(content)
    (reading,), unread = read_files(tmp_path, 10)
    assert (reading.found, reading.entries, unread) == (found, (), ())
    assert why in "".join(each.why for each in reading.left)


def test_hostile_files_do_no_harm(tmp_path):
    os.mkfifo(tmp_path / "approval_queue.json")
    (tmp_path / "actions.jsonl").write_bytes(
        b"[" * 200_000 + b"\n" + b"x" * 3_000_000 + b'\n{"a": "\xff"}\n{"a": "ok"}\n'
    )
    (tmp_path / "decisions.jsonl").mkdir()
    readings, unread = read_files(tmp_path, 10)
    assert sorted(each.where.rpartition("/")[2] for each in unread) == ["approval_queue.json", "decisions.jsonl"]
    (log,) = readings
    assert [each.where.rpartition(" ")[2] for each in log.left] == ["1", "2", "3"]
    assert [each.values for each in log.entries] == [{"a": "ok"}]


def test_of_very_many_broken_lines_the_first_are_told(tmp_path):
    (tmp_path / "actions.jsonl").write_text("broken\n" * 3000 + '{"a": "\\ud800"}\n')
    ((log,), _) = read_files(tmp_path, 10)
    assert (log.found, len(log.left), log.left[-1].why) == (3001, 1001, "2000 more lines cannot be read")
    assert document(log.entries[0]).facts["a"] == "?"


def test_what_is_of_no_use_is_named(tmp_path):
    fill_files(tmp_path)
    state, model = left_alone(tmp_path, tmp_path / "models")
    assert (state.where.endswith("review_model_state.json"), "where `ai-sysadmin models` looks" in model.why) == (
        True,
        True,
    )
    assert "move it to /other" in left_alone(tmp_path, tmp_path / "/other")[1].why


# --- the import


async def test_a_second_run_changes_nothing(tmp_path):
    store = MemoryKnowledge()
    entries = entries_of("issues")
    first = await take_in(reading(entries), StoreShelf(store), CLEAN, SOURCE, NOW)
    held = await store.list()
    second = await take_in(reading(entries), StoreShelf(store), CLEAN, SOURCE, NOW)
    assert (first.imported, first.there_already, second.imported, second.there_already) == (30, 0, 0, 30)
    assert await store.list() == held


async def test_what_was_changed_since_is_left(tmp_path):
    store = MemoryKnowledge()
    await take_in(reading(entries_of("knowledge")), StoreShelf(store), CLEAN, SOURCE, NOW)
    edited = (await store.list())[0].model_copy(update={"text": "better said"})
    await store.put([edited])
    await take_in(reading(entries_of("knowledge")), StoreShelf(store), CLEAN, SOURCE, NOW)
    assert (await store.get(edited.id)).text == "better said"


async def test_a_dry_run_counts_the_same_and_keeps_nothing():
    store = MemoryKnowledge()
    entries = entries_of("issues")
    await take_in(reading(entries[:10]), StoreShelf(store), CLEAN, SOURCE, NOW)
    held = await store.hashes()
    dry = await take_in(reading(entries), DryShelf(frozenset(held)), CLEAN, SOURCE, NOW)
    assert await store.hashes() == held
    assert dry == await take_in(reading(entries), StoreShelf(store), CLEAN, SOURCE, NOW)


class BreaksOff(StoreShelf):
    def __init__(self, store, after):
        super().__init__(store)
        self._left = after

    async def put(self, documents):
        self._left -= 1
        if self._left < 0:
            raise StoreUnavailable("gone")
        return await super().put(documents)


async def test_a_run_that_was_broken_off_is_taken_up_by_the_next(monkeypatch):
    monkeypatch.setattr("ai_sysadmin.stores.prototype.importing._AT_ONCE", 7)
    entries = entries_of("issues")
    whole = MemoryKnowledge()
    await take_in(reading(entries), StoreShelf(whole), CLEAN, SOURCE, NOW)
    for after in range(5):
        store = MemoryKnowledge()
        with pytest.raises(StoreUnavailable):
            await take_in(reading(entries), BreaksOff(store, after), CLEAN, SOURCE, NOW)
        assert len(await store.hashes()) == 7 * after
        await take_in(reading(entries), StoreShelf(store), CLEAN, SOURCE, NOW)
        assert await store.list() == await whole.list()


async def test_secrets_are_taken_out_and_nothing_is_lost_by_it():
    store = MemoryKnowledge()
    twins = [entry(key=f"password=abc{n}Xyz9", text="the same", api_key="sk-1234567890abcdefghij") for n in range(2)]
    done = await take_in(reading([*entries_of("issues"), *twins]), StoreShelf(store), CLEAN, SOURCE, NOW)
    held = "".join(each.model_dump_json() for each in await store.list())
    assert (done.imported, done.repeated) == (32, 0)
    assert SECRET not in held
    assert "abc0Xyz9" not in held
    assert "sk-1234567890" not in held
    assert done.redacted["password"] >= 1
    again = await take_in(reading([*entries_of("issues"), *twins]), StoreShelf(store), CLEAN, SOURCE, NOW)
    assert again.imported == 0


async def test_equal_lines_are_one_document():
    store = MemoryKnowledge()
    done = await take_in(reading([entry(), entry(), entry(key="other")]), StoreShelf(store), CLEAN, SOURCE, NOW)
    assert (done.imported, done.repeated, len(await store.hashes())) == (2, 1, 2)


# --- a ChromaDB


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "does not speak ChromaDB's interface"),
        (b"HTTP/1.1 410 Gone\r\nContent-Length: 2\r\n\r\n{}", "does not speak ChromaDB's interface"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "does not speak ChromaDB's interface"),
        (b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[{"a":1}]', "does not speak ChromaDB's interface"),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 4\r\n\r\nlost", "HTTP 500: lost"),
        (b"nonsense\r\n\r\n", "cannot be read"),
        (b"", "cannot be read"),
    ],
)
async def test_what_is_no_chroma_is_told(answer, why):
    async with serving(says(answer)) as port:
        with pytest.raises(IndexUnavailable, match=why):
            await read_collections(f"http://127.0.0.1:{port}")


async def test_what_is_no_url_is_told():
    for url in ("http://127.0.0.1:x", "nonsense"):
        with pytest.raises(IndexUnavailable, match=r"cannot be read|no URL"):
            await read_collections(url)
        assert not await answers(url)


def test_a_directory_that_somebody_writes_to_is_not_read(tmp_path, monkeypatch):
    (tmp_path / "chroma").mkdir()
    (tmp_path / "chroma" / "chroma.sqlite3").write_bytes(b"one")
    copytree = shutil.copytree

    def written_to(source, target, **how):
        (source / "chroma.sqlite3").write_bytes(b"another")
        return copytree(source, target, **how)

    monkeypatch.setattr(shutil, "copytree", written_to)
    with pytest.raises(Refused, match="changed while it was copied"):
        _copy(tmp_path / "chroma", tmp_path / "copy")
    with pytest.raises(Refused, match="cannot be copied"):
        _copy(tmp_path / "none", tmp_path / "copy2")
