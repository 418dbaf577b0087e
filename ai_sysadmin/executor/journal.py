"""What was asked, ruled, approved, begun and ended: written, with fsync, before anything is done.

Each change of an action is one transaction with the numbered event that tells of it. Beside them stand the keys that
may approve, as hashes.
"""

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from importlib.resources import files
from pathlib import Path

from ai_sysadmin.actions.protocol import ApprovalKey
from ai_sysadmin.core.acting import (
    ActionRequest,
    ActionState,
    Approval,
    ExecutorEvent,
    ExecutorEventKind,
    Outcome,
    Ruling,
)
from ai_sysadmin.core.errors import NotFound, Refused
from ai_sysadmin.core.records import Record
from ai_sysadmin.runtime.sqlite import Database
from ai_sysadmin.sources.units import UnitStatus


class Entry(Record):
    """An action as the executor knows it.

    ``boot_id`` and ``before`` are written with the intent; ``expires_boottime`` is in seconds of CLOCK_BOOTTIME of
    ``boot_id``.
    """

    request: ActionRequest
    state: ActionState
    text: str
    ruling: Ruling
    boot_id: str
    expires_boottime: float
    approval: Approval | None = None
    before: UnitStatus | None = None
    exit_status: int | None = None
    outcome: Outcome | None = None


