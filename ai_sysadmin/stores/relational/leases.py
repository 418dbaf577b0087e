"""Who waits for a model server."""

from datetime import datetime

from ai_sysadmin.runtime.relational import Relational
from ai_sysadmin.stores.relational.rows import stamp


class SqlLeases:
    """Who is being answered: where people's and the background's turns at a model server meet."""

    def __init__(self, database: Relational, host: str) -> None:
        self._database = database
        self._host = host

    async def renew(self, backend: str, until: datetime) -> None:
        await self._database.write(
            lambda tx: tx.run(
                "INSERT INTO turns (host, backend, until) VALUES (?, ?, ?)"
                " ON CONFLICT (host, backend) DO UPDATE SET until = excluded.until",
                (self._host, backend, stamp(until)),
            )
        )

    async def leased(self, backend: str, now: datetime) -> bool:
        found = await self._database.read(
            lambda tx: tx.one(
                "SELECT until FROM turns WHERE host = ? AND backend = ? AND until > ?",
                (self._host, backend, stamp(now)),
            )
        )
        return found is not None
