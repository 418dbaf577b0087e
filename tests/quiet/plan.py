"""When what is said: a machine's day with its power, its rhythm, its timers and its switches."""

import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Literal

from tests.quiet.voices import Line, Service, Story, Voice, Voices

Profile = Literal["desktop", "server"]
Planned = tuple[float, int, Line, dict[str, str]]
"""When (seconds since the epoch), a running number, what, and what its story has drawn so far."""

START: Final = datetime(2026, 3, 2, tzinfo=UTC)
"""The first day of every simulated week, a Monday."""

DAY: Final = 86400.0
NEW_BOOT: Final = "new-boot"
_MANAGER: Final = Voice("", "systemd", "journal")
_WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_BY_DAY: Final = (2, 1, 1, 1, 1, 2, 4, 7, 9, 10, 10, 9, 9, 10, 10, 10, 9, 9, 10, 11, 12, 11, 8, 5)
_FLAT: Final = (1,) * 24
_RARE: Final = 20.0
"""What happens more seldom than this a day is not scaled: a small week has less volume, not less variety."""

_CLOCK = re.compile(r"^(?:@(?:(?P<weekday>[a-z]{3})-)?|day(?P<number>\d)-)(?P<hour>\d\d):(?P<minute>\d\d)$")
_SWITCHES: Final[dict[Profile, dict[int, float]]] = {
    "server": {1: 14.5, 5: 20.25},
    "desktop": {2: 20.5, 5: 19.6},
}
_SLEEPS: Final = ((10.2, 0.4), (12.5, 1.0), (15.9, 0.5), (18.0, 0.7))


@dataclass(frozen=True)
class Awake:
    """A stretch in which the machine runs: how it began and how it ends (empty: it goes on past midnight)."""

    start: float
    end: float
    began: Literal["", "boot", "resume"] = ""
    ends: Literal["", "off", "sleep"] = ""


