"""The heads of log lines: times in the forms that programs write, the host and the program of syslog. Pure."""

import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, NamedTuple

from ai_sysadmin.sources.levels import NO_LEVEL, level_of

HEAD: Final = 200
"""So many characters of a line may be its head."""

_MOST_TIMES = 4
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_CLOCK = r"(?P<hour>\d\d)[:.](?P<minute>\d\d)[:.](?P<second>\d\d)(?:[.,:](?P<fraction>\d{1,9}))?"
_ZONE = r"(?:\ ?(?P<zone>Z|[+-]\d\d:?\d\d)(?![\w-]))?"
_DAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),?\ "
_MONTH = r"(?P<month>Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_LATER = r"(?:\ (?P<later_year>\d{4}))?"
_FORMS: Final = tuple(
    re.compile(rf"[\[(]?\ *{form}[\])]?,?:?(?:\s+|\||$)", re.VERBOSE)
    for form in (
        rf"(?P<year>\d{{4}})[-/.](?P<month>\d\d)[-/.](?P<day>\d\d)(?:[T_\ ,-]{{1,2}}{_CLOCK}{_ZONE})?",
        rf"(?:{_DAY})?{_MONTH}\ {{1,2}}(?P<day>\d{{1,2}})\ (?:(?P<year>\d{{4}})\ )?{_CLOCK}{_LATER}",
        r"(?P<epoch>\d{10})(?:[.,](?P<fraction>\d{1,9}))?",
        r"(?P<milliseconds>1\d{12})",
        rf"(?P<year>\d{{4}})(?P<month>\d\d)(?P<day>\d\d)[-T\ ]{_CLOCK}{_ZONE}",
        rf"(?P<year>\d\d)/(?P<month>\d\d)/(?P<day>\d\d)\ {_CLOCK}",
        r"(?P<year>\d\d)(?P<month>\d\d)(?P<day>\d\d)\ (?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)",
        rf"(?P<month>\d\d)[-.](?P<day>\d\d)\ {_CLOCK}",
        rf"(?P<day>\d\d)/{_MONTH}/(?P<year>\d{{4}}):{_CLOCK}{_ZONE}",
        rf"(?P<day>\d\d)\ {_MONTH}\ (?P<year>\d{{4}})\ {_CLOCK}{_ZONE}",
        r"(?P<uptime>\d{1,8}\.\d{6})",
        _CLOCK,
    )
)
_TIME_BEGINS: Final = frozenset("0123456789[(MTWFSJAOND")
_PRIORITY = re.compile(r"<(\d{1,3})>")
_COLUMN = re.compile(r"(?P<column>[^\s:]\S*)\s+(?=[\[(]?[\dMTWFSJAOND])")
_PROGRAM = re.compile(
    r"""
    (?:(?P<host>[\w.@:/-]+)\s+)?
    (?P<program>[\w./@+-]{1,200}(?:\([\w.:-]{1,60}\))?(?:(?:\ [\w.+-]{1,60}){1,3}(?=\[\d+\]))?)
    (?:\[[\w.-]{1,20}\])?(?:\ \([^()\s]{1,120}\))?:(?:\s|$)
    """,
    re.VERBOSE,
)
_RFC5424 = re.compile(
    r"1\ (?P<time>\S+)\ (?P<host>\S+)\ (?P<program>\S+)\ \S+\ \S+\ (?:-|(?:\[(?:[^\]\\]|\\.)*\])+)(?:\ |$)(?:\ufeff)?",
    re.DOTALL,
)


class Head(NamedTuple):
    """What a line begins with.

    ``rest`` is where the message starts. ``is_uptime``: the time is counted from the boot, as the kernel does.
    ``level_word`` stood before the time.
    """

    rest: int
    at: datetime | None = None
    priority: int | None = None
    facility: int | None = None
    host: str = ""
    program: str = ""
    is_uptime: bool = False
    level_word: str = ""


