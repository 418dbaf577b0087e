"""The stores as the trigger monitor sees them: what they cannot take now waits in the spool, and is taken later."""

import asyncio
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

from ai_sysadmin.core.errors import StoreUnavailable
from ai_sysadmin.core.incident import Incident
from ai_sysadmin.core.records import Sample, Symptom
from ai_sysadmin.runtime.service import Loop, backing_off
from ai_sysadmin.stores import JournalPosition, Live, Noticed, NoticeStore, Placing
from ai_sysadmin.stores.metric_store import MetricStore, Point, Series
from ai_sysadmin.stores.once import NOTE, Mark, mark_of
from ai_sysadmin.stores.opinion_store import Alert
from ai_sysadmin.trigger_monitor.spool.pieces import Figures, Piece
from ai_sysadmin.trigger_monitor.spool.spool import Spool

log = logging.getLogger(__name__)

Tell = Callable[[Sequence[Incident]], None]

_MOST_PAUSE_SECONDS = 5.0


class SpoolingNotices:
    """``NoticeStore`` that takes commits also while the store is away.

    Then, and as long as any commit waits, ``commit`` opens nothing that it could tell of and returns ``()``. What is
    read comes after all that was committed: while commits wait, ``live``, ``unattached`` and ``alerts`` raise
    ``StoreUnavailable``; ``position`` and ``memory`` are as they were committed.
    """

    def __init__(self, store: NoticeStore, spool: Spool) -> None:
        self._store = store
        self._spool = spool
        self._order = asyncio.Lock()
        self._position: JournalPosition | None = None
        self._memory: dict[str, str] = {}

    async def commit(self, noticed: Noticed, placing: Placing) -> Sequence[Incident]:
        """As ``NoticeStore``. Raises: StoreUnavailable: it is away, and the spool cannot take it either."""
        async with self._order:
            number = self._spool.next_number()
            mark = str(Mark(self._spool.stream, number))
            marked = replace(noticed, lost=noticed.lost + self._spool.lost(), memory={**noticed.memory, NOTE: mark})
            began = await self._commit(number, marked, placing)
            self._position = noticed.position or self._position
            return began

    async def _commit(self, number: int, noticed: Noticed, placing: Placing) -> Sequence[Incident]:
        if not self._spool.has_notices:
            self._memory = {}
            try:
                return await self._store.commit(noticed, placing)
            except StoreUnavailable as error:
                self._spool.tried(number)  # it may be there nevertheless
                await self._append(number, Piece(self._spool.stream, noticed, placing), error)
                words = "%s: what is noticed waits in %s"
                log.warning(words, error, self._spool.directory, extra={"event": "spool_begun"})
                return ()
        await self._append(number, Piece(self._spool.stream, noticed, placing))
        return ()

    async def _append(self, number: int, piece: Piece, away: StoreUnavailable | None = None) -> None:
        try:
            await self._spool.append(number, piece)
        except StoreUnavailable as error:
            raise StoreUnavailable(f"{away}; {error}" if away else str(error)) from error
        self._memory |= {name: text for name, text in piece.noticed.memory.items() if name != NOTE}

    async def position(self) -> JournalPosition | None:
        """As ``NoticeStore``; while the store is away, as it was committed last by this process."""
        async with self._order:
            if self._spool.has_left_over:
                raise self._behind()
            if self._spool.has_notices and self._position is not None:
                return self._position
            try:
                found = await self._store.position()
            except StoreUnavailable:
                if self._position is None:
                    raise
                return self._position
            self._position = found
            return found

    async def memory(self) -> Mapping[str, str]:
        """As ``NoticeStore``, with the notes that wait."""
        async with self._order:
            if self._spool.has_left_over:
                raise self._behind()
            waiting = self._memory if self._spool.has_notices else {}
            kept = {**await self._store.memory(), **waiting}
            kept.pop(NOTE, None)
            return kept

    async def unattached(self, since: datetime) -> Sequence[Symptom]:
        self._caught_up()
        return await self._store.unattached(since)

    async def live(self) -> Sequence[Live]:
        self._caught_up()
        return await self._store.live()

    async def alerts(self) -> Sequence[tuple[int, Alert]]:
        self._caught_up()
        return await self._store.alerts()

    async def drain(self, tell: Tell) -> None:
        """Write all that waits, in order, each commit once. Raises: StoreUnavailable: the rest goes on waiting."""
        if not self._spool.has_notices:
            return
        had = mark_of((await self._store.memory()).get(NOTE, ""))
        if had is not None and had.stream == self._spool.stream:
            await self._spool.let_go(had.number)
        read_since = await self._store.position() if self._spool.has_left_over else None
        while pieces := await self._spool.first():
            done = 0
            try:
                for number, piece in pieces:
                    if not _was_read_again(piece.noticed.position, read_since):
                        tell(await self._store.commit(piece.noticed, piece.placing))
                    done = number
            finally:
                if done:
                    await self._spool.let_go(done)

    def _caught_up(self) -> None:
        if self._spool.has_notices:
            raise self._behind()

    def _behind(self) -> StoreUnavailable:
        return StoreUnavailable(
            f"the store does not have all yet that was noticed: it waits in {self._spool.directory}"
        )