@dataclass
class Planner:
    """Plans one day after the other of one machine."""

    profile: Profile
    voices: Voices
    rng: random.Random
    scale: float
    start: float
    _number: int = 0
    _late: list[Planned] = field(default_factory=list)

    def day(self, index: int, faults: Sequence[tuple[float, Story]] = ()) -> list[Planned]:
        """Return what is said on a day, in order; a story that runs past midnight goes on with the next day."""
        begin = self.start + index * DAY
        stretches = self._power(index, begin)
        said = self._late
        for at, story in self._stories(index, begin, stretches):
            said += self._told(at, story, stretches)
        for stretch in stretches:
            said += self._turned(stretch)
        for at, story in faults:
            said += self._told(_up_for_a_while(at, stretches), story)
        said.sort()
        self._late = [each for each in said if each[0] >= begin + DAY]
        return [each for each in said if each[0] < begin + DAY]

    # --- power

    def _power(self, index: int, begin: float) -> list[Awake]:
        if self.profile == "server":
            if index % 7 != 3:
                return [Awake(begin, begin + DAY)]
            down = begin + 4.4 * 3600
            return [Awake(begin, down, ends="off"), Awake(down + 45, begin + DAY, began="boot")]
        on = begin + self.rng.uniform(7.0, 7.9) * 3600
        stretches: list[Awake] = []
        began: Literal["boot", "resume"] = "boot"
        for hour, hours in _SLEEPS[: self.rng.randint(2, 4)]:
            sleep = begin + (hour + self.rng.uniform(0, 0.5)) * 3600
            stretches.append(Awake(on, sleep, began, "sleep"))
            on, began = sleep + hours * 3600 * self.rng.uniform(0.6, 1.2), "resume"
        return [*stretches, Awake(on, begin + self.rng.uniform(22.5, 23.6) * 3600, began, "off")]

    def _turned(self, stretch: Awake) -> Iterator[Planned]:
        """Tell how a stretch begins and ends: boots, shutdowns, resumes."""
        if stretch.began == "boot":
            yield self._planned(stretch.start - 0.01, Line(_MANAGER, 6, "", NEW_BOOT), {})
            for service in self.voices.services.values():
                if service.booted_at is not None:
                    yield from self._told(stretch.start + service.booted_at, start_story(service, self.rng))
        if stretch.ends == "off":
            for service in reversed(list(self.voices.services.values())):
                if service.booted_at is not None and service.kind in {"notify", "simple", "mount", "exited"}:
                    yield from self._told(stretch.end - self.rng.uniform(3, 6), stop_story(service))
        for story in self.voices.stories:
            name, _, offset = re.sub(r"([+-])", r" \1", story.when, count=1).partition(" ")
            if name in {"boot", "resume"} and name == stretch.began:
                yield from self._told(stretch.start + float(offset), story)
            elif name in {"off", "sleep"} and name == stretch.ends:
                yield from self._told(stretch.end + float(offset), story)

    # --- schedules

    def _stories(self, index: int, begin: float, stretches: Sequence[Awake]) -> Iterator[tuple[float, Story]]:
        for story in self.voices.stories:
            for at in self._times(story, index, begin, stretches):
                yield at, story
        for service in self.voices.services.values():
            if "timer" in service.options:
                run = run_story(service, service.options["timer"])
                for at in self._times(run, index, begin, stretches):
                    yield at, run
        hour = _SWITCHES[self.profile].get(index % 7)
        if hour is not None:
            yield from self._switch(begin + hour * 3600)

    def _times(self, story: Story, index: int, begin: float, stretches: Sequence[Awake]) -> Iterator[float]:
        when = story.when
        if when.endswith("/day"):
            yield from self._drawn(float(when[:-4]), begin, by_day=story.by_day)
        elif when.startswith("every:"):
            seconds = float(when[6:])
            step = seconds / self.scale if seconds < 7200 else seconds
            at = begin + self.rng.uniform(0, step)
            while at < begin + DAY:
                yield at
                at += step * self.rng.uniform(0.98, 1.02)
        elif (match := _CLOCK.match(when)) and _is_due(match, index):
            at = begin + int(match["hour"]) * 3600 + int(match["minute"]) * 60 + self.rng.uniform(0, 50)
            yield from _caught_up(at, stretches, self.rng)

    def _drawn(self, rate: float, begin: float, *, by_day: bool) -> Iterator[float]:
        count = _poisson(rate if rate < _RARE else rate * self.scale, self.rng)
        for hour in self.rng.choices(range(24), weights=_BY_DAY if by_day else _FLAT, k=count):
            yield begin + hour * 3600 + self.rng.uniform(0, 3600)

    def _switch(self, at: float) -> Iterator[tuple[float, Story]]:
        """Switch the configuration: more than half of the services stop and start."""
        for story in self.voices.stories:
            if story.when.startswith("switch+"):
                yield at + float(story.when[7:]), story
        for service in self.voices.services.values():
            if service.is_switched and self.rng.random() < 0.6:
                yield at + self.rng.uniform(2, 4), stop_story(service)
                yield at + self.rng.uniform(6, 12), start_story(service, self.rng)

    # --- telling

    def _told(self, at: float, story: Story, stretches: Sequence[Awake] = ()) -> Iterator[Planned]:
        """Tell a story, as often as it has it; given the stretches, as far as the machine is up for it."""
        for _ in range(self.rng.randint(*story.times)):
            memory: dict[str, str] = {}
            moment: float | None = at if not stretches or _is_awake(at, stretches) else None
            for least, most, line in story.lines:
                if moment is None:
                    break
                moment += least if least == most else self.rng.uniform(least, most)
                moment = _slept_over(moment, stretches)
                if moment is not None:
                    yield self._planned(moment, line, memory)
            at += self.rng.uniform(0.3, 1.7) * story.gap

    def _planned(self, at: float, line: Line, memory: dict[str, str]) -> Planned:
        self._number += 1
        return at, self._number, line, memory


