"""How any process here lives: signals, readiness, a watchdog that proves progress, a clean end.

    READY=1 → loops run, WATCHDOG=1 while promises are kept → SIGTERM or SIGINT → STOPPING=1 → loops are cancelled

A loop that crashes ends the process with its exception; systemd restarts it. What is merely away is backed off.
"""

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from ai_sysadmin.core.errors import Unavailable
from ai_sysadmin.runtime.notify import notify, watchdog_seconds

log = logging.getLogger(__name__)

Loop = Callable[[], Awaitable[None]]
T = TypeVar("T")

_CHECK_SECONDS = 5.0
_RECOVERED_SECONDS = 2.0


class Heartbeat:
    """Promises of progress. While one is broken, the service manager gets no sign of life and restarts us."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._promises: dict[object, tuple[float, str]] = {}

    @contextmanager
    def within(self, seconds: float, what: str) -> Iterator[None]:
        """Promise that the block ends within so many seconds of awake time."""
        key = object()
        self._promises[key] = (self._monotonic() + seconds, what)
        try:
            yield
        finally:
            del self._promises[key]

    def overdue(self) -> str:
        """Return what takes longer than promised; empty: nothing."""
        now = self._monotonic()
        return next((what for deadline, what in self._promises.values() if deadline < now), "")


async def run_service(name: str, loops: Mapping[str, Loop], heart: Heartbeat) -> None:
    """Run loops until SIGTERM or SIGINT, or until one of them fails.

    Raises:
        Exception: whatever a loop raised first; every other loop was cancelled and awaited.
    """
    stop = asyncio.Event()
    with _stopping_signals(stop):
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(_forever(key, run, stop), name=key) for key, run in loops.items()]
                tasks.append(group.create_task(_watchdog(heart), name="watchdog"))
                notify(READY=1, STATUS=f"{name} runs")
                log.info("%s runs", name, extra={"event": "service_started"})
                await stop.wait()
                notify(STOPPING=1, STATUS=f"{name} is stopping")
                for task in tasks:
                    task.cancel()
        except BaseExceptionGroup as group_error:
            raise _first(group_error) from None
    log.info("%s stopped", name, extra={"event": "service_stopped"})


@contextmanager
def _stopping_signals(stop: asyncio.Event) -> Iterator[None]:
    running = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    for signum in signals:
        running.add_signal_handler(signum, stop.set)
    try:
        yield
    finally:
        for signum in signals:
            running.remove_signal_handler(signum)


async def _forever(name: str, run: Loop, stop: asyncio.Event) -> None:
    await run()
    if not stop.is_set():
        raise RuntimeError(f"the loop {name!r} ended, and it should never")


async def _watchdog(heart: Heartbeat) -> None:
    """Give signs of life at half the interval that is asked for, and only while every promise is kept."""
    wanted = watchdog_seconds()
    late = ""
    while True:
        before, late = late, heart.overdue()
        if late and late != before:
            log.error("%s takes longer than promised", late, extra={"event": "progress_lost"})
        if not late:
            notify(WATCHDOG=1)
        await asyncio.sleep(wanted / 2 if wanted else _CHECK_SECONDS)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


# --- what is away --------------------------------------------------------------------------------------------

_troubles: dict[str, str] = {}


def troubles() -> dict[str, str]:
    """Return what this process is waiting for at the moment: what, and the sentence that says why."""
    return dict(_troubles)


def _trouble(what: str, sentence: str) -> None:
    """Note that something is away (or back: an empty sentence), and say so in STATUS."""
    if sentence:
        _troubles[what] = sentence
    else:
        _troubles.pop(what, None)
    notify(STATUS="; ".join(f"{key}: {value}" for key, value in _troubles.items()) or "runs")


async def backing_off(what: str, work: Loop, *, first_seconds: float = 0.5, most_seconds: float = 30) -> None:
    """Run ``work`` for ever. While it raises ``Unavailable``, say so once and try again after growing pauses.

    Work that has gone well for a while counts as recovered, and pauses begin small again.
    """
    pause = first_seconds
    try:
        while True:
            began = time.monotonic()
            well = asyncio.get_running_loop().call_later(_RECOVERED_SECONDS, _recovered, what)
            try:
                await work()
            except Unavailable as error:
                well.cancel()
                if time.monotonic() - began > most_seconds:
                    pause = first_seconds
                _fell_away(what, str(error), pause)
                await asyncio.sleep(pause)
                pause = min(pause * 2, most_seconds)
            else:
                pause = first_seconds
                await asyncio.sleep(0)
            finally:
                well.cancel()
    finally:
        _troubles.pop(what, None)


def _fell_away(what: str, sentence: str, pause: float) -> None:
    level = logging.DEBUG if _troubles.get(what) == sentence else logging.WARNING
    log.log(level, "%s: %s; next try in %g s", what, sentence, pause, extra={"event": "dependency_away", "what": what})
    _trouble(what, sentence)


def _recovered(what: str) -> None:
    if what in _troubles:
        log.info("%s: works again", what, extra={"event": "dependency_back", "what": what})
        _trouble(what, "")


# --- what must not be cut in half ----------------------------------------------------------------------------


async def uninterrupted(work: Awaitable[T]) -> T:
    """Finish ``work`` even when we are cancelled meanwhile; the cancellation goes on afterwards."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("what had to be finished failed: %s", error, extra={"event": "unfinished"})
        raise
