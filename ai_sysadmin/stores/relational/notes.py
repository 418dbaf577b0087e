"""What the services say of their own condition."""

from ai_sysadmin.runtime.relational import Relational
from ai_sysadmin.stores import ServiceNote


class SqlNotes:
    """``NoteStore`` in SQL."""

    def __init__(self, database: Relational, host: str) -> None:
        self._database = database
        self._host = host

    async def note(self, note: ServiceNote) -> None:
        await self._database.write(
            lambda tx: tx.run(
                "INSERT INTO conditions (host, service, body) VALUES (?, ?, ?)"
                " ON CONFLICT (host, service) DO UPDATE SET body = excluded.body",
                (self._host, note.service, note.model_dump_json()),
            )
        )
