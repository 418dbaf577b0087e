"""Reviews of the whole host, and people's wishes for one."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Literal

from ai_sysadmin.core.errors import NotFound
from ai_sysadmin.core.health import HealthReport
from ai_sysadmin.core.records import short_id
from ai_sysadmin.runtime.relational import Relational, Transaction
from ai_sysadmin.stores import Spent
from ai_sysadmin.stores.health_store import Check
from ai_sysadmin.stores.relational.rows import note_use, stamp

MOST_REPORTS: Final = 300
MOST_CHECKS: Final = 100
GIVEN_UP_AFTER: Final = timedelta(minutes=15)
"""A check that is not done by then is nobody's any more; whoever asks gets one of their own."""

_ORDER = ("asked", "looked", "done")


class SqlHealth:
    """``HealthStore`` in SQL."""

    def __init__(self, database: Relational, host: str) -> None:
        self._database = database
        self._host = host

    # --- reports

    async def keep_report(self, report: HealthReport) -> None:
        async def work(tx: Transaction) -> None:
            await tx.run(
                "INSERT INTO health_reports (host, at, body) VALUES (?, ?, ?)",
                (self._host, stamp(report.at), report.model_dump_json()),
            )
            tokens = report.prompt_tokens + report.completion_tokens
            await note_use(tx, self._host, Spent(report.model_calls, tokens), report.at)
            await _keep_newest(tx, "health_reports", self._host, MOST_REPORTS)

        await self._database.write(work)

    async def reports(self, limit: int = 1) -> Sequence[HealthReport]:
        async def work(tx: Transaction) -> Sequence[HealthReport]:
            rows = await tx.all(
                "SELECT body FROM health_reports WHERE host = ? ORDER BY sequence DESC LIMIT ?", (self._host, limit)
            )
            return tuple(HealthReport.model_validate_json(row["body"]) for row in rows)

        return await self._database.read(work)

    # --- checks

    async def ask_check(self, by: str, now: datetime) -> Check:
        async def work(tx: Transaction) -> Check:
            row = await tx.one(
                "SELECT body FROM checks WHERE host = ? AND state <> 'done' AND asked_at > ?"
                " ORDER BY asked_at DESC, rowid DESC LIMIT 1",
                (self._host, stamp(now - GIVEN_UP_AFTER)),
            )
            if row is not None:
                return Check.model_validate_json(row["body"])
            await _give_up(tx, self._host, now)
            check = Check(id=short_id(), state="asked", by=by, asked_at=now)
            await tx.run(
                "INSERT INTO checks (id, host, state, asked_at, body) VALUES (?, ?, ?, ?, ?)",
                (check.id, self._host, check.state, stamp(now), check.model_dump_json()),
            )
            await _keep_newest(tx, "checks", self._host, MOST_CHECKS)
            return check

        return await self._database.write(work)

    async def check(self, check_id: str) -> Check:
        async def work(tx: Transaction) -> Check:
            kept = await _kept(tx, self._host, check_id)
            if kept is None:
                raise NotFound(f"there is no check {check_id!r}: `ai-sysadmin check` asks for one")
            return kept

        return await self._database.read(work)

    async def waiting_check(self, state: Literal["asked", "looked"]) -> Check | None:
        async def work(tx: Transaction) -> Check | None:
            row = await tx.one(
                "SELECT body FROM checks WHERE host = ? AND state = ? ORDER BY asked_at, rowid LIMIT 1",
                (self._host, state),
            )
            return Check.model_validate_json(row["body"]) if row else None

        return await self._database.read(work)

    async def keep_check(self, check: Check) -> None:
        """Record how far a check has come; never back: whoever comes late changes nothing."""

        async def work(tx: Transaction) -> None:
            before = await _kept(tx, self._host, check.id)
            if before is not None and _ORDER.index(before.state) < _ORDER.index(check.state):
                await tx.run(
                    "UPDATE checks SET state = ?, body = ? WHERE id = ?",
                    (check.state, check.model_dump_json(), check.id),
                )

        await self._database.write(work)


async def _kept(tx: Transaction, host: str, check_id: str) -> Check | None:
    row = await tx.one("SELECT body FROM checks WHERE host = ? AND id = ?", (host, check_id))
    return Check.model_validate_json(row["body"]) if row else None


async def _give_up(tx: Transaction, host: str, now: datetime) -> None:
    """End the checks that nobody has done: the services were down."""
    rows = await tx.all("SELECT body FROM checks WHERE host = ? AND state <> 'done'", (host,))
    for row in rows:
        check = Check.model_validate_json(row["body"])
        ended = check.model_copy(update={"state": "done", "done_at": now, "text": "no service took it up in time"})
        await tx.run("UPDATE checks SET state = 'done', body = ? WHERE id = ?", (ended.model_dump_json(), check.id))


async def _keep_newest(tx: Transaction, table: str, host: str, most: int) -> None:
    await tx.run(
        f"DELETE FROM {table} WHERE host = ? AND rowid NOT IN"  # noqa: S608
        f" (SELECT rowid FROM {table} WHERE host = ? ORDER BY rowid DESC LIMIT ?)",
        (host, host, most),
    )
