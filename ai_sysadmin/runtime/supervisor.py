"""Hold a few forked processes together: start them in order, pass signals on, bring a helper back, end as one.

Only `ai-sysadmin up` needs it; on NixOS systemd does this.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

from ai_sysadmin.runtime.privileges import Account, drop

_PR_SET_PDEATHSIG = 1
_BACK_SECONDS = 1.0
_GRACE_SECONDS = 20.0


@dataclass(frozen=True)
class Part:
    """A process: what it does until it ends, returning its exit status, and whom it becomes before that.

    The main part's end ends all; any other part is started again.
    """

    name: str
    work: Callable[[], int]
    account: Account | None = None
    is_main: bool = False


class Supervisor:
    """Runs parts as children of this process. Make it before any thread or event loop is there."""

    def __init__(self, parts: list[Part]) -> None:
        self._parts = parts
        self._running: dict[int, Part] = {}
        self._stopping = False

    def run(self) -> int:
        """Run until the main part ends or a signal comes; return the main part's exit status."""
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(signum, self._stop)
        for part in self._parts:
            self._start(part)
        status = 0
        while self._running:
            pid, raw = os.wait()
            ended = self._running.pop(pid, None)
            if ended is None:
                continue
            if ended.is_main:
                status = os.waitstatus_to_exitcode(raw)
                self._stop(signal.SIGTERM, None)
            elif not self._stopping:
                sys.stderr.write(f"ai-sysadmin: the {ended.name} ended and is started again\n")
                time.sleep(_BACK_SECONDS)
                if not self._stopping:  # we may have been told to stop meanwhile
                    self._start(ended)
        return status

    def _start(self, part: Part) -> None:
        mother = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._be(part, mother)
        self._running[pid] = part

    def _be(self, part: Part, mother: int) -> NoReturn:
        """Be a part, in the child. What it raises goes up the child's own copy of the stack, like anywhere else."""
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(signum, signal.SIG_DFL)
        if part.account is not None:
            drop(part.account)
        # not before: a change of user forgets it
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != mother:
            raise SystemExit(1)
        raise SystemExit(part.work())

    def _stop(self, _signum: int, _frame: FrameType | None) -> None:
        """Ask every part to end, the main one first; one that does not is killed after the grace."""
        if self._stopping:
            return
        self._stopping = True
        self._signal(signal.SIGTERM)
        signal.signal(signal.SIGALRM, self._kill)
        signal.setitimer(signal.ITIMER_REAL, _GRACE_SECONDS)

    def _kill(self, _signum: int, _frame: FrameType | None) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, signum: int) -> None:
        for pid in self._running:
            with suppress(ProcessLookupError):  # it ended, and we were about to take note
                os.kill(pid, signum)
