"""Times at which units fail that would not otherwise: a boot, a resume, a NixOS switch. Pure, but for a small watcher.

What fails because of it counts when things have settled, and then as one incident. What merely fails at the same time
is told at once: only a run that began in the turbulence is of it.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from ai_sysadmin.core.records import Trigger
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.sources.units import ManagerState, UnitStatus

HELD: Final = timedelta(seconds=60)
"""A unit that ran for so long had come through the boot."""

BOOT_AT_MOST: Final = timedelta(minutes=10)
"""A boot that some job keeps from ever being finished counts as finished then."""

_SLEPT_SECONDS: Final = 1.0
_UNSEEN: Final = timedelta(seconds=2)
_KEPT = 8


class Kind(StrEnum):
    BOOT = "boot"
    RESUME = "resume"
    SWITCH = "switch"


@dataclass(frozen=True)
class Turbulence:
    """One such time; ``ended`` none: it goes on."""

    kind: Kind
    began: datetime
    ended: datetime | None = None
    about: str = ""

    @property
    def subject(self) -> str:
        """Name it as an incident is named after it."""
        return self.about or self.kind.value

    @property
    def key(self) -> str:
        return f"{self.kind}-{int(self.began.timestamp())}"

    def settles_at(self, settle: timedelta) -> datetime | None:
        """Return when what it caused counts; none while it goes on."""
        return self.ended + settle if self.ended else None


def boot_of(manager: ManagerState) -> Turbulence | None:
    """Return this host's boot; none where systemd does not tell when it began."""
    if manager.userspace_at is None:
        return None
    return Turbulence(Kind.BOOT, manager.userspace_at, manager.finished_at)


def is_of(turbulence: Turbulence, status: UnitStatus, failed_at: datetime, settle: timedelta) -> bool:
    """Tell whether a failed unit failed because of a turbulence."""
    match turbulence.kind:
        case Kind.BOOT:
            return _is_of_boot(turbulence, status.inactive_exit_at, failed_at)
        case Kind.RESUME:
            return _is_of_resume(turbulence, status, failed_at, settle)
        case Kind.SWITCH:
            return _is_of_switch(turbulence, status.inactive_exit_at, failed_at, settle)


def _is_of_boot(boot: Turbulence, run_began: datetime | None, failed_at: datetime) -> bool:
    # a boot is done when systemd has no job left: whatever starts from then on was asked for by somebody else
    done = boot.ended or boot.began + BOOT_AT_MOST
    if run_began is None:
        return boot.began <= failed_at <= done
    return boot.began <= run_began <= done and failed_at - run_began < HELD


def _is_of_resume(resume: Turbulence, status: UnitStatus, failed_at: datetime, settle: timedelta) -> bool:
    """A run from before the sleep that ended after it, or one that systemd started anew by itself since."""
    run_began = status.inactive_exit_at
    if run_began is None or not resume.began <= failed_at <= resume.began + settle:
        return False
    return run_began < resume.began or status.n_restarts > 0


def _is_of_switch(switch: Turbulence, run_began: datetime | None, failed_at: datetime, settle: timedelta) -> bool:
    """A run that the switch began, or a failure while it ran of what it could not start."""
    ended = switch.ended or failed_at
    if failed_at < switch.began or failed_at > ended + settle:
        return False
    return (run_began or failed_at) >= switch.began and (run_began or failed_at) <= ended


_WORDS = {
    Kind.BOOT: "at boot and still are",
    Kind.RESUME: "after the resume and still are",
    Kind.SWITCH: "in the {subject} and still are",
}


