"""Runs inside a unit of the suite in place of its program, and prints what the unit's sandbox lets it do."""

import asyncio
import json
import os
import socket
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai  # noqa: F401 — the heaviest of the suite's libraries must load in here
import pydantic  # noqa: F401
from dbus_fast import BusType, Message, MessageType, Variant
from dbus_fast.aio import MessageBus


def attempt(work: Callable[[], Any]) -> Any:
    """Return what the work returns, or the name of its error."""
    try:
        return work()
    except (OSError, sqlite3.Error, subprocess.SubprocessError, RuntimeError) as error:
        return type(error).__name__


def write(path: str) -> str:
    Path(path).write_text("x")
    Path(path).unlink()
    return "written"


def database(directory: str) -> str:
    path = Path(directory) / "probe.db"
    # SQLite itself asks for 0644: the umask then leaves the other user of the directory without the right to write
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o666))
    with sqlite3.connect(path) as connection:
        mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        connection.execute("CREATE TABLE IF NOT EXISTS t (x)")
        connection.execute("INSERT INTO t VALUES (1)")
    return str(mode)


def journal() -> bool:
    done = subprocess.run(
        ["/usr/bin/journalctl", "-q", "-n", "1", "_PID=1"], capture_output=True, check=False, timeout=10
    )
    return bool(done.stdout)


def families() -> list[str]:
    allowed = []
    for family in ("AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET"):
        kind = socket.SOCK_RAW if family in {"AF_NETLINK", "AF_PACKET"} else socket.SOCK_STREAM
        try:
            socket.socket(getattr(socket, family), kind).close()
        except OSError:
            continue
        allowed.append(family)
    return allowed


async def manager(member: str, signature: str, body: list[Any]) -> Any:
    """Call systemd's manager; return its answer, or the name of its refusal."""
    bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
    try:
        reply = await bus.call(
            Message(
                destination="org.freedesktop.systemd1",
                path="/org/freedesktop/systemd1",
                interface="org.freedesktop.systemd1.Manager",
                member=member,
                signature=signature,
                body=body,
            )
        )
    finally:
        bus.disconnect()
    assert reply
    return reply.error_name if reply.message_type is MessageType.ERROR else reply.body


def sees_units() -> bool:
    return str(asyncio.run(manager("GetUnit", "s", ["dbus.service"]))[0]).startswith("/")


def starts_transient_unit() -> Any:
    name = f"ai-sysadmin-action-probe{os.getpid()}.service"
    command = Variant("a(sasb)", [["/bin/true", ["/bin/true"], False]])
    properties = [["Type", Variant("s", "oneshot")], ["ExecStart", command]]
    answer = asyncio.run(manager("StartTransientUnit", "ssa(sv)a(sa(sv))", [name, "fail", properties, []]))
    return "started" if isinstance(answer, list) else answer


def main() -> None:
    state = os.environ.get("STATE_DIRECTORY", "/var/lib/ai-sysadmin")
    found = {
        "root": os.getuid() == 0,
        "capabilities": Path("/proc/self/status").read_text().partition("CapEff:\t")[2].split("\n")[0],
        "state": attempt(lambda: write(f"{state}/probe")),
        "database": attempt(lambda: database(state)),
        "the services' state": attempt(lambda: write("/var/lib/ai-sysadmin/probe")),
        "etc": attempt(lambda: write("/etc/probe")),
        "home": attempt(lambda: write("/home/probe")),
        "journal": attempt(journal),
        "sees init": Path("/proc/1/mountinfo").exists(),
        "boot id": Path("/proc/sys/kernel/random/boot_id").exists(),
        "families": families(),
        "sees units": attempt(sees_units),
        "starts units": attempt(starts_transient_unit),
    }
    print(f"probe {json.dumps(found)}")


if __name__ == "__main__":
    main()
