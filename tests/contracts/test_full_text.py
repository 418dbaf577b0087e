"""What every store of knowledge finds by words; the same assertions on every implementation."""

import asyncio
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ai_sysadmin.core.knowledge import DocumentKind
from ai_sysadmin.stores.relational import open_stores
from ai_sysadmin.stores.relational.full_text import match_expression, plain_words
from tests.builders import HOST
from tests.contracts.places import EVERYWHERE
from tests.contracts.test_knowledge_stores import document, knowledge_of, names, sqlite_knowledge

NUMBERS = count(1)
RUNBOOK, NOTE, CONFIGURATION = DocumentKind.RUNBOOK, DocumentKind.NOTE, DocumentKind.CONFIGURATION


@pytest.fixture(params=EVERYWHERE)
async def store(request, tmp_path):
    async with knowledge_of(request, tmp_path) as store:
        yield store


async def test_the_best_comes_first_and_scores_are_positive(store):
    await store.put(
        [
            document("one", "postgresql runs out of connections"),
            document("two", "the disk is full, delete old generations; connections are fine"),
            document("three", "nothing of the kind"),
        ]
    )
    found = await store.search_text("too many connections to postgresql")
    assert [hit.name for hit, _ in found] == ["one", "two"]
    assert found[0][1] > found[1][1] > 0


async def test_a_word_in_the_title_counts_for_more(store):
    filler = "about certificates and other things that expire now and then"
    await store.put([document("a", filler, "General advice"), document("b", "see there", "Certificates")])
    assert await names(store, "certificates") == ["b", "a"]


async def test_of_documents_as_long_the_title_counts_most_then_the_facts_then_the_text(stores):
    await stores.knowledge.put([document(f"other {number}", "something else") for number in range(8)])
    await stores.knowledge.put(
        [
            document("a", "raid beta", "gamma delta", facts={"tags": "epsilon"}),
            document("b", "alpha beta", "gamma delta", facts={"tags": "raid"}),
            document("c", "alpha beta", "raid delta", facts={"tags": "epsilon"}),
        ]
    )
    assert await names(stores.knowledge, "raid") == ["c", "b", "a"]


async def test_words_are_found_in_their_other_forms(store):
    await store.put([document("a", "the service crashed while restarting")])
    assert await names(store, "crashes") == ["a"]
    assert await names(store, "restarted") == ["a"]


async def test_a_document_is_found_by_its_facts(store):
    await store.put([document("a", facts={"units": "postgresql*.service"}), document("b")])
    assert await names(store, "postgresql") == ["a"]
    await store.put([document("a", facts={"units": "mysql.service"})])
    assert await names(store, "postgresql") == []
    assert await names(store, "mysql.service") == ["a"]


async def test_kinds_and_limit_narrow_a_search(store):
    await store.put([document(f"n{number}", "zebra") for number in range(5)] + [document("r", "zebra", kind=RUNBOOK)])
    assert await names(store, "zebra", kinds=[RUNBOOK]) == ["r"]
    assert len(await names(store, "zebra", limit=3)) == 3
    assert await names(store, "zebra", kinds=[CONFIGURATION]) == []


@pytest.mark.parametrize(
    "identifier", ["nginx.service", "/etc/nixos/hosts/web.nix", "E1234", "dev-sda1.device", "user@1000.service", "2026"]
)
async def test_identifiers_are_found(store, identifier):
    await store.put(
        [document("a", f"seen: {identifier}, twice"), document("b", "a service of a device of the user etc")]
    )
    assert (await names(store, f'why is "{identifier}" so?'))[0] == "a"


async def test_a_whole_identifier_beats_its_parts_strewn_about(stores):
    store = stores.knowledge
    await store.put([document(f"other {number}", "something else") for number in range(8)])
    await store.put(
        [
            document("a", "web proxies and nginx, as a service: restart the nginx web service"),
            document("b", "unit nginx.service is the web server and more words to be longer than the other"),
        ]
    )
    assert await names(store, "nginx.service") == ["b", "a"]


async def test_a_rare_word_counts_for_more_than_a_common_one_and_a_short_text_for_more_than_a_long_one(stores):
    store = stores.knowledge
    await store.put([document(f"other {number}", "the service is slow") for number in range(8)])
    await store.put([document("common", "service service service"), document("rare", "about raid")])
    await store.put([document("long", "about raid " + "and many another thing " * 30)])
    assert (await names(store, "service raid"))[:2] == ["rare", "long"]


ANY_TEXT = [
    *("", "   ", '"', '""" OR', "a AND", "NOT", "title:x", "text : ^y", "NEAR(a b)", "a*", "-a", "(", "{a}", "🔥 👩‍🔧"),
    *("\x00", "_", "a' --", "²", "\u0301", "ß\u00ad", "'; DROP TABLE documents", "x" * 5000, "w " * 5000, "漢" * 4000),
    *("a & b", "!a", "a <-> b", "a <2> b", "a:*", "a:AB", "\\", "'a", "?", "%s", "$1", "\ufeff", "ﷺ" * 4000, "1e5.2e7"),
]


async def test_any_text_is_a_query(store):
    await store.put([document("kept", "some text")])
    for query in ANY_TEXT:
        assert await names(store, query) == (["kept"] if query == "text : ^y" else []), query


async def test_any_text_can_be_kept_and_nothing_of_it_is_lost(store):
    texts = [document(str(number), text, text, facts={"a": text}) for number, text in enumerate(ANY_TEXT)]
    await store.put(texts)
    assert sorted(await store.list(), key=lambda each: int(each.name)) == texts
    assert await store.put(texts) == 0
    assert await store.replace(NOTE, "ann", []) == len(ANY_TEXT)


