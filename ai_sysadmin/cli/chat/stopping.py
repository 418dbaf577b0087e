"""Ctrl-C stops what is being done, and never the session."""

import asyncio
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

Result = TypeVar("Result")
EXIT_CODE: Final = 128 + signal.SIGINT


class Stopped(Exception):
    """A person pressed Ctrl-C."""


def stoppable(work: Coroutine[Any, Any, Result]) -> Result:
    """Run work to its end; the first Ctrl-C cancels it, others change nothing while it cleans up.

    Raises:
        Stopped: it was cancelled.
    """
    before = signal.getsignal(signal.SIGINT)

    async def working() -> Result:
        loop, task = asyncio.get_running_loop(), asyncio.create_task(work)

        def stop(*_: object) -> None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            loop.call_soon_threadsafe(task.cancel)

        signal.signal(signal.SIGINT, stop)
        return await task

    try:
        return asyncio.run(working())
    except asyncio.CancelledError as error:
        raise Stopped from error
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def deaf() -> Iterator[None]:
    """Pass Ctrl-C over where nothing that it could stop is being done: between an answer and the prompt."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
