"""What code tells from a pack by itself: the measured cause, what could help, what a citation is worth."""

import pytest

from ai_sysadmin.context.evidence import gather
from ai_sysadmin.context.facts import cause_of, citation, facts_of, status_in
from ai_sysadmin.core.records import Evidence, EvidencePack
from ai_sysadmin.core.symptom_kinds import SymptomKind
from tests.builders import NOW, UNIT, incident
from tests.judging import FAILED, FixedUnits, facts, log_of, sources, symptom


async def gathered(status=FAILED, log=("boom",)):
    return await gather(incident(), [symptom()], sources(FixedUnits(status), log_of(*log)), NOW)


async def test_facts_of_a_failed_unit():
    found = await facts()
    assert found.failed
    assert list(found.choices) == ["restart_unit"]
    assert found.remedy is not None
    assert found.remedy.arguments == {"unit": UNIT}
    assert cause_of(found) == f"{UNIT} failed: its process ended with exit status 1"


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"result": "timeout"}, SymptomKind.UNIT_FAILED, "took too long"),
        ({"result": "signal", "exit_status": 9}, SymptomKind.UNIT_FAILED, "killed by signal 9"),
        ({"load_state": "not-found"}, SymptomKind.UNIT_FAILED, "unit file is gone"),
        ({}, SymptomKind.OOM_KILL, "lack of memory"),
        ({"active_state": "active", "sub_state": "running"}, SymptomKind.UNIT_FAILED, "is now active (running)"),
        ({"result": "something {new}"}, SymptomKind.UNIT_FAILED, "something {new}"),
    ],
)
async def test_the_measured_cause_in_words(changes, kind, said):
    pack = await gathered(FAILED.model_copy(update=changes))
    assert said in cause_of(facts_of(incident(kind=kind), pack))


async def test_a_state_that_another_version_wrote_counts_as_not_known():
    pack = await gathered()
    state = pack.pieces[0]
    newer = state.model_copy(update={"facts": {**state.facts, "told_later": "x"}})
    broken = state.model_copy(update={"facts": {**state.facts, "exit_status": "many"}})
    assert status_in(pack.model_copy(update={"pieces": (newer,)})) == FAILED
    assert status_in(pack.model_copy(update={"pieces": (broken,)})) is None


def pack_of(*kinds: str) -> EvidencePack:
    pieces = [
        Evidence(id=f"e{number}", kind=kind, title=kind, text="x", at=NOW)  # type: ignore[arg-type]
        for number, kind in enumerate(kinds, start=1)
    ]
    return EvidencePack(incident_id="abcdef", pieces=tuple(pieces), hash="h")


@pytest.mark.parametrize(
    ("cited", "ids", "fault"),
    [
        (["e2", "e1"], ("e1", "e2"), ""),
        (["e1", "e1"], ("e1",), ""),
        (["e1", "e3", "e4"], ("e1", "e3", "e4"), ""),
        ([], (), "it cites no evidence"),
        (["e1", "e9"], ("e1",), "it cites e9, which is no evidence here"),
        (["E1"], (), "it cites E1, which is no evidence here"),
        (["e3", "e4", "e5"], ("e3", "e4", "e5"), "it cites only e3, e4, e5, in which nothing of this incident is"),
        (["e6"], ("e6",), "it cites only e6, in which nothing of this incident is observed"),
    ],
)
def test_a_citation_has_to_be_of_something_observed_in_this_pack(cited, ids, fault):
    pack = pack_of("unit_status", "metrics", "past_incidents", "runbooks", "host", "unavailable")
    found = citation(pack, cited)
    assert (found.ids, bool(found.fault)) == (ids, bool(fault))
    assert fault in found.fault
