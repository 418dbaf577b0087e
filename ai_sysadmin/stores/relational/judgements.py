"""What the review layer and the meta model claim and finish."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

from ai_sysadmin.core.acting import ActionRequest
from ai_sysadmin.core.incident import Event, Incident, Investigated, Judged, State, advance, rests_until
from ai_sysadmin.core.records import EvidencePack, Investigation, Review, short_id
from ai_sysadmin.core.symptom_kinds import HOST_STATE_KINDS, UNIT_STATE_KINDS
from ai_sysadmin.runtime.relational import Relational, Row, Transaction
from ai_sysadmin.stores import Claim, Spent
from ai_sysadmin.stores.relational.proposing import propose, supersede
from ai_sysadmin.stores.relational.rows import (
    UNDER_WAY,
    incident_by_id,
    investigations_of,
    note_use,
    reviews_of,
    stamp,
    symptoms_of,
    tell,
    update_incident,
)
from ai_sysadmin.stores.relational.templates import overrule

_UNDER_WAY = ",".join("?" * len(UNDER_WAY))


class _Claims:
    """Leases on incidents: one worker at a time, and another one once the lease has ended."""

    def __init__(self, database: Relational, host: str) -> None:
        self._database = database
        self._host = host

    async def release(self, claim: Claim) -> None:
        await self._database.write(lambda tx: _end_lease(tx, claim))

    async def _claim(
        self,
        worker: str,
        condition: str,
        values: Sequence[str],
        lease: timedelta,
        now: datetime,
        is_wanted: Callable[[Incident], bool] = lambda _: True,
    ) -> Claim | None:
        mine = f"{worker}:"

        async def work(tx: Transaction) -> Claim | None:
            rows = await tx.all(
                "SELECT id, model_calls, model_tokens, body FROM incidents"  # noqa: S608
                f" WHERE host = ? AND (lease_ends <= ? OR substr(lease_token, 1, ?) = ?) AND {condition}"
                " ORDER BY evidence_at, rowid",
                (self._host, stamp(now), len(mine), mine, *values),
            )
            for row in rows:
                incident = Incident.model_validate_json(row["body"])
                if is_wanted(incident):
                    return await _claimed(tx, row, incident, mine + short_id(12), now + lease)
            return None

        return await self._database.write(work)

    async def _finish(
        self,
        claim: Claim,
        pack: EvidencePack,
        requests: Sequence[ActionRequest],
        event: Event,
        spent: Spent,
        record: Callable[[Transaction, Incident], Awaitable[None]],
        at: datetime,
        *,
        is_budgeted: bool,
    ) -> Incident:
        async def work(tx: Transaction) -> Incident:
            if is_budgeted:
                await note_use(tx, self._host, spent, at)
            before = await incident_by_id(tx, claim.incident.id) or claim.incident
            if not await _end_lease(tx, claim, spent):
                return before
            after = await update_incident(tx, before, advance(before, event), at)
            await _keep_evidence(tx, pack)
            await record(tx, after)
            for request in () if after.ended else requests:
                await supersede(tx, after, await propose(tx, request), at)
            return await incident_by_id(tx, after.id) or after

        return await self._database.write(work)


async def _claimed(tx: Transaction, row: Row, incident: Incident, token: str, lease_ends: datetime) -> Claim:
    await tx.run(
        "UPDATE incidents SET lease_token = ?, lease_ends = ? WHERE id = ?", (token, stamp(lease_ends), incident.id)
    )
    return Claim(
        incident=incident,
        symptoms=await symptoms_of(tx, incident.id),
        token=token,
        model_calls=row["model_calls"],
        model_tokens=row["model_tokens"],
        reviews=await reviews_of(tx, incident.id),
        investigations=await investigations_of(tx, incident.id),
    )


async def _keep_evidence(tx: Transaction, pack: EvidencePack) -> None:
    """Keep an incident's evidence; the same evidence does not take the place of what was looked up beyond it."""
    row = await tx.one("SELECT body FROM evidence WHERE incident_id = ?", (pack.incident_id,))
    kept = EvidencePack.model_validate_json(row["body"]) if row else None
    if kept is not None and kept.hash == pack.hash and len(kept.pieces) > len(pack.pieces):
        return
    await tx.run(
        "INSERT INTO evidence (incident_id, body) VALUES (?, ?)"
        " ON CONFLICT (incident_id) DO UPDATE SET body = excluded.body",
        (pack.incident_id, pack.model_dump_json()),
    )


