"""The journal's export format, as bytes come: a pure parser.

An entry is lines ``NAME=text``, or ``NAME``, a 64-bit little-endian length and that many bytes where the value is not
plain text; a blank line ends it. Any cutting of the stream into pieces gives the same entries, and memory stays
bounded: of a value longer than ``VALUE_BYTES`` the head is kept, the rest is passed over as it comes.
"""

from datetime import UTC, datetime
from typing import Final, NamedTuple

from ai_sysadmin.core.errors import JournalUnavailable
from ai_sysadmin.core.records import JournalEntry

VALUE_BYTES: Final = 16 << 10
"""How much of one value is kept."""

KEPT_FIELDS: Final = (
    "EXIT_CODE",
    "EXIT_STATUS",
    "UNIT_RESULT",
    "INVOCATION_ID",
    "_SYSTEMD_INVOCATION_ID",
    "JOB_ID",
    "JOB_TYPE",
    "JOB_RESULT",
    "N_DROPPED",
    "N_RESTARTS",
    "CONTAINER_NAME",
    "_SYSTEMD_SLICE",
    "_SYSTEMD_USER_UNIT",
    "USER_UNIT",
    "_PID",
    "AI_INCIDENT_ID",
    "AI_EVENT",
)
READ_FIELDS: Final = (
    "MESSAGE",
    "PRIORITY",
    "SYSLOG_IDENTIFIER",
    "MESSAGE_ID",
    "_HOSTNAME",
    "_TRANSPORT",
    "_SYSTEMD_UNIT",
    "_UID",
    "_COMM",
    "UNIT",
    "OBJECT_SYSTEMD_UNIT",
    "COREDUMP_UNIT",
    *KEPT_FIELDS,
)
"""What is looked at, beside cursor, time and boot."""

_GLUED = b"\n__CURSOR="
_BINARY_MOST = 1 << 30
_WAITING_MOST = 64 << 10
_TIME_MOST = 1 << 55
_NUMBER_MOST = 1 << 48
_KEPT = frozenset(KEPT_FIELDS)
_READ = frozenset(name.encode() for name in ("__CURSOR", "__REALTIME_TIMESTAMP", "_BOOT_ID", *READ_FIELDS))


class ExportParser:
    """Turns an export stream into entries. An entry that was cut short ends where the next begins."""

    def __init__(self) -> None:
        self._rest = b""
        self._fields: dict[str, str] = {}
        self._skip = 0
        self._skip_line = False

    def feed(self, data: bytes) -> list[JournalEntry]:
        """Take the next piece of the stream; return the entries that it completes.

        Raises:
            JournalUnavailable: this is not the export format.
        """
        buffer = self._rest + data if self._rest else data
        found: list[JournalEntry] = []
        position, end = 0, len(buffer)
        while position < end:
            if not (self._fields or self._skip or self._skip_line):
                position = self._whole_entries(buffer, position, found)
                if position >= end or (end - position < _WAITING_MOST and buffer.find(b"\n\n", position) < 0):
                    break
            after = self._next_field(buffer, position, found)
            if after < 0:
                break
            position = after
        self._rest = buffer[position:]
        return found

    @staticmethod
    def _whole_entries(buffer: bytes, position: int, found: list[JournalEntry]) -> int:
        """Parse the entries that are complete and plain text; return where the first other one begins."""
        while (end := buffer.find(b"\n\n", position)) >= 0 and end - position <= VALUE_BYTES:
            chunk = buffer[position:end]
            if _GLUED in chunk:
                break
            try:
                fields = dict([line.split("=", 1) for line in chunk.decode(errors="replace").split("\n")])
            except ValueError:  # a line without "=": a binary value follows
                break
            found.append(entry_of(fields))
            position = end + 2
        return position

    def _next_field(self, buffer: bytes, position: int, found: list[JournalEntry]) -> int:
        """Parse one field, or what is left of one to pass over; return where it ended, -1: more is needed."""
        if self._skip:
            passed = min(self._skip, len(buffer) - position)
            self._skip -= passed
            return position + passed
        newline = buffer.find(b"\n", position)
        if self._skip_line:
            self._skip_line = newline < 0
            return newline + 1 or len(buffer)
        if newline < 0:
            return self._long_line(buffer, position)
        if newline == position:
            self._end_entry(found)
            return newline + 1
        name, equals, value = buffer[position:newline].partition(b"=")
        if not equals:
            return self._binary(name, buffer, newline + 1)
        if name == b"__CURSOR" and self._fields:
            self._end_entry(found)
        self._keep(name, value)
        return newline + 1

    def _long_line(self, buffer: bytes, position: int) -> int:
        """Keep the head of a line whose end has not come yet, once enough of it is here."""
        if len(buffer) - position < _WAITING_MOST:
            return -1
        name, equals, value = buffer[position:].partition(b"=")
        if not equals:
            raise JournalUnavailable("journalctl's output is not the journal export format")
        self._keep(name, value)
        self._skip_line = True
        return len(buffer)

    def _binary(self, name: bytes, buffer: bytes, position: int) -> int:
        """Keep a length-prefixed value, or its head."""
        if len(buffer) < position + 8:
            return -1
        length = int.from_bytes(buffer[position : position + 8], "little")
        if length > _BINARY_MOST:
            raise JournalUnavailable("journalctl's output is not the journal export format")
        kept = min(length, VALUE_BYTES)
        if len(buffer) < position + 8 + kept:
            return -1
        self._keep(name, buffer[position + 8 : position + 8 + kept])
        self._skip = length - kept + 1
        return position + 8 + kept

    def _keep(self, name: bytes, value: bytes) -> None:
        if name in _READ:
            self._fields[name.decode()] = value[:VALUE_BYTES].decode(errors="replace")

    def _end_entry(self, found: list[JournalEntry]) -> None:
        if self._fields:
            found.append(entry_of(self._fields))
            self._fields = {}


