"""Time that passes only when nothing else is to be done: a week of the daemons' own loops in a minute.

The loop's clock and ``time.monotonic`` stand still while anything runs, also in a thread, and jump to the next timer
when all wait.
"""

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class _Selector(selectors.DefaultSelector):
    """Lets the loop's time jump instead of waiting."""

    seconds = 0.0
    working = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        found = super().select(0)
        if not found and self.working:
            return super().select(None)
        if not found:
            self.seconds += timeout
        return found


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop in simulated time; what runs in threads takes none."""

    def __init__(self) -> None:
        self._simulated = _Selector()
        super().__init__(self._simulated)

    def time(self) -> float:
        return self._simulated.seconds

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        future = super().run_in_executor(executor, func, *args)
        self._simulated.working += 1
        future.add_done_callback(self._done)
        return future

    def _done(self, _: asyncio.Future[Any]) -> None:
        self._simulated.working -= 1


@dataclass
class SimulatedClock:
    """The wall's clock: the loop's time, and the time that the machine slept or was off."""

    begin: datetime
    loop: SimulatedLoop
    slept: float = 0.0
    off: float = 0.0

    def now(self) -> datetime:
        return self.begin + timedelta(seconds=self.loop.time() + self.slept + self.off)


def run_simulated(begin: datetime, work: Callable[[SimulatedClock], Coroutine[Any, Any, T]]) -> T:
    """Run something in simulated time that begins at a moment."""
    loop = SimulatedLoop()
    with _monotonic(loop.time), asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(work(SimulatedClock(begin, loop)))


@contextmanager
def _monotonic(ticks: Callable[[], float]) -> Iterator[None]:
    """Have the whole process take its ticks from the simulation, as a machine's programs do from the machine."""
    real = time.monotonic
    time.monotonic = ticks
    try:
        yield
    finally:
        time.monotonic = real
