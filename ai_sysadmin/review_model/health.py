"""What becomes of a look at the whole host: a report by rules, or by a model that cites what it saw. Pure."""

from collections.abc import Sequence
from datetime import datetime
from importlib.resources import files
from typing import Annotated, Any, Final

from pydantic import BaseModel, Field, create_model

from ai_sysadmin.context.defuse import one_line
from ai_sysadmin.context.window import Window
from ai_sysadmin.core.clock import local
from ai_sysadmin.core.health import Finding, HealthReport
from ai_sysadmin.core.records import EvidencePack
from ai_sysadmin.llm_backend import Completion, Message
from ai_sysadmin.llm_backend.structured import list_of
from ai_sysadmin.review_model.decide import two_sentences
from ai_sysadmin.review_model.host_seen import HostSeen
from ai_sysadmin.review_model.rules import RULES

SYSTEM_PROMPT: Final = files(__package__).joinpath("health.md").read_text()
MOST_FINDINGS: Final = 8
GRAVE: Final = 55
_MOST_BY_RULES: Final = 20
_UNCHANGED: Final = "unchanged since "


class Pointed(BaseModel):
    """One finding as a model gives it: what it saw first."""

    evidence: tuple[str, ...]
    text: Annotated[str, Field(max_length=250)]
    severity: Annotated[int, Field(ge=0, le=100)]


class Reply(BaseModel):
    findings: tuple[Pointed, ...]
    summary: Annotated[str, Field(max_length=300)]


def pack_of(seen: HostSeen) -> EvidencePack:
    return EvidencePack(incident_id="", pieces=seen.pieces, hash=seen.hash)


def reply_model(seen: HostSeen) -> type[Reply]:
    """Return the shape of the reply: what may be cited is a closed list."""
    pointed = create_model("Pointed", __base__=Pointed, evidence=list_of([piece.id for piece in seen.pieces]))
    findings: Any = Annotated[tuple[pointed, ...], Field(max_length=MOST_FINDINGS)]
    return create_model("Reply", __base__=Reply, findings=findings)


def prompt(window: Window) -> tuple[Message, ...]:
    """Return the prompt; what is always the same comes first."""
    return (
        Message(role="system", content=SYSTEM_PROMPT),
        Message(role="user", content=f"Evidence:\n\n{window.text}\n\nHow is this host?"),
    )


def unchanged(seen: HostSeen, last: HealthReport | None) -> HealthReport | None:
    """Return the last report with a new date where there is nothing else to say; none: there is."""
    if last is None or last.hash != seen.hash:
        return None
    since = next((note for note in last.notes if note.startswith(_UNCHANGED)), f"{_UNCHANGED}{local(last.at)}")
    others = tuple(note for note in last.notes if not note.startswith(_UNCHANGED))
    free = {"model_calls": 0, "prompt_tokens": 0, "completion_tokens": 0}
    return last.model_copy(update={"at": seen.at, "notes": (*others, since), **free})


def by_rules(seen: HostSeen, notes: Sequence[str] = ()) -> HealthReport:
    """Return the report that needs no model: all that stands out, the worst first."""
    findings = tuple(
        Finding(text=one_line(each.text, 300), severity=min(100, each.severity), evidence=(piece,))
        for piece, each in seen.notable[:_MOST_BY_RULES]
    )
    return HealthReport(
        at=seen.at,
        hash=seen.hash,
        pieces=seen.pieces,
        summary=_summary(seen),
        findings=findings,
        judged_by=RULES,
        notes=(*seen.gaps, *notes),
    )


def _summary(seen: HostSeen) -> str:
    notable = seen.notable
    if not notable:
        return "Nothing stands out" + (", but not everything could be looked at." if seen.gaps else ".")
    worst = one_line(notable[0][1].text, 160)
    if len(notable) == 1:
        return f"One thing stands out: {worst}."
    return f"{len(notable)} things stand out; first: {worst}."


def _passed_over(seen: HostSeen, findings: Sequence[Finding]) -> list[Finding]:
    """Return what is measured, grave, and in no finding: a model does not wave it through."""
    cited = {piece for finding in findings for piece in finding.evidence}
    missing = [(piece, each) for piece, each in seen.notable if each.severity >= GRAVE and piece not in cited]
    return [
        Finding(text=one_line(each.text, 250), severity=min(100, each.severity), evidence=(piece,))
        for piece, each in missing[:MOST_FINDINGS]
    ]


def judged(
    seen: HostSeen, reply: Reply, completion: Completion, calls: int, window: Window, now: datetime
) -> HealthReport:
    """Return the report that a reply comes to; findings that cite nothing that there is are dropped and counted."""
    ids = {piece.id for piece in seen.pieces}
    given = [each for each in reply.findings if each.text.strip()]
    kept = [each for each in given if each.evidence and set(each.evidence) <= ids]
    dropped = len(given) - len(kept)
    notes = [f"{dropped} findings were dropped: they cite no evidence"] if dropped else []
    findings = [
        Finding(text=one_line(each.text, 250), severity=each.severity, evidence=tuple(sorted(set(each.evidence))))
        for each in kept
    ]
    if passed_over := _passed_over(seen, findings):
        notes.append(f"{len(passed_over)} findings are the rules': the model said nothing of them")
        findings += passed_over
    report = HealthReport(
        at=now,
        hash=seen.hash,
        pieces=seen.pieces,
        summary=two_sentences(one_line(reply.summary, 300)) or _summary(seen),
        findings=tuple(sorted(findings, key=lambda finding: -finding.severity)),
        judged_by=one_line(completion.model, 100) or "a model without a name",
        notes=(*seen.gaps, *notes, *window.unread),
    )
    return spent(report, completion, calls)


def spent(report: HealthReport, completion: Completion | None, calls: int) -> HealthReport:
    """Return the report with what it cost."""
    tokens = completion or Completion(text="", model="")
    cost = {"prompt_tokens": tokens.prompt_tokens, "completion_tokens": tokens.completion_tokens}
    return report.model_copy(update={"model_calls": calls, **cost})
