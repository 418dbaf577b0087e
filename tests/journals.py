"""Journals for tests: entries in the export format, files as journald writes them, a journald of our own."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from ai_sysadmin.core.records import JournalEntry
from ai_sysadmin.sources import journal
from ai_sysadmin.sources.journal_children import Reader

REMOTE = Path("/lib/systemd/systemd-journal-remote")
JOURNALD = Path("/lib/systemd/systemd-journald")
USEC = 1_795_331_618_000_000
EVERYTHING = timedelta(days=36500)


@dataclass(frozen=True)
class At:
    cursor: str
    sequence_id: str = "aa"
    sequence: int = 0


def text(name: str, value: str) -> bytes:
    return f"{name}={value}\n".encode()


def binary(name: str, value: bytes) -> bytes:
    return name.encode() + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"


def cursor(number: int) -> str:
    return f"s=aa;i={number:x};b=bb;m=1;t=1;x=1"


def entry(number: int, *fields: bytes) -> bytes:
    head = text("__CURSOR", cursor(number)) + text("__REALTIME_TIMESTAMP", str(USEC + number))
    return head + b"".join(fields) + b"\n"


def stored(usec: int, *fields: bytes, boot: str = "b") -> bytes:
    """Return an entry as systemd-journal-remote takes it."""
    head = text("__REALTIME_TIMESTAMP", str(usec)) + text("__MONOTONIC_TIMESTAMP", str(usec - USEC + 10**9))
    return head + text("_BOOT_ID", boot * 32) + text("_MACHINE_ID", "c" * 32) + b"".join(fields) + b"\n"


def write_file(file: Path, data: bytes) -> None:
    """Write a journal file, or write on in one."""
    subprocess.run([str(REMOTE), "-o", str(file), "-"], input=data, check=True, capture_output=True, timeout=30)


async def followed(
    directory: Path, reader: Reader | None, position: journal.Position | None = None, *, many: int = 0
) -> list[JournalEntry]:
    """Follow until there are so many entries, and a moment more."""
    found: list[JournalEntry] = []
    batches = journal.follow(position, history=EVERYTHING, directory=directory, reader=reader)
    async with aclosing(batches):
        async for batch in batches:
            found += batch
            if found and not batch and len(found) >= many:
                return found
    return found


class Journald:
    """A real journald in a journal namespace of its own."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._runtime = Path(f"/run/systemd/journal.{name}")
        machine_id = Path("/etc/machine-id").read_text().strip()
        self.directory = Path("/var/log/journal") / f"{machine_id}.{name}"

    def start(self) -> None:
        self._runtime.mkdir(parents=True, exist_ok=True)
        (self._runtime / "socket").unlink(missing_ok=True)
        self._process = subprocess.Popen(
            [str(JOURNALD), self._name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._wait_for(lambda: (self.directory / "system.journal").exists() and (self._runtime / "socket").exists())

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)

    def remove(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)
        shutil.rmtree(self._runtime, ignore_errors=True)

    def log(self, *messages: str) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
            door.connect(str(self._runtime / "socket"))
            for message in messages:
                door.send(text("MESSAGE", message) + text("PRIORITY", "5"))

    def rotate(self) -> None:
        before = len(list(self.directory.glob("*.journal")))
        self._process.send_signal(signal.SIGUSR2)
        self._wait_for(lambda: len(list(self.directory.glob("*.journal"))) > before)

    @staticmethod
    def _wait_for(happened: Callable[[], bool]) -> None:
        until = time.monotonic() + 10
        while not happened():
            assert time.monotonic() < until
            time.sleep(0.01)


@contextmanager
def journald(name: str) -> Iterator[Journald]:
    ours = Journald(name)
    ours.remove()
    ours.start()
    try:
        yield ours
    finally:
        ours.stop()
        ours.remove()


def can_run_journald() -> bool:
    machine_id = Path("/etc/machine-id")
    return os.geteuid() == 0 and JOURNALD.exists() and machine_id.exists() and bool(machine_id.read_text().strip())
