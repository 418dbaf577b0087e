"""What code decides about a judgement: what a model may say at all, and what becomes of what it said. Pure.

facts → allowed verdicts, actions to choose from → the shape of the reply → reply → Review
"""

import inspect
import re
from collections.abc import Sequence
from datetime import datetime
from importlib.resources import files
from typing import Annotated, Final

from pydantic import BaseModel, Field, create_model

from ai_sysadmin.actions.catalogue import validate
from ai_sysadmin.actions.remedies import OFFERED
from ai_sysadmin.context.defuse import cut, fenced, for_model, one_line
from ai_sysadmin.context.facts import NO_ACTION, Facts, choices_text, citable, citation, without_words
from ai_sysadmin.context.window import Window
from ai_sysadmin.core.errors import Refused
from ai_sysadmin.core.records import Evidence, EvidencePack, ProposedAction, Review, Verdict
from ai_sysadmin.core.symptom_kinds import HOST_STATE_KINDS, UNIT_STATE_KINDS
from ai_sysadmin.llm_backend import Completion, Message
from ai_sysadmin.llm_backend.structured import list_of, one_of
from ai_sysadmin.review_model import rules

MOST_HOST_CHARACTERS: Final = 2000
RUNBOOK_CHARACTERS: Final = 500
_SENTENCE_ENDS = re.compile(r"[.!?…](?=\s|$)")

Percent = Annotated[int, Field(ge=0, le=100)]


def _actions_there_are() -> str:
    return "\n".join(f"- {entry.name}: {inspect.getdoc(entry)}" for entry in OFFERED)


SYSTEM_PROMPT: Final = files(__package__).joinpath("prompt.md").read_text().replace("{actions}", _actions_there_are())
"""Always the same, so that the model server has read it already."""


def _without(prompt: str, *sections: str) -> str:
    every = re.split(r"(?m)^(?=# )", prompt)
    return "".join(section for section in every if not section.startswith(tuple(f"# {name}" for name in sections)))


BRIEF_PROMPT: Final = _without(SYSTEM_PROMPT, "What usually lies behind", "Examples")
"""What a small context has room for."""


class Reply(BaseModel):
    """What a model answers; in this order, so that it says what it saw and thinks before it judges."""

    evidence: tuple[str, ...]
    cause: Annotated[str, Field(max_length=200)]
    why: Annotated[str, Field(max_length=300)]
    verdict: str
    action: str
    severity: Percent
    confidence: Percent


# --- what may be said


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
        evidence=list_of(citable(facts.pack)),
        verdict=one_of(verdict.value for verdict in allowed(facts)),
        action=one_of((*facts.choices, NO_ACTION)),
    )


# --- the prompt: stable first, the incident at hand last


def of_the_incident(pack: EvidencePack) -> EvidencePack:
    """Return the pack as it is judged: what is the same for every incident of the host stands before it.

    Of a runbook only its first section is there, which says what it is about: how to mend is for whoever mends.
    """
    pieces = tuple(_beginnings(piece) for piece in pack.pieces if piece.kind != "host")
    return pack.model_copy(update={"pieces": pieces})


def _beginnings(piece: Evidence) -> Evidence:
    if piece.kind != "runbooks":
        return piece
    lines: list[str] = []
    room, sections = 0, 0
    for line in piece.text.splitlines():
        is_title = line.startswith("# ")
        room = RUNBOOK_CHARACTERS if is_title else room - len(line)
        sections = 0 if is_title else sections + line.startswith("## ")
        if room > 0 and sections < 2:
            lines.append(line)
    return piece.model_copy(update={"text": "\n".join(lines)})


def head(facts: Facts) -> str:
    """Return what is said of the host, before anything of the incident: the same from incident to incident."""
    texts = [cut(piece.text, MOST_HOST_CHARACTERS) for piece in facts.pack.pieces if piece.kind == "host"]
    return fenced("host", "\n".join(texts)) if texts else ""


def question(facts: Facts) -> str:
    """Return what is asked, after all evidence."""
    incident = facts.incident
    return (
        f"Incident: {for_model(one_line(incident.title, 200))}\n"
        f"Kind: {incident.kind.value}. Unit: {for_model(incident.unit) or 'none'}.\n\n"
        f"Allowed verdicts: {', '.join(verdict.value for verdict in allowed(facts))}\n"
        f"Actions, by id:\n{choices_text(facts)}"
    )


