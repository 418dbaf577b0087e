"""Ended incidents as documents, and the keeper that puts all that is known into the store."""

import asyncio
from datetime import timedelta

import pytest

from ai_sysadmin.context.knowledge.gathered import INCIDENTS, SHIPPED, Gathered, imported_by, why_kept
from ai_sysadmin.context.knowledge.history import History, document_of, lasting
from ai_sysadmin.context.knowledge.keeping import Keeper, build, keep_forever
from ai_sysadmin.context.redact import Redactor
from ai_sysadmin.core.acting import ActionState
from ai_sysadmin.core.context_settings import Knowledge, RedactionRule
from ai_sysadmin.core.errors import NotFound, StoreUnavailable
from ai_sysadmin.core.incident import ENDED, State
from ai_sysadmin.core.knowledge import Document, DocumentKind
from ai_sysadmin.core.records import Symptom
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.stores import Action, IncidentDetail
from ai_sysadmin.testing.host import FakeClock
from ai_sysadmin.testing.memory_knowledge import MemoryKnowledge
from tests.builders import HOST, NOW, UNIT, incident, investigation, request

ENDED_AT = NOW + timedelta(minutes=12, seconds=5)


def a_symptom(number=0, **changes):
    given = {"fingerprint": f"f{number}", "host": HOST, "unit": UNIT, "kind": SymptomKind.UNIT_FAILED, "opens": True}
    times = {"count": 3, "first_at": NOW, "last_at": NOW, "priority": 3, "text": "exit 1", "why": "it exited 1"}
    return Symptom(**(given | times | changes))


def a_detail(actions=(), symptoms=None, investigations=(), **changes):
    given = {"state": State.RESOLVED, "resolved_at": ENDED_AT, "cause": "a full disk", "judged_by": "qwen"}
    return IncidentDetail(
        incident=incident(**(given | changes)),
        symptoms=(a_symptom(),) if symptoms is None else symptoms,
        timeline=(),
        reviews=(),
        investigations=investigations,
        evidence=None,
        actions=actions,
    )


def an_action(state=ActionState.SUCCEEDED, **changes):
    given = {"text": "active for 10 s", "by": "anna", "updated_at": NOW}
    return Action(request=request(), state=state, **(given | changes))


# --- one incident


def test_what_an_investigation_found_and_ruled_out_is_told_line_by_line():
    diagnosis = "The port was taken [t1]. Nginx gave up [e1]. Next: free the port."
    found = investigation(diagnosis=diagnosis, ruled_out=("Memory was never short. [e2]",), investigated_by="qwen")
    lines = document_of(a_detail(investigations=[found])).text.splitlines()
    assert "investigated by qwen: The port was taken [t1]." in lines
    assert "found: Nginx gave up [e1]." in lines
    assert "ruled out: Memory was never short. [e2]" in lines


def test_an_ended_incident_tells_cause_remedy_outcome_and_how_long():
    detail = a_detail([an_action()], investigations=[investigation()], note="post-check passed", id="abcdef")
    document = document_of(detail)
    assert (document.kind, document.name, document.source) == (DocumentKind.INCIDENT, "abcdef", INCIDENTS)
    assert document.title == detail.incident.title
    assert document.updated_at == ENDED_AT
    for said in (
        "unit_failed of web.service on host1",
        "ended 2026-11-20 03:12 UTC, lasted 12 min 5 s",
        "noticed: unit_failed, 3 times: it exited 1",
        "cause, as qwen said: a full disk",
        "investigated by rules: The unit exits at once.",
        "restart_unit web.service (approved by anna), measured succeeded: active for 10 s",
        "ended as resolved: post-check passed",
    ):
        assert said in document.text
    assert document.facts["subject"] == UNIT
    assert document.facts["actions"] == "restart_unit succeeded"


def test_what_was_not_found_or_done_is_said():
    text = document_of(a_detail(cause="", reopened=2, state=State.DISMISSED)).text
    for said in ("cause: never found", "done about it: nothing", "ended as dismissed", "having come back 2 times"):
        assert said in text


def test_what_has_not_ended_or_became_part_of_another_is_no_document():
    assert document_of(a_detail(state=State.OPEN)) is None
    assert document_of(a_detail(state=State.DISMISSED, merged_into="xyz")) is None


