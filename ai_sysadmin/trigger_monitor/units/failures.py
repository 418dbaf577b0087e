"""Units that fail, hang or flap: what becomes a trigger, and what was meant so. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from ai_sysadmin.core.noticing_settings import TriggerMonitor as Settings
from ai_sysadmin.core.records import Trigger
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.sources.unit_changes import AUTO_RESTART
from ai_sysadmin.sources.units import UnitStatus, Unsettled
from ai_sysadmin.trigger_monitor import rules

KIND_OF_RESULT: Final = {
    "oom-kill": SymptomKind.OOM_KILL,
    "watchdog": SymptomKind.WATCHDOG,
    "signal": SymptomKind.CRASHED,
    "core-dump": SymptomKind.CRASHED,
    "timeout": SymptomKind.TIMED_OUT,
    "start-limit-hit": SymptomKind.START_LIMIT_HIT,
    "trigger-limit-hit": SymptomKind.START_LIMIT_HIT,
    "service-start-limit-hit": SymptomKind.START_LIMIT_HIT,
    "dependency": SymptomKind.DEPENDENCY_FAILED,
}
"""How a failed unit's ``Result`` is called; every other one (``exit-code``, ``protocol``, …) is ``unit_failed``."""

BADLY_STOPPED: Final = frozenset({"timeout", "core-dump", "watchdog", "oom-kill"})
"""A stop that ends so is worth a line in the evidence, though nobody is missing the unit."""

_CLOCKS = timedelta(seconds=1)
_EVEN_STOPPED = {"exit-code", "signal", *BADLY_STOPPED}


@dataclass(frozen=True)
class Candidate:
    """A unit that failed, by the journal's word, a signal or systemd's own list; to be confirmed when it has stayed so.

    ``job`` names a start job that never ran, because a unit that this one needs failed; empty: it failed itself.
    ``listed``: found in systemd's list only, so that what led to it was perhaps never heard.
    """

    unit: str
    at: datetime
    text: str = ""
    result: str = ""
    invocation: str = ""
    at_limit: bool = False
    job: str = ""
    listed: bool = False


def of_failed(status: UnitStatus, now: datetime) -> Candidate:
    """Return the candidate for a unit that systemd lists as failed."""
    return Candidate(status.name, status.state_changed_at or now, invocation=run_of(status), listed=True)


def run_of(status: UnitStatus) -> str:
    """Name the run that failed; a unit that never came to run is named by the moment of its failure."""
    if status.invocation:
        return status.invocation
    return f"never-ran-{int(status.state_changed_at.timestamp() * 1e6)}" if status.state_changed_at else ""


def is_failed(status: UnitStatus) -> bool:
    """Tell whether a unit is failed for good: one that waits for its automatic restart is not."""
    return status.active_state == "failed" and AUTO_RESTART not in status.sub_state


def holds(candidate: Candidate, status: UnitStatus) -> bool:
    """Tell whether what a candidate says is still so."""
    if candidate.job:
        return status.active_state in {"inactive", "failed"} and status.load_state != "not-found"
    return is_failed(status)


def failed_at(candidate: Candidate, status: UnitStatus | None) -> datetime:
    """Return when it failed, by systemd's own clock where it is known."""
    known = status.state_changed_at if status is not None and not candidate.job else None
    return known or candidate.at


def was_meant(status: UnitStatus, stopped_at: datetime | None) -> bool:
    """Tell whether a failed state is only how a stop ended that somebody asked for.

    Args:
        stopped_at: when a stop of this unit began, or was seen done; none: none is known.
    """
    if stopped_at is None or status.result not in _EVEN_STOPPED:
        return False
    began, ended = status.inactive_exit_at, status.state_changed_at
    return (began is None or stopped_at >= began) and (ended is None or stopped_at <= ended + _CLOCKS)


def looks_stopped(status: UnitStatus) -> bool:
    """Tell whether a failure looks like the end of a stop: it ended by SIGTERM, or with an exit status that says so."""
    return status.result in {"exit-code", "signal"} and status.exit_status in {15, 130, 143}


def at_start_limit(status: UnitStatus) -> bool:
    """Tell whether a failed service would be restarted, had it not been so often: its Result stays the last exit."""
    return (
        status.active_state == "failed"
        and status.restart not in {"", "no"}
        and 0 < status.start_limit_burst <= status.n_restarts
    )


def confirmed(
    candidate: Candidate, status: UnitStatus | None, host: str, *, triggered_by: Sequence[str] = ()
) -> Trigger:
    """Return the trigger for a candidate that has stayed failed.

    Args:
        status: what systemd says now; none: it cannot be asked, and the journal's word counts.
        triggered_by: the units that start this one.
    """
    if candidate.job:
        return _dependency(candidate, host)
    result = status.result if status else candidate.result
    details = {"result": result, "invocation": run_of(status) if status else candidate.invocation}
    if status is not None:
        details |= {"exit_status": str(status.exit_status), "load_state": status.load_state}
    is_at_limit = candidate.at_limit or (status is not None and at_start_limit(status))
    details["start_limit"] = "hit" if is_at_limit else ""
    details["triggered_by"] = next((each for each in triggered_by if each.endswith(".timer")), "")
    unit = candidate.unit
    return Trigger(
        host=host,
        unit=unit,
        kind=KIND_OF_RESULT.get(result, SymptomKind.START_LIMIT_HIT if is_at_limit else SymptomKind.UNIT_FAILED),
        template="",
        opens=True,
        at=failed_at(candidate, status),
        priority=rules.SEVERE_PRIORITY,
        text=candidate.text or f"{unit}: Failed with result '{result}'.",
        why="systemd reports it as failed" if status else "the journal reports it as failed; systemd does not answer",
        details={key: value for key, value in details.items() if value},
    )


