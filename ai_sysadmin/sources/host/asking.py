"""Asking a program that may be missing, refuse or hang: never twice at the same time."""

import asyncio
import json
from typing import Any

from ai_sysadmin.runtime.commands import CommandMissing, CommandTimedOut, Completed, run
from ai_sysadmin.sources.host.reading import HostUnreadable

_DIES_WITHIN_SECONDS = 2.0


class Tool:
    """One program. While a call of it cannot even be killed (it waits for a dead disk), it is not started again."""

    def __init__(self, program: str, timeout_seconds: float = 10.0) -> None:
        self._program = program
        self._timeout_seconds = timeout_seconds
        self._running: asyncio.Task[Completed] | None = None

    async def ask(self, *arguments: str) -> Completed:
        """Return what the program says. Raises: HostUnreadable."""
        if self._running is not None and not self._running.done():
            raise HostUnreadable(f"{self._program} hangs since it was last asked")
        work = run((self._program, *arguments), timeout_seconds=self._timeout_seconds)
        self._running = asyncio.create_task(work)
        # A task that is waited for so, rather than with a timeout of its own, lives on while its process cannot die.
        done, _ = await asyncio.wait({self._running}, timeout=self._timeout_seconds + _DIES_WITHIN_SECONDS)
        if not done:
            raise HostUnreadable(f"{self._program} hangs and cannot be killed")
        try:
            return self._running.result()
        except (CommandMissing, CommandTimedOut) as error:
            raise HostUnreadable(str(error)) from error


def json_of(completed: Completed, program: str) -> dict[str, Any]:
    """Return a program's answer as an object. Raises: HostUnreadable."""
    try:
        answer = json.loads(completed.stdout)
    except ValueError as error:
        raise HostUnreadable(f"{program} did not answer in JSON") from error
    if not isinstance(answer, dict):
        raise HostUnreadable(f"{program} did not answer with an object")
    return answer
