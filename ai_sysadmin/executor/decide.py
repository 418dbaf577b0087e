"""What becomes of a request: the precondition as the executor itself sees it, then the policy. Pure."""

from ai_sysadmin.actions.catalogue import UnitAction
from ai_sysadmin.actions.policy import rule
from ai_sysadmin.core.acting import Approval, Decision, Risk, Ruling
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.sources.units import UnitStatus


def decide(action: UnitAction, seen: UnitStatus, settings: Settings) -> Ruling:
    """Rule on an action with the unit as it now stands."""
    risk = action.risk(seen)
    obstacle = action.obstacle(seen)
    if obstacle is not None:
        return Ruling(decision=Decision.REFUSE, risk=risk, reason=obstacle)
    return rule(risk, action.unit, settings.autonomy_level, settings.policy.protected_units)


def decide_again(asked: Ruling, approval: Approval | None, now: Ruling) -> Ruling:
    """Rule once more at execution: an approval covers the risk that the person saw, and no more."""
    if now.decision in {Decision.REFUSE, Decision.RUN}:
        return now
    if approval is None:
        return now
    if now.risk.level > asked.risk.level:
        reason = f"it was approved as {asked.risk.value} and has become {now.risk.value}: ask again"
        return Ruling(decision=Decision.REFUSE, risk=now.risk, reason=reason)
    return Ruling(decision=Decision.RUN, risk=now.risk, reason=f"approved by {approval.by}")


def forbidden_here(uid: int, user: str, action: UnitAction, risk: Risk) -> str | None:
    """Say what an executor without root may not do, and the line that could; none: it may."""
    if uid == 0 or risk is Risk.READ_ONLY:
        return None
    return f"this executor runs as {user} and may not change system units; whoever may can type: {action.by_hand()}"
