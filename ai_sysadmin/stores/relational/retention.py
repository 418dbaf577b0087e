"""Forgetting: which incidents are long over, and what goes with them.

What all incidents are like decides (``long_over``, pure). What was decided is carried out a few hundred rows at a time,
and only where every incident is still as it was then; else it is decided anew. So whoever else writes waits for
moments, and nothing is forgotten that came back meanwhile.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from ai_sysadmin.core.acting import ActionState
from ai_sysadmin.core.incident import ENDED, State
from ai_sysadmin.core.knowledge import Document, DocumentKind
from ai_sysadmin.runtime.relational import Relational, Transaction
from ai_sysadmin.stores import Action
from ai_sysadmin.stores.relational.rows import UNDER_WAY, stamp, update_action
from ai_sysadmin.stores.relational.thinning import FIRST_LINES, thin_actions, thin_rows
from ai_sysadmin.stores.retention_store import Forgotten, Limits

FORGOTTEN_INCIDENTS: Final = "forgotten incidents"
"""The source of the documents that stay of incidents that are gone."""

ROWS_AT_ONCE: Final = 400
_INCIDENTS_AT_ONCE: Final = 50
_MOST_DECISIONS: Final = 5
_PAGE: Final = 1000
"""So many incidents are looked at in one go, so that nobody in this process waits for its database meanwhile."""

_HANG_ON_INCIDENTS: Final = ("symptoms", "timeline", "evidence", "reviews", "investigations")
_ENDED_STATES: Final = tuple(state.value for state in ENDED)
_ENDED_ACTIONS: Final = tuple(state.value for state in ActionState if state.ended)


@dataclass(frozen=True)
class Kept:
    """What decides whether an incident is forgotten.

    ``ended_at``: none while it is live. ``acts``: one of its actions is under way.
    """

    id: str
    revision: int
    ended_at: datetime | None
    merged_into: str = ""
    acts: bool = False


def long_over(kept: Sequence[Kept], limits: Limits, now: datetime) -> list[Kept]:
    """Return the incidents to forget, what became part of another before that one."""
    by_id = {each.id: each for each in kept}
    parts = defaultdict[str, set[str]](set)
    for each in kept:
        parts[each.merged_into].add(each.id)
    over = [(each.ended_at, not each.merged_into, each) for each in kept if each.ended_at is not None]
    excess = len(kept) - limits.most_incidents
    chosen: list[Kept] = []
    for ended_at, _, each in sorted(over, key=lambda entry: entry[:2]):
        is_beyond = ended_at < now - limits.incidents or len(chosen) < excess
        root = by_id.get(each.merged_into)
        is_needed = each.acts or bool(parts[each.id]) or (root is not None and root.ended_at is None)
        if is_beyond and not is_needed and ended_at < now - limits.rests:
            chosen.append(each)
            parts[each.merged_into].discard(each.id)
    return chosen


class _ChangedMeanwhileError(Exception):
    """An incident is not as it was when it was decided to forget it."""


class SqlRetention:
    """``RetentionStore`` on a relational database."""

    def __init__(self, database: Relational, host: str) -> None:
        self._database = database
        self._host = host

    async def forget(self, limits: Limits, now: datetime) -> Forgotten:
        forgotten = Forgotten()
        for _ in range(_MOST_DECISIONS):
            some, is_done = await self._forget_incidents(limits, now)
            forgotten += some
            if is_done:
                break
        forgotten += await thin_rows(self._database, self._host, "timeline", FIRST_LINES, limits.most_lines)
        forgotten += await thin_rows(self._database, self._host, "reviews", 0, limits.most_rounds)
        forgotten += await thin_rows(self._database, self._host, "investigations", 0, limits.most_rounds)
        forgotten += await thin_actions(self._database, self._host, limits, now)
        forgotten += await self._forget_actions(limits, now)
        forgotten += await self._database.write(lambda tx: _forget_brief(tx, self._host, limits, now))
        return forgotten + await self._forget_documents(limits)

    # --- incidents

    async def _forget_incidents(self, limits: Limits, now: datetime) -> tuple[Forgotten, bool]:
        """Forget what is long over; also tell whether all of it went, as it was decided."""
        forgotten = Forgotten()
        chosen = long_over(await self._kept(), limits, now)
        for start in range(0, len(chosen), _INCIDENTS_AT_ONCE):
            some = chosen[start : start + _INCIDENTS_AT_ONCE]
            sizes = await self._sizes(some)
            for few in _in_parts(some, sizes):
                try:
                    forgotten += await self._forget_few(few)
                except _ChangedMeanwhileError:
                    return forgotten, False
        return forgotten, True

    async def _kept(self) -> list[Kept]:
        """Return all incidents. What changes while they are read is noticed when it is to go."""
        acting = await self._database.read(lambda tx: _acting(tx, self._host))
        kept: list[Kept] = []
        after = ""
        while page := await self._database.read(lambda tx, last=after: _page(tx, self._host, last, acting)):  # type: ignore[misc]
            kept += page
            after = page[-1].id
        return kept

    async def _sizes(self, incidents: Sequence[Kept]) -> dict[str, int]:
        """Return how many rows hang on each."""
        ids = [each.id for each in incidents]

        async def work(tx: Transaction) -> dict[str, int]:
            sizes = dict.fromkeys(ids, 1)
            for table in ("symptoms", "timeline"):
                for row in await tx.all(
                    f"SELECT incident_id, count(*) AS held FROM {table}"  # noqa: S608
                    f" WHERE incident_id IN ({_marks(ids)}) GROUP BY incident_id",
                    ids,
                ):
                    sizes[row["incident_id"]] += row["held"]
            return sizes

        return await self._database.read(work)

    async def _forget_few(self, incidents: Sequence[Kept]) -> Forgotten:
        async def work(tx: Transaction) -> Forgotten:
            await _check_unchanged(tx, self._host, incidents)
            ids = [each.id for each in incidents]
            await _keep_as_knowledge(tx, self._host, ids)
            rows = await _forget_their_actions(tx, self._host, ids)
            which = f"incident_id IN ({_marks(ids)})"
            rows["notifications"] = await tx.run(
                f"DELETE FROM notifications WHERE {which} AND incident_id <> '' AND host = ?",  # noqa: S608
                (*ids, self._host),
            )
            for table in _HANG_ON_INCIDENTS:
                rows[table] = await tx.run(f"DELETE FROM {table} WHERE {which}", ids)  # noqa: S608
            rows["incidents"] = await tx.run(f"DELETE FROM incidents WHERE id IN ({_marks(ids)})", ids)  # noqa: S608
            return _forgotten(rows)

        return await self._database.write(work)

    # --- what belongs to no incident

    async def _forget_actions(self, limits: Limits, now: datetime) -> Forgotten:
        """Forget ended actions of no incident, by age and beyond their number, in parts."""
        ended = f"host = ? AND incident_id = '' AND state IN ({_marks(_ENDED_ACTIONS)})"
        free = f"{ended} AND NOT EXISTS (SELECT 1 FROM incident_actions WHERE action_id = actions.id)"  # noqa: S608
        given = (self._host, *_ENDED_ACTIONS)

        async def work(tx: Transaction) -> int:
            nth = await tx.one(
                f"SELECT updated_at FROM actions WHERE {ended} ORDER BY updated_at DESC LIMIT 1 OFFSET ?",  # noqa: S608
                (*given, limits.most_actions - 1),
            )
            beyond = min(nth["updated_at"] if nth else "", stamp(now - limits.rests))
            return await tx.run(
                "DELETE FROM actions WHERE id IN"  # noqa: S608
                f" (SELECT id FROM actions WHERE {free} AND updated_at < ? ORDER BY updated_at LIMIT ?)",
                (*given, max(beyond, stamp(now - limits.actions)), ROWS_AT_ONCE),
            )

        forgotten = Forgotten()
        while gone := await self._database.write(work):
            forgotten += Forgotten({"actions": gone})
        return forgotten

    async def _forget_documents(self, limits: Limits) -> Forgotten:
        """Keep the latest documents of incidents that are gone."""

        async def work(tx: Transaction) -> int:
            return await tx.run(
                "DELETE FROM documents WHERE host = ? AND id IN (SELECT id FROM documents WHERE host = ? AND kind = ?"
                " AND source = ? ORDER BY updated_at DESC, id LIMIT ? OFFSET ?)",
                (
                    self._host,
                    self._host,
                    DocumentKind.INCIDENT.value,
                    FORGOTTEN_INCIDENTS,
                    ROWS_AT_ONCE,
                    limits.most_past_documents,
                ),
            )

        forgotten = Forgotten()
        while gone := await self._database.write(work):
            forgotten += Forgotten({"documents": gone})
        return forgotten


async def _acting(tx: Transaction, host: str) -> frozenset[str]:
    """Return the incidents of which an action is under way."""
    rows = await tx.all(
        "SELECT DISTINCT incident_actions.incident_id AS id FROM actions"  # noqa: S608
        " JOIN incident_actions ON incident_actions.action_id = actions.id"
        f" WHERE actions.host = ? AND actions.state IN ({_marks(UNDER_WAY)})",
        (host, *UNDER_WAY),
    )
    return frozenset(row["id"] for row in rows)


async def _page(tx: Transaction, host: str, after: str, acting: frozenset[str]) -> list[Kept]:
    """Return the next of a host's incidents, by id, as the decision needs them."""
    rows = await tx.all(
        "SELECT id, state, revision, coalesce(json_extract(body, '$.resolved_at'), changed_at) AS ended_at,"
        " coalesce(json_extract(body, '$.merged_into'), '') AS merged_into FROM incidents"
        " WHERE host = ? AND id > ? ORDER BY id LIMIT ?",
        (host, after, _PAGE),
    )
    return [
        Kept(
            id=row["id"],
            revision=row["revision"],
            ended_at=datetime.fromisoformat(row["ended_at"]) if State(row["state"]) in ENDED else None,
            merged_into=row["merged_into"],
            acts=row["id"] in acting,
        )
        for row in rows
    ]