def test_lines_from_the_host_stay_one_line_and_bounded():
    symptoms = [a_symptom(n, why=f"a\nb \x1b[31m{'x' * 5000}", text="") for n in range(30)]
    document = document_of(a_detail(symptoms=symptoms, cause="one\ntwo"))
    lines = document.text.splitlines()
    assert "cause, as qwen said: one two" in lines
    assert max(map(len, lines)) <= 300
    assert len(lines) < 16
    assert "noticed: 22 more kinds of symptom" in lines
    assert "\x1b" not in document.text


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-5, "0 s"), (0.4, "0 s"), (59, "59 s"), (3661, "1 h 1 min"), (90000, "1 d 1 h")],
)
def test_how_long_it_took_is_said_in_two_units(seconds, said):
    assert lasting(seconds) == said


# --- all of them


class Incidents:
    """A store of incidents; ``read`` names those that were read whole."""

    def __init__(self, *details):
        self.details = {detail.incident.id: detail for detail in details}
        self.read = []

    async def incidents(self, states=(), limit=100):
        found = [each.incident for each in self.details.values() if each.incident.state in states]
        return found[:limit]

    async def incident(self, id_or_prefix):
        self.read.append(id_or_prefix)
        if id_or_prefix not in self.details:
            raise NotFound(id_or_prefix)
        return self.details[id_or_prefix]


async def test_an_incident_is_read_once_until_it_changes():
    store = Incidents(a_detail(id="one"), a_detail(id="two"), a_detail(id="three", state=State.OPEN))
    history = History(store)
    (first,) = await history.gather()
    assert {each.name for each in first.documents} == {"one", "two"}
    (again,) = await history.gather()
    assert again.documents is first.documents
    assert sorted(store.read) == ["one", "two"]
    store.details["two"] = a_detail(id="two", revision=9, cause="a mouse")
    store.details["three"] = a_detail(id="three", revision=2)
    del store.details["one"]
    (after,) = await history.gather()
    assert {each.name for each in after.documents} == {"two", "three"}
    assert sorted(store.read) == ["one", "three", "two", "two"]
    assert {State.RESOLVED, State.DISMISSED} == ENDED


# --- the keeper


def a_document(name="a", kind=DocumentKind.RUNBOOK, source="/srv/books", **changes):
    given = {"title": name, "text": f"text of {name}", "updated_at": NOW}
    return Document(kind=kind, name=name, source=source, **(given | changes))


class Fixed:
    """Gathers what it is told, or fails."""

    def __init__(self, *documents, source="/srv/books", name="books"):
        self.name, self.sources, self.documents, self.failure = name, (source,), documents, None
        self.faults, self.is_known = (), True

    async def gather(self):
        if self.failure is not None:
            raise self.failure
        gathered = Gathered(DocumentKind.RUNBOOK, self.sources[0], tuple(self.documents), self.faults, self.is_known)
        return (gathered,)


class CountingStore(MemoryKnowledge):
    """Counts writes. ``away``: it does not answer."""

    def __init__(self):
        super().__init__()
        self.writes = 0
        self.away = False

    async def replace(self, kind, source, documents):
        if self.away:
            raise StoreUnavailable
        self.writes += 1
        return await super().replace(kind, source, documents)


async def names(store):
    return [each.name for each in await store.list()]


async def test_what_is_as_it_was_is_not_written_again():
    store, books = CountingStore(), Fixed(a_document("a"), a_document("b"))
    keeper = Keeper(store, [books], Redactor())
    assert (await keeper.refresh()).changed == 2
    assert (await keeper.refresh()).changed == 0
    books.documents = (a_document("a"), a_document("b"))  # made anew, and the same
    await keeper.refresh()
    assert store.writes == 1
    books.documents = (a_document("b", text="other"),)
    assert (await keeper.refresh()).changed == 2
    assert await names(store) == ["b"]
    await store.remove((await store.list())[0].id)
    await keeper.refresh()
    assert await names(store) == []
    await keeper.refresh(everything=True)
    assert await names(store) == ["b"]


async def test_one_that_fails_keeps_what_it_gave_and_stops_nobody():
    store, bad, good = CountingStore(), Fixed(a_document("a")), Fixed(source="/etc/books", name="others")
    keeper = Keeper(store, [bad, good], Redactor())
    await keeper.refresh()
    bad.failure = PermissionError(13, "Permission denied")
    good.documents, good.faults = (a_document("b", source="/etc/books"),), ("one is broken",)
    kept = await keeper.refresh()
    assert await names(store) == ["a", "b"]
    assert kept.faults == ("books: [Errno 13] Permission denied", "one is broken")
    bad.failure, bad.documents, bad.is_known = None, (), False
    await keeper.refresh(everything=True)
    assert await names(store) == ["a", "b"]


