"""Show the newest lines of the kernel's own log. Started as ``kernel_log.py LINES LEVEL``; 0 is the gravest level.

It is read from the kernel and not from the journal: so it is there when the journal is not, and cut to the newest.
"""

import errno
import os
import stat
import sys
import time
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime

_LEVELS = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
_RECORD_BYTES = 8192
_MOST_RECORDS = 1_000_000


def records(device: str) -> Iterator[str]:
    """Yield the records that the kernel holds, oldest first. Raises: SystemExit: it holds none that could be read."""
    try:
        log = os.open(device, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise SystemExit(f"{device} cannot be opened: {error.strerror}") from error
    try:
        if not stat.S_ISCHR(os.fstat(log).st_mode):
            raise SystemExit(f"{device} is no kernel log: this is a container, perhaps")
        for _ in range(_MOST_RECORDS):
            try:
                yield os.read(log, _RECORD_BYTES).decode(errors="replace")
            except OSError as error:
                if error.errno == errno.EAGAIN:  # that was the newest
                    return
                if error.errno != errno.EPIPE:  # EPIPE: it was overwritten before it could be read; the next is there
                    raise SystemExit(f"{device} cannot be read: {error.strerror}") from error
    finally:
        os.close(log)


def line_of(record: str, booted_at: float, most_level: int) -> str | None:
    """Return a record as a line: when, how grave, what; none: it is less grave than asked for, or no record.

    ``booted_at`` is in seconds since 1970. What cannot be printed the kernel has escaped already.
    """
    head, semicolon, rest = record.partition(";")
    fields = head.split(",")
    if not semicolon or len(fields) < 3 or not (fields[0].isdigit() and fields[2].isdigit()):
        return None
    level = int(fields[0]) & 7
    if level > most_level:
        return None
    at = datetime.fromtimestamp(booted_at + int(fields[2]) / 1e6, UTC)
    return f"{at:%Y-%m-%d %H:%M:%S} UTC {_LEVELS[level]}: {rest.partition(chr(10))[0]}"


def newest(device: str, lines: int, most_level: int) -> list[str]:
    """Return the newest lines of a level and all graver ones, oldest first."""
    booted_at = time.time() - time.clock_gettime(time.CLOCK_MONOTONIC)
    found = (line_of(record, booted_at, most_level) for record in records(device))
    return list(deque((line for line in found if line is not None), maxlen=lines))


if __name__ == "__main__":
    said = newest("/dev/kmsg", int(sys.argv[1]), int(sys.argv[2]))
    sys.stdout.write("\n".join(said or ["the kernel's log holds no such line"]) + "\n")