async def test_an_operator_in_a_query_is_none(stores):
    await stores.knowledge.put([document("a", "zebra"), document("b", "giraffe")])
    for query in ("zebra & giraffe", "zebra AND giraffe", "zebra <-> giraffe", "zebra !giraffe", "zebra -giraffe"):
        assert sorted(await names(stores.knowledge, query)) == ["a", "b"], query
    for query in ("zeb*", "zeb:*", '"zebra giraffe'):
        assert await names(stores.knowledge, query) == (["a", "b"] if "giraffe" in query else []), query


ALPHABETS = [
    ("Der Dienst läuft über den STRASSENBAHN-Knoten", "strassenbahn"),
    ("Größe der Datei", "GRÖSSE größe"),
    ("café au lait", "cafe\u0301"),
    ("Служба остановлена", "СЛУЖБА"),
    ("磁盘 已满", "磁盘"),
    ("η υπηρεσία σταμάτησε", "ΥΠΗΡΕΣΊΑ"),
    ("서비스 중지", "서비스"),
]


async def test_other_alphabets_are_searched_without_case_and_accents(stores):
    await check_alphabets(stores.knowledge)


async def test_what_a_database_calls_a_letter_does_not_matter(postgres):
    postgres.sql("CREATE DATABASE plain_letters TEMPLATE template0 LOCALE 'C'")
    async with open_stores(postgres.url("plain_letters"), HOST) as stores:
        await check_alphabets(stores.knowledge)


async def check_alphabets(store) -> None:
    await store.put([document(str(number), text) for number, (text, _) in enumerate(ALPHABETS)])
    for number, (_, query) in enumerate(ALPHABETS):
        assert await names(store, query) == [str(number)], query


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("zebra " + "lorem ipsum dolor " * 60_000, id="prose"),
        pytest.param("zebra " + " ".join(f"{number:x}" for number in range(170_000)), id="all words differ"),
        pytest.param("zebra " + "x" * 1_000_000, id="one word"),
        pytest.param("zebra " + " ".join(map(chr, range(0x4E00, 0x9FA5))) * 30, id="wide letters"),
    ],
)
async def test_a_megabyte_is_kept_whole_and_found(stores, text):
    kept = document("a", text, title=text[:200_000], facts={"all": text[:400_000]})
    await stores.knowledge.put([kept])
    assert await stores.knowledge.get(kept.id) == kept
    assert await names(stores.knowledge, "zebra") == ["a"]


def test_what_is_indexed_has_a_bound_in_bytes():
    assert plain_words("漢 " * 1_000_000) == "漢 " * 75_000
    assert len(plain_words("x" * 1_000_000)) == 250


def test_a_very_long_query_is_cut():
    words = [f"w{number}" for number in range(2000)]
    assert match_expression(" ".join(words)).split(" OR ") == [f'"{word}"' for word in words[:64]]


async def test_words_that_say_nothing_are_left_out_unless_there_are_no_others(stores):
    store = stores.knowledge
    await store.put([document("a", "this is what it is and that is that"), document("b", "mount point busy")])
    assert await names(store, "what is this mount") == ["b"]
    assert await names(store, "what is this") == ["a"]


async def test_text_that_changed_is_found_by_what_it_is_now(stores):
    store = stores.knowledge
    await store.put([document("a", "zebra"), document("b", "zebra")])
    await store.put([document("a", "giraffe"), document("b", "zebra", source="ben")])
    assert await names(store, "zebra") == ["b"]
    assert await names(store, "giraffe") == ["a"]


CHANGES = st.lists(st.tuples(st.integers(0, 4), st.text(max_size=30), st.booleans()), max_size=12)
ANY_FIXTURE = [HealthCheck.function_scoped_fixture]


@settings(max_examples=60, deadline=None, suppress_health_check=ANY_FIXTURE)
@given(CHANGES, st.text(max_size=40))
def test_full_text_stays_in_step_with_the_table(tmp_path_factory, changes, query):
    """Whatever is put and removed: FTS5 finds its index whole, and every document by its own text."""

    async def go() -> None:
        path = tmp_path_factory.mktemp("knowledge") / "s.db"
        async with sqlite_knowledge(path) as store:
            await check_in_step(store, changes, query)
            check = "INSERT INTO documents_text (documents_text, rank) VALUES ('integrity-check', 1)"
            await store._database.write(lambda tx: tx.run(check))

    asyncio.run(go())


@settings(max_examples=15, deadline=None, suppress_health_check=ANY_FIXTURE)
@given(CHANGES, st.text(max_size=40))
def test_words_stay_in_step_with_the_table(postgres, changes, query):
    """Whatever is put and removed: every document has its words, and is found by its own text."""

    async def go() -> None:
        name = f"in_step{next(NUMBERS)}"
        postgres.sql(f"CREATE DATABASE {name}")
        async with open_stores(postgres.url(name), HOST) as stores:
            await check_in_step(stores.knowledge, changes, query)
            kept = len(await stores.knowledge.list())
        assert int(postgres.sql("SELECT count(*) FROM ai_sysadmin.documents_text", name)) == kept

    asyncio.run(go())


async def check_in_step(store, changes, query: str) -> None:
    for number, text, keep in changes:
        each = document(str(number), f"{text} marked", title=f"{number} {text}", facts={"a": text})
        await store.put([each])
        if not keep:
            await store.remove(each.id)
    kept = {each.name for each in await store.list()}
    assert set(await names(store, "marked")) == kept
    await store.search_text(query)
