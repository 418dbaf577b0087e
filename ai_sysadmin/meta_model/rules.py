"""Investigate without a model: the measured facts, laid out, and the remedy that the rules know. Pure."""

from collections.abc import Sequence
from datetime import datetime

from ai_sysadmin.context.facts import Facts, cause_of
from ai_sysadmin.core.records import Investigation, ProposedAction

RULES = "rules"


def investigate(facts: Facts, why_rules: str, now: datetime, notes: Sequence[str] = ()) -> Investigation:
    """Return what can be told from the facts alone."""
    remedy = facts.remedy
    return Investigation(
        incident_id=facts.incident.id,
        diagnosis=f"By rules: {why_rules}. {_diagnosis(facts, remedy)}",
        cause=cause_of(facts),
        confidence=60 if facts.failed else 0,
        evidence=tuple(piece.id for piece in facts.pack.pieces if piece.kind != "unavailable"),
        action=remedy,
        investigated_by=RULES,
        notes=(*facts.gaps, *notes),
        at=now,
    )


def _diagnosis(facts: Facts, remedy: ProposedAction | None) -> str:
    lines = [f"Measured: {cause_of(facts)}."]
    lines += [f"Not known: {gap}." for gap in facts.gaps]
    if remedy:
        lines.append(f"What helps most often is {remedy.name}.")
    elif facts.failed:
        lines.append("Nothing in the catalogue would help; a person should look at it.")
    else:
        lines.append("Rules cannot tell what the log means; a person should read it.")
    if unit := facts.incident.unit:
        lines.append(f"To read on: journalctl -u {unit} -e")
    return " ".join(lines)
