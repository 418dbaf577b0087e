"""Gather what is known about an incident, before any model: the same host gives the same pack.

The pieces have one order and consecutive ids (``e1``, ``e2``, …). They are looked up side by side, each within its
time; a look-up that fails is a piece that says why. ``context.pieces`` holds them, one module each.
"""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple

from ai_sysadmin.context.defuse import cut, one_line
from ai_sysadmin.context.knowledge import Search
from ai_sysadmin.context.pieces import (
    changes,
    dependencies,
    host,
    log,
    metrics,
    outcomes,
    past,
    runbooks,
    symptoms,
    unit,
)
from ai_sysadmin.context.pieces.drafts import MOST_LINE_CHARACTERS, MOST_PIECE_CHARACTERS, Cleaner, Draft
from ai_sysadmin.context.pieces.host import HostLookup
from ai_sysadmin.context.pieces.past import PastIncidents
from ai_sysadmin.context.pieces.runbooks import RunbookShelf
from ai_sysadmin.context.redact import Redactor, redact_pack
from ai_sysadmin.core.context_settings import Context
from ai_sysadmin.core.errors import AiSysadminError
from ai_sysadmin.core.incident import Incident
from ai_sysadmin.core.policy_settings import Breakers
from ai_sysadmin.core.records import Evidence, EvidenceKind, EvidencePack, Symptom
from ai_sysadmin.sources.changes import Changes
from ai_sysadmin.sources.journal import Journal
from ai_sysadmin.sources.sysstat import Sysstat
from ai_sysadmin.sources.units import ExaminedUnits
from ai_sysadmin.stores.metric_store import MetricStore
from ai_sysadmin.stores.outcome_store import OutcomeStore

_QUERY_CHARACTERS: Final = 400
_JUDGED: Final = frozenset({"unit_status", "symptoms", "unit_log", "changes", "dependencies", "outcomes"})
"""Kinds of piece that the hash knows: what a judgement may rest on, and whether it could be looked at."""


@dataclass(frozen=True)
class EvidenceSources:
    """Where evidence comes from. What is none is not there on this host, and makes no piece."""

    units: ExaminedUnits
    journal: Journal
    redactor: Redactor = field(default_factory=Redactor)
    limits: Context = field(default_factory=Context)
    metrics: MetricStore | None = None
    sysstat: Sysstat | None = None
    changes: Changes | None = None
    past: PastIncidents | None = None
    knowledge: Search | None = None
    documents: RunbookShelf | None = None
    host: HostLookup | None = None
    outcomes: OutcomeStore | None = None
    breakers: Breakers = field(default_factory=Breakers)


class Look(NamedTuple):
    """One look-up: what it is for, and how it is done."""

    kind: EvidenceKind
    title: str
    work: Callable[[Cleaner], Awaitable[Draft | None]]


class Seen(NamedTuple):
    """What a look-up came to, and how many secrets were taken out of it, by kind."""

    look: Look
    draft: Draft
    redacted: dict[str, int]


async def gather(
    incident: Incident, noticed: Sequence[Symptom], sources: EvidenceSources, now: datetime
) -> EvidencePack:
    """Return the evidence for an incident; what cannot be looked up is said in its place, never left out.

    The hash is unchanged by counts, times, process ids and further lines of known templates, and by figures, runbooks,
    past incidents and the host. A new fingerprint, another state or result of the unit, another failed dependency,
    another change before the fault or an action that did not help changes it.
    """
    measured = _measured(incident, noticed, sources, now)
    found = await asyncio.gather(*(_seen(look, sources) for look in measured))
    query = _query(incident, [topic for seen in found if seen for topic in seen.draft.topics])
    known = await asyncio.gather(*(_seen(look, sources) for look in _known(incident, sources, query)))
    all_seen = [seen for seen in (*found, *known) if seen]
    pieces = tuple(_piece(number, seen, now) for number, seen in enumerate(all_seen, start=1))
    pack = EvidencePack(incident_id=incident.id, pieces=pieces, hash=_hash(all_seen))
    return redact_pack(pack, sources.redactor)


