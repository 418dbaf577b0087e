"""The first lines of an incident's page, for whoever is woken by it: what is broken, what it comes from, what to do.

Never more than ``MOST_LINES`` of ``columns.WIDTH`` columns, whatever logs and models wrote.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from ai_sysadmin.cli.columns import WIDTH, columns, cut, said
from ai_sysadmin.context.defuse import one_line
from ai_sysadmin.core.acting import ActionState, Plan, approving
from ai_sysadmin.core.clock import local, since
from ai_sysadmin.core.incident import Incident, State
from ai_sysadmin.core.records import EvidencePack
from ai_sysadmin.openai_api_server.system.views import ActionView, IncidentView
from ai_sysadmin.sources.units import UnitStatus

MOST_LINES: Final = 24
MEANING: Final = {
    State.OPEN: "open: it is being looked at",
    State.INVESTIGATING: "open: the meta model looks into it",
    State.AWAITING_APPROVAL: "open: a remedy waits for your decision",
    State.ACTING: "open: a remedy is under way",
    State.NEEDS_PERSON: "open: it needs a person",
    State.RESOLVED: "resolved",
    State.DISMISSED: "dismissed: nothing to do",
}
_ADVISED: Final = frozenset({ActionState.RECORDED, ActionState.EXPIRED})
"""Nobody carries these out any more, and nobody said no: a person may, by hand."""


@dataclass(frozen=True)
class Now:
    """The moment of the page. ``unit`` is the incident's unit as systemd sees it; none: it does not say."""

    at: datetime
    unit: UnitStatus | None = None


def head(view: IncidentView, now: Now) -> list[str]:
    """Return the first lines: at most ``MOST_LINES``, the last of them what a person would type."""
    incident = view.incident
    lines = [cut(one_line(incident.title, 300), WIDTH) or "an incident without a title", *_facts(view, now)]
    if incident.merged_into:
        return [*lines, *said("part of", f"ai-sysadmin incidents show {incident.merged_into}", 1)]
    return [*lines, *_done(view.actions), "", *_to_do(view)]


def _facts(view: IncidentView, now: Now) -> list[str]:
    incident = view.incident
    note = f" ({one_line(incident.note, 300)})" if incident.note else ""
    ended = f", ended {local(incident.resolved_at)}" if incident.ended and incident.resolved_at else ""
    lines = [
        *said("incident", f"{incident.id} on {cut(one_line(incident.host, 60), 20)}, {_size(incident)}", 1),
        *said("state", MEANING[incident.state] + note, 2),
        *said("right now", _now(incident, view, now), 1),
        *said("since", f"{local(incident.opened_at)} ({since(incident.opened_at, now.at)} ago){ended}", 2),
        *said("before it", changed_before(view.evidence), 2),
        *said("cause", incident.cause or "not judged yet", 3),
    ]
    return [*lines, *said("says who", _who(view), 1)] if incident.judged_by else lines


def _now(incident: Incident, view: IncidentView, now: Now) -> str:
    if now.unit is not None:
        return f"{now.unit.name} is {now.unit.active_state} ({now.unit.sub_state})"
    if incident.ended:
        return "it is over"
    last = max((symptom.last_at for symptom in view.symptoms), default=incident.changed_at)
    asked = "systemd was not asked or does not answer; " if incident.unit else ""
    return f"{asked}last noticed {since(last, now.at)} ago"


def changed_before(pack: EvidencePack | None) -> str:
    """Say what changed before the fault: what it may come from, else the newest that is known."""
    for piece in pack.pieces if pack else ():
        if piece.kind == "changes":
            return _likeliest(piece.facts) or one_line(piece.text.partition("\n")[0], 200) or "nothing"
    missing = [piece.text for piece in pack.pieces if piece.kind == "unavailable"] if pack else []
    return "not known" + ("" if pack and not missing else ": not everything could be looked at" if missing else " yet")


def _likeliest(facts: Mapping[str, str]) -> str:
    what = facts.get("what", "")
    try:
        seconds = max(0, round(float(facts.get("seconds", ""))))
    except (ValueError, OverflowError):
        return what
    return f"{_lasting(seconds)} before: {what}" if what else ""


def _lasting(seconds: int) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _who(view: IncidentView) -> str:
    """Say who judged, with what confidence, and how far to believe it."""
    by = view.incident.judged_by
    judgements = [(each.at, each.confidence) for each in view.reviews if each.judged_by == by]
    judgements += [(each.at, each.confidence) for each in view.investigations if each.investigated_by == by]
    confidence = f", confidence {max(judgements)[1]} of 100" if judgements else ""
    if by == "rules":
        return f"fixed rules, without a model{confidence}"
    return f"the model {cut(one_line(by, 100), 24)}{confidence}; unverified: check it"


