"""Similar incidents of the past with their measured outcomes."""

from collections.abc import Sequence
from typing import Final, Protocol

from ai_sysadmin.context.knowledge import Search
from ai_sysadmin.context.knowledge.gathered import INCIDENTS
from ai_sysadmin.context.pieces.drafts import INDENT, Cleaner, Draft, iso, lasting
from ai_sysadmin.core.errors import NotFound
from ai_sysadmin.core.incident import Incident, State
from ai_sysadmin.core.knowledge import DocumentKind
from ai_sysadmin.stores import Action, IncidentDetail

_LOOKED_AT: Final = 300
_MOST_ACTIONS: Final = 5
_FOUND_FOR_EACH: Final = 4
_ENDED: Final = (State.RESOLVED, State.DISMISSED)


class PastIncidents(Protocol):
    """What of ``stores.ReadStore`` is asked here."""

    async def incidents(self, states: Sequence[State] = (), limit: int = 100) -> Sequence[Incident]: ...

    async def incident(self, id_or_prefix: str) -> IncidentDetail:
        """Raises: NotFound."""
        ...


async def look(
    incident: Incident, past: PastIncidents, search: Search | None, query: str, most: int, clean: Cleaner
) -> Draft | None:
    """Return what became of similar incidents; none: there were none. Raises: StoreUnavailable."""
    if most <= 0:
        return None
    ended = await past.incidents(_ENDED, _LOOKED_AT)
    ids = [each.id for each in alike(incident, ended)[:most]]
    degraded = ""
    if len(ids) < most and search is not None:
        found = await search.search(query, [DocumentKind.INCIDENT], _FOUND_FOR_EACH * most + 1)
        ours = [hit.document.name for hit in found.hits if hit.document.source == INCIDENTS]  # not what was imported
        ids += [name for name in ours if name not in {*ids, incident.id}]
        degraded = found.degraded
    details = [detail for each in ids[:most] if (detail := await _detail(past, each)) is not None]
    details = [detail for detail in details if detail.incident.ended and not detail.incident.merged_into]
    if not details:
        return None
    return Draft(
        kind="past_incidents",
        title="similar incidents of the past, and what became of them",
        lines=tuple(line for detail in details for line in _told(detail, clean)),
        facts={"ids": " ".join(detail.incident.id for detail in details)},
        left_out=clean.line(f"searched with less than there should be: {degraded}") if degraded else "",
    )


def alike(incident: Incident, ended: Sequence[Incident]) -> list[Incident]:
    """Return the incidents of the same kind, those of the same subject first, then the newest first."""
    same = [each for each in ended if each.kind is incident.kind and each.id != incident.id and not each.merged_into]
    return sorted(same, key=lambda each: (each.subject != incident.subject, -each.opened_at.timestamp(), each.id))


async def _detail(past: PastIncidents, incident_id: str) -> IncidentDetail | None:
    try:
        return await past.incident(incident_id)
    except NotFound:  # the search still knows what the store forgot
        return None


def _told(detail: IncidentDetail, clean: Cleaner) -> list[str]:
    incident = detail.incident
    lines = [f"cause, as {incident.judged_by or 'nobody'} said: {incident.cause}"] if incident.cause else []
    lines += [_outcome(action) for action in detail.actions[-_MOST_ACTIONS:]] or ["nothing was done about it"]
    head = f"{incident.id} ({iso(incident.opened_at)}): {incident.title}"
    return [clean.line(head), *(INDENT + clean.line(line) for line in (*lines, _end(incident)))]


def _outcome(action: Action) -> str:
    what = f"{action.request.name} {' '.join(action.request.arguments.values())}".rstrip()
    how = action.text if action.state.ended else "did not end"
    return f"{what}: {action.state.value}{f' ({how})' if how else ''}"


def _end(incident: Incident) -> str:
    end = incident.resolved_at or incident.changed_at
    took = lasting(max(0.0, (end - incident.opened_at).total_seconds()))
    again = f", after it had come back {incident.reopened} times" if incident.reopened else ""
    return f"{incident.state.value} after {took}{again}{f': {incident.note}' if incident.note else ''}"
