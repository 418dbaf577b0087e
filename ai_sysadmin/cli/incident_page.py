"""One incident as a page: what is broken, whether it still is, why and who says so, what was done, what waits."""

from datetime import datetime

from ai_sysadmin.cli.layout import fact, heading, table, verbatim, wrapped
from ai_sysadmin.context.defuse import one_line
from ai_sysadmin.core.clock import local, since
from ai_sysadmin.core.incident import Incident, State
from ai_sysadmin.core.records import EvidencePack
from ai_sysadmin.openai_api_server.views import ActionView, IncidentView
from ai_sysadmin.sources.units import UnitStatus
from ai_sysadmin.stores import TimelineEntry

MEANING = {
    State.OPEN: "open: it is being looked at",
    State.INVESTIGATING: "open: the meta model looks into it",
    State.AWAITING_APPROVAL: "open: a remedy waits for your decision",
    State.ACTING: "open: a remedy is under way",
    State.NEEDS_PERSON: "open: it needs a person",
    State.RESOLVED: "resolved",
    State.DISMISSED: "dismissed: nothing to do",
}


def incident_page(view: IncidentView, unit: UnitStatus | None, now: datetime) -> str:
    """Render an incident for people; ``unit`` is its unit as systemd sees it at this moment."""
    lines = [
        *_head(view, unit, now),
        *_pending([action for action in view.actions if action.pending]),
        *_done([action for action in view.actions if not action.pending]),
        *_symptoms(view),
        *_timeline(view.timeline),
        *_evidence(view.evidence),
    ]
    return "\n".join(lines)


def _head(view: IncidentView, unit: UnitStatus | None, now: datetime) -> list[str]:
    incident = view.incident
    lines = [one_line(incident.title, 78), *fact("incident", f"{incident.id} on {incident.host}")]
    lines += fact("state", MEANING[incident.state] + (f" ({incident.note})" if incident.note else ""))
    if incident.merged_into:
        lines += fact("part of", f"{incident.merged_into}: ai-sysadmin incidents show {incident.merged_into}")
    if unit is not None:
        lines += fact("right now", f"{unit.name} is {unit.active_state} ({unit.sub_state})")
    lines += fact("since", f"{local(incident.opened_at)} ({since(incident.opened_at, now)} ago){_ended(incident)}")
    lines += fact("seen", f"{_times(incident.count)}{_again(incident.reopened)}, severity {incident.severity} of 100")
    lines += fact("cause", incident.cause or "not judged yet")
    if incident.judged_by:
        lines += fact("says who", who(incident.judged_by))
    return lines


def who(judged_by: str) -> str:
    """Say who judged, and how far to believe it."""
    if judged_by == "rules":
        return "fixed rules, without a model"
    return f"the model {judged_by}; unverified, check it against the evidence below"


def _ended(incident: Incident) -> str:
    return f", ended {local(incident.resolved_at)}" if incident.resolved_at else ""


def _again(reopened: int) -> str:
    return f", came back {_times(reopened)}" if reopened else ""


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _pending(actions: list[ActionView]) -> list[str]:
    lines = heading("Waits for you") if actions else []
    for action in actions:
        lines += [f"  {described(action)}", *fact("risk", action.risk or "not ruled yet")]
        lines += fact("why", f"{action.why} ({proposer(action.origin)})")
        lines += [f"    ai-sysadmin actions approve {action.id}"]
        lines += [f'    ai-sysadmin actions reject {action.id} --why "…"']
    return lines


def described(action: ActionView) -> str:
    """Say in one line what an action would do."""
    arguments = " ".join(f"{key}={value}" for key, value in action.arguments.items())
    return one_line(f"{action.name} {arguments}", 76)


def proposer(origin: str) -> str:
    """Say who proposed an action, and that a model's words are only that."""
    return "by rule" if origin == "rules" else f"the {origin} model's words, unverified"


def _done(actions: list[ActionView]) -> list[str]:
    lines = heading("What was done") if actions else []
    for action in actions:
        lines += [f"  {described(action)}"]
        by = f", decided by {action.by}" if action.by else ""
        text = f": {action.text}" if action.text else ""
        lines += wrapped(f"{local(action.updated_at)} {action.state}{by}{text} [{action.id}]", 4)
    return lines


def _symptoms(view: IncidentView) -> list[str]:
    rows = [(str(each.count), each.kind.value, local(each.last_at), each.text or each.why) for each in view.symptoms]
    if not rows:
        return []
    lines = [*heading("Symptoms"), *table(("COUNT", "KIND", "LAST", "TEXT"), rows, indent=2)]
    names = [(each.fingerprint, each.kind.value, each.subject) for each in view.symptoms if each.opens]
    if names:
        lines += ["", "  Fingerprints, for `ai-sysadmin mute FINGERPRINT --for 2h`:"]
        lines += table(("", "", ""), names, indent=4)
    return lines


def _timeline(timeline: tuple[TimelineEntry, ...]) -> list[str]:
    lines = heading("Timeline") if timeline else []
    for entry in timeline:
        lines += wrapped(f"{local(entry.at)}  {entry.text or entry.event} ({entry.by})", 4, "  ")
    return lines


def _evidence(pack: EvidencePack | None) -> list[str]:
    lines = heading("Evidence") if pack and pack.pieces else []
    for piece in pack.pieces if pack else ():
        lines += [f"  {piece.id}  {one_line(piece.title, 50)}, {local(piece.at)}", *verbatim(piece.text)]
    return lines