def _measured(incident: Incident, noticed: Sequence[Symptom], sources: EvidenceSources, now: datetime) -> list[Look]:
    """Return the look-ups of this incident's own, in the order of their pieces."""
    limits, name = sources.limits, incident.unit
    stretch = log.Stretch(incident.opened_at, limits.log_before_seconds, limits.log_lines)
    before = changes.Before(incident.opened_at, limits.changes_hours)
    subjects = frozenset({incident.about, *(symptom.about for symptom in noticed)}) - {""}
    around = metrics.Around(incident.opened_at, limits.baseline_hours, subjects)
    sysstat = sources.sysstat if limits.sysstat else None
    looks: list[Look] = []
    if name:
        looks.append(Look("unit_status", f"state of {name}", lambda clean: unit.look(name, sources.units, clean)))
    looks.append(Look("symptoms", "what was noticed", lambda clean: _at_once(symptoms.draft(noticed, clean))))
    if name:
        looks.append(Look("unit_log", f"log of {name}", lambda clean: log.look(name, sources.journal, stretch, clean)))
    elif not log.KERNEL_KINDS.isdisjoint({incident.kind, *(symptom.kind for symptom in noticed)}):
        looks.append(
            Look("unit_log", "the kernel's log", lambda clean: log.look_at_kernel(sources.journal, stretch, clean))
        )
    if all_changes := sources.changes:
        looks.append(
            Look("changes", "what changed before", lambda clean: changes.look(name, all_changes, before, clean))
        )
    if name:
        what = f"what {name} depends on"
        looks.append(Look("dependencies", what, lambda clean: dependencies.look(name, sources.units, clean)))
    if sources.metrics or sysstat:
        looks.append(
            Look(
                "metrics",
                "the host's figures",
                lambda clean: metrics.look(sources.metrics, sysstat, around, now, clean),
            )
        )
    if remembered := sources.outcomes:
        failures = sources.breakers.failures
        looks.append(
            Look(
                "outcomes",
                "what was tried before",
                lambda clean: outcomes.look(noticed, remembered, failures, now, clean),
            )
        )
    return looks


def _known(incident: Incident, sources: EvidenceSources, query: str) -> list[Look]:
    """Return the look-ups of what is known beside this incident."""
    limits, search, shelf = sources.limits, sources.knowledge, sources.documents
    looks: list[Look] = []
    if remembered := sources.past:
        looks.append(
            Look(
                "past_incidents",
                "similar incidents of the past",
                lambda clean: past.look(incident, remembered, search, query, limits.past_incidents, clean),
            )
        )
    if search or shelf:
        looks.append(
            Look(
                "runbooks",
                "runbooks that may fit",
                lambda clean: runbooks.look(incident, shelf, search, query, limits.runbooks, clean),
            )
        )
    if this_host := sources.host:
        looks.append(Look("host", "the host", lambda clean: host.look(this_host, clean)))
    return looks


def _query(incident: Incident, topics: Sequence[str]) -> str:
    return cut(" ".join((incident.kind.value.replace("_", " "), incident.title, *topics)), _QUERY_CHARACTERS)


async def _at_once(draft: Draft) -> Draft:
    return draft


async def _seen(look: Look, sources: EvidenceSources) -> Seen | None:
    """Do a look-up within its time; what went wrong is told in its place."""
    clean = Cleaner(sources.redactor)
    limit = sources.limits.gather_seconds
    try:
        async with asyncio.timeout(limit):
            draft = await look.work(clean)
    except TimeoutError:
        draft = _unavailable(look, f"it took longer than {limit:g} s")
    except AiSysadminError as error:
        draft = _unavailable(look, clean.line(str(error)))
    return Seen(look, draft, dict(sorted(clean.counts.items()))) if draft else None


def _unavailable(look: Look, why: str) -> Draft:
    lines = (one_line(f"not known: {why}", MOST_LINE_CHARACTERS),)
    return Draft(kind="unavailable", title=look.title, lines=lines, identity=("unavailable",))


def _piece(number: int, seen: Seen, now: datetime) -> Evidence:
    draft = seen.draft
    return Evidence(
        id=f"e{number}",
        kind=draft.kind,
        title=one_line(draft.title, MOST_LINE_CHARACTERS),
        text=cut("\n".join(cut(line, MOST_LINE_CHARACTERS) for line in draft.lines), MOST_PIECE_CHARACTERS),
        at=now,
        facts=dict(draft.facts),
        left_out=one_line(draft.left_out, MOST_LINE_CHARACTERS),
        redacted=seen.redacted,
    )


def _hash(all_seen: Sequence[Seen]) -> str:
    body = [(seen.look.kind, seen.draft.identity) for seen in all_seen if seen.look.kind in _JUDGED]
    known = [(kind, list(identity)) for kind, identity in body if identity]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:32]
