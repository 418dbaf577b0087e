"""What the trigger monitor writes: the journal position together with what it came to."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from ai_sysadmin.core.incident import FaultCleared, Incident, advance
from ai_sysadmin.core.records import Symptom
from ai_sysadmin.runtime.relational import Relational, Transaction
from ai_sysadmin.stores import Cleared, JournalPosition, Live, Noticed, Placing
from ai_sysadmin.stores.once import NOTE, mark_of
from ai_sysadmin.stores.opinion_store import Alert
from ai_sysadmin.stores.relational.placing import BY, forget_waiting, place
from ai_sysadmin.stores.relational.proposing import withdraw_proposed
from ai_sysadmin.stores.relational.rows import IS_LIVE, LIVE, incident_by_id, stamp, tell, update_incident
from ai_sysadmin.stores.relational.templates import save_templates

_MOST_ALERTS = 1000


class SqlNotices:
    """``NoticeStore`` on either database; a commit with a mark that it has had changes nothing."""

    def __init__(self, database: Relational, host: str) -> None:
        self._database = database
        self._host = host

    async def position(self) -> JournalPosition | None:
        return await self._database.read(lambda tx: read_position(tx, self._host))

    async def commit(self, noticed: Noticed, placing: Placing) -> Sequence[Incident]:
        async def work(tx: Transaction) -> Sequence[Incident]:
            if await _has_had(tx, self._host, noticed):
                return ()
            placed = [await place(tx, trigger, placing) for trigger in noticed.triggers]
            began = dict.fromkeys(incident.id for incident in placed if incident is not None)
            if noticed.triggers:
                await forget_waiting(tx, self._host)
            for cleared in noticed.cleared:
                await _clear(tx, cleared)
            await save_templates(tx, self._host, noticed.templates)
            await _remember(tx, self._host, noticed.memory)
            await tx.many(
                "DELETE FROM alerts WHERE sequence = ? AND host = ?", [(each, self._host) for each in noticed.alerts]
            )
            await _save_position(tx, self._host, noticed)
            return await _as_they_are(tx, began)

        return await self._database.write(work)

    async def unattached(self, since: datetime) -> Sequence[Symptom]:
        async def work(tx: Transaction) -> Sequence[Symptom]:
            rows = await tx.all(
                "SELECT body FROM symptoms WHERE incident_id IS NULL AND host = ? AND last_at >= ? ORDER BY rowid",
                (self._host, stamp(since)),
            )
            return tuple(Symptom.model_validate_json(row["body"]) for row in rows)

        return await self._database.read(work)

    async def live(self) -> Sequence[Live]:
        async def work(tx: Transaction) -> Sequence[Live]:
            rows = await tx.all(
                f"SELECT id, body FROM incidents WHERE host = ? AND {IS_LIVE} ORDER BY opened_at, rowid",  # noqa: S608
                (self._host, *LIVE),
            )
            return tuple(
                [Live(Incident.model_validate_json(row["body"]), await _faults(tx, row["id"])) for row in rows]
            )

        return await self._database.read(work)

    async def memory(self) -> Mapping[str, str]:
        async def work(tx: Transaction) -> Mapping[str, str]:
            rows = await tx.all("SELECT name, body FROM monitor_memory WHERE host = ?", (self._host,))
            return {row["name"]: row["body"] for row in rows}

        return await self._database.read(work)

    async def alerts(self) -> Sequence[tuple[int, Alert]]:
        async def work(tx: Transaction) -> Sequence[tuple[int, Alert]]:
            rows = await tx.all(
                "SELECT sequence, body FROM alerts WHERE host = ? ORDER BY sequence LIMIT ?", (self._host, _MOST_ALERTS)
            )
            return tuple((row["sequence"], Alert.model_validate_json(row["body"])) for row in rows)

        return await self._database.read(work)


async def read_position(tx: Transaction, host: str) -> JournalPosition | None:
    row = await tx.one("SELECT body FROM journal_position WHERE host = ?", (host,))
    return JournalPosition.model_validate_json(row["body"]) if row else None


async def _has_had(tx: Transaction, host: str, noticed: Noticed) -> bool:
    """Tell whether this very commit, or a later one of its stream, is in the database already."""
    mark = mark_of(noticed.memory.get(NOTE, ""))
    if mark is None:
        return False
    row = await tx.one("SELECT body FROM monitor_memory WHERE host = ? AND name = ?", (host, NOTE))
    last = mark_of(row["body"]) if row else None
    return last is not None and last.has_had(mark)


async def _save_position(tx: Transaction, host: str, noticed: Noticed) -> None:
    """Write how far the journal is read, and the account of it; what was lost counts also where nothing was read."""
    if noticed.position is None and not noticed.lost:
        return
    before = await read_position(tx, host)
    position = noticed.position or before
    if position is None:
        return
    summed = position.model_copy(
        update={
            "entries_read": noticed.read + (before.entries_read if before else 0),
            "entries_lost": noticed.lost + (before.entries_lost if before else 0),
            "entries_suppressed": noticed.suppressed + (before.entries_suppressed if before else 0),
        }
    )
    await tx.run(
        "INSERT INTO journal_position (host, body) VALUES (?, ?) ON CONFLICT (host) DO UPDATE SET body = excluded.body",
        (host, summed.model_dump_json()),
    )


async def _remember(tx: Transaction, host: str, memory: Mapping[str, str]) -> None:
    await tx.many(
        "INSERT INTO monitor_memory (host, name, body) VALUES (?, ?, ?)"
        " ON CONFLICT (host, name) DO UPDATE SET body = excluded.body",
        [(host, name, body) for name, body in memory.items()],
    )


async def _as_they_are(tx: Transaction, began: Iterable[str]) -> tuple[Incident, ...]:
    """Return incidents by id, without those that became part of another meanwhile."""
    found = [await incident_by_id(tx, incident_id) for incident_id in began]
    return tuple(incident for incident in found if incident is not None and not incident.merged_into)


async def _faults(tx: Transaction, incident_id: str) -> tuple[Symptom, ...]:
    rows = await tx.all("SELECT body FROM symptoms WHERE incident_id = ? AND opens = 1 ORDER BY rowid", (incident_id,))
    return tuple(Symptom.model_validate_json(row["body"]) for row in rows)


async def _clear(tx: Transaction, cleared: Cleared) -> None:
    before = await incident_by_id(tx, cleared.incident_id)
    if before is None:
        return
    after = await update_incident(tx, before, advance(before, FaultCleared(cleared.at, cleared.why)), cleared.at)
    if after.state is not before.state:
        await tell(tx, after, "fault_cleared", BY, cleared.why, cleared.at)
        await withdraw_proposed(tx, after, cleared.at)
