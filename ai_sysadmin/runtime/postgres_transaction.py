"""The statements of one transaction of PostgreSQL's."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from ai_sysadmin.runtime.postgres_session import Connection
from ai_sysadmin.runtime.relational import Dialect, Row


class PostgresTransaction:
    """``runtime.relational.Transaction`` on a connection."""

    dialect = Dialect.POSTGRES

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.topics: dict[str, None] = {}

    async def all(self, statement: str, values: Sequence[object] = ()) -> Sequence[Row]:
        cursor = await self.connection.execute(_marked(statement), _plain(values))
        return await cursor.fetchall()

    async def one(self, statement: str, values: Sequence[object] = ()) -> Row | None:
        cursor = await self.connection.execute(_marked(statement), _plain(values))
        return await cursor.fetchone()

    async def value(self, statement: str, values: Sequence[object] = ()) -> Any:
        row = await self.one(statement, values)
        if row is None:
            raise AssertionError(f"there always is a row: {statement}")
        return next(iter(row.values()))

    async def run(self, statement: str, values: Sequence[object] = ()) -> int:
        return (await self.connection.execute(_marked(statement), _plain(values))).rowcount

    async def many(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        async with self.connection.cursor() as cursor:
            await cursor.executemany(_marked(statement), [_plain(row) for row in rows])

    async def copy(self, statement: str, types: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Send rows by ``COPY … FROM STDIN (FORMAT BINARY)``; ``types`` names the type of each column."""
        async with self.connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types(types)
            for row in rows:
                await copy.write_row(row)

    def tell(self, topic: str) -> None:
        self.topics[topic] = None


@lru_cache(maxsize=1024)
def _marked(statement: str) -> str:
    """Return a statement with psycopg's mark for a value instead of ``?``."""
    return statement.replace("%", "%%").replace("?", "%s")


def _plain(values: Sequence[object]) -> list[object]:
    """Return values as our columns take them: no text holds a NUL, and yes and no are 1 and 0, as on SQLite."""
    return [_taken(value) for value in values]


def _taken(value: object) -> object:
    if isinstance(value, str):
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return int(value) if isinstance(value, bool) else value
