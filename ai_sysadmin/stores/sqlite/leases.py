"""Who waits for a model server."""

from datetime import datetime

from ai_sysadmin.runtime.sqlite import Database
from ai_sysadmin.stores.sqlite.rows import stamp


class SqliteLeases:
    """Who is being answered, on SQLite: where people's and the background's turns at a model server meet."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def renew(self, backend: str, until: datetime) -> None:
        await self._database.write(
            lambda connection: connection.execute(
                "INSERT INTO chat_leases (backend, until) VALUES (?, ?)"
                " ON CONFLICT (backend) DO UPDATE SET until = excluded.until",
                (backend, stamp(until)),
            )
        )

    async def leased(self, backend: str, now: datetime) -> bool:
        return await self._database.read(
            lambda connection: (
                connection.execute(
                    "SELECT 1 FROM chat_leases WHERE backend = ? AND until > ?", (backend, stamp(now))
                ).fetchone()
                is not None
            )
        )
