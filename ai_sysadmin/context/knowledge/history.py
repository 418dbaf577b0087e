"""Incidents that have ended, as documents: what was wrong, what was done about it, and what that measurably did."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

from ai_sysadmin.context.defuse import one_line
from ai_sysadmin.context.knowledge.gathered import INCIDENTS, Gathered
from ai_sysadmin.core.errors import NotFound
from ai_sysadmin.core.incident import ENDED, Incident, State
from ai_sysadmin.core.knowledge import Document, DocumentKind
from ai_sysadmin.core.records import Investigation, Symptom
from ai_sysadmin.stores import Action, IncidentDetail

MOST_INCIDENTS: Final = 1000
_MOST_SYMPTOMS: Final = 8
_LINE: Final = 300


class EndedIncidents(Protocol):
    """What of ``stores.ReadStore`` is asked here."""

    async def incidents(self, states: Sequence[State] = (), limit: int = 100) -> Sequence[Incident]: ...

    async def incident(self, id_or_prefix: str) -> IncidentDetail:
        """Raises: NotFound."""
        ...


class History:
    """Gathers the incidents that have ended, the latest thousand; one that is as it was is not read again."""

    name: Final = "past incidents"

    def __init__(self, reader: EndedIncidents) -> None:
        self._reader = reader
        self._held: dict[str, tuple[int, Document | None]] = {}
        self._last: tuple[Gathered, ...] = ()

    @property
    def sources(self) -> Sequence[str]:
        return (INCIDENTS,)

    async def gather(self) -> Sequence[Gathered]:
        held: dict[str, tuple[int, Document | None]] = {}
        is_new = False
        for incident in await self._reader.incidents(sorted(ENDED), MOST_INCIDENTS):
            before = self._held.get(incident.id)
            if before is None or before[0] != incident.revision:
                before = incident.revision, await self._document(incident.id)
                is_new = True
            held[incident.id] = before
        if held.keys() != self._held.keys() or is_new or not self._last:
            documents = tuple(document for _, document in held.values() if document is not None)
            self._last = (Gathered(DocumentKind.INCIDENT, INCIDENTS, documents),)
        self._held = held
        return self._last

    async def _document(self, incident_id: str) -> Document | None:
        try:
            return document_of(await self._reader.incident(incident_id))
        except NotFound:  # it was forgotten since the list was made
            return None


def document_of(detail: IncidentDetail) -> Document | None:
    """Return an incident as a document; none: it has not ended, or became part of another, which tells its story."""
    incident = detail.incident
    if not incident.ended or incident.merged_into:
        return None
    ended_at = incident.resolved_at or incident.changed_at
    facts = {
        "incident_kind": incident.kind.value,
        "subject": incident.subject,
        "state": incident.state.value,
        "opened_at": _moment(incident.opened_at),
        "ended_at": _moment(ended_at),
        "actions": ", ".join(f"{each.request.name} {each.state.value}" for each in detail.actions),
    }
    return Document(
        kind=DocumentKind.INCIDENT,
        name=incident.id,
        title=one_line(incident.title, _LINE),
        text="\n".join(one_line(line, _LINE) for line in _story(detail, ended_at)),
        source=INCIDENTS,
        facts={name: one_line(value, _LINE) for name, value in facts.items() if value},
        updated_at=ended_at,
    )


def _story(detail: IncidentDetail, ended_at: datetime) -> list[str]:
    incident = detail.incident
    lasted = lasting((ended_at - incident.opened_at).total_seconds())
    again = f", having come back {incident.reopened} times" if incident.reopened else ""
    lines = [
        f"{incident.kind.value} of {incident.subject or 'the host'} on {incident.host}",
        f"began {_moment(incident.opened_at)}, ended {_moment(ended_at)}, lasted {lasted}{again}",
        *_symptoms(detail.symptoms),
    ]
    lines.append(f"cause, as {incident.judged_by} said: {incident.cause}" if incident.cause else "cause: never found")
    if detail.investigations:
        lines += _found(detail.investigations[-1])
    lines += [_outcome(action) for action in detail.actions] or ["done about it: nothing"]
    return [*lines, f"ended as {incident.state.value}{f': {incident.note}' if incident.note else ''}"]


def _found(found: Investigation) -> list[str]:
    """Return what an investigation learned, a line for each sentence: what happened, and what it was not."""
    first, *others = re.split(r"(?<=\]\.) ", found.diagnosis)
    lines = [f"investigated by {found.investigated_by}: {first}", *(f"found: {each}" for each in others)]
    return [*lines, *(f"ruled out: {each}" for each in found.ruled_out)]


def _symptoms(symptoms: Sequence[Symptom]) -> list[str]:
    ranked = sorted(symptoms, key=lambda each: (not each.opens, -each.count, each.fingerprint))
    lines = [f"noticed: {each.kind.value}, {each.count} times: {each.why or each.text}" for each in ranked]
    more = len(lines) - _MOST_SYMPTOMS
    return [*lines[:_MOST_SYMPTOMS], *([f"noticed: {more} more kinds of symptom"] if more > 0 else [])]


def _outcome(action: Action) -> str:
    request = action.request
    what = f"{request.name} {' '.join(request.arguments.values())}".rstrip()
    who = f" (approved by {action.by})" if action.by else ""
    said = f": {action.text}" if action.text else ""
    return f"done about it: {what}{who}, {'measured' if action.state.ended else 'so far'} {action.state.value}{said}"


def lasting(seconds: float) -> str:
    """Say how long something took, in its two largest units."""
    left = max(0, int(seconds))
    parts = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
