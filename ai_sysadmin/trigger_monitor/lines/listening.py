"""Follow the journal and log files, decide, and commit each position together with what it came to.

Killed at any moment, the monitor reads on from there: no line twice, none lost.
"""

import json
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.errors import JournalUnavailable, Unavailable
from ai_sysadmin.core.noticing_settings import TriggerMonitor as Settings
from ai_sysadmin.core.noticing_settings import WatchedFile
from ai_sysadmin.core.records import JournalEntry, Trigger
from ai_sysadmin.runtime.service import Heartbeat, Loop
from ai_sysadmin.sources.journal import lost_between, lost_within
from ai_sysadmin.sources.lines_follow import FilePosition, follow_file
from ai_sysadmin.stores import JournalPosition, Noticed, TemplateStore
from ai_sysadmin.trigger_monitor.condition import Condition
from ai_sysadmin.trigger_monitor.ledger import Ledger
from ai_sysadmin.trigger_monitor.lines.decide import Decided, Noticer

log = logging.getLogger(__name__)

COMMIT_SECONDS = 5.0
"""How long what was read and came to nothing may wait for its commit."""

OPINION_SECONDS = 30.0
CAUGHT_UP = timedelta(seconds=10)
_PROMISE_SECONDS = 60.0


class Follow(Protocol):
    """How the journal is followed; ``sources.journal.follow`` is the real one."""

    def __call__(
        self, position: JournalPosition | None, *, history: timedelta
    ) -> AsyncGenerator[list[JournalEntry], None]: ...


@dataclass
class _Stretch:
    """What was read since the last commit."""

    position: JournalPosition | None = None
    read: int = 0
    lost: int = 0
    suppressed: int = 0
    triggers: list[Trigger] = field(default_factory=list)
    memory: dict[str, str] = field(default_factory=dict)


class Listening:
    """Reads logs.

    Args:
        heard: told what each batch came to, before it is committed.
        read_until: told how far the journal is read; none: it cannot be read.
    """

    def __init__(
        self,
        ledger: Ledger,
        templates: TemplateStore,
        clock: Clock,
        heart: Heartbeat,
        settings: Settings,
        condition: Condition,
        heard: Callable[[Decided], None],
        read_until: Callable[[datetime | None], None],
        follow: Follow,
    ) -> None:
        self._ledger = ledger
        self._templates = templates
        self._clock = clock
        self._heart = heart
        self._settings = settings
        self._condition = condition
        self._heard = heard
        self._read_until = read_until
        self._follow = follow
        self._noticer: Noticer | None = None
        self._is_ahead = False
        self._stretch = _Stretch()
        self._position: JournalPosition | None = None
        self._opinions_at = 0.0
        self._committed_at = 0.0
        self.is_caught_up = False

    def loops(self) -> dict[str, Loop]:
        """Return what runs for ever, by name."""
        files = {f"file {each.path}": partial(self.read_file, each) for each in self._settings.files}
        return {"journal": self.read_journal, **files}

    # --- the journal

    async def read_journal(self) -> None:
        """Follow the journal from the committed position. Raises: JournalUnavailable, StoreUnavailable."""
        self._noticer = await self._load()
        self._stretch = _Stretch()
        self._position = await self._ledger.store.position()
        history = timedelta(hours=self._settings.history_hours)
        try:
            async with aclosing(self._follow(self._position, history=history)) as batches:
                async for batch in batches:
                    with self._heart.within(_PROMISE_SECONDS, "recording what the journal said"):
                        await self._take(batch)
        except JournalUnavailable as error:
            await self._condition.say(journal=str(error))
            raise
        finally:
            self.is_caught_up = False
            self._read_until(None)
            with suppress(Unavailable):
                await self._flush()

    async def _take(self, batch: Sequence[JournalEntry]) -> None:
        self.is_caught_up = not batch or self._clock.now() - batch[-1].at < CAUGHT_UP
        await self._condition.say(journal="")
        if batch:
            self._extend(batch)
        self._read_until(batch[-1].at if batch else self._clock.now())
        if self._stretch.triggers or time.monotonic() - self._committed_at >= COMMIT_SECONDS:
            await self._flush()

    def _extend(self, batch: Sequence[JournalEntry]) -> None:
        decided = self._decide(batch)
        last, stretch = batch[-1], self._stretch
        stretch.read += len(batch)
        stretch.lost += lost_between(self._position, batch[0]) + lost_within(batch)
        stretch.suppressed += decided.suppressed
        stretch.triggers += decided.triggers
        stretch.position = self._position = JournalPosition(
            cursor=last.cursor,
            sequence_id=last.sequence_id,
            sequence=last.sequence,
            updated_at=self._clock.now(),
        )

    # --- log files

    async def read_file(self, file: WatchedFile) -> None:
        """Follow a log file from where its last commit was. Raises: JournalUnavailable, StoreUnavailable."""
        name = f"file:{file.path}"
        self._noticer = await self._load()
        kept = (await self._ledger.store.memory()).get(name, "")
        position = FilePosition(*json.loads(kept)) if kept else None
        async with aclosing(follow_file(file.path, file.format, position)) as batches:
            async for batch in batches:
                if not batch.entries:
                    continue
                with self._heart.within(_PROMISE_SECONDS, f"recording what {file.path} said"):
                    named = [
                        entry if entry.identifier or entry.unit else entry._replace(identifier=str(file.path))
                        for entry in batch.entries
                    ]
                    triggers = self._decide(named).triggers
                    await self._commit(_Stretch(triggers=[*triggers], memory={name: json.dumps(batch.position)}))

    # --- both

    async def _load(self) -> Noticer:
        """Return what decides; where a commit has failed, as it was at the last one."""
        if self._noticer is not None and not self._is_ahead:
            return self._noticer
        self._is_ahead = False
        store, now = self._ledger.store, self._clock.now()
        self._opinions_at = time.monotonic()
        # the first two wait for what is spooled, so that the templates are not older than they are
        waiting = await store.unattached(now - timedelta(seconds=self._settings.join_within_seconds))
        memory = (await store.memory()).get(Noticer.MEMORY, "")
        return Noticer(
            self._ledger.host,
            self._settings,
            templates=await self._templates.templates(),
            waiting=waiting,
            memory=memory,
            now=now,
            redactor=self._ledger.redactor,
        )

    @property
    def _loaded(self) -> Noticer:
        if self._noticer is None:
            raise RuntimeError("nothing was loaded before the first line was read")
        return self._noticer

    def _decide(self, batch: Sequence[JournalEntry]) -> Decided:
        decided = self._loaded.decide(batch, self._clock.now())
        self._heard(decided)
        return decided

    async def _flush(self) -> None:
        """Commit what was read of the journal since the last time, once: it is let go of before it is committed."""
        stretch, self._stretch = self._stretch, _Stretch()
        if stretch.position is not None:
            self._committed_at = time.monotonic()
            await self._commit(stretch)

    async def _commit(self, stretch: _Stretch) -> None:
        noticer = self._loaded
        noticed = Noticed(
            stretch.position,
            stretch.read,
            stretch.lost,
            stretch.suppressed,
            tuple(stretch.triggers),
            templates=noticer.changed(self._clock.now()),
            memory={Noticer.MEMORY: noticer.memory(), **stretch.memory},
        )
        try:
            await self._ledger.commit(noticed)
        except Unavailable:
            self._is_ahead = True
            raise
        if time.monotonic() - self._opinions_at >= OPINION_SECONDS:
            self._opinions_at = time.monotonic()
            with suppress(Unavailable):  # those of before are good enough
                noticer.hear(await self._templates.opinions())
