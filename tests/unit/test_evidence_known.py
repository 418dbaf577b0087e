"""What is known beside the incident, as evidence: incidents of the past with their outcomes, runbooks."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from ai_sysadmin.context.evidence import gather
from ai_sysadmin.context.knowledge.gathered import INCIDENTS
from ai_sysadmin.context.pieces import runbooks
from ai_sysadmin.core.acting import ActionState
from ai_sysadmin.core.context_settings import Context
from ai_sysadmin.core.errors import NotFound, StoreUnavailable
from ai_sysadmin.core.incident import Incident, State
from ai_sysadmin.core.knowledge import Document, DocumentKind, Found, Hit
from ai_sysadmin.core.records import Evidence
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.stores import Action, IncidentDetail
from tests.builders import NOW, UNIT, incident, request
from tests.judging import sources, symptom


async def piece(kind: str, about: Incident | None = None, **given: Any) -> Evidence | None:
    """Return the piece of a kind of a pack that is gathered from these sources; none: there is none."""
    pack = await gather(about or incident(), [symptom()], sources(**given), NOW)
    return next((each for each in pack.pieces if each.kind == kind), None)


# --- past incidents


class Past:
    """Incidents that ended, with what was done about them."""

    def __init__(self, *ended: Incident) -> None:
        self.ended = ended
        self.actions: dict[str, tuple[Action, ...]] = {}

    async def incidents(self, states: Sequence[State] = (), limit: int = 100) -> Sequence[Incident]:
        return [each for each in self.ended if each.state in states][:limit]

    async def incident(self, id_or_prefix: str) -> IncidentDetail:
        for each in self.ended:
            if each.id == id_or_prefix:
                return IncidentDetail(
                    incident=each,
                    symptoms=(),
                    timeline=(),
                    reviews=(),
                    investigations=(),
                    evidence=None,
                    actions=self.actions.get(each.id, ()),
                )
        raise NotFound(f"there is no incident {id_or_prefix}")


def ended(name: str, days: float, minutes: float = 10, **given: Any) -> Incident:
    opened = NOW - timedelta(days=days)
    about = {
        "id": name,
        "state": State.RESOLVED,
        "opened_at": opened,
        "resolved_at": opened + timedelta(minutes=minutes),
        "cause": "the port was taken",
        "judged_by": "rules",
        "note": "it runs again",
    }
    return incident(**(about | given))


class Searching:
    """A search that finds these documents."""

    def __init__(self, *documents: Document, degraded: str = "") -> None:
        self.documents = documents
        self.degraded = degraded
        self.asked: list[str] = []

    async def search(self, query: str, kinds: Sequence[DocumentKind] = (), limit: int = 5) -> Found:
        self.asked.append(query)
        found = [each for each in self.documents if each.kind in kinds][:limit]
        hits = tuple(Hit(document=each, score=1.0 - n / 10, by="text") for n, each in enumerate(found))
        return Found(hits=hits, degraded=self.degraded)


def document(
    name: str,
    kind: DocumentKind = DocumentKind.RUNBOOK,
    text: str = "Do this.",
    source: str = "shipped",
    **facts: str,
) -> Document:
    return Document(kind=kind, name=name, title=f"All of {name}", text=text, source=source, facts=facts, updated_at=NOW)


async def test_past_incidents_are_told_with_what_was_measured_of_their_remedies() -> None:
    past = Past(
        ended("other1", 1, unit="other.service", title="other.service failed"),
        ended("older1", 9),
        ended("newer1", 2, minutes=90, reopened=2),
        ended("merged", 1, merged_into="older1", state=State.DISMISSED),
        ended("burst1", 1, kind=SymptomKind.BURST),
    )
    asked = request("newer1")
    past.actions["newer1"] = (
        Action(
            request=asked,
            state=ActionState.SUCCEEDED,
            text="active for 30 s",
            updated_at=NOW,
        ),
        Action(request=asked, state=ActionState.STARTED, text="started", updated_at=NOW),
    )
    told = await piece("past_incidents", past=past)
    assert told is not None
    assert told.facts == {"ids": "newer1 older1 other1"}
    assert told.text.splitlines()[:5] == [
        "newer1 (2026-11-18T03:00:00Z): web.service failed (exit-code)",
        "    cause, as rules said: the port was taken",
        "    restart_unit web.service: succeeded (active for 30 s)",
        "    restart_unit web.service: started (did not end)",
        "    resolved after 90 min, after it had come back 2 times: it runs again",
    ]
    assert "    nothing was done about it" in told.text


async def test_a_search_fills_up_and_what_the_store_forgot_is_passed_over() -> None:
    past = Past(ended("burst1", 1, kind=SymptomKind.BURST), ended("burst2", 1, kind=SymptomKind.BURST))
    found = [document(name, DocumentKind.INCIDENT, source=INCIDENTS) for name in ("gone01", "burst2")]
    imported = document("burst1", DocumentKind.INCIDENT, source="imported")
    search = Searching(imported, *found, degraded="no vectors")
    told = await piece("past_incidents", past=past, knowledge=search)
    assert told is not None
    assert told.facts == {"ids": "burst2"}
    assert "no vectors" in told.left_out
    assert "unit failed" in search.asked[0]
    assert await piece("past_incidents", past=past, knowledge=search, limits=Context(past_incidents=0)) is None
    assert await piece("past_incidents", past=Past()) is None


async def test_a_store_that_does_not_answer_is_said() -> None:
    class Away(Past):
        async def incidents(self, states: Sequence[State] = (), limit: int = 100) -> Sequence[Incident]:
            raise StoreUnavailable("the database is locked")

    told = await piece("unavailable", past=Away())
    assert told is not None
    assert "the database is locked" in told.text


# --- runbooks


class Shelf:
    def __init__(self, *documents: Document) -> None:
        self.documents = documents

    async def list(self, kinds: Sequence[DocumentKind] = (), limit: int = 1000) -> Sequence[Document]:
        return [each for each in self.documents if each.kind in kinds][:limit]


GENERIC = document("generic")
OF_KIND = document("of-kind", kinds="crashed unit_failed")
OF_UNIT = document("of-unit", units="web*.service", kinds="burst")
OF_BOTH = document("of-both", units="db.service web.service", kinds="unit_failed")
OF_OTHERS = document("of-others", units="db.service", kinds="unit_failed")


@pytest.mark.parametrize(
    ("hits", "names"),
    [
        ([], ["of-both", "of-unit", "of-kind"]),
        ([GENERIC], ["of-both", "of-unit", "of-kind", "generic"]),
        ([OF_OTHERS, GENERIC, OF_KIND], ["of-both", "of-unit", "of-kind", "of-others", "generic"]),
    ],
)
def test_runbooks_that_name_the_unit_or_kind_come_first(hits: list[Document], names: list[str]) -> None:
    shelf = [GENERIC, OF_KIND, OF_OTHERS, OF_UNIT, OF_BOTH]
    assert [each.name for each in runbooks.ranked(incident(), shelf, hits)] == names


async def test_the_best_runbooks_are_told_and_long_ones_cut_with_word_of_it() -> None:
    long = document("long", text="\n\n".join(f"step {n}: {'x' * 90}" for n in range(200)), kinds="unit_failed")
    code = document("code", text="## First look\n```sh\n    journalctl -b\n```", units=UNIT)
    search = Searching(GENERIC)
    told = await piece("runbooks", knowledge=search, documents=Shelf(GENERIC, long, code, OF_KIND))
    assert told is not None
    assert told.facts == {"names": "code, long"}
    assert "# All of code (code)\n## First look\n```sh\n    journalctl -b\n```\n# All of long (long)" in told.text
    assert told.left_out.endswith("lines of long")
    assert "boom" in search.asked[0], "what the log said is searched for"
    assert await piece("runbooks", knowledge=Searching(GENERIC)) is not None
    assert await piece("runbooks", knowledge=Searching()) is None
