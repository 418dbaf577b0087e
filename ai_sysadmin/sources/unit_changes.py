"""What systemd signals of its units, gathered into small batches: however many signals come, one change a unit.

Only the signals of the interface that all units share are listened to: they tell the state, and what else there is to
know of a unit is asked when it matters. systemd sends two signals a change and repeats them for neighbours; most are
dropped here, before anybody wakes.
"""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from ai_sysadmin.runtime.bus import BUS, MANAGER, MANAGER_PATH, PROPERTIES, SYSTEMD, Signal

UNIT: Final = "org.freedesktop.systemd1.Unit"

RULES: Final = (
    f"type='signal',sender='{SYSTEMD}',interface='{PROPERTIES}',member='PropertiesChanged',arg0='{UNIT}'",
    *(
        f"type='signal',sender='{SYSTEMD}',interface='{MANAGER}',member='{member}'"
        for member in ("JobNew", "JobRemoved", "Reloading")
    ),
    f"type='signal',sender='{BUS}',interface='{BUS}',member='NameOwnerChanged',arg0='{SYSTEMD}'",
)
SUBSCRIBE: Final = ((MANAGER_PATH, MANAGER, "Subscribe"),)
"""systemd signals only while somebody has asked it to."""

MOST_UNITS: Final = 2000
"""A batch holds so many units; further ones are lost, and the batch says so."""

AUTO_RESTART: Final = "auto-restart"
_ENDED_WELL = ("inactive", "dead")
_MOST_KNOWN = 20_000
_MOST_JOBS = 8


@dataclass(frozen=True)
class JobEnd:
    """A job that is over: ``done`` (of a stop that ended in failure) or ``dependency`` (of a start that never was)."""

    id: int
    result: str


@dataclass(frozen=True)
class UnitChange:
    """What became of a unit since the last batch.

    ``active_state`` and ``sub_state`` are the newest, empty where no state was told. ``changed_at`` is systemd's own
    time of the newest state. ``restarts`` counts how often it failed and went to wait for its automatic restart; what
    ends well and is restarted nevertheless (a login prompt) is not counted.
    ``failed_restarting``: it failed while it was about to be restarted, which is how a start limit shows.
    ``stopped``: a stop job made it fail; systemd calls a stop done even then, and no other job.
    """

    unit: str
    active_state: str = ""
    sub_state: str = ""
    changed_at: datetime | None = None
    restarts: int = 0
    failed_restarting: bool = False
    stopped: bool = False
    jobs: tuple[JobEnd, ...] = ()


@dataclass(frozen=True)
class UnitChanges:
    """A batch. ``is_incomplete``: what happened before, or beside it, is not known; list the units anew.

    ``reloaded``: systemd read its unit files again, so that dependencies may be others.
    """

    units: tuple[UnitChange, ...] = ()
    is_incomplete: bool = False
    reloaded: bool = False


