"""Programs that crashed, as systemd-coredump wrote it into the journal."""

import json
import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from ai_sysadmin.core.errors import JournalUnavailable
from ai_sysadmin.runtime.commands import CommandMissing, CommandTimedOut, run
from ai_sysadmin.sources.export import moment
from ai_sysadmin.sources.journal_children import places
from ai_sysadmin.sources.journal_files import own_directory
from ai_sysadmin.sources.journal_following import trouble_in

_MESSAGE_ID: Final = "fc2e22bc6ee647b6b90729ab34a250b1"
_FIELDS: Final = ("PID", "UID", "COMM", "EXE", "UNIT", "SIGNAL", "SIGNAL_NAME", "FILENAME", "TRUNCATED")
_SECONDS: Final = 10.0
_BYTES: Final = 8 << 20
_MOST_FRAMES: Final = 12
_KEEPER: Final = "systemd-coredump"


class CoreDump(NamedTuple):
    """A crash: ``program`` is its file, ``signal`` such as ``SIGSEGV``, ``frames`` the top of its first stack trace.

    ``file`` is where its memory was written to; empty: it was not kept.
    """

    at: datetime
    program: str
    pid: str = ""
    uid: str = ""
    unit: str = ""
    signal: str = ""
    frames: tuple[str, ...] = ()
    file: str = ""


class CoreDumpsSeen(NamedTuple):
    """Crashes, the newest first. ``missing`` says why there may be others that are not known of."""

    dumps: tuple[CoreDump, ...]
    more: bool = False
    missing: str = ""


class CoreDumps(Protocol):
    """How crashes are asked for."""

    async def since(self, since: datetime, most: int) -> CoreDumpsSeen:
        """Return the newest crashes since a time. Raises: JournalUnavailable."""
        ...


class SystemCoreDumps:
    """The crashes that this machine's journal knows of, or that in a directory."""

    def __init__(self, directory: Path | None = None, root: Path = Path("/")) -> None:
        self._directory = directory
        self._root = root

    async def since(self, since: datetime, most: int) -> CoreDumpsSeen:
        fields = ",".join(["MESSAGE", *(f"COREDUMP_{name}" for name in _FIELDS)])
        argv = [
            *("journalctl", "--output=json", "--all", "--no-pager", "--reverse", f"--lines={most + 1}"),
            *(*places(self._directory or own_directory()), f"--since=@{math.floor(since.timestamp())}"),
            *(f"--output-fields={fields}", f"MESSAGE_ID={_MESSAGE_ID}"),
        ]
        try:
            done = await run(argv, timeout_seconds=_SECONDS, max_bytes=_BYTES)
        except (CommandMissing, CommandTimedOut) as error:
            raise JournalUnavailable(f"the journal cannot be read: {error}") from error
        if trouble := trouble_in(done.stderr):
            raise JournalUnavailable(trouble)
        dumps = tuple(dump_of(fields) for fields in _objects(done.stdout.decode(errors="replace")))
        return CoreDumpsSeen(dumps[:most], done.truncated or len(dumps) > most, self._missing())

    def _missing(self) -> str:
        """Say why crashes may not be recorded; empty: they are."""
        try:
            pattern = (self._root / "proc/sys/kernel/core_pattern").read_text().strip()
        except OSError:
            return "whether crashes are recorded is not known: core_pattern cannot be read"
        if _KEEPER in pattern:
            return ""
        return f"systemd-coredump does not record crashes here: kernel.core_pattern is {pattern[:100]!r}"


def _objects(text: str) -> Iterator[Mapping[str, str]]:
    """Yield the entries of ``journalctl -o json``; what was cut off in the middle of one is left out."""
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            yield {name: _text(value) for name, value in entry.items()}


def _text(value: object) -> str:
    """Return a field's text; what is not UTF-8 comes as the numbers of its bytes, a repeated one as a list."""
    if isinstance(value, list):
        if all(isinstance(each, int) and 0 <= each < 256 for each in value):
            return bytes(value).decode(errors="replace")
        return _text(value[0])
    return value if isinstance(value, str) else ""


def dump_of(fields: Mapping[str, str]) -> CoreDump:
    """Return a crash from its journal fields."""
    number, signal = fields.get("COREDUMP_SIGNAL", ""), fields.get("COREDUMP_SIGNAL_NAME", "")
    usec = fields.get("__REALTIME_TIMESTAMP", "")
    return CoreDump(
        at=moment(int(usec) if usec.isdecimal() and len(usec) < 20 else 0),
        program=fields.get("COREDUMP_EXE") or fields.get("COREDUMP_COMM", ""),
        pid=fields.get("COREDUMP_PID", ""),
        uid=fields.get("COREDUMP_UID", ""),
        unit=fields.get("COREDUMP_UNIT", ""),
        signal=signal or (f"signal {number}" if number else ""),
        frames=frames_in(fields.get("MESSAGE", "")),
        file=fields.get("COREDUMP_FILENAME", ""),
    )


def frames_in(message: str) -> tuple[str, ...]:
    """Return the top frames of the first stack trace of systemd-coredump's message."""
    lines = [line.strip() for line in message.splitlines()]
    begin = next((number for number, line in enumerate(lines) if line.startswith("Stack trace of thread")), len(lines))
    frames = []
    for line in lines[begin + 1 :]:
        if not line.startswith("#"):
            break
        frames.append(line)
    return tuple(frames[:_MOST_FRAMES])
