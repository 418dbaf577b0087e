"""Who speaks on a machine and what they say: the tables in ``voices/*.txt``, parsed.

A table is sections ``[unit identifier via] Description; key=value …`` with lines under them:

    RATE PRIORITY TEXT         said so many times a day; ``RATE*3-9/0.2`` in clusters of 3 to 9, about 0.2 s apart
    ? RATE WHO PRIORITY TEXT   the same, said by another
    ^ PRIORITY TEXT            said whenever the unit starts (``$``: when it stops)

and stories, ``= WHEN``, of lines that belong together, each ``+DELAY WHO PRIORITY TEXT`` (``+0.1-3*20``: twenty of it,
each 0.1 to 3 s after the one before). WHO is a declared section's name or ``unit/identifier/via``; ``!`` is the service
manager and ``~`` a user's, followed by a verb and a unit.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TABLES: Final = Path(__file__).parent / "voices"

_TRANSPORTS: Final = {"o": "stdout", "s": "syslog", "j": "journal", "k": "kernel", "d": "driver"}
_RATE = re.compile(r"^(?P<rate>[\d.]+)(?:\*(?P<least>\d+)-(?P<most>\d+)(?:/(?P<gap>[\d.]+))?)?$")


@dataclass(frozen=True)
class Voice:
    """What journald knows of a writer."""

    unit: str
    identifier: str
    transport: str
    user_unit: str = ""
    container: str = ""


@dataclass(frozen=True)
class Line:
    """One thing that is said. With a ``verb`` it is the service manager that says it, of the unit in ``text``."""

    voice: Voice
    priority: int
    text: str
    verb: str = ""
    by_user_manager: bool = False


@dataclass(frozen=True)
class Story:
    """Lines that belong together: each with its least and most delay in seconds after the one before.

    ``when`` is as in the tables (``12/day``, ``@03:10``, ``@sun-02:30``, ``every:300``, ``boot+20``, ``resume+1``,
    ``day2-14:20`` …). ``times`` and ``gap`` make clusters.
    """

    when: str
    lines: tuple[tuple[float, float, Line], ...]
    by_day: bool = True
    times: tuple[int, int] = (1, 1)
    gap: float = 0.0


@dataclass(frozen=True)
class Service:
    """A unit that the machine has, with what it says as it starts and stops."""

    voice: Voice
    description: str
    options: Mapping[str, str]
    starts: tuple[Line, ...] = ()
    stops: tuple[Line, ...] = ()

    @property
    def unit(self) -> str:
        return self.voice.unit

    @property
    def kind(self) -> str:
        return self.options.get("type", "notify")

    @property
    def booted_at(self) -> float | None:
        """How many seconds into a boot it starts; none: a boot does not start it."""
        return float(self.options["boot"]) if "boot" in self.options else None

    @property
    def is_switched(self) -> bool:
        """Tell whether a switch of the system's configuration may restart it."""
        return self.booted_at is not None and self.kind in {"notify", "simple"} and "noswitch" not in self.options


@dataclass(frozen=True)
class Voices:
    """All that a profile's machine says, and of which units."""

    services: Mapping[str, Service]
    stories: tuple[Story, ...]


def voices_of(*tags: str) -> Voices:
    """Return what a machine with these tags says: sections and stories for others (``for=``) are left out."""
    parser = _Parser(frozenset(tags))
    lines = [(path.name, n, text) for path in TABLES.glob("*.txt") for n, text in enumerate(_lines(path), 1)]
    lines.sort()
    for _, _, text in lines:
        if text.startswith("["):
            parser.declare(text)
    for name, number, text in lines:
        try:
            parser.take(text)
        except (ValueError, KeyError, IndexError) as error:
            raise ValueError(f"{name}:{number}: {error}: {text!r}") from error
    return parser.done()


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


