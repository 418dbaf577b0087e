"""The system journal: followed from a durable position, or asked for one unit's last lines.

Reading is done by a ``journalctl`` child: a damaged journal file kills its reader, and that must not be us.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Protocol

from ai_sysadmin.core.errors import JournalUnavailable
from ai_sysadmin.core.records import JournalEntry, UnitName
from ai_sysadmin.runtime.commands import Child, CommandMissing, CommandTimedOut, run, spawn
from ai_sysadmin.sources.export import READ_FIELDS, ExportParser

log = logging.getLogger(__name__)

BATCH_ENTRIES = 1000
BATCH_SECONDS = 0.02
IDLE_SECONDS = 0.5
_CHUNK_BYTES = 256 << 10
_RESTART_SECONDS = 0.2
_LOOK_UP_SECONDS = 20.0
_BASE = ("journalctl", "--output=export", "--all", "--no-pager", f"--output-fields={','.join(READ_FIELDS)}")
_CATCH_UP: tuple[str, ...] = ()
_FOLLOW = ("--follow", "--no-tail")
_NOTHING = b"-- No entries --\n"
_JOURNALD = Path("/run/systemd/journal/socket")
_GRANT = "add this user to the group systemd-journal (or adm), or run as root"


class Position(Protocol):
    """How far the journal has been read: the last entry's cursor, and the numbers in it."""

    @property
    def cursor(self) -> str: ...
    @property
    def sequence_id(self) -> str: ...
    @property
    def sequence(self) -> int: ...


def lost_between(position: Position | None, entry: JournalEntry) -> int:
    """Return how many entries the journal dropped between a position and the next entry that it showed.

    The numbers are consecutive within one sequence id; nothing can be said across two of them.
    """
    if position is None or not entry.sequence_id or position.sequence_id != entry.sequence_id:
        return 0
    return max(0, entry.sequence - position.sequence - 1)


def lost_within(entries: Sequence[JournalEntry]) -> int:
    """Return how many entries are missing between the first and the last of a batch."""
    return sum(
        after.sequence - before.sequence - 1
        for before, after in pairwise(entries)
        if before.sequence_id and before.sequence_id == after.sequence_id and after.sequence > before.sequence + 1
    )


async def follow(
    position: Position | None, *, history: timedelta, directory: Path | None = None
) -> AsyncGenerator[list[JournalEntry], None]:
    """Yield every entry after ``position`` as it comes, in batches of about a thousand or 20 ms.

    While nothing comes, an empty batch is yielded twice a second, so that the reader can see that time passes.
    A ``journalctl`` that dies is started again after the last entry that was yielded.

    Args:
        position: where to go on; none: begin ``history`` ago.
        directory: read the journal files there rather than the system's.

    Raises:
        JournalUnavailable: there is no journal here, or this user may not read it; the text says what to do.
    """
    last = position.cursor if position else ""
    while True:
        came = False
        said: list[str] = []
        for mode in (_CATCH_UP, _FOLLOW):  # following shows the running boot only, whatever the cursor says
            child = await _journalctl([*_start(last, history), *mode], directory)
            async with child, aclosing(_batches(child, last, said)) as batches:
                async for batch in batches:
                    came = came or bool(batch)
                    last = batch[-1].cursor if batch else last
                    yield batch
            if not came and (mode is _FOLLOW or child.exit_status != 0):
                raise _ended(child.exit_status, "\n".join(said))
            if not came:
                _assert_journald(directory)
        await asyncio.sleep(_RESTART_SECONDS)


async def past(
    history: timedelta, *, priority: int = 7, directory: Path | None = None
) -> AsyncGenerator[list[JournalEntry], None]:
    """Yield the entries of the last ``history``, the newest first, in batches, and end. Raises as ``follow`` does.

    Args:
        priority: leave out what is less urgent than this syslog priority.
    """
    came = False
    said: list[str] = []
    child = await _journalctl([*_start("", history), f"--priority={priority}", "--reverse"], directory)
    async with child, aclosing(_batches(child, "", said)) as batches:
        async for batch in batches:
            came = came or bool(batch)
            if batch:
                yield batch
    if child.exit_status != 0:
        raise _ended(child.exit_status, "\n".join(said))
    if not came:
        _assert_journald(directory)


