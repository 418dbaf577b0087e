"""Rows and records: what more than one store does to the same tables. Plain functions of a connection."""

from datetime import UTC, datetime, timedelta

from ai_sysadmin.core.acting import ActionState
from ai_sysadmin.core.incident import ENDED, Incident, State
from ai_sysadmin.core.records import Investigation, Review, Symptom
from ai_sysadmin.runtime.relational import Transaction
from ai_sysadmin.stores import Action, Spent, TimelineEntry
from ai_sysadmin.stores.relational.notifying import notify_change

LIVE = tuple(state.value for state in State if state not in ENDED)
IS_LIVE = f"incidents.state IN ({','.join('?' * len(LIVE))})"
UNDER_WAY = tuple(state.value for state in ActionState if not state.ended)
_USE_IS_KEPT = timedelta(days=2)


def stamp(moment: datetime) -> str:
    """Write a moment so that text order is time order."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


async def insert_incident(tx: Transaction, incident: Incident) -> None:
    await tx.run(
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


async def update_incident(tx: Transaction, before: Incident, after: Incident, at: datetime) -> Incident:
    """Write an incident's change by compare-and-set, with what a person is to be told of it; return it as it now is."""
    if after == before:
        return before
    after = after.model_copy(update={"revision": before.revision + 1})
    changed = await tx.run(
        "UPDATE incidents SET state = ?, opened_at = ?, changed_at = ?, evidence_at = ?, review_due = ?,"
        " revision = ?, body = ? WHERE id = ? AND revision = ?",
        (*_columns(after), after.revision, after.model_dump_json(), after.id, before.revision),
    )
    if changed != 1:
        raise AssertionError(f"incident {before.id} changed inside the transaction that read it")
    await notify_change(tx, before, after, stamp(at))
    return after


def _columns(incident: Incident) -> tuple[str, str, str, str, int]:
    return (
        incident.state.value,
        stamp(incident.opened_at),
        stamp(incident.changed_at),
        stamp(incident.evidence_at),
        int(incident.evidence_revision > incident.reviewed_revision),
    )


async def incident_by_id(tx: Transaction, incident_id: str) -> Incident | None:
    row = await tx.one("SELECT body FROM incidents WHERE id = ?", (incident_id,))
    return Incident.model_validate_json(row["body"]) if row else None


async def symptoms_of(tx: Transaction, incident_id: str) -> tuple[Symptom, ...]:
    rows = await tx.all("SELECT body FROM symptoms WHERE incident_id = ? ORDER BY rowid", (incident_id,))
    return tuple(Symptom.model_validate_json(row["body"]) for row in rows)


async def reviews_of(tx: Transaction, incident_id: str) -> tuple[Review, ...]:
    rows = await tx.all("SELECT body FROM reviews WHERE incident_id = ? ORDER BY sequence", (incident_id,))
    return tuple(Review.model_validate_json(row["body"]) for row in rows)


async def investigations_of(tx: Transaction, incident_id: str) -> tuple[Investigation, ...]:
    rows = await tx.all("SELECT body FROM investigations WHERE incident_id = ? ORDER BY sequence", (incident_id,))
    return tuple(Investigation.model_validate_json(row["body"]) for row in rows)


async def tell(tx: Transaction, incident: Incident, event: str, by: str, text: str, at: datetime) -> None:
    """Add a line to an incident's story."""
    entry = TimelineEntry(at=at, event=event, by=by, text=text, state=incident.state)
    await tx.run("INSERT INTO timeline (incident_id, body) VALUES (?, ?)", (incident.id, entry.model_dump_json()))


async def update_action(tx: Transaction, action: Action) -> None:
    await tx.run(
        "UPDATE actions SET state = ?, incident_id = ?, updated_at = ?, body = ? WHERE id = ?",
        (
            action.state,
            action.request.incident_id,
            stamp(action.updated_at),
            action.model_dump_json(),
            action.request.id,
        ),
    )


async def action_by_id(tx: Transaction, action_id: str) -> Action | None:
    row = await tx.one("SELECT body FROM actions WHERE id = ?", (action_id,))
    return Action.model_validate_json(row["body"]) if row else None


async def note_use(tx: Transaction, host: str, spent: Spent, at: datetime) -> None:
    """Count what models were asked, for the budgets by the hour; forget what no budget counts any more."""
    if not spent.calls:
        return
    await tx.run(
        "INSERT INTO model_use (host, at, calls, tokens) VALUES (?, ?, ?, ?)",
        (host, stamp(at), spent.calls, spent.tokens),
    )
    await tx.run("DELETE FROM model_use WHERE host = ? AND at < ?", (host, stamp(at - _USE_IS_KEPT)))
