"""What is known: runbooks, notes and past incidents by words, and the incidents that there are."""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Final

from pydantic import Field

from ai_sysadmin.context.knowledge import Search
from ai_sysadmin.context.pieces.drafts import iso
from ai_sysadmin.core.clock import Clock, since
from ai_sysadmin.core.errors import NotFound
from ai_sysadmin.core.incident import ENDED, Incident, State
from ai_sysadmin.core.knowledge import Document, DocumentKind, Hit
from ai_sysadmin.stores import Action, IncidentDetail, ReadStore
from ai_sysadmin.stores.knowledge_store import KnowledgeStore
from ai_sysadmin.tools.tool import Part, Told, Tool, Words, tool_of

_HITS: Final = 5
_CHARACTERS: Final = 3000
_LOOKED_AT: Final = 500
_PAST: Final = 5
_OF_UNIT: Final = 15
_SYMPTOMS: Final = 10
_TIMELINE: Final = 40
_KINDS: Final = (
    DocumentKind.RUNBOOK,
    DocumentKind.NOTE,
    DocumentKind.INCIDENT,
    DocumentKind.DISCOVERY,
    DocumentKind.SYSTEM,
)
_DOCUMENT_ID: Final = re.compile(r"[0-9a-f]{10}")
_INCIDENT_ID: Final = re.compile(r"[2-9a-z]{4,6}")

OfProblem = Annotated[Words, Field(description="words of the problem, or a document's id for all of it")]
Which = Annotated[Part, Field(description="live, an incident's id (its whole story), or a unit")]


def known_tools(search: Search, documents: KnowledgeStore, reader: ReadStore, clock: Clock) -> tuple[Tool, ...]:
    async def knowledge(words: OfProblem) -> Told:
        """Search runbooks, operators' notes and past incidents."""
        if _DOCUMENT_ID.fullmatch(words):
            document = await documents.get(words)
            return Told("\n".join(_document(document, whole=True)))
        found = await search.search(words, _KINDS, _HITS)
        lines = [line for hit in found.hits for line in _hit(hit)] or [f"nothing is known about {words!r}"]
        note = [f"({found.degraded})"] if found.degraded else []
        return Told("\n".join([*note, *lines]), narrow="give other `words`, or a document's id for all of it")

    async def incidents(which: Which = "live") -> Told:
        """Tell incidents: cause, outcome, actions; the live ones, those of a unit, or one with its whole story."""
        if which.lower() in {"", "live"}:
            return Told("\n".join(await _live(reader, clock.now())))
        if _INCIDENT_ID.fullmatch(which):
            try:
                return Told("\n".join(_story(await reader.incident(which))))
            except NotFound:  # a unit may have such a short name
                pass
        return Told("\n".join(await _of_unit(reader, which, clock.now())), narrow="give an incident's id as `which`")

    return (
        tool_of(knowledge, says="what is known: {words}"),
        tool_of(incidents, says="incidents: {which}"),
    )


def _hit(hit: Hit) -> Iterator[str]:
    return _document(hit.document, whole=False)


def _document(document: Document, *, whole: bool) -> Iterator[str]:
    named = f"document {document.id}, {document.kind.value} {document.name}"
    yield f"{named}, of {iso(document.updated_at)}: {document.title}"
    text = document.text if whole else document.text[:_CHARACTERS]
    yield from (f"    {line}" for line in text.split("\n"))
    if len(text) < len(document.text):
        left = len(document.text) - len(text)
        yield f'    ({left} more characters: knowledge(words="{document.id}"))'


async def _live(reader: ReadStore, now: datetime) -> Sequence[str]:
    live = await reader.incidents([state for state in State if state not in ENDED])
    lines = [line for each in live for line in _brief(each, now)] or ["no incident is open"]
    actions = await reader.actions(("proposed", "submitted", "pending", "approved", "started", "ran"))
    lines += ["actions under way or waiting for a person:"] * bool(actions)
    lines += [f"    {_action(each)}" for each in actions]
    past = await reader.incidents(sorted(ENDED), _PAST)
    lines += ["the last that ended:"] * bool(past)
    return [*lines, *(line for each in past for line in _brief(each, now))]


async def _of_unit(reader: ReadStore, which: str, now: datetime) -> Sequence[str]:
    """Return the incidents of a unit, or of what else they are about, the newest first."""
    name = which.lower()
    found = [each for each in await reader.incidents(limit=_LOOKED_AT) if _is_of(each, name)]
    if not found:
        raise NotFound(f"there is no incident {which!r}, and none of a unit of that name among the last {_LOOKED_AT}")
    found.sort(key=lambda each: each.opened_at, reverse=True)
    more = [f"and {len(found) - _OF_UNIT} older ones"] if len(found) > _OF_UNIT else []
    return [*(line for each in found[:_OF_UNIT] for line in _brief(each, now)), *more]


def _is_of(incident: Incident, name: str) -> bool:
    return any(
        own and (own == name or own.rpartition(".")[0] == name)
        for own in (incident.unit.lower(), incident.subject.lower())
    )


def _brief(incident: Incident, now: datetime) -> Iterator[str]:
    began = f"began {since(incident.opened_at, now)} ago ({iso(incident.opened_at)})"
    ended = f", ended {iso(incident.resolved_at)}" if incident.resolved_at else ""
    again = f", came back {incident.reopened} times" if incident.reopened else ""
    severity = f"severity {incident.severity} of 100"
    yield f"{incident.id} {incident.state.value}: {incident.title}, {began}{ended}{again}, {severity}"
    yield f"    cause: {_cause(incident)}"
    if incident.merged_into:
        yield f"    it is part of {incident.merged_into}"
    if incident.note:
        yield f"    {incident.note}"


def _cause(incident: Incident) -> str:
    return f"{incident.cause} (as {incident.judged_by or 'nobody'} said)" if incident.cause else "not known"


def _story(detail: IncidentDetail) -> Iterator[str]:
    """Yield all that is told of an incident: what was noticed, judged, found out and done."""
    incident = detail.incident
    yield from _brief(incident, incident.changed_at)
    for symptom in detail.symptoms[:_SYMPTOMS]:
        seen = f"{symptom.count} times from {iso(symptom.first_at)} to {iso(symptom.last_at)}"
        yield f"noticed {symptom.kind.value} of {symptom.subject or 'the host'} {seen}: {symptom.why or symptom.text}"
    for review in detail.reviews[-2:]:
        yield f"judged by {review.judged_by}, {iso(review.at)}: {review.verdict.value}, {review.cause}: {review.why}"
    for found in detail.investigations[-2:]:
        by = f"{found.investigated_by}, {iso(found.at)}, {found.confidence} % sure"
        yield f"investigated by {by}: {found.diagnosis}"
        yield from (f"    ruled out: {each}" for each in found.ruled_out)
    yield from (f"action {_action(each)}" for each in detail.actions)
    if not detail.actions:
        yield "no action was proposed"
    for entry in detail.timeline[-_TIMELINE:]:
        yield f"{iso(entry.at)} {entry.event} by {entry.by}: {entry.text}"


def _action(action: Action) -> str:
    request = action.request
    what = " ".join((request.name, *request.arguments.values()))
    said = f": {action.text or request.why}"
    of = f", incident {request.incident_id}" if request.incident_id else ""
    return f"{request.id} {what}, {action.state.value}{f' by {action.by}' if action.by else ''}{of}{said}"
