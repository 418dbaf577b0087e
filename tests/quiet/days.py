"""Days of a machine's journal, in order: ordinary ones, and with faults put in."""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal

from ai_sysadmin.core.records import JournalEntry
from tests.quiet.plan import START, Planner, Profile
from tests.quiet.speak import Speaker
from tests.quiet.voices import Story, Voices, voices_of

FaultKind = Literal["unit-fails", "unit-crashes", "start-limit", "disk-error", "out-of-memory", "error-burst"]

DESKTOPS: Final = ("gnome", "plasma")
"""Which desktop the machine has: by the seed."""


@dataclass(frozen=True)
class Fault:
    """Something that really goes wrong, ``after`` so long from the first day's midnight.

    On a machine that is off or asleep then, it comes soon after it is up again. ``unit`` is what an incident is to be
    about; none: the fault's usual one.
    """

    kind: FaultKind
    after: timedelta
    unit: str = ""

    @property
    def at(self) -> datetime:
        return START + self.after


def faults(*given: tuple[FaultKind, float, float, str]) -> tuple[Fault, ...]:
    """Return faults from their kind, day (0 is the first), hour and unit."""
    return tuple(Fault(kind, timedelta(days=day, hours=hour), unit) for kind, day, hour, unit in given)


def voices_for(profile: Profile, seed: int) -> Voices:
    """Return what a profile's machine says."""
    return voices_of(profile, *([DESKTOPS[seed % 2]] if profile == "desktop" else []))


def days(
    profile: Profile, seed: int, days: int = 7, scale: float = 1.0, faults: Sequence[Fault] = ()
) -> Iterator[JournalEntry]:
    """Yield the journal of some days, in order; equal arguments give equal entries.

    Args:
        scale: how much of the usual volume; what happens seldom happens as often at any scale.
        faults: what goes wrong besides.
    """
    voices = voices_for(profile, seed)
    planner = Planner(profile, voices, random.Random(f"plan-{profile}-{seed}"), scale, START.timestamp())
    speaker = Speaker(voices.services, random.Random(f"speak-{profile}-{seed}"))
    for index in range(days):
        planned = planner.day(index, tuple(_on_day(faults, index)))
        for each in planned:
            entry = speaker.entry(each)
            if entry is not None:
                yield entry


def _on_day(faults: Iterable[Fault], index: int) -> Iterator[tuple[float, Story]]:
    for fault in faults:
        if fault.after // timedelta(days=1) == index:
            yield fault.at.timestamp(), _story(fault)


def _story(fault: Fault) -> Story:
    """Return how a fault shows in the journal."""
    (story,) = [each for each in voices_of(f"fault-{fault.kind}").stories if each.when == "fault"]
    unit, stem = fault.unit or "jellyfin.service", (fault.unit or "jellyfin.service").rpartition(".")[0]
    lines = []
    for least, most, line in story.lines:
        text = line.text.replace("THE-UNIT", unit).replace("THE-NAME", stem)
        voice = line.voice
        if voice.unit == "THE-UNIT":
            voice = replace(voice, unit=unit, identifier=stem)
        lines.append((least, most, replace(line, voice=voice, text=text)))
    return replace(story, lines=tuple(lines))
