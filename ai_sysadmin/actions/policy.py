"""Autonomy × risk: one table that a person can read, and the one function that applies it. Pure and total."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Literal, get_args

from ai_sysadmin.core.acting import Decision, Risk, Ruling
from ai_sysadmin.core.policy_settings import Override, Policy, Weekday
from ai_sysadmin.core.settings import Autonomy

RUNS_ALONE = {
    Autonomy.OBSERVE: Risk.READ_ONLY,
    Autonomy.SUGGEST: Risk.READ_ONLY,
    Autonomy.AUTO_SAFE: Risk.REVERSIBLE,
    Autonomy.AUTO_FULL: Risk.DISRUPTIVE,
}
"""The highest risk that each level runs without a person. Above it, ``observe`` records and every other asks."""


@dataclass(frozen=True)
class Question:
    """What is ruled on: an action as the executor itself sees it.

    ``units`` are all the units that it changes, by their true names; ``aliases`` are other names of theirs, which may
    make the ruling stricter, never laxer. ``risk`` is the catalogue's; ``warranted`` tells whether the executor sees
    what it would mend; ``at`` is timezone-aware.
    """

    action: str
    units: tuple[str, ...]
    host: str
    risk: Risk
    warranted: bool
    at: datetime
    aliases: tuple[str, ...] = ()


def rule(question: Question, autonomy: Autonomy, policy: Policy) -> Ruling:
    """Say what becomes of an action. The first of these that applies decides:

    1. a ``deny`` override: it is refused;
    2. ``observe``: what is read-only runs, unless an ``ask`` override is about it; all else is recorded;
    3. an ``ask`` override: a person is asked;
    4. the executor itself sees no need for it: a person is asked, unless it is read-only;
    5. it changes a protected unit: a person is asked, for any change to one is destructive;
    6. a ``run`` override: it runs;
    7. the table: it runs up to the level's risk, and above it a person is asked.
    """
    shield = None if question.risk is Risk.READ_ONLY else _shield((*question.units, *question.aliases), policy)
    risk = Risk.DESTRUCTIVE if shield else question.risk
    asked = replace(question, risk=risk)
    decision, reason, line = (
        _denied(asked, policy)
        or (_observed(asked, policy) if autonomy is Autonomy.OBSERVE else _held(asked, policy, autonomy))
        or (_shielded(shield) if shield else _let(asked, policy))
        or _by_table(risk, autonomy)
    )
    return Ruling(
        decision=decision,
        risk=risk,
        reason=reason,
        line=line,
        warranted=question.warranted,
        protected=shield is not None,
        units=question.units,
    )


def levels(question: Question, policy: Policy) -> dict[str, Ruling]:
    """Return the ruling by each level of autonomy, the lowest first."""
    return {autonomy.value: rule(question, autonomy, policy) for autonomy in Autonomy}


def decision_of(risk: Risk, autonomy: Autonomy) -> Decision:
    """Return what the table alone says."""
    if risk.level <= RUNS_ALONE[autonomy].level:
        return Decision.RUN
    return Decision.RECORD if autonomy is Autonomy.OBSERVE else Decision.ASK


def remarks(policy: Policy, actions: Iterable[str]) -> tuple[str, ...]:
    """Say what in a policy cannot have the effect that it seems to have, a sentence each.

    Args:
        actions: the names of the catalogue's entries.
    """
    known = tuple(actions)
    said: list[str] = []
    for index, override in enumerate(policy.overrides):
        line = f"policy.overrides[{index}]"
        said += [
            f"{line}: no action of the catalogue is named {glob}"
            for glob in override.actions
            if not any(fnmatchcase(name, glob) for name in known)
        ]
        if override.decision == "run" and all(_is_shielded(glob, policy) for glob in override.units):
            said.append(
                f"{line} says run for {', '.join(override.units)}: protected, so a person is asked all the same"
            )
    return tuple(said)


_Line = tuple[Decision, str, str]
_WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday)


def _denied(question: Question, policy: Policy) -> _Line | None:
    found = _override("deny", question, policy)
    return found and (Decision.REFUSE, f"the policy denies it{found[1]}", found[0])


def _observed(question: Question, policy: Policy) -> _Line | None:
    found = _override("ask", question, policy)
    if found and question.risk is Risk.READ_ONLY:
        return Decision.RECORD, f"a person would be asked{found[1]}; autonomy observe only records", found[0]
    return _by_table(question.risk, Autonomy.OBSERVE)


def _held(question: Question, policy: Policy, autonomy: Autonomy) -> _Line | None:
    found = _override("ask", question, policy)
    if found:
        return Decision.ASK, f"the policy asks a person{found[1]}", found[0]
    if question.warranted or question.risk is Risk.READ_ONLY:
        return None
    reason = "the executor itself sees nothing that it would mend, so a person decides"
    return Decision.ASK, reason, f"autonomy_level = {autonomy.value} × unwarranted"


def _shielded(shield: tuple[str, str]) -> _Line:
    unit, glob = shield
    reason = f"{unit} is protected ({glob}): any change to it is destructive"
    return Decision.ASK, reason, f"policy.protected_units ({glob})"


def _let(question: Question, policy: Policy) -> _Line | None:
    found = _override("run", question, policy)
    return found and (Decision.RUN, f"the policy lets it run alone{found[1]}", found[0])


def _by_table(risk: Risk, autonomy: Autonomy) -> _Line:
    decision = decision_of(risk, autonomy)
    does = {Decision.RUN: "runs that alone", Decision.RECORD: "only records"}.get(decision, "asks a person")
    line = f"autonomy_level = {autonomy.value} × {risk.value}"
    return decision, f"it is {risk.value}; autonomy {autonomy.value} {does}", line


def _override(decision: Literal["run", "ask", "deny"], question: Question, policy: Policy) -> tuple[str, str] | None:
    """Return the first line of that kind that matches, and its reason as the end of a sentence."""
    for index, override in enumerate(policy.overrides):
        if override.decision == decision and _matches(override, question):
            return f"policy.overrides[{index}]", f": {override.why}" if override.why else ""
    return None


def _matches(override: Override, question: Question) -> bool:
    return (
        any(fnmatchcase(question.action, glob) for glob in override.actions)
        and any(fnmatchcase(question.host, glob) for glob in override.hosts)
        and _matches_units(override, question)
        and _within(override, question.at)
    )


def _matches_units(override: Override, question: Question) -> bool:
    """Tell whether an override is about these units: ``run`` has to be about all of them, the others about any.

    What changes no unit at all is met by ``*`` only.
    """
    if any(not glob.strip("*") for glob in override.units):
        return True
    if override.decision == "run":
        return bool(question.units) and all(_is_named(unit, override.units) for unit in question.units)
    return any(_is_named(unit, override.units) for unit in (*question.units, *question.aliases))


def _is_named(unit: str, globs: tuple[str, ...]) -> bool:
    """Tell whether one of some globs names a unit; without a suffix it also means a service, as for systemctl."""
    return any(fnmatchcase(unit, glob) or fnmatchcase(unit, f"{glob}.service") for glob in globs)


def _within(override: Override, at: datetime) -> bool:
    """Tell whether a moment is in an override's window, by the host's local time. ``days`` are those it begins on."""
    if override.window is None and not override.days:
        return True
    now = at.astimezone()
    if override.window is None:
        return _WEEKDAYS[now.weekday()] in override.days
    begins, ends = override.window
    early, late = now.time() < ends, now.time() >= begins
    if not (early and late if begins < ends else early or late):
        return False
    begun = now if late else now - timedelta(days=1)
    return not override.days or _WEEKDAYS[begun.weekday()] in override.days


def _shield(units: tuple[str, ...], policy: Policy) -> tuple[str, str] | None:
    """Return the first protected one of some units, and the glob that protects it; none: no unit is."""
    for unit in units:
        for glob in policy.protected_units:
            if fnmatchcase(unit, glob):
                return unit, glob
    return None


def _is_shielded(glob: str, policy: Policy) -> bool:
    """Tell whether all that a glob names is protected, as far as that can be told from the globs alone."""
    return any(
        glob == shield or (not set(shield) & set("?[") and _names_all(shield, glob))
        for shield in policy.protected_units
    )


def _names_all(shield: str, glob: str) -> bool:
    """Tell whether a glob of ``*`` alone matches whatever another one matches: it does where it matches its text."""
    return fnmatchcase(glob, shield) and fnmatchcase(f"{glob}.service", shield)
