"""What code decides about an investigation: the shape of a model's reply, and what becomes of it. Pure."""

from collections.abc import Sequence
from datetime import datetime
from importlib.resources import files
from typing import Annotated

from pydantic import BaseModel, Field, create_model

from ai_sysadmin.context.defuse import fenced, for_model, one_line
from ai_sysadmin.context.facts import NO_ACTION, Facts, choices_text, citable, citation, without_words
from ai_sysadmin.context.well_known import known
from ai_sysadmin.context.window import Window
from ai_sysadmin.core.records import Investigation, Review
from ai_sysadmin.llm_backend import Message
from ai_sysadmin.llm_backend.structured import list_of, one_of
from ai_sysadmin.meta_model import rules

SYSTEM_PROMPT = files(__package__).joinpath("prompt.md").read_text()
_MOST_REVIEWS = 3


class Reply(BaseModel):
    """What a model answers; in this order, so that it says what it saw and thinks before it decides."""

    evidence: tuple[str, ...]
    diagnosis: Annotated[str, Field(max_length=900)]
    cause: Annotated[str, Field(max_length=200)]
    action: str
    confidence: Annotated[int, Field(ge=0, le=100)]


def reply_model(facts: Facts) -> type[Reply]:
    """Return the shape of the reply for these facts: actions and evidence are closed lists."""
    return create_model(
        "Reply",
        __base__=Reply,
        evidence=list_of(citable(facts.pack)),
        action=one_of((*facts.choices, NO_ACTION)),
    )


def prompt(facts: Facts, reviews: Sequence[Review], window: Window) -> tuple[Message, ...]:
    """Return the prompt: what is always the same, the evidence, the reviews, the question."""
    incident = facts.incident
    question = (
        f"Evidence:\n\n{window.text or '(none fits)'}\n\n"
        f"{fenced('reviews so far', _reviews_text(reviews))}\n\n"
        f"Incident: {for_model(one_line(incident.title, 200))}\n"
        f"Kind: {incident.kind.value}. Unit: {for_model(incident.unit) or 'none'}.\n\n"
        f"Actions, by id:\n{choices_text(facts)}"
    )
    return Message(role="system", content=SYSTEM_PROMPT), Message(role="user", content=question)


def _reviews_text(reviews: Sequence[Review]) -> str:
    lines = [
        one_line(f"{review.verdict.value}, by {review.judged_by}: {review.cause} | {review.why}", 600)
        for review in reviews[-_MOST_REVIEWS:]
    ]
    return "\n".join(lines) or "(none)"


def investigated(
    facts: Facts, reply: Reply, model: str, calls: int, now: datetime, unread: Sequence[str] = ()
) -> Investigation:
    """Return the investigation that a reply comes to. A measured failure ends with its known remedy
    proposed, unless what it failed of stays in the way.

    A diagnosis that cites no evidence, or names no cause, does not count: the rules' stands.
    """
    cited = citation(facts.pack, reply.evidence)
    if fault := cited.fault or without_words(reply.cause):
        found = rules.investigate(facts, f"the diagnosis of {model} does not count, {fault}", now)
        note = f"{model} said: {one_line(reply.cause, 200)}"
        return found.model_copy(update={"confidence": 0, "model_calls": calls, "notes": (*found.notes, note)})
    action = facts.choices.get(reply.action)
    remedy = None if known(facts).in_the_way else facts.remedy
    took_remedy = action is None and remedy is not None
    notes = [f"{model} named no action; this is the rules' remedy for a measured failure"] if took_remedy else []
    return Investigation(
        incident_id=facts.incident.id,
        diagnosis=one_line(reply.diagnosis, 900),
        cause=one_line(reply.cause, 200),
        confidence=reply.confidence,
        evidence=cited.ids,
        action=action or remedy,
        investigated_by=model,
        model_calls=calls,
        notes=(*facts.gaps, *unread, *notes),
        at=now,
    )
