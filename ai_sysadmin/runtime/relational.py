"""What the stores ask of a relational database, whichever it is.

Work is a coroutine function of a ``Transaction``: one SQL text, with ``?`` for a value, and one piece of code serve
both databases. ``runtime.postgres`` runs it in the event loop; ``runtime.sqlite`` to its end in the database's own
thread, where nothing ever waits. So work awaits its transaction's statements and nothing else.
"""

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
Row = Mapping[str, Any]


class Dialect(StrEnum):
    """Where one SQL text does not serve both, it is asked for here."""

    SQLITE = "sqlite"
    POSTGRES = "postgres"


class Transaction(Protocol):
    """The statements of one transaction."""

    @property
    def dialect(self) -> Dialect: ...

    async def all(self, statement: str, values: Sequence[object] = ()) -> Sequence[Row]:
        """Return every row, by column name."""
        ...

    async def one(self, statement: str, values: Sequence[object] = ()) -> Row | None:
        """Return the first row; none: there is none."""
        ...

    async def value(self, statement: str, values: Sequence[object] = ()) -> Any:
        """Return the first column of the first row, where there always is one."""
        ...

    async def run(self, statement: str, values: Sequence[object] = ()) -> int:
        """Return how many rows it changed."""
        ...

    async def many(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        """Run one statement for each of several rows."""
        ...

    def tell(self, topic: str) -> None:
        """Let whoever listens know that something changed, once this is committed; SQLite has no listeners."""
        ...


Work = Callable[[Transaction], Awaitable[T]]


class Relational(Protocol):
    """A database. Both raise ``StoreUnavailable``; what work itself raises takes its changes back and comes through."""

    async def write(self, work: Work[T]) -> T:
        """Run work as one transaction. All writes of one host's records come one after the other."""
        ...

    async def read(self, work: Work[T]) -> T:
        """Run work on one consistent view."""
        ...


def completed(work: Awaitable[T]) -> T:
    """Run work to its end that never waits, without an event loop. Raises: AssertionError: it waits."""
    if not isinstance(work, Coroutine):
        raise TypeError(f"{type(work).__name__} is no coroutine")
    try:
        work.send(None)
    except StopIteration as ended:
        value: T = ended.value
        return value
    work.close()
    raise AssertionError("a transaction's work awaits something else than its statements")
