"""The audit: who asked for what, who allowed it, what was run and what came of it, so that no edit goes unseen.

The truth is the executor's journal; each of its events becomes one line, after it is written and before anything is
done. A crash between the two is made good at the next start, from the events that have no line yet. The head goes to
the system journal with every line, and to a second file where the operator wants one.
"""

import asyncio
import hashlib
import itertools
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final

from pydantic import JsonValue

from ai_sysadmin.actions.audit_chain import START, Head, head_of, line_after
from ai_sysadmin.core.acting import ActionRequest, ExecutorEvent
from ai_sysadmin.core.errors import StoreUnavailable

log = logging.getLogger(__name__)
FILE: Final = "audit.jsonl"
_BLOCK: Final = 1 << 16
_MOST_TEXT: Final = 4000


class Audit:
    """One host's audit file.

    Args:
        copy: a second file, elsewhere; while it cannot be written, acting goes on.
        to_journal: whether whole lines go to the system journal, not only the head.
    """

    def __init__(self, directory: Path, copy: Path | None = None, *, to_journal: bool = False) -> None:
        self.path = directory / FILE
        self._copy = copy
        self._to_journal = to_journal
        self._chain = ""
        self._copy_is_away = False
        self._head = START
        self._told = ("", 0)
        self._left_off = (0, 0)
        self._writing = asyncio.Lock()

    @property
    def head(self) -> Head:
        """The number and hash of the last line."""
        return self._head

    async def open(self) -> None:
        """Find the head, and mend what a crash left half written. Raises: StoreUnavailable."""
        try:
            torn = await asyncio.to_thread(self._find_head)
        except (OSError, ValueError) as error:
            raise StoreUnavailable(
                f"the audit {self.path} cannot be read: {error}; move it elsewhere, as evidence, and another is begun"
            ) from error
        if torn:
            log.warning("the audit's last line was half written", extra={"event": "audit_repaired", "bytes": torn})
            await self._append({"kind": "repaired", "text": f"{torn} bytes of a half-written line were taken away"})

    async def event(self, event: ExecutorEvent, request: ActionRequest) -> None:
        """Add the line of an event; one that has its line already is passed over. Raises: StoreUnavailable."""
        if event.sequence > self.told(event.epoch):
            await self._append(_said(event, request))
            self._told = (event.epoch, event.sequence)

    def told(self, epoch: str) -> int:
        """Return the number of the last event of an epoch that has its line."""
        return self._told[1] if self._told[0] == epoch else 0

    async def note(self, kind: str, at: datetime, body: Mapping[str, JsonValue]) -> None:
        """Add a line on something that is no event of an action. Raises: StoreUnavailable."""
        await self._append({"kind": kind, "at": at.isoformat(), **body})

    async def read(self, since: int, most: int) -> Sequence[str]:
        """Return so many lines after a number, as they are. Raises: StoreUnavailable."""
        try:
            return await asyncio.to_thread(self._read, since, most)
        except OSError as error:
            raise StoreUnavailable(f"the audit {self.path} cannot be read: {error}") from error

    def _read(self, since: int, most: int) -> list[str]:
        if not self.path.exists():
            return []
        # where the reader before left off, most likely: whoever reads all of it reads page after page
        number, offset = self._left_off if self._left_off[0] <= since else (0, 0)
        with self.path.open("rb") as file:
            file.seek(offset)
            for _ in range(since - number):
                file.readline()
            lines = [raw.decode() for raw in itertools.islice(file, most)]
            self._left_off = (since + len(lines), file.tell()) if lines else (0, 0)
        return lines

    async def _append(self, body: Mapping[str, JsonValue]) -> None:
        async with self._writing:
            line, head = line_after(self._head, body)
            try:
                await asyncio.to_thread(_write, self.path, line)
            except OSError as error:
                raise StoreUnavailable(f"the audit {self.path} cannot be written: {error.strerror}") from error
            self._head, self._chain = head, self._chain or head.hash
            said: dict[str, object] = {
                "event": "audit_written",
                "audit_chain": self._chain,
                "audit_number": head.number,
                "audit_hash": head.hash,
            }
            if self._to_journal:
                said["audit_line"] = line.decode()
            log.info("audit line %d: %s", head.number, body.get("kind", ""), extra=said)
            await self._write_copy()

    async def _write_copy(self) -> None:
        """Bring the second file up to date; where that fails, the next line tries again."""
        if self._copy is None:
            return
        try:
            await asyncio.to_thread(_catch_up, self.path, self._copy)
            self._copy_is_away = False
        except (OSError, ValueError) as error:
            if not self._copy_is_away:
                said = {"event": "audit_copy_away"}
                log.warning("the audit's copy %s cannot be written: %s", self._copy, error, extra=said)
            self._copy_is_away = True

    def _find_head(self) -> int:
        """Set head and sequence from the file; return how many bytes of a torn line were taken away."""
        if not self.path.exists():
            return 0
        torn = _cut_torn(self.path)
        # whether all of it is whole is for `audit verify` to say: what is appended follows the last line there is
        with self.path.open("rb") as file:
            first = file.readline()
            self._chain = head_of(first).hash if first else ""
            for number, raw in enumerate(_backwards(file)):
                if number == 0:
                    self._head = head_of(raw)
                if told := _event_of(raw):
                    self._told = told
                    break
        return torn