def gathered(turbulence: Turbulence, triggers: Sequence[Trigger], firsts: int, now: datetime) -> tuple[Trigger, ...]:
    """Return what is left of a turbulence: the faults as they are if they have one root, else one incident of all.

    Args:
        triggers: the units that are still failed, roots first.
        firsts: how many of them failed of themselves.
    """
    if firsts <= 1:
        return tuple(triggers)
    words = _WORDS[turbulence.kind].format(subject=turbulence.subject)
    names = [trigger.unit for trigger in triggers]
    whole = Trigger(
        host=triggers[0].host,
        unit="",
        about=turbulence.subject,
        kind=SymptomKind.UNITS_FAILED,
        template="",
        opens=True,
        at=now,
        count=0,
        priority=min(trigger.priority for trigger in triggers),
        text=", ".join(names)[:500],
        why=f"{len(triggers)} units failed {words}",
        details={"units": " ".join(names)[:1000], "invocation": turbulence.key},
    )
    joining = (each.model_copy(update={"joins": (turbulence.subject, *each.joins)}) for each in triggers)
    return (whole, *joining)


# --- the watcher


def asleep_seconds() -> float:
    """Return for how long this machine has slept since it booted."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


@dataclass
class Unrest:
    """Notices boots, resumes and switches, by looking whenever it is asked; remembers those that still matter."""

    settle: timedelta
    switching: Callable[[], bool] = lambda: False
    generation: Callable[[], str] = lambda: ""
    asleep: Callable[[], float] = asleep_seconds
    boot: Turbulence | None = None
    others: tuple[Turbulence, ...] = ()
    _looked: tuple[datetime, float] | None = field(default=None)

    @property
    def all(self) -> tuple[Turbulence, ...]:
        return (*((self.boot,) if self.boot else ()), *self.others)

    @property
    def is_switching(self) -> bool:
        return any(each.kind is Kind.SWITCH and each.ended is None for each in self.others)

    def look(self, now: datetime) -> bool:
        """Look at the clocks and for a switch; tell whether that changed anything."""
        before = self.others
        slept = self.asleep()
        if self._looked is not None and slept - self._looked[1] > _SLEPT_SECONDS:
            # it woke at some moment since the last look: not before the time of that look and of the sleep together
            woke = min(now, self._looked[0] + timedelta(seconds=slept - self._looked[1]))
            self._add(Turbulence(Kind.RESUME, woke, woke))
        self._looked = (now, slept)
        running = self.switching()
        if running != self.is_switching:
            self.switched(now - _UNSEEN if running else now, running=running)
        return self.others != before

    def switched(self, at: datetime, *, running: bool) -> None:
        """Note that a NixOS switch began or ended."""
        if running and not self.is_switching:
            self._add(Turbulence(Kind.SWITCH, at))
        elif not running:
            number = self.generation()
            about = f"switch to generation {number}" if number else "switch"
            self.others = tuple(
                replace(each, ended=at, about=about) if each.kind is Kind.SWITCH and each.ended is None else each
                for each in self.others
            )

    def booted(self, manager: ManagerState) -> None:
        """Note what systemd says of the boot."""
        self.boot = boot_of(manager)

    def awake_since(self) -> datetime | None:
        """Return when this machine last woke; none: it has not slept, as far as is known."""
        return max((each.began for each in self.others if each.kind is Kind.RESUME), default=None)

    def of(self, status: UnitStatus, failed_at: datetime) -> Turbulence | None:
        """Return the turbulence that a unit failed in; none: it failed by itself."""
        return next((each for each in self.all if is_of(each, status, failed_at, self.settle)), None)

    def dump(self) -> list[dict[str, str]]:
        """Return what must survive a restart; the boot is systemd's to remember."""
        return [
            {
                "kind": each.kind.value,
                "began": each.began.isoformat(),
                "ended": each.ended.isoformat() if each.ended else "",
                "about": each.about,
            }
            for each in self.others
        ]

    def load(self, kept: Sequence[Mapping[str, str]]) -> None:
        self.others = tuple(_turbulence(each) for each in kept)[-_KEPT:]

    def _add(self, turbulence: Turbulence) -> None:
        self.others = (*self.others, turbulence)[-_KEPT:]


def _turbulence(kept: Mapping[str, str]) -> Turbulence:
    ended = datetime.fromisoformat(kept["ended"]) if kept["ended"] else None
    return Turbulence(Kind(kept["kind"]), datetime.fromisoformat(kept["began"]), ended, kept["about"])