def prompt(facts: Facts, window: Window, *, brief: bool = False) -> tuple[Message, ...]:
    """Return the prompt: what is always the same, what is known of the host, the evidence, the question."""
    parts = (head(facts), "Evidence:", window.text, question(facts))
    return (
        Message(role="system", content=BRIEF_PROMPT if brief else SYSTEM_PROMPT),
        Message(role="user", content="\n\n".join(filter(None, parts))),
    )


# --- what becomes of the reply


def judged(facts: Facts, reply: Reply, completion: Completion, calls: int, now: datetime, window: Window) -> Review:
    """Return the judgement that a reply comes to.

    A cause that cites no evidence, or that says nothing, does not count: the rules' judgement stands. A measured
    failure with a known remedy is acted on even where the model said act and named nothing.
    """
    cited = citation(facts.pack, reply.evidence)
    said = one_line(reply.cause, 200)
    model = one_line(completion.model, 100) or "a model without a name"
    if fault := cited.fault or without_words(said):
        note = f"{model}'s judgement does not count, {fault}; it said: {said}"
        return spent(rules.judge(facts, now, [note]).model_copy(update={"confidence": 0}), completion, calls)
    verdict, action, notes = _settled(facts, Verdict(reply.verdict), facts.choices.get(reply.action))
    review = Review(
        incident_id=facts.incident.id,
        evidence_hash=facts.pack.hash,
        verdict=verdict,
        severity=reply.severity,
        confidence=reply.confidence,
        cause=said,
        why=two_sentences(one_line(reply.why, 300)),
        evidence=cited.ids,
        action=action,
        judged_by=model,
        notes=(*facts.gaps, *notes, *window.unread),
        at=now,
    )
    return spent(review, completion, calls)


def spent(review: Review, completion: Completion | None, calls: int) -> Review:
    """Return the review with what it cost."""
    tokens = completion or Completion(text="", model="")
    return review.model_copy(
        update={
            "model_calls": calls,
            "prompt_tokens": tokens.prompt_tokens,
            "completion_tokens": tokens.completion_tokens,
            "cached_tokens": tokens.cached_tokens,
        }
    )


def two_sentences(text: str) -> str:
    """Return the first two sentences of a text."""
    ends = [match.end() for match in _SENTENCE_ENDS.finditer(text)]
    return text[: ends[1]] if len(ends) > 1 else text


def _settled(
    facts: Facts, verdict: Verdict, action: ProposedAction | None
) -> tuple[Verdict, ProposedAction | None, Sequence[str]]:
    """Make verdict and action agree."""
    if verdict is not Verdict.ACT:
        return verdict, None, [f"it named {action.name}, but its verdict is {verdict.value}"] if action else []
    notes = []
    if action and (fault := _fault(action)):
        action, notes = None, [f"its action is dropped: {fault}"]
    if action:
        return verdict, action, notes
    remedy = None if facts.spent else facts.remedy
    if remedy and not _fault(remedy):
        return verdict, remedy, [*notes, "it said act and named no action; this is the rules' remedy"]
    return Verdict.ESCALATE, None, [*notes, "it said act and named no action, and the rules know none"]


def _fault(action: ProposedAction) -> str:
    """Return why the catalogue would not take an action; empty: it would."""
    try:
        validate(action.name, action.arguments)
    except Refused as error:
        return str(error)
    return ""


def unusable(facts: Facts, why: str, completion: Completion | None, calls: int, now: datetime) -> Review:
    """Return the judgement where a model's reply cannot be used: escalate, with what the rules know of the cause.

    The investigation proposes the remedy that the rules know, if there is one.
    """
    review = spent(rules.judge(facts, now, [f"model reply unusable: {one_line(why, 300)}"]), completion, calls)
    return review.model_copy(
        update={
            "verdict": Verdict.ESCALATE,
            "why": "the model's reply cannot be used; the cause is what rules know of it",
            "action": None,
        }
    )


def repeated(facts: Facts, reviews: Sequence[Review], now: datetime) -> Review | None:
    """Return the last judgement with a new date where the evidence is the same as then; none: it has to be judged."""
    last = reviews[-1] if reviews else None
    if last is None or facts.incident.failures > facts.incident.failures_investigated:
        return None
    if not facts.pack.hash == facts.incident.reviewed_hash == last.evidence_hash:
        return None
    return spent(last.model_copy(update={"at": now}), None, 0)