class _Parser:
    def __init__(self, tags: frozenset[str]) -> None:
        self._tags = tags
        self._services: dict[str, Service] = {}
        self._voices: dict[str, Voice] = {}
        self._stories: list[Story] = []
        self._section: Service | None = None
        self._story: Story | None = None
        self._is_ours = True

    def declare(self, text: str) -> None:
        """Take a section's head, so that stories may name it wherever they stand."""
        voice, name, _, _ = _section(text)
        self._voices[name] = voice

    def take(self, text: str) -> None:
        """Take the next line of a table."""
        if not text.strip() or text.startswith("#"):
            return
        if text.startswith("["):
            self._begin_section(text)
        elif text.startswith("="):
            self._begin_story(text)
        elif not self._is_ours:
            return
        elif text.startswith("+"):
            self._continue_story(text)
        elif text.startswith("? "):
            _, rate, who, priority, said = text.split(" ", 4)
            self._stories.append(_line_story(rate, Line(self._voice(who), int(priority), said), by_day=True))
        else:
            self._said(text)

    def done(self) -> Voices:
        self._end()
        return Voices(self._services, tuple(self._stories))

    def _end(self) -> None:
        if self._section is not None and "name" not in self._section.options:
            self._services[self._section.unit] = self._section
        if self._story is not None:
            self._stories.append(self._story)
        self._section = self._story = None

    def _begin_section(self, text: str) -> None:
        self._end()
        voice, name, words, options = _section(text)
        self._is_ours = self._wanted(options)
        if self._is_ours:
            self._section = Service(voice, words or name, options)

    def _begin_story(self, text: str) -> None:
        self._end()
        words = text[1:].split()
        options = dict(word.split("=", 1) for word in words[1:] if "=" in word)
        self._is_ours = self._wanted(options)
        if self._is_ours:
            self._story = Story(words[0], (), by_day=options.get("rhythm") != "flat")

    def _continue_story(self, text: str) -> None:
        delay, who, rest = text[1:].split(" ", 2)
        delay, _, repeats = delay.partition("*")
        least, _, most = delay.partition("-")
        if who in {"!", "~"}:
            verb, about = rest.split(" ", 1)
            line = Line(Voice("", "systemd", "journal"), 6, about, verb, by_user_manager=who == "~")
        else:
            priority, said = rest.split(" ", 1)
            line = Line(self._voice(who), int(priority), said)
        story = self._story
        if story is None:
            raise ValueError("a line of a story that did not begin")
        lines = (*story.lines, *[(float(least), float(most or least), line)] * int(repeats or 1))
        self._story = Story(story.when, lines, story.by_day)

    def _voice(self, who: str) -> Voice:
        if who in self._voices:
            return self._voices[who]
        unit, identifier, via = who.rsplit("/", 2)
        return Voice("" if unit == "-" else unit, identifier, _TRANSPORTS[via])

    def _said(self, text: str) -> None:
        section = self._section
        if section is None:
            raise ValueError("a line outside any section")
        rate, priority, said = text.split(" ", 2)
        line = Line(section.voice, int(priority), said)
        if rate == "^":
            self._section = _with(section, starts=(*section.starts, line))
        elif rate == "$":
            self._section = _with(section, stops=(*section.stops, line))
        else:
            self._stories.append(_line_story(rate, line, by_day="flat" not in section.options))

    def _wanted(self, options: Mapping[str, str]) -> bool:
        wanted = options.get("for", "")
        return not wanted or bool(self._tags & set(wanted.split(",")))


def _section(text: str) -> tuple[Voice, str, str, dict[str, str]]:
    """Return a section's voice, the name that stories call it by, its description and its options."""
    head, _, tail = text[1:].partition("]")
    words, options = _split_options(tail)
    unit, identifier, via = head.split()
    unit = "" if unit == "-" else unit
    identifier = unit.rpartition(".")[0] if identifier == "-" else identifier
    voice = Voice(unit, identifier, _TRANSPORTS[via], options.get("user", ""), options.get("container", ""))
    return voice, options.get("name", unit or identifier), words, options


def _with(service: Service, starts: Sequence[Line] = (), stops: Sequence[Line] = ()) -> Service:
    return Service(
        service.voice,
        service.description,
        service.options,
        tuple(starts) or service.starts,
        tuple(stops) or service.stops,
    )


def _line_story(rate: str, line: Line, *, by_day: bool) -> Story:
    match = _RATE.match(rate)
    if match is None:
        raise ValueError(f"no rate: {rate}")
    times = (int(match["least"] or 1), int(match["most"] or 1))
    return Story(f"{match['rate']}/day", ((0, 0, line),), by_day, times, float(match["gap"] or 0.5))


def _split_options(text: str) -> tuple[str, dict[str, str]]:
    words, _, tail = text.partition(";")
    options: dict[str, str] = {}
    for word in tail.split():
        name, equals, value = word.partition("=")
        options[name] = value if equals else "yes"
    return words.strip(), options