def start_story(service: Service, rng: random.Random) -> Story:
    """Return how a unit starts, as the manager and the unit itself tell it."""
    unit, spoken = service.unit, [(0.001, 0.08, line) for line in service.starts]
    if service.kind in {"oneshot", "exited"}:
        return Story("", _run_lines(service))
    if service.kind in {"mount", "socket", "target", "simple"}:
        verb = {"mount": "mounted", "socket": "listening", "target": "reached"}.get(service.kind, "started")
        return Story("", ((0, rng.uniform(0, 0.5), _manager(verb, unit)), *spoken))
    return Story("", ((0, 0.5, _manager("starting", unit)), *spoken, (0.01, 0.6, _manager("started", unit))))


def stop_story(service: Service) -> Story:
    spoken = [(0.001, 0.05, line) for line in service.stops]
    verbs = [_manager(verb, service.unit) for verb in ("success", "stopped")]
    if service.kind == "mount":
        return Story(
            "", ((0, 0, _manager("unmounting", service.unit)), (0.01, 0.05, _manager("unmounted", service.unit)))
        )
    if service.kind == "exited":
        verbs = verbs[1:]
    return Story("", ((0, 0, _manager("stopping", service.unit)), *spoken, *((0.001, 0.2, line) for line in verbs)))


def run_story(service: Service, when: str) -> Story:
    """Return one run of a unit that a timer starts."""
    return Story(when, _run_lines(service), by_day=False)


def _run_lines(service: Service) -> tuple[tuple[float, float, Line], ...]:
    least, _, most = service.options.get("took", "0.05-0.6").partition("-")
    share = max(1, len(service.starts))
    between = float(least) / share, float(most) / share
    spoken = [(*between, line) for line in service.starts] or [(*between, _manager("none", service.unit))]
    ends = ["success", "finished"] if service.kind != "exited" else ["finished"]
    if float(most) > 2:
        ends.append("consumed")
    return (
        (0, 0, _manager("starting", service.unit)),
        *spoken,
        *((0.001, 0.02, _manager(verb, service.unit)) for verb in ends),
    )


def _manager(verb: str, unit: str) -> Line:
    return Line(_MANAGER, 6, unit, verb)


def _is_awake(at: float, stretches: Sequence[Awake]) -> bool:
    return any(stretch.start <= at < stretch.end - (8 if stretch.ends == "off" else 2) for stretch in stretches)


def _slept_over(at: float, stretches: Sequence[Awake]) -> float | None:
    """Return when something is really said: a sleep puts it off, and when the machine is off it never comes."""
    for number, stretch in enumerate(stretches):
        if at < stretch.end - (8 if stretch.ends == "off" else 0):
            return at if at >= stretch.start else None
        following = stretches[number + 1] if number + 1 < len(stretches) else None
        if stretch.ends == "sleep" and following is not None and at < following.start:
            return at - stretch.end + following.start
    return at if not stretches or not stretches[-1].ends else None


def _up_for_a_while(at: float, stretches: Sequence[Awake]) -> float:
    """Return a moment, or the first after it at which the machine has been up for a quarter of an hour."""
    for stretch in stretches:
        settled = stretch.start + (900 if stretch.began else 0)
        if at < stretch.end - 900:
            return max(at, settled)
    return at


def _caught_up(at: float, stretches: Sequence[Awake], rng: random.Random) -> Iterator[float]:
    """Yield when a timer elapses: one that was missed elapses soon after the next start, as persistent timers do."""
    for stretch in stretches:
        if at < stretch.start:
            yield stretch.start + rng.uniform(60, 900)
            return
        if at < stretch.end:
            yield at
            return


def _is_due(match: Mapping[str, str] | re.Match[str], index: int) -> bool:
    if match["number"] is not None:
        return index == int(match["number"])
    return match["weekday"] is None or _WEEKDAYS[index % 7] == match["weekday"]


def _poisson(mean: float, rng: random.Random) -> int:
    if mean > 50:
        return max(0, round(rng.gauss(mean, math.sqrt(mean))))
    limit, count, product = math.exp(-mean), 0, rng.random()
    while product > limit:
        count += 1
        product *= rng.random()
    return count