def entry_of(fields: dict[str, str]) -> JournalEntry:
    """Return an entry from its journal fields. What is missing or not a number is as if it had never been."""
    get = fields.get
    cursor = get("__CURSOR", "")
    sequence_id, sequence, _ = numbered(cursor)
    about = context_of(fields)
    return JournalEntry(
        cursor,
        moment(_number(get("__REALTIME_TIMESTAMP", ""), 0)),
        get("MESSAGE", ""),
        about.unit,
        about.priority,
        about.identifier,
        about.message_id,
        about.hostname,
        get("_BOOT_ID", ""),
        sequence_id,
        sequence,
        about.transport,
        about.fields,
    )


class Context(NamedTuple):
    """All of an entry but its message, its time and its place: what a stretch of entries has in common."""

    unit: str
    priority: int
    identifier: str
    message_id: str
    hostname: str
    transport: str
    fields: dict[str, str]


def context_of(fields: dict[str, str]) -> Context:
    """Return what is known of an entry's writer and subject."""
    get = fields.get
    return Context(
        unit_of(fields),
        _number(get("PRIORITY", ""), 6),
        get("SYSLOG_IDENTIFIER", ""),
        get("MESSAGE_ID", ""),
        get("_HOSTNAME", ""),
        get("_TRANSPORT", ""),
        _kept(fields),
    )


def numbered(cursor: str) -> tuple[str, int, str]:
    """Return a cursor's sequence id, number and boot id (``s=``, ``i=``, ``b=``).

    Empty and 0 where it has none, or a number that no journald ever came to: that entry is damaged.
    """
    if not cursor.startswith("s="):
        return "", 0, ""
    name, _, rest = cursor[2:].partition(";i=")
    digits, _, rest = rest.partition(";b=")
    try:
        number = int(digits.partition(";")[0], 16)
    except ValueError:
        number = 0
    return (name, number, rest.partition(";")[0]) if 0 < number < _NUMBER_MOST else ("", 0, rest.partition(";")[0])


def moment(usec: int) -> datetime:
    """Return the time so many microseconds after 1970; one that no clock shows is 1970."""
    return datetime.fromtimestamp(usec / 1_000_000 if usec < _TIME_MOST else 0, UTC)


def unit_of(fields: dict[str, str]) -> str:
    """Return the unit an entry is about.

    Only fields with a leading underscore come from journald itself. ``UNIT=`` and its like, which any process could
    send, are believed of the manager and of root's own services alone.
    """
    get = fields.get
    writer = get("_SYSTEMD_UNIT", "")
    if "UNIT" in fields and manager_speaks(fields):
        return fields["UNIT"]
    if "OBJECT_SYSTEMD_UNIT" in fields and (get("_UID") == "0" or get("_TRANSPORT") == "driver"):
        return fields["OBJECT_SYSTEMD_UNIT"]
    if "COREDUMP_UNIT" in fields and writer.startswith("systemd-coredump@"):
        return fields["COREDUMP_UNIT"]
    return writer


def manager_speaks(fields: dict[str, str]) -> bool:
    """Tell whether the system's service manager wrote an entry (or its child, just before it became the service)."""
    return fields.get("_PID") == "1" or (
        fields.get("_UID") == "0" and fields.get("_COMM", "").startswith(("systemd", "("))
    )


def _kept(fields: dict[str, str]) -> dict[str, str]:
    """Return the extra fields that rules need; ``UNIT`` only where the manager itself speaks."""
    kept = {name: fields[name] for name in _KEPT & fields.keys()}
    if "UNIT" in fields and manager_speaks(fields):
        kept["UNIT"] = fields["UNIT"]
    return kept


def _number(text: str, otherwise: int) -> int:
    return int(text) if text.isdecimal() and len(text) < 20 else otherwise
