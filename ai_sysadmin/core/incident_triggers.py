"""What triggers do to an incident: it opens, it grows, it comes back. Pure."""

from datetime import datetime, timedelta

from ai_sysadmin.core.incident_state import Incident, State
from ai_sysadmin.core.naming import RANK, title_of
from ai_sysadmin.core.records import Trigger, short_id


def open_incident(trigger: Trigger) -> Incident:
    """Return the incident that an opening trigger begins; its symptoms and count are added by ``attach``."""
    return Incident(
        id=short_id(),
        host=trigger.host,
        unit=trigger.unit,
        about=trigger.about,
        kind=trigger.kind,
        title=title_of(trigger),
        opened_at=trigger.at,
        changed_at=trigger.at,
        evidence_at=trigger.at,
        evidence_revision=0,
    )


def attach(incident: Incident, trigger: Trigger, known: bool, at: datetime) -> Incident:
    """Return the incident with one more trigger: a new fingerprint is new evidence, a known one only counts.

    The strongest symptom names the incident: a burst that ends in the unit's failure becomes that failure. A new
    fault takes the incident back to ``open`` from where a judgement of the old evidence had left it.
    """
    changes: dict[str, object] = {
        "count": incident.count + trigger.count,
        "changed_at": max(incident.changed_at, at),
    }
    if not known:
        changes |= {"evidence_revision": incident.evidence_revision + 1, "evidence_at": at}
    is_own = trigger.subject == incident.subject
    if trigger.opens and is_own and RANK.index(trigger.kind) < RANK.index(incident.kind):
        changes |= {"kind": trigger.kind, "title": title_of(trigger)}
    if trigger.opens and not known:
        changes["waits_until"] = None
    if trigger.opens and not known and incident.state in {State.INVESTIGATING, State.NEEDS_PERSON}:
        changes |= {"state": State.OPEN, "note": ""}
    return incident.model_copy(update=changes)


def reopens(incident: Incident, trigger: Trigger, within: timedelta) -> bool:
    """Tell whether a trigger continues an incident that has ended, rather than beginning a new one."""
    return incident.ended and trigger.opens and trigger.at - (incident.resolved_at or incident.changed_at) <= within