def _in_parts(incidents: Sequence[Kept], sizes: dict[str, int]) -> Iterator[list[Kept]]:
    """Yield incidents in their order, together as large as one transaction may be, or one alone."""
    part: list[Kept] = []
    size = 0
    for each in incidents:
        if part and size + sizes[each.id] > ROWS_AT_ONCE:
            yield part
            part, size = [], 0
        part.append(each)
        size += sizes[each.id]
    if part:
        yield part


async def _check_unchanged(tx: Transaction, host: str, incidents: Sequence[Kept]) -> None:
    """Raises: _ChangedMeanwhileError: one is gone, has changed, or an action of it is under way."""
    ids = [each.id for each in incidents]
    rows = await tx.all(
        f"SELECT id, revision FROM incidents WHERE host = ? AND id IN ({_marks(ids)})"  # noqa: S608
        f" AND state IN ({_marks(_ENDED_STATES)})",
        (host, *ids, *_ENDED_STATES),
    )
    under_way = await tx.one(
        "SELECT 1 FROM incident_actions JOIN actions ON actions.id = action_id"  # noqa: S608
        f" WHERE incident_actions.incident_id IN ({_marks(ids)}) AND actions.state IN ({_marks(UNDER_WAY)})",
        (*ids, *UNDER_WAY),
    )
    if under_way is not None or {row["id"]: row["revision"] for row in rows} != {e.id: e.revision for e in incidents}:
        raise _ChangedMeanwhileError