class HeadReader:
    """Reads heads. The form of the last time that was seen is tried first: a file mostly keeps to one."""

    def __init__(self, now: datetime, zone: tzinfo | None = None) -> None:
        self._now = now
        self._zone = zone or datetime.now().astimezone().tzinfo or UTC
        self._forms = list(_FORMS)
        self._last: tuple[str, datetime | None] = ("", None)

    def read(self, line: str, *, is_syslog: bool) -> Head:
        """Return a line's head.

        Args:
            is_syslog: what follows the time is a host and a program.
        """
        position, priority, facility = 0, None, None
        if line.startswith("<") and (match := _PRIORITY.match(line)):
            position, number = match.end(), int(match[1])
            priority, facility = number % 8, number // 8
            if found := _RFC5424.match(line, position):
                return self._rfc5424(found, priority, facility)
        elif line.startswith("1 ") and (found := _RFC5424.match(line)):
            return self._rfc5424(found, None, None)
        head = self._times(line, position)
        head = head._replace(priority=priority, facility=facility)
        if (
            not is_syslog
            or (found := _PROGRAM.match(line, head.rest)) is None
            or level_of(found["host"] or "") != NO_LEVEL
        ):
            return head
        return head._replace(rest=found.end(), host=found["host"] or "", program=_program(found["program"]))

    def _rfc5424(self, found: re.Match[str], priority: int | None, facility: int | None) -> Head:
        host, program = (text if text != "-" else "" for text in (found["host"], found["program"]))
        times = self._times(found["time"], 0)
        return Head(found.end(), times.at, priority, facility, host, _program(program))

    def _times(self, line: str, position: int) -> Head:
        """Pass over times, and over the columns that stand before one: a label, a host, a file's name."""
        at, is_uptime, level_word = None, False, ""
        for _ in range(_MOST_TIMES):
            match = self._time(line, position)
            if match is None and position < HEAD:
                column = _COLUMN.match(line, position, position + HEAD)
                match = self._time(line, column.end()) if column else None
                if column and match and level_of(column["column"]) != NO_LEVEL:
                    level_word = column["column"]
            if match is None:
                break
            position = match.end()
            at = self._moment(match) or at
            is_uptime = is_uptime or "uptime" in match.re.groupindex
        return Head(position, at, is_uptime=is_uptime, level_word=level_word)

    def _time(self, line: str, position: int) -> re.Match[str] | None:
        if line[position : position + 1] not in _TIME_BEGINS:
            return None
        for index, form in enumerate(self._forms):
            match = form.match(line, position, position + HEAD)
            if match:
                if index > 2:  # the one that was seen last is tried first
                    self._forms.insert(0, self._forms.pop(index))
                return match
        return None

    def _moment(self, match: re.Match[str]) -> datetime | None:
        """Return the moment that a time says; none where it says no date, or no day that there is."""
        text = match[0]
        if text != self._last[0]:
            try:
                self._last = text, _moment_of(match.groupdict(), self._now, self._zone)
            except (ValueError, OverflowError, OSError):
                self._last = text, None
        return self._last[1]


def _moment_of(found: dict[str, str | None], now: datetime, zone: tzinfo) -> datetime | None:
    fraction = timedelta(seconds=float(f"0.{found.get('fraction') or 0}"))
    if epoch := found.get("epoch"):
        return datetime.fromtimestamp(int(epoch), UTC) + fraction
    if milliseconds := found.get("milliseconds"):
        return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
    month = found.get("month")
    if not month:
        return None
    number = int(month) if month.isdecimal() else _MONTHS.index(month.lower()) + 1
    year = found.get("year") or found.get("later_year")
    clock = [int(found.get(part) or 0) for part in ("hour", "minute", "second")]
    local = _zone(found.get("zone"), zone)

    def in_year(which: int) -> datetime:
        return datetime(which, number, int(found["day"] or 1), clock[0], clock[1], min(clock[2], 59), tzinfo=local)

    if year:
        return (in_year(int(year) + (2000 if len(year) == 2 else 0)) + fraction).astimezone(UTC)
    this = in_year(now.year)
    if this > now + timedelta(days=1):
        this = in_year(now.year - 1)
    return (this + fraction).astimezone(UTC)


def _zone(text: str | None, otherwise: tzinfo) -> tzinfo:
    if not text:
        return otherwise
    if text == "Z":
        return UTC
    return datetime.strptime(text, "%z").tzinfo or otherwise


def _program(name: str) -> str:
    """Return a program's name without the directory that it lies in."""
    return name.rpartition("/")[2] or name
