"""End one process: it is asked to, and killed where it does not. Started as ``end_process.py PID START GRACE``.

START is when the process started, in clock ticks since the boot; GRACE is in seconds. The process is held by a file
descriptor before its start is compared: a number that was given to another process meanwhile is never signalled.
"""

import os
import select
import signal
import sys
from pathlib import Path

_KILLED_WITHIN_SECONDS = 5.0
_START_FIELD = 19
"""Of stat, behind the name: the 22nd of all."""


def end(pid: int, start: int, grace_seconds: float) -> str:
    """End a process and return how it ended. Raises: SystemExit: it is another, is gone, or does not end."""
    try:
        process = os.pidfd_open(pid)
    except OSError as error:
        raise SystemExit(f"process {pid} is gone ({error.strerror}): nothing was done") from error
    try:
        if _start_of(pid) != start:
            raise SystemExit(f"process {pid} is not the one that started at tick {start}: nothing was done")
        if _ended(process, signal.SIGTERM, grace_seconds):
            return f"process {pid} ended when asked to"
        if _ended(process, signal.SIGKILL, _KILLED_WITHIN_SECONDS):
            return f"process {pid} did not end within {grace_seconds:g} s and was killed"
    finally:
        os.close(process)
    raise SystemExit(f"process {pid} was killed and has not ended: it waits in the kernel, for a device perhaps")


def _ended(process: int, number: signal.Signals, seconds: float) -> bool:
    """Signal a process and tell whether it ended in time."""
    try:
        signal.pidfd_send_signal(process, number)
    except ProcessLookupError:
        return True
    except PermissionError as error:
        raise SystemExit("this process may not be signalled from here: nothing was done") from error
    waiting = select.poll()
    waiting.register(process, select.POLLIN)
    return bool(waiting.poll(seconds * 1000))


def _start_of(pid: int) -> int:
    """Return when a process started, in ticks; -1: it is gone. Its name, the second field, may hold anything."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return -1
    return int(fields[_START_FIELD]) if len(fields) > _START_FIELD else -1


if __name__ == "__main__":
    sys.stdout.write(end(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])) + "\n")
