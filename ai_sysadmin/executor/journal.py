"""What was asked, ruled, approved, begun and ended: written, with fsync, before anything is done.

Each change of an action is one transaction with the numbered event that tells of it. Beside them stand the keys that
may approve, as hashes.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

from ai_sysadmin.actions.breakers import Deed
from ai_sysadmin.actions.protocol import ApprovalKey
from ai_sysadmin.core.acting import ActionState, ExecutorEvent, ExecutorEventKind
from ai_sysadmin.core.errors import NotFound, Refused
from ai_sysadmin.executor.audit import Audit
from ai_sysadmin.executor.entry import Entry, Moment, deed_of
from ai_sysadmin.runtime.sqlite import Database

__all__ = ["Entry", "Journal", "Moment"]

T = TypeVar("T")
_EVENTS_AT_ONCE = 500
_UNDER_WAY = ",".join(f"'{state.value}'" for state in ActionState if not state.ended)


class Journal:
    """The executor's memory. ``audit`` gets a line of every event, before whoever wrote it goes on."""

    def __init__(self, directory: Path, audit: Audit | None = None) -> None:
        self._audit = audit
        self._database = Database(
            directory / "executor.db", files(__package__) / "migrations", durable=True, known_before=4
        )
        self._news = asyncio.Event()
        self._recording = asyncio.Lock()
        self._fetched = 0
        self.epoch = ""

    async def open(self) -> None:
        """Raises: StoreUnavailable."""
        await self._database.open()
        self.epoch = await self._database.read(lambda c: str(c.execute("SELECT epoch FROM journal").fetchone()[0]))
        if self._audit is not None:
            await self._audit.open()
            await self._write_missing_lines(self._audit)

    async def _write_missing_lines(self, audit: Audit) -> None:
        """Give every event its line that a crash left without one."""
        while events := await self._events_after(audit.told(self.epoch), _EVENTS_AT_ONCE):
            for event in events:
                entry = await self.get(event.action_id)
                if entry is not None:
                    await audit.event(event, entry.request)

    async def close(self) -> None:
        await self._database.close()

    async def record(self, entry: Entry, kind: ExecutorEventKind, at: datetime) -> Entry:
        """Write an action's new condition together with the event that tells of it."""

        def work(connection: sqlite3.Connection) -> None:
            _keep(connection, entry)
            (last,) = connection.execute("SELECT ifnull(max(sequence), 0) FROM events").fetchone()
            event = self._event(entry, kind, last + 1, at)
            connection.execute(
                "INSERT INTO events (sequence, action_id, body) VALUES (?, ?, ?)",
                (event.sequence, event.action_id, event.model_dump_json()),
            )

        async with self._recording:  # the audit's lines stand in the order of the events
            await self._database.write(work)
            await self._tell()
        # whoever waits has this very event, so that nobody can clear it under another's eyes
        self._news, news = asyncio.Event(), self._news
        news.set()
        return entry

    async def _tell(self) -> None:
        if self._audit is not None:
            await self._write_missing_lines(self._audit)

    def told(self) -> int:
        """Return up to which event all is on the audit, and was asked for by who applies it; 0: nobody knows."""
        if self._audit is None:
            return self._fetched
        return min(self._fetched, self._audit.told(self.epoch))

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` as one transaction. Raises: StoreUnavailable."""
        return await self._database.write(work)

    async def keep(self, entry: Entry) -> Entry:
        """Write an action's condition where there is nothing to tell of it."""
        await self._database.write(lambda connection: _keep(connection, entry))
        return entry

    async def settled(self, action_id: str) -> Entry:
        """Return an action once every event has its line. Raises: NotFound, StoreUnavailable."""
        async with self._recording:
            await self._tell()
        return await self.find(action_id)

    async def deeds(self, now: Moment, span: timedelta) -> Sequence[Deed]:
        """Return what was begun within a span before now that is not read-only.

        Of this boot it counts by the clock that cannot be set; what was begun before it was, whatever the clock says.
        """

        def work(connection: sqlite3.Connection) -> Sequence[Deed]:
            rows = connection.execute(
                "SELECT subject, body FROM actions WHERE started_boot = ? AND started_boottime >= ?"
                " UNION ALL SELECT subject, body FROM actions WHERE started_boot <> ? AND started_at >= ?",
                (now.boot_id, now.boottime - span.total_seconds(), now.boot_id, _stamp(now.at - span)),
            )
            entries = ((row["subject"], Entry.model_validate_json(row["body"])) for row in rows)
            return tuple(filter(None, (deed_of(subject, entry, now) for subject, entry in entries)))

        return await self._database.read(work)

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

    async def entries(self, limit: int = 200) -> Sequence[Entry]:
        """Return actions, the newest first. What has not ended is among them, whatever was proposed since."""
        first = f"SELECT rowid FROM actions ORDER BY state IN ({_UNDER_WAY}) DESC, rowid DESC LIMIT ?"  # noqa: S608
        return await self._entries(f"rowid IN ({first})", limit)

    async def under_way(self) -> Sequence[Entry]:
        """Return all actions that have not ended, the newest first."""
        return await self._entries(f"state IN ({_UNDER_WAY})")

    async def waiting(self) -> Sequence[Entry]:
        """Return all actions that wait for a person, the newest first."""
        return await self._entries("state = ?", ActionState.PENDING.value)

    async def count_under_way(self, subject: str) -> tuple[int, int]:
        """Return how many actions have not ended: on this host, and of them on one subject."""

        def work(connection: sqlite3.Connection) -> tuple[int, int]:
            counted = f"SELECT count(*), ifnull(sum(subject = ?), 0) FROM actions WHERE state IN ({_UNDER_WAY})"  # noqa: S608
            here, there = connection.execute(counted, (subject,)).fetchone()
            return here, there

        return await self._database.read(work)

    async def _entries(self, condition: str, *values: object) -> Sequence[Entry]:
        def work(connection: sqlite3.Connection) -> Sequence[Entry]:
            asked = f"SELECT body FROM actions WHERE {condition} ORDER BY rowid DESC"  # noqa: S608
            return tuple(Entry.model_validate_json(row["body"]) for row in connection.execute(asked, values))

        return await self._database.read(work)

    async def events(self, epoch: str, since: int, most: int, wait_seconds: float) -> Sequence[ExecutorEvent]:
        """Return the events after a number, waiting so long for the first. Another epoch's number means none.

        Who asks for what comes after an event has applied that one: it may be forgotten.
        """
        if epoch != self.epoch:
            since = 0
        news = self._news
        found = await self._events_after(since, most)
        if not found and wait_seconds > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(news.wait(), wait_seconds)
            found = await self._events_after(since, most)
        self._fetched = max(self._fetched, since)
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
            plan=entry.plan,
            digest=entry.digest,
        )


def _keep(connection: sqlite3.Connection, entry: Entry) -> None:
    connection.execute(
        "INSERT INTO actions (id, digest, subject, state, started_at, started_boot, started_boottime, body)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET subject = excluded.subject, state = excluded.state,"
        " started_at = excluded.started_at, started_boot = excluded.started_boot,"
        " started_boottime = excluded.started_boottime, body = excluded.body",
        (
            entry.request.id,
            entry.request.digest,
            entry.subject,
            entry.state,
            _stamp(entry.started_at) if entry.started_at else "",
            entry.boot_id if entry.started_boottime else "",
            entry.started_boottime,
            entry.model_dump_json(),
        ),
    )


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _keys(connection: sqlite3.Connection) -> Sequence[ApprovalKey]:
    rows = connection.execute("SELECT body FROM approval_keys ORDER BY rowid DESC")
    return tuple(ApprovalKey.model_validate_json(row["body"]) for row in rows)


def _expired(key: ApprovalKey, now: datetime) -> bool:
    return key.expires_at is not None and key.expires_at <= now