async def unit_log(
    unit: UnitName, lines: int, *, since: timedelta | None = None, directory: Path | None = None
) -> list[JournalEntry]:
    """Return the last lines by or about a unit, oldest first. Raises: JournalUnavailable."""
    argv = [*_BASE, *_in(directory), f"--unit={unit}", f"--lines={lines}"]
    if since is not None:
        argv += _start("", since)
    try:
        done = await run(argv, timeout_seconds=_LOOK_UP_SECONDS, max_bytes=16 << 20)
    except (CommandMissing, CommandTimedOut) as error:
        raise JournalUnavailable(f"the journal cannot be read: {error}") from error
    if trouble := trouble_in(done.stderr):
        raise JournalUnavailable(trouble)
    if done.exit_status != 0:
        raise _ended(done.exit_status, done.stderr)
    return ExportParser().feed(done.stdout.removeprefix(_NOTHING))[-lines:]


def _start(cursor: str, history: timedelta) -> list[str]:
    if cursor:
        return [f"--cursor={cursor}"]
    return [f"--since=@{max(0, int((datetime.now(UTC) - history).timestamp()))}"]


def _in(directory: Path | None) -> list[str]:
    directory = directory or own_directory()
    return [f"--directory={directory}"] if directory else []


def own_directory(root: Path = Path("/")) -> Path | None:
    """Return the directory of this machine's own journal; none: nothing is written here.

    It is named because ``journalctl --follow`` otherwise shows nothing but the running boot, and inside a container
    a sandbox may see another boot id than journald does.
    """
    try:
        machine_id = (root / "etc/machine-id").read_text().strip()
    except OSError:
        return None
    for place in ("var/log/journal", "run/log/journal"):
        directory = root / place / machine_id
        if machine_id and (directory / "system.journal").exists():
            return directory
    return None


async def _journalctl(arguments: list[str], directory: Path | None) -> Child:
    try:
        return await spawn([*_BASE, *_in(directory), *arguments], stdout_pipe=True, stderr_pipe=True)
    except CommandMissing as error:
        raise JournalUnavailable(f"there is no systemd journal here: {error}") from error


def _assert_journald(directory: Path | None) -> None:
    """Tell a quiet journal from one that nobody writes."""
    if directory is None and not _JOURNALD.exists():
        raise JournalUnavailable("there is no systemd journal here: systemd-journald does not run")


async def _batches(child: Child, last: str, said: list[str]) -> AsyncGenerator[list[JournalEntry], None]:
    """Yield what a ``journalctl`` writes until it ends, without the entry ``last`` itself; raise when it complains.

    What else it says on stderr is logged, and added to ``said``.
    """
    parser = ExportParser()
    complaints = asyncio.create_task(_complaints(child, said))
    try:
        ended = False
        while not ended:
            batch, ended = await _batch(child, parser)
            if complaints.done() and complaints.result():
                raise JournalUnavailable(complaints.result())
            if batch and last:
                batch, last = batch[batch[0].cursor == last :], ""
            yield batch
        if trouble := await complaints:
            raise JournalUnavailable(trouble)
        await child.wait()
    finally:
        complaints.cancel()
        await asyncio.wait([complaints])


async def _batch(child: Child, parser: ExportParser) -> tuple[list[JournalEntry], bool]:
    """Return the next entries (none after a while without any), and whether that was the end of the stream."""
    found: list[JournalEntry] = []
    until = time.monotonic() + IDLE_SECONDS
    while len(found) < BATCH_ENTRIES:
        try:
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                chunk = await child.stdout.read(_CHUNK_BYTES)
        except TimeoutError:
            break
        if not chunk:
            return found, True
        if not found:
            until = time.monotonic() + BATCH_SECONDS
        found += parser.feed(chunk.removeprefix(_NOTHING))
    return found, False


async def _complaints(child: Child, said: list[str]) -> str:
    """Read what ``journalctl`` says on stderr; return the first that means it will show us nothing."""
    while line := await child.stderr.readline():
        text = line.decode(errors="replace").strip()
        if trouble := trouble_in(text):
            return trouble
        said[:] = [text]
        log.info("journalctl says: %s", text, extra={"event": "journal_complained"})
    return ""


def trouble_in(stderr: str) -> str:
    """Return in one sentence why ``journalctl`` shows nothing, or only a user's own entries; empty: no such reason."""
    if "insufficient permissions" in stderr or "not seeing messages from other users" in stderr:
        return f"the system journal cannot be read without permission: {_GRANT}"
    if "No journal files were found" in stderr:
        return "there is no systemd journal here: no journal files were found (is systemd-journald running?)"
    return ""


def _ended(status: int | None, stderr: str = "") -> JournalUnavailable:
    last = stderr.strip().rpartition("\n")[2]
    return JournalUnavailable(f"journalctl ended with status {status}" + (f": {last}" if last else ""))
