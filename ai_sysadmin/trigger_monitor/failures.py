"""Units that fail and units that mend: what becomes a trigger, and what ends an incident. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from ai_sysadmin.core.clock import local
from ai_sysadmin.core.incident import Incident, State
from ai_sysadmin.core.records import SymptomKind, Trigger
from ai_sysadmin.sources.units import UnitStatus
from ai_sysadmin.stores import Cleared
from ai_sysadmin.trigger_monitor import rules
from ai_sysadmin.trigger_monitor.bursts import BURST_OVER

MENDED_AFTER: Final = timedelta(seconds=12)
"""A unit that holds for so long without our doing is mended; longer than the executor's own post-check."""


OVERTAKEN_AFTER: Final = timedelta(seconds=0.1)
"""A state this much newer than what the journal told of it is another failure."""


@dataclass(frozen=True)
class Candidate:
    """A unit that failed, by the journal's word or systemd's own list; to be confirmed when it has stayed so.

    ``is_last_word``: no newer word of it is to be waited for.
    """

    unit: str
    at: datetime
    text: str = ""
    result: str = ""
    invocation: str = ""
    at_limit: bool = False
    is_last_word: bool = False


def is_overtaken(candidate: Candidate, status: UnitStatus) -> bool:
    """Tell whether the unit failed once more since: the journal is about to say how, which is worth a short wait."""
    changed_at = status.state_changed_at
    if candidate.is_last_word or status.active_state != "failed" or changed_at is None:
        return False
    return changed_at - candidate.at > OVERTAKEN_AFTER


def of_failed(status: UnitStatus, now: datetime) -> Candidate:
    """Return the candidate for a unit that systemd lists as failed."""
    return Candidate(status.name, status.state_changed_at or now, invocation=run_of(status), is_last_word=True)


def run_of(status: UnitStatus) -> str:
    """Name the run that failed; a unit that never came to run is named by the moment of its failure."""
    if status.invocation:
        return status.invocation
    return f"never-ran-{int(status.state_changed_at.timestamp() * 1e6)}" if status.state_changed_at else ""


def confirmed(candidate: Candidate, status: UnitStatus | None, host: str) -> Sequence[Trigger]:
    """Return the trigger for a candidate that has stayed failed.

    Args:
        status: what systemd says now; none: it cannot be asked, and the journal's word counts.
    """
    if status is not None and status.active_state != "failed":
        return ()
    result = status.result if status else candidate.result
    details = {"result": result, "invocation": run_of(status) if status else candidate.invocation}
    if status is not None:
        details |= {"exit_status": str(status.exit_status), "load_state": status.load_state}
    unit = candidate.unit
    return (
        Trigger(
            host=host,
            unit=unit,
            kind=_kind(result, candidate.at_limit),
            template="",
            opens=True,
            at=candidate.at,
            priority=rules.SEVERE_PRIORITY,
            text=candidate.text or f"{unit}: Failed with result '{result}'.",
            why="systemd reports it as failed"
            if status
            else "the journal reports it as failed; systemd does not answer",
            details={key: value for key, value in details.items() if value},
        ),
    )


def _kind(result: str, at_limit: bool) -> SymptomKind:
    return rules.KIND_OF_RESULT.get(result, SymptomKind.START_LIMIT_HIT if at_limit else SymptomKind.UNIT_FAILED)


def may_clear(incident: Incident) -> bool:
    """Tell whether an incident ends when its unit holds again; while we act the executor is measuring that."""
    return incident.kind in rules.UNIT_STATE_KINDS and incident.state is not State.ACTING


def mended(incident: Incident, status: UnitStatus, now: datetime) -> Sequence[Cleared]:
    """Return that a unit's failure is gone, once it has held for long enough."""
    if not may_clear(incident):
        return ()
    if status.active_state == "active":
        since, how = status.active_enter_at, "active again"
    elif status.active_state == "inactive" and status.result in {"success", ""}:
        since, how = status.state_changed_at, "not failed any more (inactive)"
    else:
        return ()
    if now - (since or incident.changed_at) < MENDED_AFTER:
        return ()
    moment = f" since {local(since)}" if since else ""
    why = f"{how}{moment}, not by an action of this suite"
    return (Cleared(incident.host, incident.unit, now, why),)


def fell_quiet(incident: Incident, now: datetime) -> Sequence[Cleared]:
    """Return that a burst is over, once no line of it came for long enough."""
    if incident.kind is not SymptomKind.BURST or incident.state is State.ACTING:
        return ()
    if now - incident.changed_at < BURST_OVER:
        return ()
    why = f"no such line since {local(incident.changed_at)}"
    return (Cleared(incident.host, incident.unit, now, why),)
