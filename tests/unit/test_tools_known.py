"""What is known and the incidents there are, as the tools tell them, on the real embedded store."""

from datetime import timedelta
from pathlib import Path

import pytest

from ai_sysadmin.context.knowledge.retrieval import Retrieval
from ai_sysadmin.core.acting import ExecutorEventKind, OutcomeKind
from ai_sysadmin.core.errors import NotFound, Refused
from ai_sysadmin.core.knowledge import Document, DocumentKind
from ai_sysadmin.core.records import ProposedAction, Verdict
from ai_sysadmin.stores import Noticed
from ai_sysadmin.stores.relational import SqlStores, open_stores
from ai_sysadmin.tools.known import known_tools
from ai_sysadmin.tools.tool import Tool
from tests.builders import HOST, NOW, PLACING, UNIT, event, finished, pack, request, review, trigger
from tests.judging import FixedClock


class NoScene:
    def names(self, target: str) -> bool:
        return False


@pytest.fixture
async def stores(tmp_path: Path):
    async with open_stores(tmp_path / "state.db", HOST, FixedClock(NOW + timedelta(minutes=10))) as opened:
        yield opened


def tools(stores: SqlStores) -> dict[str, Tool]:
    search = Retrieval(stores.knowledge, None, None, minimum_similarity=0.2)
    made = known_tools(search, stores.knowledge, stores.reader, FixedClock(NOW + timedelta(minutes=10)))
    return {tool.name: tool for tool in made}


async def ask(stores: SqlStores, name: str, **given: str) -> str:
    tool = tools(stores)[name]
    return (await tool.look(tool.parsed(given).model_dump(), NoScene())).text


def document(kind: DocumentKind, name: str, text: str) -> Document:
    return Document(kind=kind, name=name, title=f"About {name}", text=text, source="shipped", updated_at=NOW)


async def begun(stores: SqlStores) -> str:
    """Open an incident, judge it and propose a restart; return its id."""
    (opened,) = await stores.notices.commit(Noticed(position=None, triggers=[trigger()]), PLACING)
    claim = await stores.reviews.claim_review(
        "w", lease=timedelta(minutes=1), settle=timedelta(0), settle_at_most=timedelta(0), now=NOW
    )
    proposed = ProposedAction(name="restart_unit", arguments={"unit": UNIT})
    judged = review(Verdict.ACT, incident_id=opened.id, action=proposed)
    await stores.reviews.finish_review(claim, pack(opened.id), judged, [request(opened.id)])
    return opened.id


async def test_documents_are_found_with_id_kind_date_and_text(stores):
    runbook = document(DocumentKind.RUNBOOK, "disk-full", "Look for large files.\nThen vacuum.")
    code = document(DocumentKind.CONFIGURATION, "a.nix:1-2", "large files")
    await stores.knowledge.put([runbook, code])
    text = await ask(stores, "knowledge", words="large files")
    head, *lines = text.split("\n")
    assert head.startswith(f"document {runbook.id}, runbook disk-full, of 2026-11-")
    assert lines == ["    Look for large files.", "    Then vacuum."]
    assert "nothing is known about 'quantum'" in await ask(stores, "knowledge", words="quantum")


async def test_a_long_document_is_cut_and_shown_whole_by_its_id(stores):
    long = document(DocumentKind.NOTE, "long", "\n".join(f"fact {n}" for n in range(1000)))
    await stores.knowledge.put([long])
    text = await ask(stores, "knowledge", words="fact")
    assert f'knowledge(words="{long.id}")' in text
    assert "fact 999" not in text
    assert "fact 999" in await ask(stores, "knowledge", words=long.id)
    with pytest.raises(NotFound):
        await ask(stores, "knowledge", words="0123456789")


async def test_live_incidents_are_told_with_what_waits(stores):
    assert "no incident is open" in await ask(stores, "incidents")
    incident = await begun(stores)
    text = await ask(stores, "incidents", which="live")
    assert f"{incident} open: " in text
    assert "began 10 min ago" in text
    assert "cause: it exited 1 (as rules said)" in text
    assert "actions under way or waiting for a person:" in text
    assert f"restart_unit {UNIT}, proposed, incident {incident}: it failed" in text


async def test_an_incident_is_told_whole_by_its_id_and_found_by_its_unit(stores):
    incident = await begun(stores)
    (asked,) = await stores.outbox.unsubmitted()
    await stores.outbox.submitted(asked.id)
    await stores.outbox.apply(
        [event(asked, ExecutorEventKind.STARTED), finished(asked, OutcomeKind.SUCCEEDED, 2, True)]
    )
    text = await ask(stores, "incidents", which=incident)
    assert "judged by rules" in text
    assert "act, it exited 1: It failed." in text
    assert f"action {asked.id} restart_unit {UNIT}, succeeded" in text
    assert "noticed unit_failed of web.service 1 times" in text
    for unit in (UNIT, "web", "WEB.service"):
        assert f"{incident} resolved: " in await ask(stores, "incidents", which=unit)
    assert "the last that ended:" in await ask(stores, "incidents")


@pytest.mark.parametrize("which", ["other.service", "zzzzzz", "we", "; drop table"])
async def test_what_is_no_incident_is_said(stores, which):
    await begun(stores)
    with pytest.raises(NotFound, match="there is no incident"):
        await ask(stores, "incidents", which=which)


async def test_nothing_to_look_for_is_refused(stores):
    with pytest.raises(Refused):
        await ask(stores, "knowledge", words="  ")
