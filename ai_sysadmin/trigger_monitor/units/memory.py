"""What the watch of the units keeps in mind: failures that wait to be confirmed, stops and restarts. No I/O."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

from ai_sysadmin.trigger_monitor.units.failures import Candidate, Restarts

SAME_FAILURE: Final = timedelta(seconds=0.1)
"""Two reports so close to each other are of one failure."""

STOPS_KEPT: Final = timedelta(days=7)
MOST_UNITS: Final = 500
_MOST_RESTARTS = 50


@dataclass(frozen=True)
class Waiting:
    """A candidate and when it is due, in seconds of a clock that stands still while the machine sleeps.

    ``since`` is when it was first due: postponed again and again, it is still told at last.
    """

    candidate: Candidate
    due: float
    since: float


@dataclass
class Pending:
    """The failures that wait, one a unit."""

    debounce: float
    waiting: dict[str, Waiting] = field(default_factory=dict)

    def add(self, candidate: Candidate, now: datetime, ticks: float) -> None:
        """Have a candidate wait until it has been failed for the debounce; that runs from the failure itself."""
        rest = min(max(self.debounce - (now - candidate.at).total_seconds(), 0.0), self.debounce)
        held, due = self.waiting.get(candidate.unit), ticks + rest
        if held is None or candidate.at > held.candidate.at + SAME_FAILURE:
            self.waiting[candidate.unit] = Waiting(candidate, due, due)
        else:
            self.waiting[candidate.unit] = replace(held, candidate=_merged(held.candidate, candidate))

    def drop(self, unit: str, at: datetime, *, but_jobs: bool = False) -> None:
        """Forget a candidate because the unit went on from it at some moment."""
        held = self.waiting.get(unit)
        if held is not None and held.candidate.at <= at + SAME_FAILURE and not (but_jobs and held.candidate.job):
            del self.waiting[unit]

    def postpone(self, waiting: Waiting, due: float) -> None:
        """Have a candidate wait longer, unless a newer one took its place."""
        if self.waiting.get(waiting.candidate.unit) is waiting:
            self.waiting[waiting.candidate.unit] = replace(waiting, due=due)

    def forget(self, waiting: Waiting) -> None:
        """Let go of a candidate that has been dealt with, unless a newer one took its place."""
        if self.waiting.get(waiting.candidate.unit) is waiting:
            del self.waiting[waiting.candidate.unit]

    def due(self, ticks: float) -> list[Waiting]:
        return [each for each in self.waiting.values() if each.due <= ticks]

    def first(self) -> float | None:
        return min((each.due for each in self.waiting.values()), default=None)


def _merged(held: Candidate, other: Candidate) -> Candidate:
    """Return one candidate of two reports of the same failure."""
    return replace(
        held,
        text=held.text or other.text,
        result=held.result or other.result,
        invocation=held.invocation or other.invocation,
        at_limit=held.at_limit or other.at_limit,
        job=held.job and other.job,
        listed=held.listed and other.listed,
    )


@dataclass
class UnitMemory:
    """What must survive a restart of the monitor."""

    stops: dict[str, datetime] = field(default_factory=dict)
    restarts: dict[str, Restarts] = field(default_factory=dict)

    def stopped(self, unit: str, at: datetime) -> None:
        """Note that somebody had a unit stopped."""
        if at > self.stops.get(unit, datetime.min.replace(tzinfo=at.tzinfo)):
            self.stops.pop(unit, None)
            self.stops[unit] = at
            while len(self.stops) > MOST_UNITS:
                del self.stops[next(iter(self.stops))]

    def restarted(self, unit: str, at: datetime, *, told: int = 0, seen: int = 0) -> Restarts:
        """Note that a unit was restarted by itself, so often by the journal's word or by signals."""
        held = self.restarts.pop(unit, Restarts())
        moment = at.timestamp()
        held = Restarts((*held.told, *[moment] * told), (*held.seen, *[moment] * seen))
        self.restarts[unit] = Restarts(held.told[-_MOST_RESTARTS:], held.seen[-_MOST_RESTARTS:])
        while len(self.restarts) > MOST_UNITS:
            del self.restarts[next(iter(self.restarts))]
        return self.restarts[unit]

    def prune(self, now: datetime, flap_seconds: float) -> None:
        """Forget what is too old to matter."""
        self.stops = {unit: at for unit, at in self.stops.items() if at > now - STOPS_KEPT}
        kept = (
            (unit, each.pruned(flap_seconds, now.timestamp(), _MOST_RESTARTS)) for unit, each in self.restarts.items()
        )
        self.restarts = {unit: each for unit, each in kept if each.told or each.seen}

    def dump(self, unrest: Sequence[Mapping[str, str]]) -> str:
        return json.dumps(
            {
                "stops": {unit: at.isoformat() for unit, at in self.stops.items()},
                "restarts": {unit: [each.told, each.seen] for unit, each in self.restarts.items()},
                "unrest": unrest,
            }
        )


def loaded(text: str) -> tuple[UnitMemory, Sequence[Mapping[str, str]]]:
    """Return what was dumped, and the turbulences with it; nothing where nothing was."""
    kept: dict[str, Any] = json.loads(text) if text else {}
    stops = {unit: datetime.fromisoformat(at) for unit, at in kept.get("stops", {}).items()}
    restarts = {unit: Restarts(tuple(told), tuple(seen)) for unit, (told, seen) in kept.get("restarts", {}).items()}
    return UnitMemory(stops, restarts), kept.get("unrest", ())
