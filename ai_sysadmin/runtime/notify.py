"""Speak with the service manager that started us: readiness, status, watchdog, and the sockets it holds for us."""

import os
import socket

_FIRST_FD = 3


def notify(**fields: object) -> None:
    """Send fields such as ``READY=1`` or ``STATUS="…"`` to the service manager; without one, do nothing."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    text = "\n".join(f"{key}={_one_line(value)}" for key, value in fields.items())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        try:
            sender.sendto(text.encode(), "\0" + address[1:] if address.startswith("@") else address)
        except OSError:  # a manager that went away will not kill us for it; the next message tries again
            return


def watchdog_seconds() -> float | None:
    """Return how often the service manager wants a sign of life; none: it does not."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1e6 if microseconds.isdecimal() and int(microseconds) else None


def listen_fds() -> dict[str, list[socket.socket]]:
    """Return the sockets that the service manager opened for us, by their ``FileDescriptorName=``.

    They are ours to close. A second call returns none: the environment that names them is cleared, so that no
    child takes them for its own.
    """
    pid, count, names = (os.environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    if pid != str(os.getpid()) or not count.isdecimal():
        return {}
    named = names.split(":") if names else []
    found: dict[str, list[socket.socket]] = {}
    for index in range(int(count)):
        os.set_inheritable(_FIRST_FD + index, False)
        name = named[index] if index < len(named) else "unknown"
        found.setdefault(name, []).append(socket.socket(fileno=_FIRST_FD + index))
    return found


def _one_line(value: object) -> str:
    return " ".join(str(value).split())
