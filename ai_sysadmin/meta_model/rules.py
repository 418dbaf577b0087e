"""Investigate without a model: the measured facts, laid out, and the remedy that the rules know. Pure."""

from collections.abc import Sequence
from datetime import datetime

from ai_sysadmin.context.facts import Facts
from ai_sysadmin.context.well_known import Known, known
from ai_sysadmin.core.records import Investigation, ProposedAction

RULES = "rules"


def investigate(facts: Facts, why_rules: str, now: datetime, notes: Sequence[str] = ()) -> Investigation:
    """Return what can be told from the facts alone."""
    seen = known(facts)
    remedy = None if seen.in_the_way or facts.spent else facts.remedy
    return Investigation(
        incident_id=facts.incident.id,
        evidence_hash=facts.pack.hash,
        diagnosis=f"By rules: {why_rules}. {_diagnosis(facts, seen, remedy)}",
        cause=seen.cause,
        confidence=60 if facts.failed else 0,
        evidence=tuple(piece.id for piece in facts.pack.pieces if piece.kind != "unavailable"),
        action=remedy,
        investigated_by=RULES,
        notes=(*facts.gaps, *notes),
        at=now,
    )


def _diagnosis(facts: Facts, seen: Known, remedy: ProposedAction | None) -> str:
    lines = [f"Measured: {seen.cause}."]
    lines += [f"Not known: {gap}." for gap in facts.gaps]
    if remedy:
        lines.append(f"What helps most often is {remedy.name}.")
    elif seen.in_the_way:
        lines.append(f"A restart alone would not help: {seen.in_the_way}.")
    elif facts.remedy and facts.spent:
        lines.append(f"{facts.remedy.name} is not proposed again: {facts.spent}.")
    elif facts.failed:
        lines.append("Nothing in the catalogue would help; a person should look at it.")
    else:
        lines.append("Rules cannot tell what the log means; a person should read it.")
    if unit := facts.incident.unit:
        lines.append(f"To read on: journalctl -u {unit} -e")
    return " ".join(lines)
