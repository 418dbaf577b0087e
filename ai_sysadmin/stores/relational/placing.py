"""Where a trigger belongs: its incident found, joined, reopened, opened, merged. Plain functions of a connection."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from ai_sysadmin.core.incident import Incident, Merged, Returned, State, advance
from ai_sysadmin.core.incident_triggers import attach, open_incident, reopens
from ai_sysadmin.core.records import Symptom, Trigger
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.runtime.relational import Transaction
from ai_sysadmin.stores import Placing
from ai_sysadmin.stores.relational.proposing import withdraw_proposed
from ai_sysadmin.stores.relational.rows import (
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


async def place(tx: Transaction, trigger: Trigger, placing: Placing) -> Incident | None:
    """Put a trigger where it belongs; return the incident when this opened or reopened it."""
    if await _is_repetition(tx, trigger):
        return None
    if trigger.opens and await _is_muted(tx, trigger):
        trigger = trigger.model_copy(update={"opens": False})
    held = await _held_for(tx, trigger, placing)
    if held is not None:
        joined = await _join(tx, held, trigger)
        if trigger.opens and joined.evidence_revision > held.evidence_revision:
            await tell(tx, joined, "symptom_joined", BY, trigger.why or trigger.text, trigger.at)
        await _merge_explained(tx, joined, trigger)
        return None
    if not trigger.opens:
        await _wait(tx, trigger, placing.join_within)
        return None
    last = await _last(tx, trigger.host, trigger.subject)
    if last is not None and reopens(last, trigger, placing.reopen_within):
        began = await _join(tx, await _reopened(tx, last, trigger), trigger)
    else:
        began = await _opened(tx, trigger, placing)
    return await _unless_storm(tx, await _merge_explained(tx, began, trigger), trigger.at, placing)


async def _held_for(tx: Transaction, trigger: Trigger, placing: Placing) -> Incident | None:
    """Return the live incident that a trigger belongs to: of its subject, of a root, or the storm that lasts."""
    held = await _holding(tx, trigger.host, trigger.subject)
    if held is not None or not trigger.opens:
        return held
    for root in trigger.joins:
        if (held := await _holding(tx, trigger.host, root)) is not None:
            return held
    if trigger.explains:  # the root of several may be what the storm is all about
        return None
    return await _raging(tx, trigger.host, trigger.at, placing)


async def _opened(tx: Transaction, trigger: Trigger, placing: Placing) -> Incident:
    incident = open_incident(trigger)
    await insert_incident(tx, incident)
    await tell(tx, incident, "incident_opened", BY, incident.title, trigger.at)
    incident = await _adopt(tx, incident, trigger.at - placing.join_within)
    return await _join(tx, incident, trigger)


async def _reopened(tx: Transaction, last: Incident, trigger: Trigger) -> Incident:
    reopened = await update_incident(tx, last, advance(last, Returned(trigger)), trigger.at)
    await tell(tx, reopened, "incident_reopened", BY, f"it came back: {trigger.why}", trigger.at)
    return reopened


async def _is_repetition(tx: Transaction, trigger: Trigger) -> bool:
    """One failure has one invocation: seen in the journal and again on the bus, it is still one.

    But what is still so after its root was resolved counts for itself.
    """
    invocation = trigger.details.get("invocation", "")
    if not invocation:
        return False
    return (
        await tx.one(
            "SELECT 1 FROM symptoms JOIN incidents ON incidents.id = incident_id"
            " WHERE symptoms.subject = ? AND symptoms.host = ? AND invocation = ?"
            " AND (incidents.subject = symptoms.subject OR incidents.state <> ?)",
            (trigger.subject, trigger.host, invocation, State.RESOLVED.value),
        )
        is not None
    )


async def _is_muted(tx: Transaction, trigger: Trigger) -> bool:
    row = await tx.one(
        "SELECT until FROM mutes WHERE host = ? AND fingerprint = ?", (trigger.host, trigger.fingerprint)
    )
    return row is not None and row["until"] > stamp(trigger.at)


async def _holding(tx: Transaction, host: str, subject: str) -> Incident | None:
    """Return the live incident of a subject, or the one that a fault of this subject has joined."""
    row = await tx.one(
        f"SELECT body FROM incidents WHERE host = ? AND subject = ? AND {IS_LIVE}"  # noqa: S608
        " ORDER BY opened_at DESC, rowid DESC LIMIT 1",
        (host, subject, *LIVE),
    )
    if row is None:
        row = await tx.one(
            "SELECT incidents.body FROM symptoms JOIN incidents ON incidents.id = incident_id"  # noqa: S608
            f" WHERE symptoms.host = ? AND symptoms.subject = ? AND symptoms.opens = 1 AND {IS_LIVE}"
            " ORDER BY incidents.opened_at, incidents.rowid LIMIT 1",
            (host, subject, *LIVE),
        )
    return Incident.model_validate_json(row["body"]) if row else None


async def _last(tx: Transaction, host: str, subject: str) -> Incident | None:
    row = await tx.one(
        "SELECT body FROM incidents WHERE host = ? AND subject = ? ORDER BY opened_at DESC, rowid DESC LIMIT 1",
        (host, subject),
    )
    return Incident.model_validate_json(row["body"]) if row else None


async def _join(tx: Transaction, incident: Incident, trigger: Trigger) -> Incident:
    row = await tx.one(
        "SELECT body FROM symptoms WHERE incident_id = ? AND fingerprint = ?", (incident.id, trigger.fingerprint)
    )
    before = Symptom.model_validate_json(row["body"]) if row else None
    if before is None and await _is_full(tx, incident.id):
        return await update_incident(tx, incident, attach(incident, trigger, known=True, at=trigger.at), trigger.at)
    await _save_symptom(tx, merged(before, trigger), incident.id, is_known=before is not None)
    return await update_incident(tx, incident, attach(incident, trigger, before is not None, trigger.at), trigger.at)


async def _is_full(tx: Transaction, incident_id: str) -> bool:
    held = await tx.value("SELECT count(*) FROM symptoms WHERE incident_id = ?", (incident_id,))
    return bool(held >= MOST_SYMPTOMS)


async def _wait(tx: Transaction, trigger: Trigger, join_within: timedelta) -> None:
    row = await tx.one(
        "SELECT body FROM symptoms WHERE incident_id IS NULL AND host = ? AND fingerprint = ?",
        (trigger.host, trigger.fingerprint),
    )
    before = Symptom.model_validate_json(row["body"]) if row else None
    stale = before is not None and before.last_at < trigger.at - join_within
    await _save_symptom(tx, merged(None if stale else before, trigger), None, is_known=before is not None)


async def forget_waiting(tx: Transaction, host: str) -> None:
    """Keep ``MOST_WAITING`` of the symptoms that wait for an incident."""
    waiting = await tx.value("SELECT count(*) FROM symptoms WHERE incident_id IS NULL AND host = ?", (host,))
    if waiting > MOST_WAITING:
        await tx.run(
            "DELETE FROM symptoms WHERE rowid IN"
            " (SELECT rowid FROM symptoms WHERE incident_id IS NULL AND host = ? ORDER BY last_at LIMIT ?)",
            (host, waiting - MOST_WAITING),
        )


async def _adopt(tx: Transaction, incident: Incident, since: datetime) -> Incident:
    """Give a new incident the symptoms of its subject that were waiting for it; drop those too old to belong."""
    where = "incident_id IS NULL AND host = ? AND subject = ?"
    key = (incident.host, incident.subject)
    await tx.run(f"DELETE FROM symptoms WHERE {where} AND last_at < ?", (*key, stamp(since)))  # noqa: S608
    rows = await tx.all(f"SELECT body FROM symptoms WHERE {where} ORDER BY rowid", key)  # noqa: S608
    await tx.run(f"UPDATE symptoms SET incident_id = ? WHERE {where}", (incident.id, *key))  # noqa: S608
    waiting = [Symptom.model_validate_json(row["body"]) for row in rows]
    return await _with_symptoms(tx, incident, waiting, incident.evidence_at) if waiting else incident


async def _with_symptoms(tx: Transaction, incident: Incident, symptoms: Sequence[Symptom], at: datetime) -> Incident:
    taken = incident.model_copy(
        update={
            "count": incident.count + sum(symptom.count for symptom in symptoms),
            "evidence_revision": incident.evidence_revision + len(symptoms),
            "evidence_at": max(incident.evidence_at, at),
        }
    )
    return await update_incident(tx, incident, taken, at)


# --- one root of several, and too many at once


async def _merge_explained(tx: Transaction, root: Incident, trigger: Trigger) -> Incident:
    """Take the live incidents of the subjects that a trigger explains into its own; not one of another root."""
    for subject in trigger.explains:
        other = await _holding(tx, trigger.host, subject)
        if other is not None and other.id != root.id and other.subject in {subject, STORM}:
            root = await _merge(tx, root, other, trigger.at, f"part of {root.id}: {trigger.why}")
    return root


async def _merge(tx: Transaction, root: Incident, other: Incident, at: datetime, why: str) -> Incident:
    ended = await update_incident(tx, other, advance(other, Merged(root.id, at, why)), at)
    if not ended.ended:
        return root
    await tell(tx, ended, "incident_merged", BY, why, at)
    await tell(tx, root, "incident_took_in", BY, f"took in {other.id}: {other.title}", at)
    await withdraw_proposed(tx, ended, at)
    moved = await symptoms_of(tx, other.id)
    for symptom in moved:
        await _move(tx, symptom, other.id, root.id)
    return await _with_symptoms(tx, root, moved, at)


async def _move(tx: Transaction, symptom: Symptom, source: str, target: str) -> None:
    known = await tx.all(
        "DELETE FROM symptoms WHERE incident_id = ? AND fingerprint = ? RETURNING body", (target, symptom.fingerprint)
    )
    whole = _summed(Symptom.model_validate_json(known[0]["body"]), symptom) if known else symptom
    await tx.run(
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


async def _raging(tx: Transaction, host: str, at: datetime, placing: Placing) -> Incident | None:
    """Return the storm that lasts: live, and something new came to it not long ago."""
    storm = await _storm(tx, host)
    return storm if storm is not None and storm.evidence_at >= at - placing.storm_within else None


async def _storm(tx: Transaction, host: str) -> Incident | None:
    held = await _holding(tx, host, STORM)
    return held if held is not None and held.subject == STORM else None


async def _unless_storm(tx: Transaction, began: Incident, at: datetime, placing: Placing) -> Incident | None:
    """Gather too many incidents at once into one storm; return what began: the incident, or a storm, or neither."""
    storm = await _raging(tx, began.host, at, placing)
    if storm is not None:
        await _merge(tx, storm, began, at, f"part of the storm {storm.id}")
        return None
    recent = await _recent(tx, began.host, at, placing.storm_within)
    if not placing.storm_count or len(recent) <= placing.storm_count:
        return began
    storm = await _storm(tx, began.host)
    began_now = storm is None
    storm = storm or await _opened(tx, _storm_trigger(began.host, len(recent), at, placing), placing)
    for incident in recent:
        if not incident.ended:
            storm = await _merge(tx, storm, incident, at, f"part of the storm {storm.id}")
    return storm if began_now else None


async def _recent(tx: Transaction, host: str, at: datetime, within: timedelta) -> list[Incident]:
    """Return the incidents that began or came back around this time and are not part of another."""
    every = tuple(state.value for state in State)
    opened = await tx.all(
        f"SELECT body FROM incidents WHERE state IN ({','.join('?' * len(every))}) AND host = ? AND subject <> ?"  # noqa: S608
        " AND opened_at BETWEEN ? AND ? ORDER BY opened_at, rowid",
        (*every, host, STORM, stamp(at - within), stamp(at + within)),
    )
    returned = await tx.all(
        f"SELECT body FROM incidents WHERE host = ? AND subject <> ? AND {IS_LIVE} AND opened_at < ?"  # noqa: S608
        " AND evidence_at BETWEEN ? AND ? AND CAST(json_extract(body, '$.reopened') AS INTEGER) > 0"
        " ORDER BY opened_at, rowid",
        (host, STORM, *LIVE, stamp(at - within), stamp(at - within), stamp(at + within)),
    )
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


async def _save_symptom(tx: Transaction, symptom: Symptom, incident_id: str | None, *, is_known: bool) -> None:
    invocation = symptom.details.get("invocation", "")
    values = (stamp(symptom.last_at), invocation, int(symptom.opens), symptom.model_dump_json())
    if is_known:
        await tx.run(
            "UPDATE symptoms SET last_at = ?, invocation = ?, opens = ?, body = ?"
            " WHERE incident_id IS NOT DISTINCT FROM ? AND host = ? AND fingerprint = ?",
            (*values, incident_id, symptom.host, symptom.fingerprint),
        )
    else:
        await tx.run(
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