def _was_read_again(position: JournalPosition | None, read_since: JournalPosition | None) -> bool:
    """Tell whether the journal was read past a commit that waited, by a version of this suite that has no spool."""
    return (
        position is not None
        and read_since is not None
        and 0 < position.sequence <= read_since.sequence
        and position.sequence_id == read_since.sequence_id
    )


class SpoolingMetrics:
    """``MetricStore`` that takes figures also while the store is away."""

    def __init__(self, store: MetricStore, spool: Spool) -> None:
        self._store = store
        self._spool = spool
        self._order = asyncio.Lock()

    async def write(self, samples: Sequence[Sample], at: datetime) -> None:
        """As ``MetricStore``. Raises: StoreUnavailable: it is away, and the spool cannot take them either."""
        async with self._order:
            if not self._spool.has_figures:
                try:
                    await self._store.write(samples, at)
                except StoreUnavailable:
                    if self._spool.trouble:
                        raise
                else:
                    return
            figures = tuple(each for each in samples if math.isfinite(each.value))
            if figures:
                await self._spool.append_figures(Figures(at, figures))

    async def list(self) -> Sequence[Series]:
        return await self._store.list()

    async def points(self, name: str, about: str, since: datetime, bucket_seconds: int = 0) -> Sequence[Point]:
        return await self._store.points(name, about, since, bucket_seconds)

    async def roll_up(self, before: datetime, bucket_seconds: int) -> None:
        await self._store.roll_up(before, bucket_seconds)

    async def drop(self, before: datetime) -> None:
        await self._store.drop(before)

    async def drain(self) -> None:
        """Write all figures that wait, in order. Raises: StoreUnavailable: the rest goes on waiting."""
        while some := await self._spool.first_figures():
            done = 0
            try:
                for number, figures in some:
                    await self._store.write(figures.samples, figures.at)
                    done = number
            finally:
                if done:
                    await self._spool.let_go_figures(done)


class Spooling:
    """Both stores over one spool, and the loop that writes what waits."""

    def __init__(self, notices: NoticeStore, metrics: MetricStore, spool: Spool) -> None:
        self._spool = spool
        self.notices = SpoolingNotices(notices, spool)
        self.metrics = SpoolingMetrics(metrics, spool)

    def loops(self, tell: Tell) -> Mapping[str, Loop]:
        """Return what runs for ever, by name; ``tell`` is told of the incidents that late commits opened."""
        drain = partial(self.drain_forever, tell)
        return {"spool": partial(backing_off, "spool", drain, most_seconds=_MOST_PAUSE_SECONDS)}

    async def drain_forever(self, tell: Tell) -> None:
        """Write what waits as soon as the store answers, for ever. Raises: StoreUnavailable."""
        while True:
            await self._spool.waiting.wait()
            await self.drain(tell)

    async def drain(self, tell: Tell) -> None:
        """Write all that waits. Raises: StoreUnavailable: the rest goes on waiting."""
        spool = self._spool
        if not (spool.has_notices or spool.has_figures):
            spool.waiting.clear()
            return
        said = spool.said
        await self.notices.drain(tell)
        await self.metrics.drain()
        if spool.has_notices or spool.has_figures:
            return
        spool.waiting.clear()
        entries, figures = spool.dropped()
        log.info("caught up with the store: %s until now", said, extra={"event": "spool_drained"})
        if entries or figures:
            log.warning(
                "while the store was away there was no room for %d log entries that only support an incident,"
                " and for the figures of %d moments",
                entries,
                figures,
                extra={"event": "spool_dropped", "entries": entries, "figures": figures},
            )
