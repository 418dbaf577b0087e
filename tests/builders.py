"""Small builders of records, so that a test says only what it is about."""

from datetime import UTC, datetime, timedelta
from typing import Any

from ai_sysadmin.core.acting import ActionRequest, ExecutorEvent, ExecutorEventKind, Origin, Outcome, OutcomeKind
from ai_sysadmin.core.incident import Incident
from ai_sysadmin.core.incident_triggers import attach, open_incident
from ai_sysadmin.core.records import EvidencePack, Investigation, ProposedAction, Review, Trigger, Verdict
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.stores import Placing

NOW = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
HOST = "host1"
UNIT = "web.service"
PLACING = Placing(timedelta(minutes=5), timedelta(hours=1), storm_count=10, storm_within=timedelta(minutes=5))


def trigger(kind: SymptomKind = SymptomKind.UNIT_FAILED, **changes: Any) -> Trigger:
    opens = kind not in {SymptomKind.SEVERE_LOG, SymptomKind.SUPPRESSED}
    given: dict[str, Any] = {"host": HOST, "unit": UNIT, "kind": kind, "template": "", "opens": opens, "at": NOW}
    if kind is SymptomKind.UNIT_FAILED:
        given["details"] = {"result": "exit-code", "invocation": "aa"}
    return Trigger(**(given | changes))


def incident(**changes: Any) -> Incident:
    begun = attach(open_incident(trigger()), trigger(), known=False, at=NOW)
    return begun.model_copy(update=changes)


def review(verdict: Verdict = Verdict.ACT, **changes: Any) -> Review:
    given: dict[str, Any] = {
        "incident_id": "abcdef",
        "evidence_hash": "h1",
        "verdict": verdict,
        "severity": 50,
        "confidence": 60,
        "cause": "it exited 1",
        "why": "It failed. It can be restarted.",
        "judged_by": "rules",
        "at": NOW,
    }
    return Review(**(given | changes))


def investigation(**changes: Any) -> Investigation:
    given: dict[str, Any] = {
        "incident_id": "abcdef",
        "diagnosis": "The unit exits at once.",
        "cause": "a missing file",
        "confidence": 40,
        "investigated_by": "rules",
        "at": NOW,
    }
    return Investigation(**(given | changes))


def pack(incident_id: str, digest: str = "h1") -> EvidencePack:
    return EvidencePack(incident_id=incident_id, pieces=(), hash=digest)


def request(incident_id: str = "abcdef", name: str = "restart_unit", unit: str = UNIT) -> ActionRequest:
    action = ProposedAction(name=name, arguments={"unit": unit})
    return ActionRequest.propose(HOST, incident_id, action, Origin.RULES, "it failed", NOW)


def event(asked: ActionRequest, kind: ExecutorEventKind, sequence: int = 1, **changes: Any) -> ExecutorEvent:
    given: dict[str, Any] = {
        "epoch": "e1",
        "sequence": sequence,
        "action_id": asked.id,
        "incident_id": asked.incident_id,
        "kind": kind,
        "text": kind.value,
        "at": NOW,
    }
    return ExecutorEvent(**(given | changes))


def finished(asked: ActionRequest, kind: OutcomeKind, sequence: int = 1, passed: bool | None = None) -> ExecutorEvent:
    outcome = Outcome(kind=kind, exit_status=0, post_check_passed=passed, text=kind.value)
    return event(asked, ExecutorEventKind.FINISHED, sequence, outcome=outcome)
