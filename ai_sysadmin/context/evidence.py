"""Gather what is known about an incident: the unit as it stands, its last log lines, the symptoms with their counts.

The same host gives the same pack: pieces have fixed ids (``e1`` unit, ``e2`` log, ``e3`` symptoms), a look-up that
fails is a piece that says why, and the hash is over what a judgement may rest on.
"""

import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from itertools import groupby

from ai_sysadmin.context.defuse import newest, one_line
from ai_sysadmin.core.errors import AiSysadminError
from ai_sysadmin.core.incident import Incident
from ai_sysadmin.core.records import Evidence, EvidencePack, JournalEntry, Symptom
from ai_sysadmin.sources.units import Units, UnitStatus

JournalLookup = Callable[[str, int], Awaitable[Sequence[JournalEntry]]]
"""Return the last so many lines of a unit's journal, oldest first."""

MOST_LINE_CHARACTERS = 300
MOST_LOG_CHARACTERS = 6000
MOST_SYMPTOMS = 20

_STATE_FACTS = ("load_state", "active_state", "sub_state", "result", "exit_status")
_PRIORITIES = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")


async def gather(
    incident: Incident,
    symptoms: Sequence[Symptom],
    units: Units,
    journal_lookup: JournalLookup,
    *,
    log_lines: int,
    now: datetime,
) -> EvidencePack:
    """Return the evidence for an incident; what cannot be looked up is said in its place, never left out.

    The hash is unchanged by counts, times, process ids and further lines of known templates; a new fingerprint, or
    another state or result of the unit, changes it. What is noteworthy in the log is there as a fingerprint.
    """
    pieces: list[Evidence] = []
    if incident.unit:
        pieces.append(await _unit_status(incident.unit, units, now))
        pieces.append(await _unit_log(incident.unit, journal_lookup, log_lines, now))
    pieces.append(_symptoms(symptoms, now))
    return EvidencePack(incident_id=incident.id, pieces=tuple(pieces), hash=_hash(pieces, symptoms))


async def _unit_status(unit: str, units: Units, now: datetime) -> Evidence:
    try:
        status = await units.status(unit)
    except AiSysadminError as error:
        return _unavailable("e1", f"state of {unit}", error, now)
    return Evidence(
        id="e1", kind="unit_status", title=f"state of {unit}", text=_describe(status), at=now, facts=facts_from(status)
    )


def facts_from(status: UnitStatus) -> dict[str, str]:
    """Return a unit's state as facts; ``facts.status_in`` reads them back."""
    fields = status.model_dump(mode="json", exclude_none=True)
    return {name: one_line(str(value), MOST_LINE_CHARACTERS) for name, value in fields.items()}


def _describe(status: UnitStatus) -> str:
    lines = [
        f"{status.name}: {status.description}",
        f"state: {status.active_state} ({status.sub_state}), unit file {status.load_state}, type {status.type}",
        f"result: {status.result}, exit status {status.exit_status}, restarted by systemd {status.n_restarts} times",
    ]
    if status.fragment_path:
        lines.append(f"defined in {status.fragment_path}")
    if status.state_changed_at:
        lines.append(f"in this state since {_time(status.state_changed_at)}")
    return "\n".join(one_line(line, MOST_LINE_CHARACTERS) for line in lines)


async def _unit_log(unit: str, journal_lookup: JournalLookup, log_lines: int, now: datetime) -> Evidence:
    try:
        entries = await journal_lookup(unit, log_lines)
    except AiSysadminError as error:
        return _unavailable("e2", f"log of {unit}", error, now)
    text = "\n".join(newest(_log_lines(entries), MOST_LOG_CHARACTERS)) or "(no lines)"
    return Evidence(id="e2", kind="unit_log", title=f"last log lines of {unit}", text=text, at=now)


def _log_lines(entries: Sequence[JournalEntry]) -> list[str]:
    """Return one line for each run of equal entries, in order."""
    lines: list[str] = []
    for (priority, identifier, message), run in groupby(entries, key=lambda e: (e.priority, e.identifier, e.message)):
        first, *more = run
        times = f" ({len(more) + 1} times)" if more else ""
        said = f"{_time(first.at)} {_PRIORITIES[min(max(priority, 0), 7)]} {identifier}: "
        lines.append(one_line(said, 100) + " " + one_line(message, MOST_LINE_CHARACTERS - 100 - len(times)) + times)
    return lines


def _symptoms(symptoms: Sequence[Symptom], now: datetime) -> Evidence:
    ranked = sorted(symptoms, key=lambda s: (not s.opens, s.priority, s.first_at, s.fingerprint))
    lines = [_symptom(symptom) for symptom in ranked[:MOST_SYMPTOMS]]
    if len(ranked) > MOST_SYMPTOMS:
        lines.append(f"and {len(ranked) - MOST_SYMPTOMS} more kinds of symptom")
    text = "\n".join(lines) or "(none)"
    return Evidence(id="e3", kind="symptoms", title="what was noticed, with counts", text=text, at=now)


def _symptom(symptom: Symptom) -> str:
    said = f"{symptom.kind.value}, {symptom.count} times since {_time(symptom.first_at)}: {symptom.why}"
    if symptom.text and symptom.text not in symptom.why:
        said += f" | for example: {symptom.text}"
    return one_line(said, MOST_LINE_CHARACTERS)


def _unavailable(piece_id: str, title: str, error: AiSysadminError, now: datetime) -> Evidence:
    text = one_line(f"not known: {error}", MOST_LINE_CHARACTERS)
    return Evidence(id=piece_id, kind="unavailable", title=title, text=text, at=now)


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _hash(pieces: Sequence[Evidence], symptoms: Sequence[Symptom]) -> str:
    body = {
        "kinds": [(piece.id, piece.kind) for piece in pieces],
        "states": [
            [piece.facts.get(name, "") for name in _STATE_FACTS] for piece in pieces if piece.kind == "unit_status"
        ],
        "fingerprints": sorted(symptom.fingerprint for symptom in symptoms),
    }
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:32]
