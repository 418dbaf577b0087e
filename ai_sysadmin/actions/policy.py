"""Autonomy × risk: one table that a person can read, and the one function that applies it. Pure and total."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from ai_sysadmin.core.acting import Decision, Risk, Ruling
from ai_sysadmin.core.settings import Autonomy

RUNS_ALONE = {
    Autonomy.OBSERVE: Risk.READ_ONLY,
    Autonomy.SUGGEST: Risk.READ_ONLY,
    Autonomy.AUTO_SAFE: Risk.REVERSIBLE,
    Autonomy.AUTO_FULL: Risk.DISRUPTIVE,
}
"""The highest risk that each level runs without a person. Above it, ``observe`` records and every other asks."""


def rule(risk: Risk, unit: str, autonomy: Autonomy, protected_units: Sequence[str]) -> Ruling:
    """Say what happens to an action of this risk on this unit: run, ask, or only record.

    Any change to a protected unit is destructive, whatever the action.
    """
    shield = next((glob for glob in protected_units if fnmatchcase(unit, glob)), None)
    if shield is not None and risk is not Risk.READ_ONLY:
        risk = Risk.DESTRUCTIVE
    because = f"{unit} is protected ({shield})" if shield else f"it is {risk.value}"
    if risk.level <= RUNS_ALONE[autonomy].level:
        return Ruling(decision=Decision.RUN, risk=risk, reason=f"{because}; autonomy {autonomy.value} runs that alone")
    if autonomy is Autonomy.OBSERVE:
        return Ruling(decision=Decision.RECORD, risk=risk, reason=f"{because}; autonomy observe only records")
    return Ruling(decision=Decision.ASK, risk=risk, reason=f"{because}; autonomy {autonomy.value} asks a person")
