"""What people read of knowledge: where it stands, and what to do when there is nothing."""

import pytest

from ai_sysadmin.cli.knowledge_page import (
    Import,
    NotTaken,
    added_page,
    document_page,
    found_page,
    import_page,
    listing_page,
    redacted_text,
    reindexed_page,
    removed_page,
    where_of,
)
from ai_sysadmin.core.knowledge import Document, DocumentKind, Found, Hit
from ai_sysadmin.openai_api_server.system.knowledge import slug
from ai_sysadmin.openai_api_server.system.knowledge_views import Added, Listed, Listing, Reindexing
from tests.builders import NOW

NASTY = "\x1b[31mred\x1b[0m \u202edesrever\u202c \x07bell"


def a_document(kind=DocumentKind.RUNBOOK, name="disk-full", **changes):
    given = {"title": "A file system is full", "text": "## Remedy\nmake room\n", "source": "shipped", "updated_at": NOW}
    return Document(kind=kind, name=name, **(given | changes))


PIECE = a_document(
    DocumentKind.CONFIGURATION,
    "hosts/web.nix:10-42",
    title="hosts/web.nix: services.nginx",
    text="services.nginx = {\n  enable = true;\n};",
    source="/etc/nixos",
    facts={"path": "hosts/web.nix", "first": "10", "last": "42"},
)


def found(*documents, degraded=""):
    return Found(hits=tuple(Hit(document=each, score=1.0, by="text") for each in documents), degraded=degraded)


def a_listing(*documents, total=None):
    listed = tuple(Listed.of(each) for each in documents)
    return Listing(documents=listed, found=total or len(listed), by_kind={"runbook": total or len(listed)})


def an_addition(outcome="added", **changes):
    return Added(document=Listed.of(a_document()), outcome=outcome, **changes)


def test_a_piece_of_the_configuration_is_shown_with_file_and_lines():
    page = document_page(PIECE)
    assert "/etc/nixos/hosts/web.nix, lines 10 to 42" in page
    assert "    enable = true;" in page
    assert "/etc/nixos/hosts/web.nix, lines 10 to 42" in found_page(found(PIECE))
    assert where_of(a_document()) == ""


def test_a_document_is_shown_whole_with_its_facts():
    page = document_page(a_document(facts={"kinds": "disk_full", "units": "a.service"}))
    for said in ("A file system is full", "shipped", "disk_full", "a.service", "make room", a_document().id):
        assert said in page


def test_hits_name_the_document_and_how_to_see_it_whole():
    page = found_page(found(a_document(), PIECE))
    assert page.index("A file system is full") < page.index("services.nginx")
    assert f"{a_document().id}  runbook" in page
    assert "make room" in page
    assert "`ai-sysadmin knowledge show ID`" in page


def test_nothing_found_says_what_to_do():
    page = found_page(found())
    assert "Nothing that is known fits" in page
    assert "knowledge list" in page
    assert "knowledge add TITLE" in page
    assert "without --kind" in found_page(found(), narrowed=True)


@pytest.mark.parametrize("documents", [(), (a_document(),)])
def test_a_search_with_less_than_there_should_be_says_so(documents):
    page = found_page(found(*documents, degraded="the vector index is away"))
    assert "Searched with less than there should be: the vector index is away" in page


def test_a_list_says_how_much_there_is():
    page = listing_page(a_listing(a_document(), total=70))
    assert "disk-full" in page
    assert "1 of 70: --limit shows more, --kind fewer." in page
    assert "1 of" not in listing_page(a_listing(a_document()))
    assert "knowledge add TITLE" in listing_page(a_listing())
    assert "of this kind" in listing_page(a_listing(), narrowed=True)


@pytest.mark.parametrize(
    ("outcome", "said"), [("added", "Remembered"), ("changed", "Replaced"), ("unchanged", "Known already")]
)
def test_an_addition_says_what_became_of_it(outcome, said):
    page = added_page(an_addition(outcome))
    assert page.startswith(said)
    assert "secret" not in page


def test_what_was_taken_out_is_counted():
    assert "1 secret was taken out before anything was kept: 1 password." in added_page(
        an_addition(redacted={"password": 1})
    )
    assert redacted_text({"a": 2, "b": 1}).startswith("3 secrets were taken out")


def test_an_import_says_what_was_taken_and_what_not(tmp_path):
    taken = (an_addition(redacted={"own": 1}), an_addition("unchanged", redacted={"own": 2}))
    page = import_page(Import(added=taken, not_taken=(NotTaken(path="x.md", why="line 2: wrong"),)), tmp_path)
    assert "Taken in: 2 runbooks (1 known already)." in page
    assert "3 own" in page
    assert "not taken: x.md: line 2: wrong" in page
    assert "no Markdown files" in import_page(Import(added=(), not_taken=()), tmp_path)
    assert "Taken in: nothing." in import_page(Import(added=(), not_taken=(NotTaken(path="x", why="y"),)), tmp_path)


def test_an_index_that_was_not_made_is_not_called_made():
    assert reindexed_page(Reindexing(state="done", text="3 documents")) == "The index was made anew: 3 documents"
    assert "was not made" in reindexed_page(Reindexing(state="failed", text="away"))


def test_nothing_in_a_page_acts_on_the_terminal():
    hostile = a_document(title=NASTY, text=NASTY, name=NASTY, source=NASTY, facts={"tags": NASTY})
    listed = Listed.of(hostile)
    pages = [
        document_page(hostile),
        found_page(found(hostile, degraded=NASTY)),
        listing_page(a_listing(hostile)),
        added_page(Added(document=listed, outcome="added")),
        removed_page(listed),
    ]
    for page in pages:
        assert not set(page) & {"\x1b", "\u202e", "\x07"}
        assert max(map(len, page.splitlines())) <= 140


@pytest.mark.parametrize(
    ("title", "name"),
    [("Where the printer is", "where-the-printer-is"), ("  Ärger: №1! ", "ärger-no1"), ("a_b--c", "a-b-c"), ("?!", "")],
)
def test_a_note_is_known_by_its_title(title, name):
    assert slug(title) == name
    assert len(slug(title * 50)) <= 80