_NOTHING = Spent()


async def _end_lease(tx: Transaction, claim: Claim, spent: Spent = _NOTHING) -> bool:
    """Count what was spent on an incident, and end the lease; tell whether it was still held."""
    await tx.run(
        "UPDATE incidents SET model_calls = model_calls + ?, model_tokens = model_tokens + ? WHERE id = ?",
        (spent.calls, spent.tokens, claim.incident.id),
    )
    ended = await tx.run(
        "UPDATE incidents SET lease_token = '', lease_ends = '' WHERE id = ? AND lease_token = ?",
        (claim.incident.id, claim.token),
    )
    return ended == 1


class SqlReviews(_Claims):
    """``ReviewStore`` in SQL."""

    async def claim_review(
        self,
        worker: str,
        *,
        lease: timedelta,
        settle: timedelta,
        settle_at_most: timedelta,
        now: datetime,
        back_off: timedelta = timedelta(0),
        back_off_at_most: timedelta = timedelta(0),
    ) -> Claim | None:
        quiet, long_ago = stamp(now - settle), stamp(now - settle_at_most)

        def is_rested(incident: Incident) -> bool:
            until = rests_until(incident, back_off, back_off_at_most)
            return until is None or until <= now

        return await self._claim(
            worker,
            "state = ? AND review_due = 1 AND evidence_at <= ? AND (changed_at <= ? OR evidence_at <= ?)",
            (State.OPEN.value, quiet, quiet, long_ago),
            lease,
            now,
            is_rested,
        )

    async def finish_review(
        self, claim: Claim, pack: EvidencePack, review: Review, requests: Sequence[ActionRequest]
    ) -> Incident:
        spent = Spent(review.model_calls, review.tokens)

        async def record(tx: Transaction, incident: Incident) -> None:
            await tx.run(
                "INSERT INTO reviews (incident_id, body) VALUES (?, ?)", (incident.id, review.model_dump_json())
            )
            text = f"{review.verdict.value}: {review.why}"
            await tell(tx, incident, "incident_reviewed", review.judged_by, text, review.at)
            if review.model_calls and incident.kind not in UNIT_STATE_KINDS | HOST_STATE_KINDS:
                await overrule(tx, self._host, await symptoms_of(tx, incident.id), review)

        held = claim.incident
        judged = Judged(review, held.evidence_revision, requested=bool(requests), kind=held.kind)
        return await self._finish(claim, pack, requests, judged, spent, record, review.at, is_budgeted=True)

    async def spent(self, since: datetime) -> Spent:
        async def work(tx: Transaction) -> Spent:
            (row,) = await tx.all(
                "SELECT coalesce(sum(calls), 0) AS calls, coalesce(sum(tokens), 0) AS tokens FROM model_use"
                " WHERE host = ? AND at > ?",
                (self._host, stamp(since)),
            )
            return Spent(int(row["calls"]), int(row["tokens"]))

        return await self._database.read(work)


class SqlInvestigations(_Claims):
    """``InvestigationStore`` in SQL."""

    async def claim_investigation(self, worker: str, *, lease: timedelta, now: datetime) -> Claim | None:
        return await self._claim(
            worker,
            "state = ? AND NOT EXISTS (SELECT 1 FROM actions JOIN incident_actions ON actions.id = action_id"  # noqa: S608
            f" WHERE incident_actions.incident_id = incidents.id AND actions.state IN ({_UNDER_WAY}))",
            (State.INVESTIGATING.value, *UNDER_WAY),
            lease,
            now,
        )

    async def finish_investigation(
        self, claim: Claim, pack: EvidencePack, investigation: Investigation, requests: Sequence[ActionRequest]
    ) -> Incident:
        async def record(tx: Transaction, incident: Incident) -> None:
            await tx.run(
                "INSERT INTO investigations (incident_id, body) VALUES (?, ?)",
                (incident.id, investigation.model_dump_json()),
            )
            by, text = investigation.investigated_by, investigation.diagnosis
            await tell(tx, incident, "incident_investigated", by, text, investigation.at)

        done = Investigated(investigation, requested=bool(requests))
        spent = Spent(investigation.model_calls)
        return await self._finish(claim, pack, requests, done, spent, record, investigation.at, is_budgeted=False)