def _said(event: ExecutorEvent, request: ActionRequest) -> dict[str, JsonValue]:
    """Return what the audit says of an event. Texts are bounded; of output there is a digest."""
    body: dict[str, JsonValue] = {
        "kind": event.kind.value,
        "at": event.at.isoformat(),
        "epoch": event.epoch,
        "sequence": event.sequence,
        "action_id": event.action_id,
        "incident_id": event.incident_id,
        "name": request.name,
        "arguments": dict(request.arguments),
        "origin": request.origin.value,
        "digest": event.digest,
        "text": event.text[:_MOST_TEXT],
    }
    if event.ruling is not None:
        body["ruling"] = event.ruling.model_dump(mode="json")
    if event.approval is not None:
        body["approval"] = event.approval.model_dump(mode="json")
    if event.plan is not None:
        body["argv"] = [list(argv) for argv in event.plan.run.commands]
    if event.outcome is not None:
        body["outcome"] = event.outcome.model_dump(mode="json", exclude={"output"})
        body["output_sha256"] = hashlib.sha256(event.outcome.output.encode()).hexdigest()
    return body


def _event_of(raw: bytes) -> tuple[str, int] | None:
    """Return the epoch and number of the event that a line tells; none: it tells something else."""
    fields = json.loads(raw)
    epoch, sequence = fields.get("epoch"), fields.get("sequence")
    return (epoch, sequence) if isinstance(epoch, str) and isinstance(sequence, int) else None


def _write(path: Path, data: bytes) -> None:
    """Append, whole or not at all, and sync."""
    is_fresh = not path.exists()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        before = os.fstat(file).st_size
        try:
            written = os.write(file, data)
            if written != len(data):
                raise OSError(28, "the disk is full")
            os.fsync(file)
        except OSError:
            os.ftruncate(file, before)
            raise
    finally:
        os.close(file)
    if is_fresh:
        _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _cut_torn(path: Path) -> int:
    """Take away what stands after the last line feed; return how many bytes that was."""
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        end = size
        while end > 0:
            begin = max(0, end - _BLOCK)
            file.seek(begin)
            block = file.read(end - begin)
            if b"\n" in block:
                end = begin + block.rindex(b"\n") + 1
                break
            end = begin
        if end != size:
            file.truncate(end)
            os.fsync(file.fileno())
        return size - end


def _backwards(file: BinaryIO) -> Iterator[bytes]:
    """Yield a file's whole lines, the last one first."""
    end, rest = file.seek(0, os.SEEK_END), b""
    while end > 0:
        begin = max(0, end - _BLOCK)
        file.seek(begin)
        first, *lines = (file.read(end - begin) + rest).splitlines(keepends=True)
        yield from reversed(lines)
        end, rest = begin, first
    if rest:
        yield rest


def _catch_up(path: Path, copy: Path) -> None:
    """Append to the copy what it lacks. Raises: ValueError: what it holds is no beginning of the audit."""
    have = copy.stat().st_size if copy.exists() else 0
    with path.open("rb") as file:
        if have:
            with copy.open("rb") as other:
                other.seek(max(0, have - _BLOCK))
                tail = other.read(_BLOCK)
            file.seek(max(0, have - _BLOCK))
            if file.read(min(have, _BLOCK)) != tail:
                raise ValueError("it differs from the audit: `ai-sysadmin audit verify` says where")
        file.seek(have)
        data = file.read()
    if data:
        _write(copy, data)
