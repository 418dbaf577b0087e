"""Logging: journald's native datagrams under systemd, one plain line elsewhere.

A record is a sentence for people plus fields for machines: ``extra={"incident_id": …}`` becomes ``AI_INCIDENT_ID``,
so that ``journalctl AI_INCIDENT_ID=…`` tells one incident's story through every service.
"""

import logging
import os
import re
import socket
import struct
import sys
import time

SOCKET = "/run/systemd/journal/socket"

_VALUE_BYTES = 8 << 10
_MESSAGE_BYTES = 32 << 10
_DATAGRAM_BYTES = 120 << 10
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_NOT_IN_NAME = re.compile(r"[^A-Z0-9_]")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


def set_up(service: str, level: str = "INFO") -> None:
    """Send this process's records to journald where it is listening to us, else to stderr."""
    handler: logging.Handler = JournalHandler(service) if _under_journald() else PlainHandler()
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(level)
    for chatty in ("httpx", "httpx2", "httpcore", "httpcore2", "openai", "uvicorn.access", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _under_journald() -> bool:
    """Tell whether stderr is the stream that journald gave us, rather than a pipe or file of someone else."""
    try:
        stat = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{stat.st_dev}:{stat.st_ino}"


class JournalHandler(logging.Handler):
    """Sends records as native datagrams. Long values are cut; what journald does not take goes to stderr."""

    def __init__(self, service: str, address: str = SOCKET) -> None:
        super().__init__()
        self._service = service
        self._address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)

    def emit(self, record: logging.LogRecord) -> None:
        fields = fields_of(record, self._service)
        try:
            self._socket.sendto(datagram(fields), self._address)
        except OSError:
            sys.stderr.write(plain(record) + "\n")

    def close(self) -> None:
        self._socket.close()
        super().close()


class PlainHandler(logging.Handler):
    """Writes one line per record to stderr; an exception's traceback follows it."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(plain(record) + "\n")
        sys.stderr.flush()


def fields_of(record: logging.LogRecord, service: str) -> dict[str, str]:
    """Return a record as journal fields."""
    fields = {
        "MESSAGE": record.getMessage(),
        "PRIORITY": str(priority(record.levelno)),
        "SYSLOG_IDENTIFIER": service,
        "CODE_FILE": record.pathname,
        "CODE_LINE": str(record.lineno),
        "CODE_FUNC": record.funcName or "",
        "AI_LOGGER": record.name,
    }
    if record.exc_info:
        fields["MESSAGE"] += "\n" + logging.Formatter().formatException(record.exc_info)
    return fields | {_field_name(key): str(value) for key, value in _extras(record).items()}


def priority(level: int) -> int:
    """Return syslog's priority for a logging level."""
    for floor, number in ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6)):
        if level >= floor:
            return number
    return 7


def datagram(fields: dict[str, str]) -> bytes:
    """Return fields in journald's native form; a value with a newline takes the length-prefixed one."""
    parts: list[bytes] = []
    size = 0
    for name, value in fields.items():
        part = _encoded(name, value, _MESSAGE_BYTES if name == "MESSAGE" else _VALUE_BYTES)
        size += len(part)
        if size > _DATAGRAM_BYTES:
            break
        parts.append(part)
    return b"".join(parts)


def plain(record: logging.LogRecord) -> str:
    """Return a record as one line for people: nothing in it can move a terminal's cursor."""
    text = _UNPRINTABLE.sub(" ", record.getMessage())
    level = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
    incident = _extras(record).get("incident_id")
    line = f"{time.strftime('%H:%M:%S', time.localtime(record.created))} {level}{text}"
    if incident and str(incident) not in text:
        line += f" [{incident}]"
    if record.exc_info:
        line += "\n" + logging.Formatter().formatException(record.exc_info)
    return line


def _extras(record: logging.LogRecord) -> dict[str, object]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD and not key.startswith("_")}


def _field_name(key: str) -> str:
    return "AI_" + _NOT_IN_NAME.sub("_", key.upper())[:60]


def _encoded(name: str, value: str, most: int) -> bytes:
    data = value.encode(errors="replace")
    if len(data) > most:
        data = data[: most - 4].decode(errors="ignore").encode() + "…".encode()
    if b"\n" in data:
        return name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
    return name.encode() + b"=" + data + b"\n"