class Journal:
    """The executor's memory."""

    def __init__(self, directory: Path) -> None:
        self._database = Database(directory / "executor.db", files(__package__) / "migrations", durable=True)
        self._news = asyncio.Event()
        self.epoch = ""

    async def open(self) -> None:
        """Raises: StoreUnavailable."""
        await self._database.open()
        self.epoch = await self._database.read(lambda c: str(c.execute("SELECT epoch FROM journal").fetchone()[0]))

    async def close(self) -> None:
        await self._database.close()

    async def record(self, entry: Entry, kind: ExecutorEventKind, at: datetime) -> Entry:
        """Write an action's new condition together with the event that tells of it."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO actions (id, digest, unit, state, body) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET state = excluded.state, body = excluded.body",
                (
                    entry.request.id,
                    entry.request.digest,
                    entry.request.arguments.get("unit", ""),
                    entry.state,
                    entry.model_dump_json(),
                ),
            )
            (last,) = connection.execute("SELECT ifnull(max(sequence), 0) FROM events").fetchone()
            event = self._event(entry, kind, last + 1, at)
            connection.execute(
                "INSERT INTO events (sequence, action_id, body) VALUES (?, ?, ?)",
                (event.sequence, event.action_id, event.model_dump_json()),
            )

        await self._database.write(work)
        self._news.set()
        return entry

    async def get(self, action_id: str) -> Entry | None:
        """Return an action by its whole id; none: it was never proposed here."""

        def work(connection: sqlite3.Connection) -> Entry | None:
            row = connection.execute("SELECT body FROM actions WHERE id = ?", (action_id,)).fetchone()
            return Entry.model_validate_json(row["body"]) if row else None

        return await self._database.read(work)

    async def find(self, id_or_prefix: str) -> Entry:
        """Raises: NotFound: no action, or more than one, begins so."""

        def work(connection: sqlite3.Connection) -> list[Entry]:
            rows = connection.execute(
                "SELECT body FROM actions WHERE substr(id, 1, ?) = ? LIMIT 2", (len(id_or_prefix), id_or_prefix)
            )
            return [Entry.model_validate_json(row["body"]) for row in rows]

        found = await self._database.read(work)
        if not found:
            raise NotFound(f"there is no action {id_or_prefix!r}; `ai-sysadmin actions` lists them")
        if len(found) > 1:
            raise NotFound(f"more than one action begins with {id_or_prefix!r}; give more of its id")
        return found[0]

    async def entries(self, *, under_way: bool = False, limit: int = 200) -> Sequence[Entry]:
        """Return actions, the newest first; only those that have not ended, if asked for."""

        def work(connection: sqlite3.Connection) -> Sequence[Entry]:
            ended = ",".join(f"'{state.value}'" for state in ActionState if state.ended)
            only = f" WHERE state NOT IN ({ended})" if under_way else ""
            rows = connection.execute(f"SELECT body FROM actions{only} ORDER BY rowid DESC LIMIT ?", (limit,))  # noqa: S608
            return tuple(Entry.model_validate_json(row["body"]) for row in rows)

        return await self._database.read(work)

    async def events(self, epoch: str, since: int, most: int, wait_seconds: float) -> Sequence[ExecutorEvent]:
        """Return the events after a number, waiting so long for the first. Another epoch's number means none."""
        if epoch != self.epoch:
            since = 0
        self._news.clear()
        found = await self._events_after(since, most)
        if not found and wait_seconds > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), wait_seconds)
            found = await self._events_after(since, most)
        return found

    # --- the keys that may approve

    async def register(self, key: ApprovalKey) -> ApprovalKey:
        """Keep a key; the same one again comes back as it is kept. Raises: Refused: it differs, or was revoked."""

        def work(connection: sqlite3.Connection) -> ApprovalKey:
            for known in _keys(connection):
                if (known.id, known.name, known.hash) == (key.id, key.name, key.hash) and known.revoked_at is None:
                    return known
                if known.id == key.id or known.hash == key.hash:
                    raise Refused(f"key {known.id} is known to the executor already, and not as this one: make another")
                if known.name == key.name and known.revoked_at is None and not _expired(known, key.at):
                    raise Refused(f"a key named {key.name} approves already: revoke it first, or take another name")
            connection.execute(
                "INSERT INTO approval_keys (id, hash, body) VALUES (?, ?, ?)", (key.id, key.hash, key.model_dump_json())
            )
            return key

        return await self._database.write(work)

    async def revoke(self, key_id: str, by: str, at: datetime) -> ApprovalKey:
        """Take a key's right away; one that is revoked stays as it was. Raises: NotFound."""

        def work(connection: sqlite3.Connection) -> ApprovalKey:
            known = next((key for key in _keys(connection) if key.id == key_id), None)
            if known is None:
                raise NotFound(f"the executor knows no key {key_id!r}; `ai-sysadmin keys` lists them")
            if known.revoked_at is not None:
                return known
            revoked = known.model_copy(update={"revoked_at": at, "revoked_by": by})
            body = revoked.model_dump_json()
            connection.execute("UPDATE approval_keys SET body = ? WHERE id = ?", (body, known.id))
            return revoked

        return await self._database.write(work)

    async def keys(self) -> Sequence[ApprovalKey]:
        """Return all keys, revoked ones too, the newest first."""
        return await self._database.read(_keys)

    async def _events_after(self, since: int, most: int) -> Sequence[ExecutorEvent]:
        def work(connection: sqlite3.Connection) -> Sequence[ExecutorEvent]:
            rows = connection.execute(
                "SELECT body FROM events WHERE sequence > ? ORDER BY sequence LIMIT ?", (since, most)
            )
            return tuple(ExecutorEvent.model_validate_json(row["body"]) for row in rows)

        return await self._database.read(work)

    def _event(self, entry: Entry, kind: ExecutorEventKind, sequence: int, at: datetime) -> ExecutorEvent:
        return ExecutorEvent(
            epoch=self.epoch,
            sequence=sequence,
            action_id=entry.request.id,
            incident_id=entry.request.incident_id,
            kind=kind,
            text=entry.text,
            at=at,
            ruling=entry.ruling,
            approval=entry.approval,
            outcome=entry.outcome,
        )


def _keys(connection: sqlite3.Connection) -> Sequence[ApprovalKey]:
    rows = connection.execute("SELECT body FROM approval_keys ORDER BY rowid DESC")
    return tuple(ApprovalKey.model_validate_json(row["body"]) for row in rows)


def _expired(key: ApprovalKey, now: datetime) -> bool:
    return key.expires_at is not None and key.expires_at <= now
