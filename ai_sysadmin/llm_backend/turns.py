"""Whose turn it is at a model server: a person who waits for an answer goes before work in the background.

The two sides meet in a lease for each server, in the store that all services share, so it holds across processes. A
store that is away, or slow, holds nobody up: then nobody gives way.
"""

import asyncio
import dataclasses
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import datetime, timedelta
from typing import Protocol

from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.errors import StoreUnavailable
from ai_sysadmin.llm_backend import BackendBusy, Delta, ModelServer
from ai_sysadmin.llm_backend.answering import Around, Request, ask
from ai_sysadmin.llm_backend.lanes import server_key

log = logging.getLogger(__name__)

LEASE_SECONDS = 10.0
RENEW_EVERY_SECONDS = 3.0
LINGER_SECONDS = 4.0
"""A person who was answered may well ask on: for so long the server stays theirs."""
LOOK_EVERY_SECONDS = 0.25
MOST_WAIT_FOR_STORE_SECONDS = 1.0


class Leases(Protocol):
    """Where the two sides meet. Both methods raise ``StoreUnavailable``."""

    async def renew(self, backend: str, until: datetime) -> None:
        """Say that a person waits for this server until then; a moment that has passed ends it."""
        ...

    async def leased(self, backend: str, now: datetime) -> bool:
        """Tell whether a person waits for this server."""
        ...


class Foreground(Around):
    """A model server that answers people: it holds the lease while it does, and a few seconds longer."""

    def __init__(self, inner: ModelServer, leases: Leases, clock: Clock, *, timeout_seconds: float) -> None:
        super().__init__(inner, timeout_seconds)
        self._leases = leases
        self._clock = clock
        self._answering = 0
        self._idle = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    async def answer(self, request: Request) -> AsyncGenerator[Delta, None]:
        with_lease = dataclasses.replace(request, urgent=True)
        async with self._leased(), aclosing(ask(self._inner, with_lease)) as deltas:
            async for delta in deltas:
                yield delta

    async def close(self) -> None:
        if self._keeper is not None:
            await asyncio.wait({self._keeper}, timeout=MOST_WAIT_FOR_STORE_SECONDS)
            self._keeper.cancel()
        await super().close()

    @asynccontextmanager
    async def _leased(self) -> AsyncIterator[None]:
        self._answering += 1
        self._idle.clear()
        if self._keeper is None or self._keeper.done():
            self._keeper = asyncio.create_task(self._keep(), name=f"lease of {self.url}")
        try:
            yield
        finally:
            self._answering -= 1
            if not self._answering:
                self._idle.set()

    async def _keep(self) -> None:
        """Renew the lease while anything is answered; leave it for a little longer at the end."""
        while self._answering:
            await self._renew(LEASE_SECONDS)
            try:
                async with asyncio.timeout(RENEW_EVERY_SECONDS):
                    await self._idle.wait()
            except TimeoutError:
                continue
            await self._renew(LINGER_SECONDS)

    async def _renew(self, seconds: float) -> None:
        try:
            await self._leases.renew(server_key(self.url), self._clock.now() + timedelta(seconds=seconds))
        except StoreUnavailable as error:
            log.warning("background work is not asked to wait: %s", error, extra={"event": "lease_failed"})


class _GiveWay(Exception):
    """A person began to wait."""


class _Watch:
    """Looks again and again whether a person waits; ends the step that is under way when one begins to."""

    def __init__(self, leases: Leases, clock: Clock, server: ModelServer) -> None:
        self._leases = leases
        self._clock = clock
        self._server = server
        self._changed = asyncio.Event()
        self._looked = asyncio.Event()
        self._step: asyncio.Timeout | None = None
        self._slots = 0
        self.must_wait = False

    async def run(self) -> None:
        while True:
            waits = await self._person_waits()
            if waits != self.must_wait:
                self.must_wait = waits
                self._changed.set()
            self._looked.set()
            if waits and self._step is not None:
                self._step.reschedule(asyncio.get_running_loop().time())
            await asyncio.sleep(LOOK_EVERY_SECONDS)

    async def _person_waits(self) -> bool:
        try:
            leased = await self._leases.leased(server_key(self._server.url), self._clock.now())
        except StoreUnavailable:
            return False
        if leased and not self._slots:
            self._slots = (await self._server.health()).slots
        return leased and self._slots <= 1

    async def first_look(self) -> None:
        try:
            async with asyncio.timeout(MOST_WAIT_FOR_STORE_SECONDS):
                await self._looked.wait()
        except TimeoutError:
            return

    async def until_free(self, deadline: float) -> None:
        """Wait until no person does. Raises: TimeoutError."""
        async with asyncio.timeout_at(deadline):
            while self.must_wait:
                self._changed.clear()
                await self._changed.wait()

    async def next_of(self, deltas: AsyncGenerator[Delta, None]) -> Delta | None:
        """Return the next piece. Raises: _GiveWay."""
        if self.must_wait:
            raise _GiveWay
        try:
            async with asyncio.timeout(None) as self._step:
                return await anext(deltas, None)
        except TimeoutError as error:
            raise _GiveWay from error
        finally:
            self._step = None


class Background(Around):
    """A model server for work that nobody waits for: it keeps off while a person is answered, and begins anew.

    On a server with several slots it goes on beside the person.
    """

    def __init__(self, inner: ModelServer, leases: Leases, clock: Clock, *, timeout_seconds: float) -> None:
        super().__init__(inner, timeout_seconds)
        self._leases = leases
        self._clock = clock
        self._watchers: set[asyncio.Task[None]] = set()

    async def answer(self, request: Request) -> AsyncGenerator[Delta, None]:
        async with self._watching() as watch:
            said = False
            while True:
                await self._wait_for_turn(watch, request)
                try:
                    async with aclosing(ask(self._inner, request)) as deltas:
                        while (delta := await watch.next_of(deltas)) is not None:
                            said = True
                            yield delta
                    return
                except _GiveWay:
                    log.info("%s gives way to a person", self._it, extra={"event": "turn_given"})
                    if said and not request.whole:
                        raise BackendBusy(f"{self._it} was needed for a person in the middle of an answer") from None

    async def _wait_for_turn(self, watch: _Watch, request: Request) -> None:
        try:
            await watch.until_free(request.deadline)
        except TimeoutError as error:
            raise BackendBusy(
                f"{self._it} answers a person; background work waited until the {self.timeout_seconds:.0f} s that an"
                " answer may take were over"
            ) from error

    @asynccontextmanager
    async def _watching(self) -> AsyncIterator[_Watch]:
        watch = _Watch(self._leases, self._clock, self._inner)
        watcher = asyncio.create_task(watch.run(), name=f"turns at {self.url}")
        self._watchers.add(watcher)  # a store may take its time to let go: nobody waits for that
        watcher.add_done_callback(self._watchers.discard)
        try:
            await watch.first_look()
            yield watch
        finally:
            watcher.cancel()

    @property
    def _it(self) -> str:
        return f"{self.name} model at {self.url}"
