"""What actions came to, by symptom."""

from collections.abc import Sequence
from typing import Final

from ai_sysadmin.core.acting import ActionRequest, ExecutorEvent, Outcome, OutcomeKind
from ai_sysadmin.runtime.relational import Relational, Transaction
from ai_sysadmin.stores.outcome_store import Tried, subject_of
from ai_sysadmin.stores.relational.rows import stamp, symptoms_of

MOST_OUTCOMES: Final = 5000
"""So many are kept of one host, the latest."""

_MOST_TEXT: Final = 300
_MOST_FINGERPRINTS: Final = 500


class SqlOutcomes:
    """``OutcomeStore`` on a relational database."""

    def __init__(self, database: Relational, host: str) -> None:
        self._database = database
        self._host = host

    async def outcomes(self, fingerprints: Sequence[str]) -> Sequence[Tried]:
        asked = tuple(fingerprints)[:_MOST_FINGERPRINTS]
        if not asked:
            return ()

        async def work(tx: Transaction) -> Sequence[Tried]:
            rows = await tx.all(
                "SELECT fingerprint, action, subject, tried, helped, reverted, failed, last_at, last_text"  # noqa: S608
                f" FROM outcomes WHERE host = ? AND fingerprint IN ({','.join('?' * len(asked))})"
                " ORDER BY last_at DESC, action, subject, fingerprint",
                (self._host, *asked),
            )
            return tuple(Tried.model_validate(dict(row)) for row in rows)

        return await self._database.read(work)


async def count_outcome(
    tx: Transaction, request: ActionRequest, incident_ids: Sequence[str], event: ExecutorEvent
) -> None:
    """Count what an action came to for each symptom that opened its incidents."""
    outcome = event.outcome
    if outcome is None:
        return
    symptoms = [symptom for incident_id in incident_ids for symptom in await symptoms_of(tx, incident_id)]
    fingerprints = dict.fromkeys(symptom.fingerprint for symptom in symptoms if symptom.opens)
    helped, reverted, failed = _counts(outcome)
    await tx.many(
        "INSERT INTO outcomes"
        " (host, fingerprint, action, subject, tried, helped, reverted, failed, last_at, last_text)"
        " VALUES (?, ?, ?, ?, 1, ?, ?, ?, ?, ?)"
        " ON CONFLICT (host, fingerprint, action, subject) DO UPDATE SET tried = outcomes.tried + 1,"
        " helped = outcomes.helped + excluded.helped, reverted = outcomes.reverted + excluded.reverted,"
        " failed = outcomes.failed + excluded.failed, last_at = excluded.last_at, last_text = excluded.last_text",
        [
            (
                request.host,
                fingerprint,
                request.name,
                subject_of(request.arguments),
                helped,
                reverted,
                failed,
                stamp(event.at),
                outcome.text[:_MOST_TEXT],
            )
            for fingerprint in fingerprints
        ],
    )
    await _forget(tx, request.host)


def _counts(outcome: Outcome) -> tuple[int, int, int]:
    """Return what an outcome adds to helped, reverted and failed."""
    match outcome.kind:
        case OutcomeKind.SUCCEEDED:
            return 1, 0, 0
        case OutcomeKind.REVERTED:
            return 0, 1, 0
        case OutcomeKind.FAILED:
            return 0, 0, 1
        case OutcomeKind.UNKNOWN:
            return int(outcome.post_check_passed is True), 0, int(outcome.post_check_passed is False)


async def _forget(tx: Transaction, host: str) -> None:
    await tx.run(
        "DELETE FROM outcomes WHERE host = ? AND last_at < coalesce("
        "(SELECT last_at FROM outcomes WHERE host = ? ORDER BY last_at DESC LIMIT 1 OFFSET ?), '')",
        (host, host, MOST_OUTCOMES - 1),
    )
