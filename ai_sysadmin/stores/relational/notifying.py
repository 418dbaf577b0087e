"""What a person is to be told of an incident's change: rows, written with it. Plain functions of a connection."""

from typing import Final

from ai_sysadmin.core.incident import Incident, State
from ai_sysadmin.core.notification_settings import Occasion
from ai_sysadmin.runtime.relational import Transaction

EXPIRED: Final = "expired"
"""That a proposal expired is told as a state of its own: the incident still needs a person."""

MOST_WAITING: Final = 1000
"""So many notices wait to be told, the latest: where nobody tells them, they do not pile up."""

_NEEDS: Final = frozenset({State.NEEDS_PERSON, State.AWAITING_APPROVAL})
_NEEDS_NO_MORE: Final = frozenset({State.ACTING, State.RESOLVED, State.DISMISSED})


async def notify_change(tx: Transaction, before: Incident, after: Incident, at: str) -> None:
    """Write what a person is to be told of a change, and take back what is not so any more. ``at`` is a stamp."""
    if after.state in _NEEDS_NO_MORE:
        await _take_back(tx, after, "needs_person")
    if after.reopened > before.reopened:
        await _take_back(tx, after, "resolved")
    if after.expiries > before.expiries and after.state is State.OPEN:
        await notify(tx, after, "needs_person", EXPIRED, at)
    if after.state is before.state:
        return
    if after.state in _NEEDS:
        await notify(tx, after, "needs_person", after.state.value, at)
    if after.state is State.RESOLVED and await _was_told(tx, after):
        await notify(tx, after, "resolved", after.state.value, at)


async def notify(tx: Transaction, incident: Incident, occasion: Occasion, state: str, at: str) -> None:
    """Write one notice; where it was taken back before anybody was told, it counts again. ``at`` is a stamp."""
    await tx.run(
        "INSERT INTO notifications (host, occasion, incident_id, state, reopened, unit, kind, at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (incident_id, occasion, state, reopened) WHERE incident_id <> ''"
        " DO UPDATE SET superseded = 0, at = excluded.at"
        " WHERE notifications.superseded = 1 AND notifications.delivered_at = ''",
        (
            incident.host,
            occasion,
            incident.id,
            state,
            incident.reopened,
            incident.subject,
            incident.kind.value,
            at,
        ),
    )
    await keep_latest(tx, incident.host)


async def keep_latest(tx: Transaction, host: str) -> None:
    """Forget what has waited behind too many others."""
    await tx.run(
        "DELETE FROM notifications WHERE host = ? AND delivered_at = '' AND id <= ("
        "SELECT id FROM notifications WHERE host = ? AND delivered_at = '' ORDER BY id DESC LIMIT 1 OFFSET ?)",
        (host, host, MOST_WAITING),
    )


async def resolved_meanwhile(tx: Transaction, notice_id: int, incident: Incident, at: str) -> None:
    """Have it told that an incident is resolved, where somebody was told that it needs them as it ended."""
    row = await tx.one("SELECT occasion, superseded FROM notifications WHERE id = ?", (notice_id,))
    if row and row["superseded"] and row["occasion"] == "needs_person" and incident.state is State.RESOLVED:
        await notify(tx, incident, "resolved", State.RESOLVED.value, at)


async def _take_back(tx: Transaction, incident: Incident, occasion: Occasion) -> None:
    await tx.run(
        "UPDATE notifications SET superseded = 1 WHERE incident_id = ? AND occasion = ? AND delivered_at = ''",
        (incident.id, occasion),
    )


async def _was_told(tx: Transaction, incident: Incident) -> bool:
    """Tell whether a person waits for the end of it, and does not hear of that as an action's success."""
    told = await tx.value(
        "SELECT count(*) FROM notifications WHERE incident_id = ? AND reopened = ? AND delivered_at <> ''"
        " AND occasion IN ('needs_person', 'reverted')",
        (incident.id, incident.reopened),
    )
    is_coming = await tx.value(
        "SELECT count(*) FROM notifications WHERE incident_id = ? AND reopened = ? AND delivered_at = ''"
        " AND occasion = 'acted'",
        (incident.id, incident.reopened),
    )
    return bool(told and not is_coming)