def _dependency(candidate: Candidate, host: str) -> Trigger:
    return Trigger(
        host=host,
        unit=candidate.unit,
        kind=SymptomKind.DEPENDENCY_FAILED,
        template="",
        opens=True,
        at=candidate.at,
        priority=rules.SEVERE_PRIORITY,
        text=candidate.text or f"Dependency failed for {candidate.unit}.",
        why="systemd did not start it: a unit that it needs failed",
        details={"result": "dependency", "invocation": candidate.job},
    )


def badly_stopped(status: UnitStatus, host: str, now: datetime) -> Sequence[Trigger]:
    """Return what a stop that somebody asked for leaves to say: nothing, unless the unit had to be killed or broke."""
    if status.result not in BADLY_STOPPED:
        return ()
    text = f"{status.name}: was stopped, and ended with result '{status.result}'."
    return (
        Trigger(
            host=host,
            unit=status.name,
            kind=KIND_OF_RESULT[status.result],
            template="",
            opens=False,
            at=status.state_changed_at or now,
            text=text,
            why="it did not stop as it should",
            details={"result": status.result, "invocation": f"stop-{run_of(status)}"},
        ),
    )


# --- units that come to no rest


@dataclass(frozen=True)
class Restarts:
    """When a unit was restarted by itself, in Unix seconds, as the journal and as signals tell of it.

    Both tell of the same restarts, and either may miss some: the longer list counts.
    """

    told: tuple[float, ...] = ()
    seen: tuple[float, ...] = ()

    def within(self, seconds: float, now: float) -> int:
        return max(sum(each > now - seconds for each in moments) for moments in (self.told, self.seen))

    def pruned(self, seconds: float, now: float, most: int) -> "Restarts":
        told, seen = (tuple(each for each in moments if each > now - seconds) for moments in (self.told, self.seen))
        return Restarts(told[-most:], seen[-most:])


def flapping(status: UnitStatus, restarts: Restarts, host: str, settings: Settings, now: datetime) -> Sequence[Trigger]:
    """Return that a unit is restarted again and again, unless it is failed for good."""
    number = restarts.within(settings.flap_seconds, now.timestamp())
    if number < settings.flap_restarts or is_failed(status):
        return ()
    minutes = settings.flap_seconds / 60
    first = min((*restarts.told, *restarts.seen))
    return (
        Trigger(
            host=host,
            unit=status.name,
            kind=SymptomKind.FLAPPING,
            template="",
            opens=True,
            at=now,
            priority=rules.SEVERE_PRIORITY,
            text=f"{status.name}: restarted {number} times within {minutes:g} minutes.",
            why=f"it was restarted {number} times within {minutes:g} minutes",
            details={"result": status.result, "restarts": str(number), "invocation": f"flapping-{int(first)}"},
        ),
    )


def is_stuck(unit: Unsettled, stuck_seconds: float) -> bool:
    """Tell whether a unit takes too long to start, stop or reload.

    A one-shot service may start for as long as it works; a finite limit of its own that is longer explains the wait.
    No limit at all explains nothing: such a unit would wait for ever.
    """
    if unit.seconds < stuck_seconds or AUTO_RESTART in unit.sub_state:
        return False
    if unit.type == "oneshot" and unit.active_state == "activating":
        return False
    return unit.limit_seconds is None or unit.seconds > unit.limit_seconds


def stuck(unit: Unsettled, host: str, now: datetime) -> Trigger:
    """Return that a unit is stuck."""
    how = {"activating": "starting", "deactivating": "stopping"}.get(unit.active_state, "reloading")
    return Trigger(
        host=host,
        unit=unit.name,
        kind=SymptomKind.STUCK,
        template="",
        opens=True,
        at=now,
        priority=rules.SEVERE_PRIORITY,
        text=f"{unit.name}: {how} ({unit.sub_state}) for {unit.seconds:.0f} s.",
        why=f"{unit.name} has been {how} for {unit.seconds:.0f} s",
        details={
            "active_state": unit.active_state,
            "sub_state": unit.sub_state,
            "invocation": f"stuck-{unit.active_state}-{unit.invocation}",
        },
    )


def first_stuck_in(unit: Unsettled, stuck_seconds: float) -> float:
    """Return in how many seconds an unsettled unit may be stuck; zero: now."""
    explained = unit.limit_seconds if unit.limit_seconds and unit.limit_seconds > stuck_seconds else stuck_seconds
    return max(0.0, explained - unit.seconds)
