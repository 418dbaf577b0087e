"""Rows and records: what more than one store does to the same tables. Plain functions of a connection."""

import sqlite3
from datetime import UTC, datetime, timedelta

from ai_sysadmin.core.acting import ActionRequest, ActionState
from ai_sysadmin.core.incident import Incident
from ai_sysadmin.core.records import Review, Symptom
from ai_sysadmin.stores import Action, Spent, TimelineEntry

UNDER_WAY = tuple(state.value for state in ActionState if not state.ended)
_USE_IS_KEPT = timedelta(days=2)


def stamp(moment: datetime) -> str:
    """Write a moment so that text order is time order."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def insert_incident(connection: sqlite3.Connection, incident: Incident) -> None:
    connection.execute(
        "INSERT INTO incidents"
        " (id, host, subject, state, opened_at, changed_at, evidence_at, review_due, revision, body)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            incident.id,
            incident.host,
            incident.subject,
            *_columns(incident),
            incident.revision,
            incident.model_dump_json(),
        ),
    )


def update_incident(connection: sqlite3.Connection, before: Incident, after: Incident) -> Incident:
    """Write an incident's change by compare-and-set, and return it as it now stands."""
    if after == before:
        return before
    after = after.model_copy(update={"revision": before.revision + 1})
    changed = connection.execute(
        "UPDATE incidents SET state = ?, opened_at = ?, changed_at = ?, evidence_at = ?, review_due = ?,"
        " revision = ?, body = ? WHERE id = ? AND revision = ?",
        (*_columns(after), after.revision, after.model_dump_json(), after.id, before.revision),
    )
    if changed.rowcount != 1:
        raise AssertionError(f"incident {before.id} changed inside the transaction that read it")
    return after


def _columns(incident: Incident) -> tuple[str, str, str, str, int]:
    return (
        incident.state.value,
        stamp(incident.opened_at),
        stamp(incident.changed_at),
        stamp(incident.evidence_at),
        int(incident.evidence_revision > incident.reviewed_revision),
    )


def incident_by_id(connection: sqlite3.Connection, incident_id: str) -> Incident | None:
    row = connection.execute("SELECT body FROM incidents WHERE id = ?", (incident_id,)).fetchone()
    return Incident.model_validate_json(row["body"]) if row else None


def symptoms_of(connection: sqlite3.Connection, incident_id: str) -> tuple[Symptom, ...]:
    rows = connection.execute("SELECT body FROM symptoms WHERE incident_id = ? ORDER BY rowid", (incident_id,))
    return tuple(Symptom.model_validate_json(row["body"]) for row in rows)


def reviews_of(connection: sqlite3.Connection, incident_id: str) -> tuple[Review, ...]:
    rows = connection.execute("SELECT body FROM reviews WHERE incident_id = ? ORDER BY sequence", (incident_id,))
    return tuple(Review.model_validate_json(row["body"]) for row in rows)


def tell(connection: sqlite3.Connection, incident: Incident, event: str, by: str, text: str, at: datetime) -> None:
    """Add a line to an incident's story."""
    entry = TimelineEntry(at=at, event=event, by=by, text=text, state=incident.state)
    connection.execute("INSERT INTO timeline (incident_id, body) VALUES (?, ?)", (incident.id, entry.model_dump_json()))


def propose(connection: sqlite3.Connection, request: ActionRequest) -> ActionRequest:
    """Put a request into the outbox and return it; where the same is under way already, return that one."""
    same = connection.execute(
        f"SELECT body FROM actions WHERE digest = ? AND state IN ({','.join('?' * len(UNDER_WAY))})",  # noqa: S608
        (request.digest, *UNDER_WAY),
    ).fetchone()
    if same:
        return Action.model_validate_json(same["body"]).request
    action = Action(request=request, state=ActionState.PROPOSED, updated_at=request.at)
    connection.execute(
        "INSERT INTO actions (id, host, digest, incident_id, state, updated_at, body) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            request.id,
            request.host,
            request.digest,
            request.incident_id,
            action.state,
            stamp(action.updated_at),
            action.model_dump_json(),
        ),
    )
    return request


def tell_proposed(connection: sqlite3.Connection, incident: Incident, request: ActionRequest) -> None:
    """Add to an incident's story that an action was proposed for it."""
    said = ", ".join(f"{key}={value}" for key, value in request.arguments.items())
    text = f"{request.name} {said} (action {request.id})"
    tell(connection, incident, "action_proposed", request.origin.value, text, request.at)


def update_action(connection: sqlite3.Connection, action: Action) -> None:
    connection.execute(
        "UPDATE actions SET state = ?, updated_at = ?, body = ? WHERE id = ?",
        (action.state, stamp(action.updated_at), action.model_dump_json(), action.request.id),
    )


def action_by_id(connection: sqlite3.Connection, action_id: str) -> Action | None:
    row = connection.execute("SELECT body FROM actions WHERE id = ?", (action_id,)).fetchone()
    return Action.model_validate_json(row["body"]) if row else None


def note_use(connection: sqlite3.Connection, host: str, spent: Spent, at: datetime) -> None:
    """Count what models were asked, for the budgets by the hour; forget what no budget counts any more."""
    if not spent.calls:
        return
    connection.execute(
        "INSERT INTO model_use (host, at, calls, tokens) VALUES (?, ?, ?, ?)",
        (host, stamp(at), spent.calls, spent.tokens),
    )
    connection.execute("DELETE FROM model_use WHERE host = ? AND at < ?", (host, stamp(at - _USE_IS_KEPT)))
