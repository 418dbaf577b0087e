"""What code decides about a judgement: what a model may say at all, and what becomes of what it said. Pure.

facts → allowed verdicts, actions to choose from → the shape of the reply → reply → Review
"""

from collections.abc import Sequence
from datetime import datetime
from importlib.resources import files
from typing import Annotated

from pydantic import BaseModel, Field, create_model

from ai_sysadmin.context.defuse import for_model, one_line
from ai_sysadmin.context.facts import NO_ACTION, Facts, choices_text, citation, evidence_text
from ai_sysadmin.core.records import HOST_STATE_KINDS, UNIT_STATE_KINDS, ProposedAction, Review, Verdict
from ai_sysadmin.llm_backend import Message
from ai_sysadmin.llm_backend.structured import list_of, one_of
from ai_sysadmin.review_model import rules

SYSTEM_PROMPT = files(__package__).joinpath("prompt.md").read_text()
LOG_CHARACTERS = (6000, 1500, 0)
"""How much of a log the prompts hold: all of it, and less for a context that is too small for all."""

Percent = Annotated[int, Field(ge=0, le=100)]


class Reply(BaseModel):
    """What a model answers; in this order, so that it says what it saw and thinks before it judges."""

    evidence: tuple[str, ...]
    cause: Annotated[str, Field(max_length=200)]
    why: Annotated[str, Field(max_length=300)]
    verdict: str
    action: str
    severity: Percent
    confidence: Percent


def allowed(facts: Facts) -> tuple[Verdict, ...]:
    """Return the verdicts that the facts permit: neither a measured failure nor what is not known is waved through."""
    act = (Verdict.ACT,) if facts.choices else ()
    if facts.failed:
        return (*act, Verdict.ESCALATE)
    if facts.incident.kind in UNIT_STATE_KINDS:
        return (Verdict.WATCH, *act, Verdict.ESCALATE) if facts.status else (Verdict.ESCALATE,)
    if facts.incident.kind in HOST_STATE_KINDS:
        return (Verdict.WATCH, *act, Verdict.ESCALATE)
    benign = () if facts.gaps else (Verdict.BENIGN,)
    return (*benign, Verdict.WATCH, *act, Verdict.ESCALATE)


def reply_model(facts: Facts) -> type[Reply]:
    """Return the shape of the reply for these facts: verdicts, actions and evidence are closed lists."""
    return create_model(
        "Reply",
        __base__=Reply,
        evidence=list_of(sorted(facts.pack.ids())),
        verdict=one_of(verdict.value for verdict in allowed(facts)),
        action=one_of((*facts.choices, NO_ACTION)),
    )


def prompts(facts: Facts) -> tuple[tuple[Message, ...], ...]:
    """Return the prompt with ever less of the log. What is always the same comes first, so that it is cached."""
    return tuple(_prompt(facts, log_characters) for log_characters in LOG_CHARACTERS)


def _prompt(facts: Facts, log_characters: int) -> tuple[Message, ...]:
    incident = facts.incident
    question = (
        f"Incident: {for_model(one_line(incident.title, 200))}\n"
        f"Kind: {incident.kind.value}. Unit: {for_model(incident.unit) or 'none'}.\n\n"
        f"Allowed verdicts: {', '.join(verdict.value for verdict in allowed(facts))}\n"
        f"Actions, by id:\n{choices_text(facts)}\n\n"
        f"Evidence:\n\n{evidence_text(facts.pack, log_characters)}"
    )
    return Message(role="system", content=SYSTEM_PROMPT), Message(role="user", content=question)


def judged(facts: Facts, reply: Reply, model: str, calls: int, now: datetime) -> Review:
    """Return the judgement that a reply comes to.

    A cause that cites no evidence does not count: the rules' judgement stands. A measured failure with a known
    remedy is acted on even where the model said act and named nothing.
    """
    cited = citation(facts.pack, reply.evidence)
    said = one_line(reply.cause, 200)
    if cited.fault:
        note = f"{model}'s judgement does not count, {cited.fault}; it said: {said}"
        return rules.judge(facts, now, [note]).model_copy(update={"confidence": 0, "model_calls": calls})
    verdict, action, notes = _settled(facts, Verdict(reply.verdict), facts.choices.get(reply.action))
    return Review(
        incident_id=facts.incident.id,
        evidence_hash=facts.pack.hash,
        verdict=verdict,
        severity=reply.severity,
        confidence=reply.confidence,
        cause=said,
        why=one_line(reply.why, 300),
        evidence=cited.ids,
        action=action,
        judged_by=model,
        model_calls=calls,
        notes=(*facts.gaps, *notes),
        at=now,
    )


def _settled(
    facts: Facts, verdict: Verdict, action: ProposedAction | None
) -> tuple[Verdict, ProposedAction | None, Sequence[str]]:
    """Make verdict and action agree."""
    if verdict is not Verdict.ACT:
        return verdict, None, [f"it named {action.name}, but its verdict is {verdict.value}"] if action else []
    if action:
        return verdict, action, []
    if facts.remedy:
        return verdict, facts.remedy, ["it said act and named no action; this is the rules' remedy"]
    return Verdict.ESCALATE, None, ["it said act and named no action, and the rules know none"]


def unusable(facts: Facts, why: str, calls: int, now: datetime) -> Review:
    """Return the judgement where a model's reply cannot be used: the rules' remedy if there is one, else escalate."""
    review = rules.judge(facts, now, [f"model reply unusable: {one_line(why, 300)}"])
    if review.verdict is Verdict.ACT:
        return review.model_copy(update={"model_calls": calls})
    return review.model_copy(
        update={
            "verdict": Verdict.ESCALATE,
            "why": "the model's reply cannot be used, and rules know no remedy",
            "confidence": 0,
            "model_calls": calls,
        }
    )


def repeated(facts: Facts, reviews: Sequence[Review], now: datetime) -> Review | None:
    """Return the last judgement with a new date where the evidence is the same as then; none: it has to be judged."""
    last = reviews[-1] if reviews else None
    if last is None or not facts.pack.hash == facts.incident.reviewed_hash == last.evidence_hash:
        return None
    return last.model_copy(update={"at": now, "model_calls": 0})
