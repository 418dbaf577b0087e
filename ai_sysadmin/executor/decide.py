"""What becomes of a request, and who may decide over it. Pure: what was observed is handed in."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ai_sysadmin.actions.catalogue import AnyAction
from ai_sysadmin.actions.policy import Question, rule
from ai_sysadmin.core.acting import ActionRequest, Approval, Decision, Origin, Plan, Risk, Ruling, approving
from ai_sysadmin.core.errors import Refused
from ai_sysadmin.core.records import Record
from ai_sysadmin.core.settings import Autonomy, Settings
from ai_sysadmin.executor.holds import Hold, HoldKind
from ai_sysadmin.runtime.peers import Peer


@dataclass(frozen=True)
class Sight:
    """What the executor saw of an action at one moment.

    ``seen`` is what the entry observed, ``obstacle`` why it cannot be done, ``warrant`` what the executor itself sees
    that it would mend, ``hold`` what else is at work, ``breaker`` which breaker is open, ``rest`` why it waits where it
    runs alone; ``plan`` is what would run, none where there is an obstacle.
    """

    action: AnyAction
    seen: Record
    risk: Risk
    plan: Plan | None
    at: datetime
    obstacle: str | None = None
    warrant: str | None = None
    hold: Hold | None = None
    breaker: str | None = None
    rest: str | None = None


def question(sight: Sight, settings: Settings) -> Question:
    """Return what the policy is asked."""
    return Question(
        action=sight.action.name,
        units=(*sight.action.units, *sight.action.touches(sight.seen)),
        host=settings.host_name,
        risk=sight.risk,
        warranted=sight.warrant is not None or sight.risk is Risk.READ_ONLY,
        at=sight.at,
    )


def decide(sight: Sight, settings: Settings, origin: Origin, ask: str = "", autonomy: Autonomy | None = None) -> Ruling:
    """Rule on an action as things now stand; ``ask`` is the proposer's own reason to ask a person.

    What the policy would run alone still waits for a person where one asked for it, where the proposer wants it so,
    where a breaker is open, and where somebody is at work on it.
    """
    if sight.obstacle is not None:
        return Ruling(decision=Decision.REFUSE, risk=sight.risk, reason=sight.obstacle, line="precondition")
    ruling = rule(question(sight, settings), autonomy or settings.autonomy_level, settings.policy)
    if ruling.decision is not Decision.RUN or ruling.risk is Risk.READ_ONLY:
        return ruling
    if origin.is_person:
        reason, line = f"a person asked for it ({origin.value}), and approves it", "who asks approves"
    elif ask:
        reason, line = f"its proposer wants a person to decide, in its own words: {quoted(ask)}", "the proposer asks"
    elif sight.breaker is not None:
        reason, line = sight.breaker, "policy.breakers"
    elif sight.hold is not None and sight.hold.kind is HoldKind.PERSON:
        reason, line = sight.hold.why, "policy.hands_off_seconds"
    else:
        return ruling
    return ruling.model_copy(update={"decision": Decision.ASK, "reason": reason, "line": line})


def decide_again(asked: Ruling, approval: Approval | None, now: Ruling, lapsed: str | None = None) -> Ruling:
    """Rule once more at execution: an approval covers the risk that the person saw, and no more.

    ``lapsed`` says why the approval does not stand any more. What nobody approved and may not run alone any more is
    not run: a person is asked anew, by a proposal of its own.
    """
    if now.decision in {Decision.REFUSE, Decision.RUN}:
        return now
    if approval is None:
        return now
    if lapsed is not None:
        return now.model_copy(update={"decision": Decision.REFUSE, "reason": lapsed})
    if now.decision is Decision.RECORD:  # autonomy was lowered to `observe` meanwhile
        return now
    reason = ""
    if now.risk.level > asked.risk.level:
        reason = f"it was approved as {asked.risk.value} and has become {now.risk.value}: ask again"
    elif more := sorted(set(now.units) - set(asked.units)):
        reason = f"it would now change {', '.join(more)} as well, which nobody approved: ask again"
    if reason:
        return now.model_copy(update={"decision": Decision.REFUSE, "reason": reason})
    return now.model_copy(update={"decision": Decision.RUN, "reason": f"approved by {approval.by}"})


def check_by_key(request: ActionRequest, ruling: Ruling, known: str, digest: str, *, approves: bool) -> None:
    """Check what a key may decide: what its holder saw, and no yes to what only an operator's own uid may allow.

    Args:
        known: the digest of the action as it waits.
        digest: that of the action as the person saw it.

    Raises:
        Refused: with what to do.
    """
    if known != digest:
        raise Refused(f"action {request.id} is not what was shown: look at it again before you decide")
    if approves and (ruling.risk is Risk.DESTRUCTIVE or ruling.protected):
        raise Refused(
            f"action {request.id} is {ruling.risk.value} ({ruling.reason}), and no key approves that; "
            f"it needs an operator on the host: {approving(request.id, known)}"
        )


def check_by_operator(request: ActionRequest, known: str, digest: str) -> None:
    """Check that an operator decides over what they saw; an id alone holds the digest of the request, and no more.

    Raises:
        Refused: with what to do.
    """
    look = f"look at it before you decide: ai-sysadmin actions show {request.id}"
    if digest and not known.startswith(digest):
        raise Refused(f"action {request.id} is not what was shown: {look}")
    if not digest and known != request.digest:
        raise Refused(f"action {request.id} holds more than its id says, so a yes needs its digest: {look}")


def forbidden_here(uid: int, user: str, plan: Plan, risk: Risk, *, by_polkit: bool) -> str | None:
    """Say what an executor without root may not do, and the line that could; none: it may."""
    if uid == 0 or risk is Risk.READ_ONLY or (by_polkit and plan.calls):
        return None
    by_hand = f"whoever may can type: {plan.by_hand}"
    if by_polkit:
        return f"this executor runs without root, and polkit lets it do no such thing; {by_hand}"
    return f"this executor runs as {user} and may not change system units; {by_hand}"


def why_no_operator(peer: Peer, settings: Settings, own_uid: int) -> str | None:
    """Say why a peer may not decide over actions; none: it may. The suite's own users never may."""
    if peer.user in settings.executor.service_users:
        return f"{peer.user} is one of the suite's own users, and those never decide over actions"
    users = {each for each in settings.operators if not each.startswith("@")}
    if peer.uid == 0 or peer.user in users or peer.groups & _groups(settings.operators):
        return None
    if own_uid != 0 and peer.uid == own_uid and settings.executor.rights != "polkit":
        return None  # `up` as an ordinary user: there is no boundary to keep
    return f"{peer.user} is no operator of this host; root is, and the users that the setting `operators` names" + (
        f" ({', '.join(settings.operators)})" if settings.operators else " (none so far)"
    )


def quoted(text: str) -> str:
    """Return a proposer's words so that they can be told from the executor's own, on one line."""
    return json.dumps("".join(each if each.isprintable() else " " for each in text), ensure_ascii=False)


def _groups(operators: Sequence[str]) -> frozenset[str]:
    return frozenset(each.removeprefix("@") for each in operators if each.startswith("@"))
