"""Where a trigger belongs: its incident found, joined, reopened, opened, merged. Plain functions of a connection."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from ai_sysadmin.core.incident import Incident, Merged, Returned, State, advance
from ai_sysadmin.core.incident_triggers import attach, open_incident, reopens
from ai_sysadmin.core.records import Symptom, Trigger
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.stores import Placing
from ai_sysadmin.stores.sqlite.proposing import withdraw_proposed
from ai_sysadmin.stores.sqlite.rows import (
    IS_LIVE,
    LIVE,
    insert_incident,
    stamp,
    symptoms_of,
    tell,
    update_incident,
)

BY = "trigger-monitor"
STORM = "storm"


MOST_SYMPTOMS: Final = 500
"""So many fingerprints one incident holds; what comes beyond is only counted."""
MOST_WAITING: Final = 2000
"""So many symptoms wait for an incident, the latest seen."""


def place(connection: sqlite3.Connection, trigger: Trigger, placing: Placing) -> Incident | None:
    """Put a trigger where it belongs; return the incident when this opened or reopened it."""
    if _is_repetition(connection, trigger):
        return None
    if trigger.opens and _is_muted(connection, trigger):
        trigger = trigger.model_copy(update={"opens": False})
    held = _held_for(connection, trigger, placing)
    if held is not None:
        joined = _join(connection, held, trigger)
        if trigger.opens and joined.evidence_revision > held.evidence_revision:
            tell(connection, joined, "symptom_joined", BY, trigger.why or trigger.text, trigger.at)
        _merge_explained(connection, joined, trigger)
        return None
    if not trigger.opens:
        _wait(connection, trigger, placing.join_within)
        return None
    last = _last(connection, trigger.host, trigger.subject)
    if last is not None and reopens(last, trigger, placing.reopen_within):
        began = _join(connection, _reopened(connection, last, trigger), trigger)
    else:
        began = _opened(connection, trigger, placing)
    return _unless_storm(connection, _merge_explained(connection, began, trigger), trigger.at, placing)


def _held_for(connection: sqlite3.Connection, trigger: Trigger, placing: Placing) -> Incident | None:
    """Return the live incident that a trigger belongs to: of its subject, of a root, or the storm that lasts."""
    held = _holding(connection, trigger.host, trigger.subject)
    if held is not None or not trigger.opens:
        return held
    held = next(filter(None, (_holding(connection, trigger.host, root) for root in trigger.joins)), None)
    if held is not None or trigger.explains:  # the root of several may be what the storm is all about
        return held
    return _raging(connection, trigger.host, trigger.at, placing)


def _opened(connection: sqlite3.Connection, trigger: Trigger, placing: Placing) -> Incident:
    incident = open_incident(trigger)
    insert_incident(connection, incident)
    tell(connection, incident, "incident_opened", BY, incident.title, trigger.at)
    incident = _adopt(connection, incident, trigger.at - placing.join_within)
    return _join(connection, incident, trigger)


def _reopened(connection: sqlite3.Connection, last: Incident, trigger: Trigger) -> Incident:
    reopened = update_incident(connection, last, advance(last, Returned(trigger)), trigger.at)
    tell(connection, reopened, "incident_reopened", BY, f"it came back: {trigger.why}", trigger.at)
    return reopened


def _is_repetition(connection: sqlite3.Connection, trigger: Trigger) -> bool:
    """One failure has one invocation: seen in the journal and again on the bus, it is still one.

    But what is still so after its root was resolved counts for itself.
    """
    invocation = trigger.details.get("invocation", "")
    if not invocation:
        return False
    return (
        connection.execute(
            "SELECT 1 FROM symptoms JOIN incidents ON incidents.id = incident_id"
            " WHERE symptoms.subject = ? AND symptoms.host = ? AND invocation = ?"
            " AND (incidents.subject = symptoms.subject OR incidents.state <> ?)",
            (trigger.subject, trigger.host, invocation, State.RESOLVED.value),
        ).fetchone()
        is not None
    )


def _is_muted(connection: sqlite3.Connection, trigger: Trigger) -> bool:
    row = connection.execute(
        "SELECT until FROM mutes WHERE host = ? AND fingerprint = ?", (trigger.host, trigger.fingerprint)
    ).fetchone()
    return row is not None and row["until"] > stamp(trigger.at)


def _holding(connection: sqlite3.Connection, host: str, subject: str) -> Incident | None:
    """Return the live incident of a subject, or the one that a fault of this subject has joined."""
    row = connection.execute(
        f"SELECT body FROM incidents WHERE host = ? AND subject = ? AND {IS_LIVE}"  # noqa: S608
        " ORDER BY opened_at DESC, rowid DESC LIMIT 1",
        (host, subject, *LIVE),
    ).fetchone()
    if row is None:
        row = connection.execute(
            "SELECT incidents.body FROM symptoms JOIN incidents ON incidents.id = incident_id"  # noqa: S608
            f" WHERE symptoms.host = ? AND symptoms.subject = ? AND symptoms.opens AND {IS_LIVE}"
            " ORDER BY incidents.opened_at LIMIT 1",
            (host, subject, *LIVE),
        ).fetchone()
    return Incident.model_validate_json(row["body"]) if row else None


def _last(connection: sqlite3.Connection, host: str, subject: str) -> Incident | None:
    row = connection.execute(
        "SELECT body FROM incidents WHERE host = ? AND subject = ? ORDER BY opened_at DESC, rowid DESC LIMIT 1",
        (host, subject),
    ).fetchone()
    return Incident.model_validate_json(row["body"]) if row else None


def _join(connection: sqlite3.Connection, incident: Incident, trigger: Trigger) -> Incident:
    row = connection.execute(
        "SELECT body FROM symptoms WHERE incident_id = ? AND fingerprint = ?", (incident.id, trigger.fingerprint)
    ).fetchone()
    before = Symptom.model_validate_json(row["body"]) if row else None
    if before is None and _is_full(connection, incident.id):
        return update_incident(connection, incident, attach(incident, trigger, known=True, at=trigger.at), trigger.at)
    _save_symptom(connection, merged(before, trigger), incident.id, is_known=before is not None)
    return update_incident(connection, incident, attach(incident, trigger, before is not None, trigger.at), trigger.at)


def _is_full(connection: sqlite3.Connection, incident_id: str) -> bool:
    (held,) = connection.execute("SELECT count(*) FROM symptoms WHERE incident_id = ?", (incident_id,)).fetchone()
    return bool(held >= MOST_SYMPTOMS)


def _wait(connection: sqlite3.Connection, trigger: Trigger, join_within: timedelta) -> None:
    row = connection.execute(
        "SELECT body FROM symptoms WHERE incident_id IS NULL AND fingerprint = ?", (trigger.fingerprint,)
    ).fetchone()
    before = Symptom.model_validate_json(row["body"]) if row else None
    stale = before is not None and before.last_at < trigger.at - join_within
    _save_symptom(connection, merged(None if stale else before, trigger), None, is_known=before is not None)


def forget_waiting(connection: sqlite3.Connection) -> None:
    """Keep ``MOST_WAITING`` of the symptoms that wait for an incident."""
    (waiting,) = connection.execute("SELECT count(*) FROM symptoms WHERE incident_id IS NULL").fetchone()
    if waiting > MOST_WAITING:
        connection.execute(
            "DELETE FROM symptoms WHERE rowid IN"
            " (SELECT rowid FROM symptoms WHERE incident_id IS NULL ORDER BY last_at LIMIT ?)",
            (waiting - MOST_WAITING,),
        )


def _adopt(connection: sqlite3.Connection, incident: Incident, since: datetime) -> Incident:
    """Give a new incident the symptoms of its subject that were waiting for it; drop those too old to belong."""
    where = "incident_id IS NULL AND host = ? AND subject = ?"
    key = (incident.host, incident.subject)
    connection.execute(f"DELETE FROM symptoms WHERE {where} AND last_at < ?", (*key, stamp(since)))  # noqa: S608
    rows = connection.execute(f"SELECT body FROM symptoms WHERE {where}", key).fetchall()  # noqa: S608
    connection.execute(f"UPDATE symptoms SET incident_id = ? WHERE {where}", (incident.id, *key))  # noqa: S608
    waiting = [Symptom.model_validate_json(row["body"]) for row in rows]
    return _with_symptoms(connection, incident, waiting, incident.evidence_at) if waiting else incident


def _with_symptoms(
    connection: sqlite3.Connection, incident: Incident, symptoms: Sequence[Symptom], at: datetime
) -> Incident:
    taken = incident.model_copy(
        update={
            "count": incident.count + sum(symptom.count for symptom in symptoms),
            "evidence_revision": incident.evidence_revision + len(symptoms),
            "evidence_at": max(incident.evidence_at, at),
        }
    )
    return update_incident(connection, incident, taken, at)


# --- one root of several, and too many at once


def _merge_explained(connection: sqlite3.Connection, root: Incident, trigger: Trigger) -> Incident:
    """Take the live incidents of the subjects that a trigger explains into its own; not one of another root."""
    for subject in trigger.explains:
        other = _holding(connection, trigger.host, subject)
        if other is not None and other.id != root.id and other.subject in {subject, STORM}:
            root = _merge(connection, root, other, trigger.at, f"part of {root.id}: {trigger.why}")
    return root


def _merge(connection: sqlite3.Connection, root: Incident, other: Incident, at: datetime, why: str) -> Incident:
    ended = update_incident(connection, other, advance(other, Merged(root.id, at, why)), at)
    if not ended.ended:
        return root
    tell(connection, ended, "incident_merged", BY, why, at)
    tell(connection, root, "incident_took_in", BY, f"took in {other.id}: {other.title}", at)
    withdraw_proposed(connection, ended, at)
    moved = symptoms_of(connection, other.id)
    for symptom in moved:
        _move(connection, symptom, other.id, root.id)
    return _with_symptoms(connection, root, moved, at)


def _move(connection: sqlite3.Connection, symptom: Symptom, source: str, target: str) -> None:
    known = connection.execute(
        "DELETE FROM symptoms WHERE incident_id = ? AND fingerprint = ? RETURNING body", (target, symptom.fingerprint)
    ).fetchall()
    whole = _summed(Symptom.model_validate_json(known[0]["body"]), symptom) if known else symptom
    connection.execute(
        "UPDATE symptoms SET incident_id = ?, body = ?, opens = ?, last_at = ?"
        " WHERE incident_id = ? AND fingerprint = ?",
        (target, whole.model_dump_json(), whole.opens, stamp(whole.last_at), source, whole.fingerprint),
    )


def _summed(one: Symptom, other: Symptom) -> Symptom:
    return other.model_copy(
        update={
            "count": one.count + other.count,
            "first_at": min(one.first_at, other.first_at),
            "last_at": max(one.last_at, other.last_at),
            "opens": one.opens or other.opens,
            "priority": min(one.priority, other.priority),
        }
    )


def _raging(connection: sqlite3.Connection, host: str, at: datetime, placing: Placing) -> Incident | None:
    """Return the storm that lasts: live, and something new came to it not long ago."""
    storm = _storm(connection, host)
    return storm if storm is not None and storm.evidence_at >= at - placing.storm_within else None


def _storm(connection: sqlite3.Connection, host: str) -> Incident | None:
    held = _holding(connection, host, STORM)
    return held if held is not None and held.subject == STORM else None


def _unless_storm(connection: sqlite3.Connection, began: Incident, at: datetime, placing: Placing) -> Incident | None:
    """Gather too many incidents at once into one storm; return what began: the incident, or a storm, or neither."""
    storm = _raging(connection, began.host, at, placing)
    if storm is not None:
        _merge(connection, storm, began, at, f"part of the storm {storm.id}")
        return None
    recent = _recent(connection, began.host, at, placing.storm_within)
    if not placing.storm_count or len(recent) <= placing.storm_count:
        return began
    storm = _storm(connection, began.host)
    began_now = storm is None
    storm = storm or _opened(connection, _storm_trigger(began.host, len(recent), at, placing), placing)
    for incident in recent:
        if not incident.ended:
            storm = _merge(connection, storm, incident, at, f"part of the storm {storm.id}")
    return storm if began_now else None


def _recent(connection: sqlite3.Connection, host: str, at: datetime, within: timedelta) -> list[Incident]:
    """Return the incidents that began or came back around this time and are not part of another."""
    every = tuple(state.value for state in State)
    opened = connection.execute(
        f"SELECT body FROM incidents WHERE state IN ({','.join('?' * len(every))}) AND host = ? AND subject <> ?"  # noqa: S608
        " AND opened_at BETWEEN ? AND ? ORDER BY opened_at",
        (*every, host, STORM, stamp(at - within), stamp(at + within)),
    ).fetchall()
    returned = connection.execute(
        f"SELECT body FROM incidents WHERE host = ? AND subject <> ? AND {IS_LIVE} AND opened_at < ?"  # noqa: S608
        " AND evidence_at BETWEEN ? AND ? AND json_extract(body, '$.reopened') > 0 ORDER BY opened_at",
        (host, STORM, *LIVE, stamp(at - within), stamp(at - within), stamp(at + within)),
    ).fetchall()
    found = [Incident.model_validate_json(row["body"]) for row in (*returned, *opened)]
    return [incident for incident in found if not incident.merged_into]


def _storm_trigger(host: str, count: int, at: datetime, placing: Placing) -> Trigger:
    minutes = placing.storm_within.total_seconds() / 60
    return Trigger(
        host=host,
        unit="",
        about=STORM,
        kind=SymptomKind.STORM,
        template="",
        opens=True,
        at=at,
        count=0,
        priority=2,
        why=f"{count} new incidents within {minutes:g} minutes: they are looked at as one",
    )


# --- symptoms


def _save_symptom(connection: sqlite3.Connection, symptom: Symptom, incident_id: str | None, *, is_known: bool) -> None:
    invocation = symptom.details.get("invocation", "")
    values = (stamp(symptom.last_at), invocation, symptom.opens, symptom.model_dump_json())
    if is_known:
        connection.execute(
            "UPDATE symptoms SET last_at = ?, invocation = ?, opens = ?, body = ?"
            " WHERE incident_id IS ? AND fingerprint = ?",
            (*values, incident_id, symptom.fingerprint),
        )
    else:
        connection.execute(
            "INSERT INTO symptoms (last_at, invocation, opens, body, incident_id, fingerprint, host, subject)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (*values, incident_id, symptom.fingerprint, symptom.host, symptom.subject),
        )


def merged(before: Symptom | None, trigger: Trigger) -> Symptom:
    """Return a symptom with one more trigger counted in."""
    return Symptom(
        fingerprint=trigger.fingerprint,
        host=trigger.host,
        unit=trigger.unit,
        about=trigger.about,
        kind=trigger.kind,
        opens=trigger.opens or (before.opens if before else False),
        count=trigger.count + (before.count if before else 0),
        first_at=min(before.first_at, trigger.at) if before else trigger.at,
        last_at=max(before.last_at, trigger.at) if before else trigger.at,
        priority=min(before.priority, trigger.priority) if before else trigger.priority,
        text=trigger.text,
        why=trigger.why,
        details=trigger.details,
    )