async def test_directories_that_the_settings_no_longer_name_are_forgotten_and_notes_stay():
    store = CountingStore()
    note = a_document("n", kind=DocumentKind.NOTE, source="anna")
    imported = a_document("imported/x", source=imported_by("anna"))
    old = a_document("old", kind=DocumentKind.CONFIGURATION, source="/old/nixos")
    await store.put([note, imported, old, a_document("gone", source="/old/books")])
    await Keeper(store, [Fixed(a_document("a"))], Redactor()).refresh()
    assert await names(store) == ["n", "a", "imported/x"]


async def test_secrets_are_taken_out_of_everything_that_is_not_shipped():
    redactor = Redactor([RedactionRule(name="own", pattern="zq-[0-9]+")])
    hot = {"title": "zq-1", "text": "zq-2", "facts": {"tags": "zq-3"}}
    own, ours = Fixed(a_document("a", **hot)), Fixed(a_document("b", source=SHIPPED, text="zq-4"), source=SHIPPED)
    store = CountingStore()
    await Keeper(store, [own, ours], redactor).refresh()
    one, other = await store.list()
    assert "zq-" not in f"{one.title}{one.text}{one.facts}"
    assert "redacted" in one.text
    assert other.text == "zq-4"


async def test_a_store_that_is_away_is_waited_for():
    store, books = CountingStore(), Fixed(a_document("a"))
    store.away = True
    keeper, synced, slept = Keeper(store, [books], Redactor()), [], []

    async def sync():
        synced.append(await names(store))

    async def sleep(seconds):
        slept.append(seconds)
        store.away = False
        if len(slept) == 2:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await keep_forever(keeper, sync, 300.0, sleep)
    assert synced == [["a"]]
    assert slept == [300.0, 300.0]


async def test_a_fault_is_logged_once(caplog):
    books = Fixed()
    books.faults = ("x.md is broken",)
    rounds = []

    async def sync():
        return None

    async def sleep(_seconds):
        rounds.append(1)
        if len(rounds) == 3:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await keep_forever(Keeper(MemoryKnowledge(), [books], Redactor()), sync, 1.0, sleep)
    assert [record.getMessage() for record in caplog.records].count("knowledge lacks something: x.md is broken") == 1


async def test_everything_that_the_settings_name_is_kept(tmp_path):
    books, nixos = tmp_path / "books", tmp_path / "nixos"
    for directory in (books, nixos):
        directory.mkdir()
    (books / "disk-full.md").write_text("# Our way\n")
    (nixos / "configuration.nix").write_text("{ services.nginx.enable = true; }\n")
    settings = Knowledge(runbooks=(books,), configuration_repository=nixos)
    store = MemoryKnowledge()
    keeper = build(settings, store, Incidents(a_detail(id="one")), Redactor(), FakeClock(NOW))
    await keeper.refresh()
    found = {each.kind for each in await store.list()}
    assert found == set(DocumentKind) - {DocumentKind.NOTE}
    titles = [each.title for each in await store.list([DocumentKind.RUNBOOK]) if each.name == "disk-full"]
    assert titles == ["Our way"]
    (books / "disk-full.md").unlink()
    await keeper.refresh()
    titles = [each.title for each in await store.list([DocumentKind.RUNBOOK]) if each.name == "disk-full"]
    assert titles == ["A file system is full"]


@pytest.mark.parametrize(
    ("kind", "source", "why"),
    [
        (DocumentKind.NOTE, "anna", ""),
        (DocumentKind.RUNBOOK, imported_by("anna"), ""),
        (DocumentKind.RUNBOOK, SHIPPED, "shipped with ai-sysadmin"),
        (DocumentKind.RUNBOOK, "/srv/books", "made from /srv/books"),
        (DocumentKind.CONFIGURATION, "/etc/nixos", "made from /etc/nixos"),
        (DocumentKind.INCIDENT, INCIDENTS, "incident that is on record"),
        (DocumentKind.DISCOVERY, "host", "made from this host"),
    ],
)
def test_only_notes_and_imports_can_be_removed_by_hand(kind, source, why):
    said = why_kept(a_document(kind=kind, source=source))
    assert why in said
    assert bool(said) == bool(why)
