"""What the services say of their own condition."""

from ai_sysadmin.runtime.sqlite import Database
from ai_sysadmin.stores import ServiceNote


class SqliteNotes:
    """``NoteStore`` on SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def note(self, note: ServiceNote) -> None:
        await self._database.write(
            lambda connection: connection.execute(
                "INSERT INTO service_notes (service, body) VALUES (?, ?)"
                " ON CONFLICT (service) DO UPDATE SET body = excluded.body",
                (note.service, note.model_dump_json()),
            )
        )
