"""What is true now: what a model is told before it answers, and the answer where there is no model. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from ai_sysadmin.context.defuse import cut, one_line, quoted
from ai_sysadmin.core.acting import ActionRequest, ActionState, Origin, approving
from ai_sysadmin.core.clock import local, since
from ai_sysadmin.core.incident import Incident
from ai_sysadmin.stores import Action, ServiceNote

WAITS = ActionState.PENDING
"""The state of an action that waits for a person."""
MOST_LIVE = 30
MOST_ENDED = 10
MOST_STATE_CHARACTERS = 8000


@dataclass(frozen=True)
class LiveState:
    """What is true on the host at the moment a question is asked."""

    host: str
    incidents: tuple[Incident, ...]
    actions: tuple[Action, ...]
    notes: tuple[ServiceNote, ...]
    now: datetime

    @property
    def live(self) -> tuple[Incident, ...]:
        """Return what has not ended, worst first."""
        return tuple(sorted((i for i in self.incidents if not i.ended), key=lambda i: (-i.severity, i.opened_at)))

    @property
    def ended(self) -> tuple[Incident, ...]:
        return tuple(incident for incident in self.incidents if incident.ended)

    @property
    def waiting(self) -> tuple[Action, ...]:
        """Return the actions that wait for a person."""
        return tuple(action for action in self.actions if action.state == WAITS)


def report(live: LiveState, why_no_model: str) -> str:
    """Return a report for people that says in its first line that no model wrote it, and why."""
    return f"This is a report without a model: {one_line(why_no_model, 300)}.\n\n{status_page(live)}"


def status_page(live: LiveState) -> str:
    """Return what is true now, for people: what is wrong, what waits for them, what does not work in full."""
    parts = [f"State of {live.host} at {local(live.now)}:", incidents_page(live), _waiting(live)]
    degraded = [f"- {note.service}: {one_line(note.text, 300)}" for note in live.notes if note.state != "ok"]
    if degraded:
        parts.append("**Degraded**\n\n" + "\n".join(degraded))
    return "\n\n".join(parts) + "\n"


def incidents_page(live: LiveState) -> str:
    """Return the incidents that have not ended, worst first."""
    lines = [_incident(incident, live.now) for incident in live.live[:MOST_LIVE]]
    if (more := len(live.live) - len(lines)) > 0:
        lines.append(f"- and {more} more: `ai-sysadmin incidents`")
    return _listed("Incidents", lines, "No incident is open.")


def actions_page(live: LiveState) -> str:
    """Return what waits for a person, and below it what was done or ended otherwise, the newest first."""
    past = [_past(action) for action in live.actions if action.state != WAITS][:MOST_ENDED]
    return "\n\n".join([_waiting(live), *(["**Before that**\n\n" + "\n".join(past)] if past else [])]) + "\n"


def _waiting(live: LiveState) -> str:
    return _listed("Waiting for your approval", map(_approval, live.waiting), "Nothing waits for your approval.")


def _listed(heading: str, lines: Iterable[str], otherwise: str) -> str:
    said = list(lines)
    return f"**{heading}**\n\n" + "\n".join(said) if said else otherwise


def _incident(incident: Incident, now: datetime) -> str:
    text = f"- `{incident.id}` {quoted(incident.title)}: {incident.state.value.replace('_', ' ')}"
    text += f", opened {since(incident.opened_at, now)} ago, {incident.count} log entries"
    if incident.cause:
        text += f"; cause ({one_line(incident.judged_by, 60)}): {quoted(incident.cause)}"
    return text


def _approval(action: Action) -> str:
    request = action.request
    return (
        f"- {quoted(does(request))} ({action.risk or 'risk not ruled yet'}) {why_there(request)}{_planned(action)}: "
        f"approve it with `/approve {request.id}` or, on the host, `{approving(request.id, action.digest)}`"
    )


def _planned(action: Action) -> str:
    """Say what the executor would do, and by what it saw; empty: it has not said."""
    plan = action.plan
    return f"; it {quoted(plan.does)}, seen: {quoted(plan.precondition)}" if plan else ""


def _past(action: Action) -> str:
    request = action.request
    by = f" by {one_line(action.by, 80)}" if action.by else ""
    said = f": {quoted(action.text)}" if action.text else ""
    what = f"`{request.id}` {quoted(does(request))} {why_there(request)}"
    return f"- {what}, {local(action.updated_at)}, {action.state.value}{by}{said}"


def why_there(request: ActionRequest) -> str:
    """Say what an action is for."""
    if request.incident_id:
        return f"for incident {request.incident_id}"
    return "asked for by an operator" if request.origin is Origin.OPERATOR else "asked for in chat"


def does(request: ActionRequest) -> str:
    """Say in one line what an action would do."""
    return " ".join([request.name, *(f"{key}={value}" for key, value in sorted(request.arguments.items()))])


def state_text(live: LiveState) -> str:
    """Return the same for a model: one line for each thing, the most important first, of bounded length."""
    lines = [f"host {live.host}; now {local(live.now)}, which is {live.now.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"]
    lines += [f"incident {_told(incident, live)}" for incident in live.live[:MOST_LIVE]] or ["no incident is open"]
    lines += [f"waits for approval: {_action(action)}" for action in live.waiting]
    lines += [f"service {note.service} is {note.state}: {one_line(note.text, 200)}" for note in live.notes]
    lines += [f"ended incident {_told(incident, live)}" for incident in live.ended[:MOST_ENDED]]
    lines += [f"action {_action(action)}" for action in live.actions if action.state != WAITS][:MOST_ENDED]
    return cut("\n".join(lines), MOST_STATE_CHARACTERS)


def _told(incident: Incident, live: LiveState) -> str:
    text = f"{incident.id} [{incident.state.value}, severity {incident.severity}, {incident.count} log entries, "
    text += f"opened {since(incident.opened_at, live.now)} ago]: {incident.title}"
    for label, value in (("cause", incident.cause), ("note", incident.note)):
        text += f"; {label}: {value}" if value else ""
    return one_line(text, 600)


def _action(action: Action) -> str:
    request = action.request
    return one_line(
        f"{request.id} [{action.state}, {action.risk}] {does(request)} {why_there(request)}: "
        f"{action.text or request.why}",
        400,
    )