@dataclass
class Gathered:
    """Signals since the last batch; ``came`` is set while there is anything to take."""

    came: asyncio.Event = field(default_factory=asyncio.Event)
    is_broken: bool = False
    _changes: dict[str, UnitChange] = field(default_factory=dict)
    _states: dict[str, tuple[tuple[str, str], int, bool]] = field(default_factory=dict)
    _begun: dict[int, str] = field(default_factory=dict)
    _reloaded: bool = False
    _lost: bool = False

    def heard(self, signal: Signal) -> None:
        """Take in a signal."""
        match signal.member:
            case "PropertiesChanged":
                self._changed(unit_of(signal.path), signal.body[1])
            case "JobNew":
                self._job_began(signal.body[0], signal.body[2])
            case "JobRemoved":
                self._job_ended(JobEnd(signal.body[0], signal.body[3]), signal.body[2])
            case "Reloading" if not signal.body[0]:
                self._reloaded = True
                self.came.set()
            case "NameOwnerChanged":
                self.is_broken = True
                self.came.set()

    def take(self) -> UnitChanges:
        """Return what has come, and begin anew."""
        self.came.clear()
        batch = UnitChanges(tuple(self._changes.values()), self._lost, self._reloaded)
        self._changes, self._lost, self._reloaded = {}, False, False
        return batch

    def _changed(self, unit: str, properties: dict[str, Any]) -> None:
        if "ActiveState" not in properties or "SubState" not in properties:
            return
        state = properties["ActiveState"].value, properties["SubState"].value
        stamp = properties["StateChangeTimestamp"].value if "StateChangeTimestamp" in properties else 0
        before, at, was_restarting = self._states.get(unit, (None, 0, False))
        # a failed unit may fail anew without a state between
        if state == before and (stamp == at or state[0] != "failed"):
            return
        if len(self._states) >= _MOST_KNOWN:
            self._states.clear()
        # at its start limit it goes from waiting to failed, by way of inactive, and is never started
        is_restarting = state[1].startswith(AUTO_RESTART) or (was_restarting and state[0] in {"inactive", "failed"})
        self._states[unit] = state, stamp, is_restarting
        if before is None and state[0] in {"active", "inactive"}:
            return
        held = self._held(unit)
        if held is not None:
            self._put(
                _moved(held, state, moment(stamp), was_restarting=was_restarting, ended_well=before == _ENDED_WELL)
            )

    def _job_began(self, number: int, unit: str) -> None:
        """Remember a job on a unit that was not failed when it began."""
        if not self._is_failed(unit):
            if len(self._begun) >= _MOST_KNOWN:
                self._begun.clear()
            self._begun[number] = unit

    def _job_ended(self, job: JobEnd, unit: str) -> None:
        began_well = self._begun.pop(job.id, "") == unit
        stopped = began_well and job.result == "done" and self._is_failed(unit)
        held = self._held(unit) if stopped or job.result == "dependency" else None
        if held is not None:
            self._put(replace(held, stopped=held.stopped or stopped, jobs=(*held.jobs, job)[-_MOST_JOBS:]))

    def _is_failed(self, unit: str) -> bool:
        return unit in self._states and self._states[unit][0][0] == "failed"

    def _held(self, unit: str) -> UnitChange | None:
        """Return what is gathered of a unit; none where there is no more room."""
        held = self._changes.get(unit)
        if held is None and len(self._changes) >= MOST_UNITS:
            self._lost = True
            self.came.set()
            return None
        return held or UnitChange(unit)

    def _put(self, change: UnitChange) -> None:
        self._changes[change.unit] = change
        self.came.set()


def _moved(
    held: UnitChange, state: tuple[str, str], changed_at: datetime | None, *, was_restarting: bool, ended_well: bool
) -> UnitChange:
    active, sub = state
    return replace(
        held,
        active_state=active,
        sub_state=sub,
        changed_at=changed_at or held.changed_at,
        restarts=held.restarts + (sub.startswith(AUTO_RESTART) and not was_restarting and not ended_well),
        failed_restarting=active == "failed" and (was_restarting or held.failed_restarting),
        stopped=active == "failed" and held.stopped,
    )


def moment(microseconds: int) -> datetime | None:
    """Return systemd's realtime stamp as a moment; none for zero, which means never."""
    return datetime.fromtimestamp(microseconds / 1e6, UTC) if microseconds else None


def unit_of(path: str) -> str:
    """Return the unit that an object path names: bytes that D-Bus does not allow stand as ``_2e``."""
    first, *rest = path.rpartition("/")[2].split("_")
    return first + "".join(_unescaped(part) for part in rest)


def _unescaped(part: str) -> str:
    try:
        return chr(int(part[:2], 16)) + part[2:]
    except ValueError:
        return f"_{part}"


def escaped(unit: str) -> str:
    """Return a unit's name as the last part of its object path."""
    return "".join(each if each.isascii() and each.isalnum() else f"_{ord(each):02x}" for each in unit)
