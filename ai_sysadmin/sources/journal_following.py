"""Keep a reader of the journal going: start it again where it was, find the file that kills it, read the others."""

import asyncio
import logging
import shutil
import signal
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Protocol

from ai_sysadmin.core.errors import JournalUnavailable
from ai_sysadmin.core.records import JournalEntry
from ai_sysadmin.runtime.commands import Child, CommandMissing, CommandTimedOut, run, spawn
from ai_sysadmin.sources.journal_children import Journalctl, Mode, Reader, Start, reader_for
from ai_sysadmin.sources.journal_files import (
    NO_FILES,
    NO_PERMISSION,
    Identity,
    SkippedFile,
    defect_of,
    files_in,
    held_after,
    identity_of,
    own_directory,
    readable,
)
from ai_sysadmin.sources.journal_reader import UNUSABLE

log = logging.getLogger(__name__)

DEATHS = 3
RESTART_SECONDS = 0.2
_PROBE_SECONDS = 30.0
_JOURNALD = Path("/run/systemd/journal/socket")


class Position(Protocol):
    """How far the journal has been read: the last entry's cursor, and the numbers in it."""

    @property
    def cursor(self) -> str: ...
    @property
    def sequence_id(self) -> str: ...
    @property
    def sequence(self) -> int: ...


class Rescue(Enum):
    """``journalctl`` outlives damage that kills others, and loses only what is damaged: it is let past it, once."""

    POSSIBLE = "possible"
    NOW = "now"
    TRIED = "tried"


class Follower:
    """Follows the journal from a position, over whatever becomes of the readers and of the files."""

    def __init__(
        self,
        position: Position | None,
        *,
        history: timedelta,
        directory: Path | None,
        on_skip: Callable[[SkippedFile], None] | None,
        reader: Reader | None,
    ) -> None:
        self._last: Position | None = position
        self._history = history
        self._given = directory
        self._on_skip = on_skip
        self._wanted = reader
        self._deaths = 0
        self._died_at = ""
        self._rescue: Rescue = Rescue.POSSIBLE
        self._told: set[Identity] = set()
        self._skipped: set[Identity] = set()
        self._seen: tuple[Path | None, int] = None, 0

    async def batches(self) -> AsyncGenerator[list[JournalEntry], None]:
        """Yield for ever. Raises: JournalUnavailable."""
        while True:
            async with aclosing(self._round()) as batches:
                async for batch in batches:
                    yield batch
            await asyncio.sleep(RESTART_SECONDS)

    async def _round(self) -> AsyncGenerator[list[JournalEntry], None]:
        """Yield until the reader ends, or has to be started anew for other files. Raises: JournalUnavailable."""
        directory = self._given or own_directory()
        rescuer, modes = self._wanted, tuple(Mode)
        if self._rescue is Rescue.NOW:
            self._rescue, rescuer, modes = Rescue.TRIED, Journalctl(), (Mode.CATCH_UP,)
        files = self._look(rescuer or reader_for(directory, Mode.FOLLOW), directory)
        came = False
        said: list[str] = []
        for mode in modes:
            reader = rescuer or reader_for(directory, mode)
            start = Start(self._cursor, self._history, directory, files, careful=self._is_careful)
            child = await opened(reader.argv(start, mode), reader.environment())
            async with child, aclosing(batches(reader, child, self._cursor, said)) as found:
                async for batch in found:
                    came = came or bool(batch)
                    self._last = batch[-1] if batch else self._last
                    yield batch
                    if not batch and self._has_moved():
                        return
            if await self._is_dealt_with(reader, directory, child.exit_status or 0, said):
                return
            if not came and (mode is Mode.FOLLOW or child.exit_status != 0):
                raise ended(reader.name, child.exit_status, said)
            if not came:
                assert_journald(self._given)

    @property
    def _cursor(self) -> str:
        return self._last.cursor if self._last else ""

    @property
    def _is_careful(self) -> bool:
        """Whether a reader died right here."""
        return self._deaths > 0 and self._died_at == self._cursor

    def _look(self, reader: Reader, directory: Path | None) -> tuple[Path, ...]:
        """Tell of files that no reader opens; return those to be named to the reader, none: the whole directory.

        Raises:
            JournalUnavailable: nothing can be read there.
        """
        if directory is None:
            return ()
        if trouble := reader.trouble(directory):
            raise JournalUnavailable(trouble)
        self._seen = directory, _changed_at(directory)
        try:
            files = files_in(directory)
        except PermissionError:
            return ()
        for file in files:
            if defect := defect_of(file):
                self._tell(file, defect)
        if not self._skipped:
            return ()
        return readable([file for file in files if identity_of(file) not in self._skipped])

    def _has_moved(self) -> bool:
        """Tell whether the files to be read are others than at the start of the round."""
        directory, changed_at = self._seen
        if self._given is None and (own := own_directory()) and own != directory:
            return True
        return bool(self._skipped) and directory is not None and _changed_at(directory) != changed_at

    # --- readers that die

    async def _is_dealt_with(self, reader: Reader, directory: Path | None, status: int, said: Sequence[str]) -> bool:
        """Draw the conclusion from a reader's end; false: it was no death. Raises: JournalUnavailable."""
        if status == UNUSABLE and self._wanted is None:
            log.warning(
                "the journal is read by journalctl: %s", _last(said), extra={"event": "journal_reader_unusable"}
            )
            self._wanted = Journalctl()
            return True
        if not reader.is_damage(status, _last(said)):
            return False
        self._deaths = self._deaths + 1 if self._died_at == self._cursor else 1
        self._died_at = self._cursor
        how = _end_of(status, said)
        fields = {"event": "journal_reader_died", "count": self._deaths}
        log.warning("the journal's reader (%s) %s", reader.name, how, extra=fields)
        if self._deaths < DEATHS:
            return True
        if self._rescue is Rescue.POSSIBLE and reader.name != Journalctl.name and shutil.which(Journalctl.name):
            self._rescue = Rescue.NOW
        else:
            await self._skip_the_culprits(reader, directory, how)
            self._deaths = 0
        return True

    async def _skip_the_culprits(self, reader: Reader, directory: Path | None, how: str) -> None:
        """Find the files that a reader dies on, each by a child of its own. Raises: JournalUnavailable."""
        files = files_in(directory) if directory else []
        others = {file: identity for file in files if (identity := identity_of(file)) and identity not in self._skipped}
        culprits = {file: identity for file, identity in others.items() if await self._kills(reader, file)}
        if not culprits or culprits == others:
            raise JournalUnavailable(
                f"the journal's reader {how}, {DEATHS} times at one place; no one file is to blame"
            )
        for file, identity in culprits.items():
            self._skipped.add(identity)
            self._tell(file, f"a reader of it {how}")

    async def _kills(self, reader: Reader, file: Path) -> bool:
        start = Start(self._cursor, self._history, None, (file,))
        argv = reader.argv(start, Mode.CATCH_UP)
        try:
            done = await run(argv, env=reader.environment(), timeout_seconds=_PROBE_SECONDS, max_bytes=1)
        except CommandMissing as error:
            raise JournalUnavailable(f"the journal cannot be read: {error}") from error
        except CommandTimedOut:
            return False
        return reader.is_damage(done.exit_status, done.stderr)

    def _tell(self, file: Path, why: str) -> None:
        """Say once that a file is not read, if it holds anything that we have not seen."""
        identity = identity_of(file)
        if identity is None or identity in self._told:
            return
        self._told.add(identity)
        last = self._last
        since = 0 if last else Start("", self._history, None).since_usec
        entries = held_after(file, last.sequence_id if last else "", last.sequence if last else 0, since)
        if entries == 0:
            return
        many = "an unknown number of entries" if entries is None else f"up to {entries} entries"
        fields = {"event": "journal_file_skipped", "file": str(file), "entries": entries}
        log.warning("journal file %s is skipped, with %s: %s", file, many, why, extra=fields)
        if self._on_skip:
            self._on_skip(SkippedFile(file, why, entries))


