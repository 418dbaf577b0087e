"""Judge without a model: what was measured decides, and what was not is never good news. Pure."""

from collections.abc import Sequence
from datetime import datetime

from ai_sysadmin.context.facts import Facts
from ai_sysadmin.context.well_known import Known, known
from ai_sysadmin.core.records import Review, Verdict
from ai_sysadmin.core.symptom_kinds import HOST_STATE_KINDS, UNIT_STATE_KINDS, SymptomKind

RULES = "rules"

_SEVERITY = {
    SymptomKind.STORM: 90,
    SymptomKind.HARDWARE_ERROR: 85,
    SymptomKind.READ_ONLY: 85,
    SymptomKind.DISK_FULL: 85,
    SymptomKind.INODES_FULL: 80,
    SymptomKind.STORAGE_ERROR: 80,
    SymptomKind.OOM_KILL: 80,
    SymptomKind.UNITS_FAILED: 75,
    SymptomKind.START_LIMIT_HIT: 75,
    SymptomKind.CERTIFICATE_EXPIRED: 75,
    SymptomKind.UNIT_FAILED: 70,
    SymptomKind.CRASHED: 70,
    SymptomKind.WATCHDOG: 70,
    SymptomKind.TIMED_OUT: 70,
    SymptomKind.PROBE_FAILED: 70,
    SymptomKind.KERNEL_FAULT: 70,
    SymptomKind.MEMORY_SHORT: 70,
    SymptomKind.DEPENDENCY_FAILED: 60,
    SymptomKind.FLAPPING: 60,
    SymptomKind.STUCK: 60,
    SymptomKind.BACKUP_OVERDUE: 60,
    SymptomKind.DISK_FILLING: 55,
    SymptomKind.THRESHOLD: 50,
    SymptomKind.ALERT: 50,
    SymptomKind.PORT_TAKEN: 50,
    SymptomKind.LOG_RULE: 50,
    SymptomKind.BURST: 50,
    SymptomKind.SEVERE_LOG: 50,
    SymptomKind.CERTIFICATE_EXPIRING: 45,
    SymptomKind.SUPPRESSED: 40,
    SymptomKind.NOVEL_LOG: 30,
    SymptomKind.UNUSUAL: 30,
}
_MEASURED_CONFIDENCE = 60
"""That a unit failed is certain; that its result is the whole cause is not."""
_NAMED_CONFIDENCE = 70
_OBSERVED = frozenset({"unit_status", "symptoms", "unit_log", "changes", "dependencies", "metrics", "outcomes"})


def judge(facts: Facts, now: datetime, notes: Sequence[str] = ()) -> Review:
    """Return the rules' judgement: a measured failure with a remedy is acted on, the rest watched or passed on."""
    seen = known(facts)
    verdict, why = _verdict(facts, seen)
    incident = facts.incident
    measured = _NAMED_CONFIDENCE if seen.is_named else _MEASURED_CONFIDENCE
    return Review(
        incident_id=incident.id,
        evidence_hash=facts.pack.hash,
        verdict=verdict,
        severity=_SEVERITY[incident.kind] if facts.failed or not _runs_again(facts) else _SEVERITY[incident.kind] // 2,
        confidence=measured if facts.failed else 0,
        cause=seen.cause,
        why=why + (f". The runbook is {seen.runbook}" if seen.runbook else ""),
        evidence=_rests_on(facts),
        action=facts.remedy if verdict is Verdict.ACT else None,
        judged_by=RULES,
        notes=(*facts.gaps, *notes),
        at=now,
    )


def _verdict(facts: Facts, seen: Known) -> tuple[Verdict, str]:
    unit = facts.incident.unit
    if facts.failed and facts.remedy and seen.in_the_way:
        return Verdict.ESCALATE, f"{unit} is measured failed, and {seen.in_the_way}"
    if facts.failed and facts.remedy and facts.spent:
        return Verdict.ESCALATE, f"{unit} is measured failed, and of {facts.remedy.name} is known: {facts.spent}"
    if facts.failed and facts.remedy:
        return Verdict.ACT, f"{unit} is measured failed, and {facts.remedy.name} is what helps most often"
    if facts.failed:
        return Verdict.ESCALATE, f"{unit} is measured failed, and nothing in the catalogue would help"
    if unit and facts.status is None:
        return Verdict.ESCALATE, f"the state of {unit} is not known, so it does not count as well"
    if _runs_again(facts) and facts.status:
        return Verdict.WATCH, f"{unit} failed and is now {facts.status.active_state} ({facts.status.sub_state})"
    if facts.incident.kind in HOST_STATE_KINDS:
        return Verdict.ESCALATE, "it is measured, and nothing in the catalogue would help"
    return Verdict.ESCALATE, "rules cannot judge what a log line means; a person or a model should read it"


def _runs_again(facts: Facts) -> bool:
    """Tell whether a measured fault is not there any more, or systemd is at it."""
    return facts.incident.kind in UNIT_STATE_KINDS and facts.status is not None and not facts.failed


def _rests_on(facts: Facts) -> tuple[str, ...]:
    """Return what the rules looked at: what was observed of this incident, and could be."""
    return tuple(piece.id for piece in facts.pack.pieces if piece.kind in _OBSERVED)
