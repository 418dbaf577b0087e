"""Look-ups that may hang in the kernel, done in one thread aside: at most one is stuck at any time."""

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from ai_sysadmin.core.errors import AiSysadminError
from ai_sysadmin.sources.host.reading import HostUnreadable

T = TypeVar("T")


class Hung(HostUnreadable):
    """A look-up does not come back. ``what`` is the one that hangs, which may be an earlier one than was asked for."""

    def __init__(self, what: str) -> None:
        super().__init__(f"a look at {what} does not come back")
        self.what = what


class Aside:
    """Runs one look-up at a time in a thread of its own. One that hangs keeps that thread; no other is started.

    The thread is a daemon: the process can end while it is stuck, which an executor's threads would not allow.
    """

    def __init__(self) -> None:
        self._stuck_at = ""
        self._turn = asyncio.Lock()

    async def ask(self, what: str, work: Callable[[], T], timeout_seconds: float) -> T:
        """Return what ``work`` returns, or raise its OSError, ValueError or AiSysadminError.

        Args:
            what: what is looked at, for the error's sentence: "/mnt/share".

        Raises:
            Hung: it took longer than ``timeout_seconds``, or an earlier look-up still hangs.
        """
        async with self._turn:
            if self._stuck_at:
                raise Hung(self._stuck_at)
            self._stuck_at = what
            loop = asyncio.get_running_loop()
            answer: asyncio.Future[T] = loop.create_future()
            threading.Thread(target=self._do, args=(work, answer, loop), name="aside", daemon=True).start()
            try:
                return await asyncio.wait_for(answer, timeout_seconds)
            except TimeoutError:
                raise Hung(what) from None

    def _do(self, work: Callable[[], T], answer: "asyncio.Future[T]", loop: asyncio.AbstractEventLoop) -> None:
        give: Callable[[], None]
        try:
            give = partial(answer.set_result, work())
        except (OSError, ValueError, AiSysadminError) as error:
            give = partial(answer.set_exception, error)
        finally:
            self._stuck_at = ""
        try:
            loop.call_soon_threadsafe(_deliver, answer, give)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return


def _deliver(answer: "asyncio.Future[T]", give: Callable[[], None]) -> None:
    if not answer.done():  # else the asker gave up waiting
        give()
