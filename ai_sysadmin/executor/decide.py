"""What becomes of a request, and who may decide over it: the precondition as the executor itself sees it, the policy,
the operators. Pure."""

from ai_sysadmin.actions.catalogue import UnitAction
from ai_sysadmin.actions.policy import rule
from ai_sysadmin.core.acting import ActionRequest, Approval, Decision, Origin, Risk, Ruling
from ai_sysadmin.core.errors import Refused
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.runtime.peers import Peer
from ai_sysadmin.sources.units import UnitStatus


def decide(action: UnitAction, seen: UnitStatus, settings: Settings, origin: Origin) -> Ruling:
    """Rule on an action with the unit as it now stands. What was asked for in chat never runs alone."""
    risk = action.risk(seen)
    obstacle = action.obstacle(seen)
    if obstacle is not None:
        return Ruling(decision=Decision.REFUSE, risk=risk, reason=obstacle)
    ruling = rule(risk, action.unit, settings.autonomy_level, settings.policy.protected_units)
    if origin is Origin.CHAT and ruling.decision is Decision.RUN:
        return Ruling(decision=Decision.ASK, risk=ruling.risk, reason="a person asked for it in chat, and approves it")
    return ruling


def decide_again(asked: Ruling, approval: Approval | None, now: Ruling, lapsed: str | None = None) -> Ruling:
    """Rule once more at execution: an approval covers the risk that the person saw, and no more.

    ``lapsed`` says why the approval does not stand any more.
    """
    if now.decision in {Decision.REFUSE, Decision.RUN}:
        return now
    if approval is None:
        return now
    if lapsed is not None:
        return Ruling(decision=Decision.REFUSE, risk=now.risk, reason=lapsed)
    if now.risk.level > asked.risk.level:
        reason = f"it was approved as {asked.risk.value} and has become {now.risk.value}: ask again"
        return Ruling(decision=Decision.REFUSE, risk=now.risk, reason=reason)
    return Ruling(decision=Decision.RUN, risk=now.risk, reason=f"approved by {approval.by}")


def check_by_key(request: ActionRequest, ruling: Ruling, digest: str, *, approves: bool) -> None:
    """Check what a key may decide: what its holder saw, and no yes to what only an operator's own uid may allow.

    Raises:
        Refused: with what to do.
    """
    if request.digest != digest:
        raise Refused(f"action {request.id} is not what was shown: look at it again before you decide")
    if approves and ruling.risk is Risk.DESTRUCTIVE:
        raise Refused(
            f"action {request.id} is {ruling.risk.value} ({ruling.reason}), and no key approves that; "
            f"it needs an operator on the host: ai-sysadmin actions approve {request.id}"
        )


def forbidden_here(uid: int, user: str, action: UnitAction, risk: Risk) -> str | None:
    """Say what an executor without root may not do, and the line that could; none: it may."""
    if uid == 0 or risk is Risk.READ_ONLY:
        return None
    return f"this executor runs as {user} and may not change system units; whoever may can type: {action.by_hand()}"


def why_no_operator(peer: Peer, settings: Settings, own_uid: int) -> str | None:
    """Say why a peer may not decide over actions; none: it may. The suite's own users never may."""
    if peer.user in settings.executor.service_users:
        return f"{peer.user} is one of the suite's own users, and those never decide over actions"
    if peer.uid == 0 or peer.user in settings.operators:
        return None
    if own_uid != 0 and peer.uid == own_uid:  # `up` as an ordinary user: there is no boundary to keep
        return None
    return f"{peer.user} is no operator of this host; root is, and the users that the setting `operators` names" + (
        f" ({', '.join(settings.operators)})" if settings.operators else " (none so far)"
    )
