"""What code decides about an investigation: the shape of a model's reply, and what becomes of it. Pure."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from importlib.resources import files
from typing import Annotated, Any, Final

from pydantic import BaseModel, Field, create_model

from ai_sysadmin.actions.catalogue import candidates
from ai_sysadmin.context.defuse import cut, fenced, for_model, one_line
from ai_sysadmin.context.facts import NO_ACTION, Facts, choices_text, citable, citation, without_words
from ai_sysadmin.context.well_known import known
from ai_sysadmin.context.window import Window
from ai_sysadmin.core.records import Evidence, Investigation, ProposedAction, Review
from ai_sysadmin.llm_backend import Message
from ai_sysadmin.llm_backend.structured import one_of
from ai_sysadmin.meta_model import rules
from ai_sysadmin.sources.units import UnitStatus
from ai_sysadmin.tools.tool import ToolResult

SYSTEM_PROMPT: Final = files(__package__).joinpath("prompt.md").read_text()
MOST_FINDINGS: Final = 8
MOST_RULED_OUT: Final = 4
_MOST_REVIEWS: Final = 3
_MOST_DIAGNOSIS: Final = 2000
_MOST_EVIDENCE: Final = 20_000


class Finding(BaseModel):
    """One sentence of a diagnosis, with the piece of evidence that shows it."""

    claim: Annotated[str, Field(max_length=240)]
    evidence: str


class Reply(BaseModel):
    """What a model answers; in this order, so that it says what it saw and thinks before it decides."""

    findings: tuple[Finding, ...]
    cause: Annotated[str, Field(max_length=200)]
    ruled_out: tuple[Finding, ...]
    next: Annotated[str, Field(max_length=200)]
    action: str
    confidence: Annotated[int, Field(ge=0, le=100)]


def reply_model(facts: Facts) -> type[Reply]:
    """Return the shape of the reply for these facts: actions and evidence are closed lists to the decoder.

    A server that ignores schemas may cite what there is not: code drops that, see ``investigated``.
    """
    cited = Annotated[str, Field(max_length=64, json_schema_extra={"enum": list(citable(facts.pack))})]
    finding: Any = create_model("Finding", __base__=Finding, evidence=(cited, ...))
    return create_model(
        "Reply",
        __base__=Reply,
        findings=Annotated[tuple[finding, ...], Field(max_length=MOST_FINDINGS, json_schema_extra={"minItems": 1})],
        ruled_out=Annotated[tuple[finding, ...], Field(max_length=MOST_RULED_OUT)],
        action=one_of((*facts.choices, NO_ACTION)),
    )


def prompt(facts: Facts, reviews: Sequence[Review], window: Window, looking: str = "") -> tuple[Message, ...]:
    """Return the opening: what is always the same, the evidence, the reviews, the incident.

    ``looking`` says what may be looked up before the reply; empty: nothing may.
    """
    incident = facts.incident
    question = (
        f"Evidence:\n\n{window.text or '(none fits)'}\n\n"
        f"{fenced('reviews so far', _reviews_text(reviews))}\n\n"
        f"Incident: {for_model(one_line(incident.title, 200))}\n"
        f"Kind: {incident.kind.value}. Unit: {for_model(incident.unit) or 'none'}."
    )
    return Message(role="system", content=SYSTEM_PROMPT + looking), Message(role="user", content=question)


def conclusion(facts: Facts) -> str:
    """Return what asks for the reply, once everything is looked up."""
    return (
        f"End the investigation now: reply with the JSON object. Evidence that may be cited: "
        f"{', '.join(citable(facts.pack))}.\nActions, by id:\n{choices_text(facts)}"
    )


def _reviews_text(reviews: Sequence[Review]) -> str:
    lines = [
        one_line(f"{review.verdict.value}, by {review.judged_by}: {review.cause} | {review.why}", 600)
        for review in reviews[-_MOST_REVIEWS:]
    ]
    return "\n".join(lines) or "(none)"


def with_looked_up(facts: Facts, results: Sequence[ToolResult], seen: Sequence[UnitStatus], now: datetime) -> Facts:
    """Return the facts with what was looked up as further evidence, and what would help the units that were seen."""
    found = tuple(_evidence(result, now) for result in results if not result.failed)
    pack = facts.pack.model_copy(update={"pieces": (*facts.pack.pieces, *found)})
    choices = dict(facts.choices)
    for status in seen:
        for action in candidates(status):
            if action not in choices.values():
                choices[f"{action.name}:{status.name}"] = action
    return replace(facts, pack=pack, choices=choices)


def units_in(results: Sequence[ToolResult]) -> tuple[str, ...]:
    """Return the units that were looked at, in order."""
    named = (str(result.arguments.get("unit") or "") for result in results if not result.failed)
    return tuple(dict.fromkeys(name for name in named if name.endswith(".service")))


def _evidence(result: ToolResult, now: datetime) -> Evidence:
    return Evidence(
        id=result.id,
        kind="looked_up",
        title=one_line(result.title, 200),
        text=cut(result.text, _MOST_EVIDENCE),
        at=now,
        facts={"tool": result.tool, "arguments": json.dumps(result.arguments, ensure_ascii=False)},
        left_out=one_line(result.left_out, 400),
        redacted=result.redacted,
    )


def investigated(
    facts: Facts, reply: Reply, model: str, calls: int, now: datetime, unread: Sequence[str] = ()
) -> Investigation:
    """Return the investigation that a reply comes to. A measured failure ends with its known remedy
    proposed, unless what it failed of stays in the way.

    A finding that cites no evidence is dropped. Where none is left, or no cause is named, the rules' diagnosis stands.
    """
    findings, dropped = _cited(facts, reply.findings)
    ruled_out, dropped_too = _cited(facts, reply.ruled_out)
    cited = citation(facts.pack, [each.evidence for each in findings])
    if fault := cited.fault or without_words(reply.cause):
        found = rules.investigate(facts, f"the diagnosis of {model} does not count, {fault}", now)
        note = f"{model} said: {one_line(reply.cause, 200)}"
        return found.model_copy(update={"confidence": 0, "model_calls": calls, "notes": (*found.notes, note)})
    action, remarks = _action(facts, reply, model)
    return Investigation(
        incident_id=facts.incident.id,
        evidence_hash=facts.pack.hash,
        diagnosis=cut(_diagnosis(findings, reply.next), _MOST_DIAGNOSIS),
        cause=one_line(reply.cause, 200),
        confidence=reply.confidence,
        evidence=tuple(sorted({*cited.ids, *(each.evidence for each in ruled_out)})),
        ruled_out=tuple(f"{one_line(each.claim, 240)} [{each.evidence}]" for each in ruled_out),
        action=action,
        investigated_by=model,
        model_calls=calls,
        notes=(*facts.gaps, *unread, *dropped, *dropped_too, *remarks),
        at=now,
    )


def repeated(facts: Facts, investigations: Sequence[Investigation], now: datetime) -> Investigation | None:
    """Return the last investigation with a new date where nothing is different; none: it has to be investigated.

    What rules found is not repeated: there may be a model by now.
    """
    last = investigations[-1] if investigations else None
    if last is None or last.investigated_by == rules.RULES:
        return None
    if facts.pack.hash != last.evidence_hash or facts.incident.failures > facts.incident.failures_investigated:
        return None
    unspent = {"model_calls": 0, "prompt_tokens": 0, "completion_tokens": 0, "cached_tokens": 0}
    return last.model_copy(update={"at": now, **unspent})


def _cited(facts: Facts, findings: Sequence[Finding]) -> tuple[list[Finding], list[str]]:
    """Divide findings into those that cite something observed, and what is to be said of the others."""
    known_ids = frozenset(citable(facts.pack))
    kept = [each for each in findings if each.evidence in known_ids and not without_words(each.claim)]
    said = [
        f"dropped, for want of evidence ({one_line(each.evidence, 20) or 'none'} cited): {one_line(each.claim, 120)}"
        for each in findings
        if each not in kept and each.claim.strip()
    ]
    return kept, said


def _diagnosis(findings: Sequence[Finding], after: str) -> str:
    steps = " ".join(f"{one_line(each.claim, 240).rstrip('.')} [{each.evidence}]." for each in findings)
    return f"{steps} Next: {one_line(after, 200)}" if after.strip() else steps


def _action(facts: Facts, reply: Reply, model: str) -> tuple[ProposedAction | None, list[str]]:
    named = facts.choices.get(reply.action)
    remedy = None if known(facts).in_the_way or facts.spent else facts.remedy
    if named is None and remedy is not None:
        return remedy, [f"{model} named no action; this is the rules' remedy for a measured failure"]
    return named, []
