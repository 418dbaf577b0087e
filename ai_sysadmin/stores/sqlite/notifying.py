"""What a person is to be told of an incident's change: rows, written with it. Plain functions of a connection."""

import sqlite3
from typing import Final

from ai_sysadmin.core.incident import Incident, State
from ai_sysadmin.core.notification_settings import Occasion

EXPIRED: Final = "expired"
"""That a proposal expired is told as a state of its own: the incident still needs a person."""

MOST_WAITING: Final = 1000
"""So many notices wait to be told, the latest: where nobody tells them, they do not pile up."""

_NEEDS: Final = frozenset({State.NEEDS_PERSON, State.AWAITING_APPROVAL})
_NEEDS_NO_MORE: Final = frozenset({State.ACTING, State.RESOLVED, State.DISMISSED})


def notify_change(connection: sqlite3.Connection, before: Incident, after: Incident, at: str) -> None:
    """Write what a person is to be told of a change, and take back what is not so any more. ``at`` is a stamp."""
    if after.state in _NEEDS_NO_MORE:
        _take_back(connection, after, "needs_person")
    if after.reopened > before.reopened:
        _take_back(connection, after, "resolved")
    if after.expiries > before.expiries and after.state is State.OPEN:
        notify(connection, after, "needs_person", EXPIRED, at)
    if after.state is before.state:
        return
    if after.state in _NEEDS:
        notify(connection, after, "needs_person", after.state.value, at)
    if after.state is State.RESOLVED and _was_told(connection, after):
        notify(connection, after, "resolved", after.state.value, at)


def notify(connection: sqlite3.Connection, incident: Incident, occasion: Occasion, state: str, at: str) -> None:
    """Write one notice; where it was taken back before anybody was told, it counts again. ``at`` is a stamp."""
    connection.execute(
        "INSERT INTO notifications (host, occasion, incident_id, state, reopened, unit, kind, at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (incident_id, occasion, state, reopened) WHERE incident_id <> ''"
        " DO UPDATE SET superseded = 0, at = excluded.at WHERE superseded AND delivered_at = ''",
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
    keep_latest(connection, incident.host)


def keep_latest(connection: sqlite3.Connection, host: str) -> None:
    """Forget what has waited behind too many others."""
    connection.execute(
        "DELETE FROM notifications WHERE host = ? AND delivered_at = '' AND id <= ("
        "SELECT id FROM notifications WHERE host = ? AND delivered_at = '' ORDER BY id DESC LIMIT 1 OFFSET ?)",
        (host, host, MOST_WAITING),
    )


def resolved_meanwhile(connection: sqlite3.Connection, notice_id: int, incident: Incident, at: str) -> None:
    """Have it told that an incident is resolved, where somebody was told that it needs them as it ended."""
    row = connection.execute("SELECT occasion, superseded FROM notifications WHERE id = ?", (notice_id,)).fetchone()
    if row["superseded"] and row["occasion"] == "needs_person" and incident.state is State.RESOLVED:
        notify(connection, incident, "resolved", State.RESOLVED.value, at)


def _take_back(connection: sqlite3.Connection, incident: Incident, occasion: Occasion) -> None:
    connection.execute(
        "UPDATE notifications SET superseded = 1 WHERE incident_id = ? AND occasion = ? AND delivered_at = ''",
        (incident.id, occasion),
    )


def _was_told(connection: sqlite3.Connection, incident: Incident) -> bool:
    """Tell whether a person waits for the end of it, and does not hear of that as an action's success."""
    told = connection.execute(
        "SELECT"
        " (SELECT count(*) FROM notifications WHERE incident_id = ? AND reopened = ? AND delivered_at <> ''"
        "  AND occasion IN ('needs_person', 'reverted')),"
        " (SELECT count(*) FROM notifications WHERE incident_id = ? AND reopened = ? AND delivered_at = ''"
        "  AND occasion = 'acted')",
        (incident.id, incident.reopened) * 2,
    ).fetchone()
    return bool(told[0] and not told[1])
