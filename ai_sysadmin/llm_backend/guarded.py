"""Bounds around a model server: how many ask at a time, how many wait, and when it is left alone for a while."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, aclosing, contextmanager, suppress

from ai_sysadmin.core.errors import BackendUnavailable
from ai_sysadmin.llm_backend import (
    BackendAway,
    BackendBusy,
    BackendFailed,
    BackendLoading,
    Completion,
    Delta,
    Figures,
    ModelServer,
    PromptTooLong,
    ServerHealth,
    TokenCount,
)
from ai_sysadmin.llm_backend.answering import Around, Request, ask
from ai_sysadmin.llm_backend.lanes import Lane, LaneFull
from ai_sysadmin.llm_backend.tokens import estimate

log = logging.getLogger(__name__)

SLOTS_WITHIN_SECONDS = 1.0


class Guarded(Around):
    """A model server whose slots, queue and breaker are shared with the other layers that use it.

    Args:
        inner: the server.
        lane: what is shared.
        timeout_seconds: the longest that one answer may take, waiting included.
        waiting: how many requests may wait; one more is refused at once.
    """

    def __init__(self, inner: ModelServer, lane: Lane, *, timeout_seconds: float, waiting: int) -> None:
        super().__init__(inner, timeout_seconds)
        self.figures = Figures()
        self._lane = lane
        self._most_waiting = waiting

    async def health(self) -> ServerHealth:
        health = await self._inner.health()
        if health.state == "loading":
            self._lane.breaker.succeeded()  # it was started anew
        elif health.state != "away":
            self._lane.breaker.was_seen()
        if health.state in {"ready", "asleep"}:
            self._lane.slots = health.slots
        return health

    async def count_tokens(self, text: str) -> TokenCount:
        if self._lane.breaker.is_open:
            return TokenCount(estimate(text), exact=False)
        return await self._inner.count_tokens(text)

    async def answer(self, request: Request) -> AsyncGenerator[Delta, None]:
        self._check_breaker()
        await self._learn_slots()
        async with AsyncExitStack() as exits:
            with self._queueing():
                await exits.enter_async_context(
                    self._lane.place(most_waiting=self._most_waiting, deadline=request.deadline, urgent=request.urgent)
                )
            self._check_breaker()
            self._lane.breaker.begin(asyncio.get_running_loop().time())
            deltas = await exits.enter_async_context(aclosing(self._counted(request)))
            async for delta in deltas:
                yield delta

    async def _learn_slots(self) -> None:
        if self._lane.slots is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(SLOTS_WITHIN_SECONDS):
                    await self.health()

    def _check_breaker(self) -> None:
        if why_not := self._lane.breaker.why_not(asyncio.get_running_loop().time()):
            self._count(refused=1)
            raise BackendAway(why_not)

    @contextmanager
    def _queueing(self) -> Iterator[None]:
        ahead = self._lane.waiting + self._lane.running
        it = f"{self.name} model at {self.url}"
        try:
            yield
        except LaneFull as error:
            self._count(refused=1)
            raise BackendBusy(
                f"{it} is busy: {self._lane.waiting} others wait, and no more may (backends.{self.name}.waiting)"
            ) from error
        except TimeoutError as error:
            self._count(refused=1)
            raise BackendBusy(
                f"{it} is busy: waited behind {ahead} others until the {self.timeout_seconds:.0f} s that an answer may"
                " take were over"
            ) from error

    async def _counted(self, request: Request) -> AsyncGenerator[Delta, None]:
        began = asyncio.get_running_loop().time()
        try:
            async with aclosing(ask(self._inner, request)) as deltas:
                async for delta in deltas:
                    if delta.completion:
                        self._succeeded(delta.completion)
                    yield delta
        except PromptTooLong:
            self._lane.breaker.succeeded()
            raise
        except BackendUnavailable as error:
            self._failed(error)
            raise
        finally:
            self._count(calls=1, seconds=asyncio.get_running_loop().time() - began)

    def _succeeded(self, completion: Completion) -> None:
        self._lane.breaker.succeeded()
        self._count(
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=completion.completion_tokens,
            cached_tokens=completion.cached_tokens,
        )

    def _failed(self, error: BackendUnavailable) -> None:
        self._count(failures=1)
        self.figures = self.figures.model_copy(update={"last_failure": str(error)})
        breaker = self._lane.breaker
        if isinstance(error, BackendAway | BackendFailed):
            breaker.failed(str(error), asyncio.get_running_loop().time(), was_reached=isinstance(error, BackendFailed))
            if breaker.is_open:
                log.warning("leaving it alone for a while: %s", error, extra={"event": "backend_left_alone"})
        elif isinstance(error, BackendLoading):
            breaker.succeeded()

    def _count(self, **more: float) -> None:
        added = {name: getattr(self.figures, name) + value for name, value in more.items()}
        self.figures = self.figures.model_copy(update=added)
