"""The trust report: what was proposed in a time, what became of it, and what could be left to run alone. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from statistics import median

from pydantic import AwareDatetime

from ai_sysadmin.actions.promotion import Case, Promotion, by_subject, decision_at, level_promotion, promotion, why_not
from ai_sysadmin.core.acting import ActionState
from ai_sysadmin.core.policy_settings import Policy
from ai_sysadmin.core.records import Record
from ai_sysadmin.core.settings import Autonomy


class Fate(StrEnum):
    """How it was decided whether a proposal is carried out. ``healed`` was withdrawn, for the fault went by itself."""

    ALONE = "alone"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    HEALED = "healed"
    WITHDRAWN = "withdrawn"
    RECORDED = "recorded"
    REFUSED = "refused"
    WAITING = "waiting"


_FATES = {
    ActionState.PROPOSED: Fate.WAITING,
    ActionState.SUBMITTED: Fate.WAITING,
    ActionState.PREPARING: Fate.WAITING,
    ActionState.PENDING: Fate.WAITING,
    ActionState.REJECTED: Fate.REJECTED,
    ActionState.EXPIRED: Fate.EXPIRED,
    ActionState.WITHDRAWN: Fate.WITHDRAWN,
    ActionState.RECORDED: Fate.RECORDED,
    ActionState.REFUSED: Fate.REFUSED,
}
_OUTCOMES = frozenset({ActionState.SUCCEEDED, ActionState.FAILED, ActionState.REVERTED, ActionState.UNKNOWN})
_UNDER_WAY = "under_way"


class Tally(Record):
    """Counts of cases. What is zero is left out of the mappings, but for the levels.

    ``fates`` and ``outcomes`` are by name; the outcomes are those of what was begun, ``under_way`` among them.
    ``levels`` is by level of autonomy and decision: what would have become of it there. The seconds are those between a
    proposal and a person's yes or no; none: nobody decided.
    """

    proposed: int
    origins: dict[str, int]
    fates: dict[str, int]
    outcomes: dict[str, int]
    levels: dict[str, dict[str, int]]
    median_seconds: float | None = None
    longest_seconds: float | None = None


class SubjectTrust(Record):
    """One action on one subject. ``why_not`` is empty where nothing speaks against its running alone."""

    subject: str
    tally: Tally
    why_not: str


class ActionTrust(Record):
    """One action. ``subjects`` are those that it was proposed for, most cases first."""

    name: str
    tally: Tally
    subjects: tuple[SubjectTrust, ...]
    promotion: Promotion


class TrustReport(Record):
    """What people may make of the suite's proposals on one host, from ``since`` to ``at``; most cases first.

    ``healed`` counts the incidents that went by themselves, with nothing carried out for them. ``has_overrides``: the
    policy has some already, so that a proposed one goes into the same list.
    """

    host: str
    since: AwareDatetime
    at: AwareDatetime
    autonomy: Autonomy
    has_overrides: bool
    tally: Tally
    healed: int
    actions: tuple[ActionTrust, ...]
    level: Promotion


def trust_report(
    cases: Sequence[Case],
    *,
    host: str,
    since: datetime,
    at: datetime,
    healed: int,
    autonomy: Autonomy,
    policy: Policy,
) -> TrustReport:
    """Return the report on some cases; ``policy`` and ``autonomy`` are those of today."""
    names = Counter(case.action for case in cases)
    ranked = sorted(names, key=lambda name: (-names[name], name))
    return TrustReport(
        host=host,
        since=since,
        at=at,
        autonomy=autonomy,
        has_overrides=bool(policy.overrides),
        tally=tally(cases, policy),
        healed=healed,
        actions=tuple(_action(name, cases, autonomy, policy) for name in ranked),
        level=level_promotion(cases, autonomy, policy),
    )


def _action(name: str, cases: Sequence[Case], autonomy: Autonomy, policy: Policy) -> ActionTrust:
    own = [case for case in cases if case.action == name]
    return ActionTrust(
        name=name,
        tally=tally(own, policy),
        subjects=tuple(
            SubjectTrust(subject=subject, tally=tally(group, policy), why_not=why_not(group, autonomy, policy))
            for subject, group in by_subject(own).items()
        ),
        promotion=promotion(name, cases, autonomy, policy),
    )


def fate(case: Case) -> Fate:
    """Return how it was decided whether a case is carried out."""
    if case.by:
        return Fate.APPROVED
    found = _FATES.get(case.state, Fate.ALONE)
    return Fate.HEALED if found is Fate.WITHDRAWN and case.healed else found


def tally(cases: Sequence[Case], policy: Policy) -> Tally:
    """Return the counts of some cases."""
    fates = [fate(case) for case in cases]
    waited = [
        (case.decided_at - case.proposed_at).total_seconds()
        for case, found in zip(cases, fates, strict=True)
        if case.decided_at is not None and found in {Fate.APPROVED, Fate.REJECTED}
    ]
    return Tally(
        proposed=len(cases),
        origins=_counted(case.origin.value for case in cases),
        fates=_counted(found.value for found in fates),
        outcomes=_counted(filter(None, (_outcome(case, found) for case, found in zip(cases, fates, strict=True)))),
        levels={level.value: _at_level(cases, level, policy) for level in Autonomy},
        median_seconds=median(waited) if waited else None,
        longest_seconds=max(waited, default=None),
    )


def _outcome(case: Case, found: Fate) -> str:
    if found not in {Fate.ALONE, Fate.APPROVED}:
        return ""
    if case.state in _OUTCOMES:
        return case.state.value
    return "" if case.state.ended else _UNDER_WAY


def _at_level(cases: Sequence[Case], level: Autonomy, policy: Policy) -> dict[str, int]:
    decisions = (decision_at(case, level, policy) for case in cases)
    return _counted(decision.value for decision in decisions if decision is not None)


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(Counter(names).most_common())