# --- one child


async def opened(argv: Sequence[str], environment: Mapping[str, str] | None = None) -> Child:
    """Return a reader that was started. Raises: JournalUnavailable."""
    try:
        return await spawn(argv, env=environment, stdout_pipe=True, stderr_pipe=True)
    except CommandMissing as error:
        raise JournalUnavailable(f"there is no systemd journal here: {error}") from error


async def batches(reader: Reader, child: Child, last: str, said: list[str]) -> AsyncGenerator[list[JournalEntry], None]:
    """Yield what a reader writes until it ends, without the entry ``last`` itself; raise when it complains.

    What else it says on stderr is logged, and put into ``said``.
    """
    complaints = asyncio.create_task(_complaints(reader.name, child, said))
    try:
        async with aclosing(reader.batches(child)) as found:
            async for batch in found:
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


async def _complaints(name: str, child: Child, said: list[str]) -> str:
    """Read what a reader says on stderr; return the first that means it will show us nothing."""
    while line := await child.stderr.readline():
        text = line.decode(errors="replace").strip()
        if trouble := trouble_in(text):
            return trouble
        said[:] = [text]
        log.info("%s says: %s", name, text, extra={"event": "journal_complained"})
    return ""


def trouble_in(stderr: str) -> str:
    """Return in one sentence why ``journalctl`` shows nothing, or only a user's own entries; empty: no such reason."""
    if "insufficient permissions" in stderr or "not seeing messages from other users" in stderr:
        return NO_PERMISSION
    return NO_FILES if "No journal files were found" in stderr else ""


def assert_journald(directory: Path | None) -> None:
    """Tell a quiet journal from one that nobody writes. Raises: JournalUnavailable."""
    if directory is None and not _JOURNALD.exists():
        raise JournalUnavailable("there is no systemd journal here: systemd-journald does not run")


def ended(name: str, status: int | None, said: Sequence[str]) -> JournalUnavailable:
    """Return the error for a reader that ended and had shown nothing."""
    return JournalUnavailable(f"{name} ended with status {status}" + (f": {_last(said)}" if said else ""))


def _end_of(status: int, said: Sequence[str]) -> str:
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with status {status}: {_last(said)}"


def _last(said: Sequence[str]) -> str:
    return said[-1] if said else ""


def _changed_at(directory: Path) -> int:
    """Return when a file was last made, renamed or removed there, in nanoseconds; 0: the directory is gone."""
    try:
        return directory.stat().st_mtime_ns
    except OSError:
        return 0
