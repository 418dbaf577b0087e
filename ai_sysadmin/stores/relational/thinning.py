"""What one incident holds is bounded too: one that comes back every hour for a year is still one incident."""

from datetime import datetime
from typing import Final, Literal

from ai_sysadmin.core.acting import ActionState
from ai_sysadmin.runtime.relational import Relational, Transaction
from ai_sysadmin.stores.relational.rows import stamp
from ai_sysadmin.stores.retention_store import Forgotten, Limits

FIRST_LINES: Final = 20
"""How an incident began is always told."""

_AT_ONCE: Final = 400
_ENDED: Final = tuple(state.value for state in ActionState if state.ended)
_IS_ENDED: Final = f"actions.state IN ({','.join('?' * len(_ENDED))})"


async def thin_rows(
    database: Relational, host: str, table: Literal["timeline", "reviews", "investigations"], first: int, most: int
) -> Forgotten:
    """Forget rows of the incidents that have more than ``most``: not their ``first``, nor the latest."""

    async def crowded(tx: Transaction) -> list[str]:
        rows = await tx.all(
            f"SELECT incident_id FROM {table} JOIN incidents ON incidents.id = incident_id WHERE incidents.host = ?"  # noqa: S608
            " GROUP BY incident_id HAVING count(*) > ?",
            (host, most),
        )
        return [row["incident_id"] for row in rows]

    async def thin(tx: Transaction, incident_id: str) -> int:
        latest = f"SELECT sequence FROM {table} WHERE incident_id = ? ORDER BY sequence DESC LIMIT ?"  # noqa: S608
        earliest = f"SELECT sequence FROM {table} WHERE incident_id = ? ORDER BY sequence LIMIT ?"  # noqa: S608
        return await tx.run(
            f"DELETE FROM {table} WHERE sequence IN (SELECT sequence FROM {table} WHERE incident_id = ?"  # noqa: S608
            f" AND sequence NOT IN ({latest}) AND sequence NOT IN ({earliest}) ORDER BY sequence LIMIT ?)",
            (incident_id, incident_id, most - first, incident_id, first, _AT_ONCE),
        )

    gone = 0
    for incident_id in await database.read(crowded):
        while some := await database.write(lambda tx, each=incident_id: thin(tx, each)):  # type: ignore[misc]
            gone += some
    return Forgotten({table: gone} if gone else {})


async def thin_actions(database: Relational, host: str, limits: Limits, now: datetime) -> Forgotten:
    """Forget the ended actions of incidents that have more than so many, but the latest; not one that others share."""
    before = stamp(now - limits.rests)

    async def crowded(tx: Transaction) -> list[str]:
        rows = await tx.all(
            "SELECT incident_actions.incident_id AS id FROM incident_actions"  # noqa: S608
            " JOIN actions ON actions.id = incident_actions.action_id"
            f" WHERE actions.host = ? AND {_IS_ENDED} GROUP BY incident_actions.incident_id HAVING count(*) > ?",
            (host, *_ENDED, limits.most_rounds),
        )
        return [row["id"] for row in rows]

    async def thin(tx: Transaction, incident_id: str) -> int:
        rows = await tx.all(
            "SELECT actions.id, actions.updated_at,"  # noqa: S608
            " (SELECT count(*) FROM incident_actions others WHERE others.action_id = actions.id) AS links"
            " FROM incident_actions JOIN actions ON actions.id = incident_actions.action_id"
            f" WHERE incident_actions.incident_id = ? AND {_IS_ENDED}"
            " ORDER BY actions.updated_at DESC, actions.rowid DESC LIMIT ? OFFSET ?",
            (incident_id, *_ENDED, _AT_ONCE, limits.most_rounds),
        )
        gone = [(row["id"],) for row in rows if row["links"] == 1 and row["updated_at"] < before]
        await tx.many("DELETE FROM incident_actions WHERE action_id = ?", gone)
        await tx.many("DELETE FROM actions WHERE id = ?", gone)
        return len(gone)

    gone = 0
    for incident_id in await database.read(crowded):
        while some := await database.write(lambda tx, each=incident_id: thin(tx, each)):  # type: ignore[misc]
            gone += some
    return Forgotten({"actions": gone, "incident_actions": gone} if gone else {})