async def _keep_as_knowledge(tx: Transaction, host: str, ids: Sequence[str]) -> None:
    """Let what was learned of incidents stay: as documents of a source of their own, which no gatherer replaces."""
    rows = await tx.all(
        f"SELECT id, body FROM documents WHERE host = ? AND kind = ? AND name IN ({_marks(ids)})",  # noqa: S608
        (host, DocumentKind.INCIDENT.value, *ids),
    )
    for row in rows:
        document = Document.model_validate_json(row["body"]).model_copy(update={"source": FORGOTTEN_INCIDENTS})
        await tx.run(
            "UPDATE documents SET source = ?, body = ? WHERE host = ? AND id = ?",
            (document.source, document.model_dump_json(), host, row["id"]),
        )


async def _forget_their_actions(tx: Transaction, host: str, ids: Sequence[str]) -> dict[str, int]:
    """Forget the actions of incidents that belong to no other; the others belong to those alone. Return counts."""
    rows = await tx.all(
        f"SELECT action_id AS id FROM incident_actions WHERE incident_id IN ({_marks(ids)})"  # noqa: S608
        f" UNION SELECT id FROM actions WHERE host = ? AND incident_id IN ({_marks(ids)})",
        (*ids, host, *ids),
    )
    links = await tx.run(f"DELETE FROM incident_actions WHERE incident_id IN ({_marks(ids)})", ids)  # noqa: S608
    if not rows:
        return {"incident_actions": links}
    theirs = [row["id"] for row in rows]
    gone = await tx.run(
        f"DELETE FROM actions WHERE id IN ({_marks(theirs)})"  # noqa: S608
        " AND NOT EXISTS (SELECT 1 FROM incident_actions WHERE action_id = actions.id)",
        theirs,
    )
    left = await tx.all(
        "SELECT body, (SELECT min(incident_id) FROM incident_actions WHERE action_id = actions.id) AS belongs_to"  # noqa: S608
        f" FROM actions WHERE id IN ({_marks(theirs)}) AND incident_id IN ({_marks(ids)})",
        (*theirs, *ids),
    )
    for row in left:
        action = Action.model_validate_json(row["body"])
        moved = action.request.model_copy(update={"incident_id": row["belongs_to"]})
        await update_action(tx, action.model_copy(update={"request": moved}))
    return {"incident_actions": links, "actions": gone}


async def _forget_brief(tx: Transaction, host: str, limits: Limits, now: datetime) -> Forgotten:
    """Forget what its own writers bound as well, and what is of no use once it is over."""
    long_ago, lately = stamp(now - limits.incidents), stamp(now - limits.brief)
    return _forgotten(
        {
            "mutes": await tx.run("DELETE FROM mutes WHERE host = ? AND until < ?", (host, lately)),
            "turns": await tx.run("DELETE FROM turns WHERE host = ? AND until < ?", (host, lately)),
            "model_use": await tx.run("DELETE FROM model_use WHERE host = ? AND at < ?", (host, lately)),
            "checks": await tx.run("DELETE FROM checks WHERE host = ? AND asked_at < ?", (host, lately)),
            "notifications": await tx.run(
                "DELETE FROM notifications WHERE host = ? AND at < ?"
                " AND (superseded = 1 OR delivered_at BETWEEN '0' AND ?)",
                (host, lately, lately),
            ),
            "health_reports": await tx.run(
                "DELETE FROM health_reports WHERE host = ? AND at < ?"
                " AND sequence < (SELECT max(sequence) FROM health_reports WHERE host = ?)",
                (host, long_ago, host),
            ),
        }
    )


def _forgotten(rows: dict[str, int]) -> Forgotten:
    return Forgotten({table: count for table, count in rows.items() if count})


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))