def who(judged_by: str) -> str:
    """Say who judged, and how far to believe it."""
    if judged_by == "rules":
        return "fixed rules, without a model"
    return f"the model {judged_by}; unverified, check it against the evidence"


def _size(incident: Incident) -> str:
    again = f", came back {times(incident.reopened)}" if incident.reopened else ""
    return f"severity {incident.severity}, seen {times(incident.count)}{again}"


def times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _done(actions: Sequence[ActionView]) -> list[str]:
    """Return the last thing that was done, and how often something was."""
    done = [action for action in actions if not action.pending and action.state not in _ADVISED]
    if not done:
        return said("done", "nothing", 1)
    last = max(done, key=lambda action: action.updated_at)
    more = f" ({len(done) - 1} more below)" if len(done) > 1 else ""
    return said("done", f"{described(last)}: {last.state.value} {local(last.updated_at)[11:16]}{more}", 1)


def described(action: ActionView) -> str:
    """Say in one line what an action would do."""
    arguments = " ".join(f"{key}={value}" for key, value in action.arguments.items())
    return one_line(f"{action.name} {arguments}", 76)


# --- what to do


def _to_do(view: IncidentView) -> list[str]:
    incident = view.incident
    action = _recommended(view)
    if action is not None:
        return [*_advice(action), *_others(view, action), *_mute(incident)]
    if incident.ended:
        again = f"ai-sysadmin incidents reopen {incident.id}"
        return [*said("do", "nothing; to have it looked at again:", 1), *said("", again, 1)]
    return [*_look_next(view), *_mute(incident)]


def _recommended(view: IncidentView) -> ActionView | None:
    """Return the one action that a person may want: what waits for them first, else what is left to their hands."""
    if view.incident.ended:
        return None
    newest = sorted(view.actions, key=lambda action: action.updated_at, reverse=True)
    return next(
        (action for action in newest if action.pending),
        next((action for action in newest if action.state in _ADVISED), None),
    )


def _advice(action: ActionView) -> list[str]:
    lines = said("do", f"{described(action)}, risk: {action.risk or 'not ruled yet'}", 2)
    if action.plan is not None:
        lines += said("undo", _undo(action.plan, action.id), 2)
        lines += _by_hand(action.plan, action.id)
    if action.pending:
        lines += said("approve", approving(action.id, action.digest), 1)
        lines += said("or not", f'ai-sysadmin actions reject {action.id} --why "…"', 1)
    return lines


def _undo(plan: Plan, action_id: str) -> str:
    """Return how it is taken back; a command line whole or not at all."""
    is_cut = plan.undo.startswith("sudo ") and columns(plan.undo) > WIDTH - 12
    return f"its command is long: ai-sysadmin actions show {action_id}" if is_cut else plan.undo


def _by_hand(plan: Plan, action_id: str) -> list[str]:
    """Return what a person could type, whole or not at all: half a command is none."""
    steps = plan.by_hand.split(" && ")
    if len(steps) > 2 or any(columns(step) > WIDTH - 15 for step in steps):
        return said("by hand", f"its commands are long: ai-sysadmin actions show {action_id}", 1)
    joined = [*(f"{step} &&" for step in steps[:-1]), steps[-1]]
    return [line for name, step in zip(("by hand", ""), joined, strict=False) for line in said(name, step, 1)]


def _others(view: IncidentView, shown: ActionView) -> list[str]:
    waiting = sum(action.pending and action.id != shown.id for action in view.actions)
    return said("besides", f"{waiting} more wait: ai-sysadmin actions --state pending", 1) if waiting else []


def _look_next(view: IncidentView) -> list[str]:
    """Return where a person looks next when there is nothing to approve."""
    incident = view.incident
    lines = said("do", "nothing is proposed; look at:", 1)
    if incident.unit:
        command = f"journalctl -u {incident.unit} -n 100"
        is_short = columns(command) <= WIDTH - 12
        lines += said("", command if is_short else f"systemctl list-units, and the unit {incident.unit}", 2)
    lines += said("", f"ai-sysadmin incidents show {incident.id} --evidence", 1)
    if runbook := _runbook(view.evidence):
        lines += said("runbook", runbook, 1)
    lines += said("over?", f"ai-sysadmin incidents resolve {incident.id}", 1)
    return lines


def _runbook(pack: EvidencePack | None) -> str:
    for piece in pack.pieces if pack else ():
        if piece.kind == "runbooks":
            return one_line(piece.facts.get("names", ""), 200)
    return ""


def _mute(incident: Incident) -> list[str]:
    return said("mute", f"ai-sysadmin incidents mute {incident.id} --for 2h", 1)
