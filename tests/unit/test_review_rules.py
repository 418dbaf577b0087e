"""What fixed rules make of the evidence, without a model."""

from dataclasses import replace

import pytest

from ai_sysadmin.core.records import Verdict
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.review_model import rules
from tests.builders import NOW
from tests.judging import FAILED, RUNNING, facts
from tests.reviewing import AWAY, GONE, WAITING, with_log, with_piece

# --- rules


CHANGED = {"what": "/etc/web.conf was changed", "seconds": "30", "kind": "configuration", "about": "/etc/web.conf"}
SWITCHED = {"what": "generation 142", "after": "generation 142", "seconds": "40", "kind": "generation"}


@pytest.mark.parametrize(
    ("kind", "of", "named", "verdict"),
    [
        ("changes", CHANGED, "exit status 1; 30 s before: /etc/web.conf was changed", Verdict.ACT),
        ("changes", SWITCHED, "it began 40 s after generation 142", Verdict.ACT),
        ("dependencies", {"needed_failed": "db.service"}, "it needs db.service, which has failed", Verdict.ESCALATE),
    ],
)
async def test_rules_name_what_the_evidence_says_of_the_cause(kind, of, named, verdict):
    judged = rules.judge(with_piece(await facts(), kind, **of), NOW)
    assert named in judged.cause
    assert (judged.verdict, judged.judged_by, judged.confidence) == (verdict, "rules", 70)


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        ("web: bind() to 0.0.0.0:80 failed (98: Address already in use)", Verdict.ESCALATE),
        ("web: write error: No space left on device", Verdict.ESCALATE),
        ("web: open /etc/web.key: Permission denied", Verdict.ACT),
        ("web: certificate has expired", Verdict.ACT),
    ],
)
async def test_rules_quote_what_a_program_says_of_a_well_known_fault(line, verdict):
    judged = rules.judge(with_log(await facts(), "web: starting", line, "web: bye"), NOW)
    assert f"its log says: {line}" in judged.cause
    assert judged.verdict is verdict


@pytest.mark.parametrize(("changed", "verdict"), [(CHANGED, Verdict.ESCALATE), ({}, Verdict.ACT)])
async def test_a_restart_does_not_mend_configuration_that_was_just_changed(changed, verdict):
    seen = with_log(await facts(), "web: web.conf:3: unknown directive upstrem")
    judged = rules.judge(with_piece(seen, "changes", **changed) if changed else seen, NOW)
    assert judged.verdict is verdict
    assert ("reads the same configuration" in judged.why) == bool(changed)


async def test_rules_say_how_much_memory_a_killed_unit_used():
    seen = await facts(FAILED.model_copy(update={"result": "oom-kill"}), SymptomKind.OOM_KILL)
    pieces = tuple(
        piece.model_copy(update={"facts": piece.facts | {"memory_peak": str(512 << 20), "memory_max": str(512 << 20)}})
        if piece.kind == "unit_status"
        else piece
        for piece in seen.pack.pieces
    )
    judged = rules.judge(replace(seen, pack=seen.pack.model_copy(update={"pieces": pieces})), NOW)
    assert "killed for lack of memory; it used 512 MiB, and may use 512 MiB" in judged.cause


@pytest.mark.parametrize("seconds", ["3000", "", "soon", "-900"])
async def test_rules_do_not_blame_what_changed_long_before(seconds):
    judged = rules.judge(with_piece(await facts(), "changes", **(CHANGED | {"seconds": seconds})), NOW)
    assert "/etc/web.conf" not in judged.cause


async def test_rules_name_the_runbook():
    judged = rules.judge(with_piece(await facts(), "runbooks", names="A unit failed, Another"), NOW)
    assert judged.why.endswith("The runbook is A unit failed")


async def test_rules_rest_on_what_was_observed():
    seen = with_piece(with_piece(await facts(), "host"), "runbooks")
    observed = {piece.id for piece in seen.pack.pieces if piece.kind in {"unit_status", "symptoms", "unit_log"}}
    assert set(rules.judge(seen, NOW).evidence) == observed


@pytest.mark.parametrize(
    ("status", "kind", "verdict"),
    [
        (FAILED, SymptomKind.UNIT_FAILED, Verdict.ACT),
        (GONE, SymptomKind.UNIT_FAILED, Verdict.ACT),
        (FAILED, SymptomKind.BURST, Verdict.ACT),
        (WAITING, SymptomKind.UNIT_FAILED, Verdict.WATCH),
        (RUNNING, SymptomKind.OOM_KILL, Verdict.WATCH),
        (RUNNING, SymptomKind.BURST, Verdict.ESCALATE),
        (RUNNING, SymptomKind.SEVERE_LOG, Verdict.ESCALATE),
        (AWAY, SymptomKind.UNIT_FAILED, Verdict.ESCALATE),
        (AWAY, SymptomKind.BURST, Verdict.ESCALATE),
    ],
)
async def test_rules_act_on_what_is_measured_and_pass_on_what_is_not_known(status, kind, verdict):
    judged = rules.judge(await facts(status, kind), NOW)
    assert (judged.verdict, judged.judged_by) == (verdict, "rules")
    assert (judged.action is not None) == (verdict is Verdict.ACT)
    assert judged.verdict is not Verdict.BENIGN


async def test_rules_judge_an_incident_of_no_unit():
    assert rules.judge(await facts(unit="", kind=SymptomKind.SUPPRESSED), NOW).verdict is Verdict.ESCALATE


async def test_what_could_not_be_looked_up_is_noted():
    assert any("no bus" in note for note in rules.judge(await facts(AWAY), NOW).notes)
