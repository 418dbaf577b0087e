"""While an action runs, the machine does not fall asleep or go down at once: logind's delay inhibitor.

logind waits for it at most ``InhibitDelayMaxSec=`` (5 s by default): it gives an action time to end, it does not keep a
person from shutting down.
"""

import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from ai_sysadmin.core.errors import SystemdUnavailable
from ai_sysadmin.runtime.bus import BusRefused, SystemBus

log = logging.getLogger(__name__)

LOGIND: Final = "org.freedesktop.login1"
LOGIND_PATH: Final = "/org/freedesktop/login1"
LOGIND_MANAGER: Final = "org.freedesktop.login1.Manager"

_PAUSE_SECONDS: Final = 300.0


class Inhibitor:
    """Delays sleep and shutdown through logind; on a host without it nothing is delayed."""

    def __init__(self, bus: SystemBus) -> None:
        self._bus = bus
        self._ask_at = 0.0
        self._missed = False

    @asynccontextmanager
    async def held(self, why: str) -> AsyncIterator[bool]:
        """Delay sleep and shutdown while the block lasts. Yields whether logind does so."""
        taken: list[int] = []
        try:
            # one by one: for both together logind asks polkit about the lid
            for what in ("sleep", "shutdown"):
                taken.extend(await self._take(what, why))
            yield len(taken) == 2
        finally:
            for descriptor in taken:
                os.close(descriptor)

    async def _take(self, what: str, why: str) -> list[int]:
        """Return the descriptor that delays something; none where logind does not."""
        if time.monotonic() < self._ask_at:
            return []
        body = [what, "ai-sysadmin", why, "delay"]
        try:
            return [await self._bus.descriptor(LOGIND_PATH, LOGIND_MANAGER, "Inhibit", "ssss", body, LOGIND)]
        except (SystemdUnavailable, BusRefused) as fault:
            if not self._missed:
                log.warning("%s does not wait for actions: %s", what, fault, extra={"event": "inhibitor_missing"})
            # logind that does not answer must not hold up every action
            self._missed, self._ask_at = True, time.monotonic() + _PAUSE_SECONDS
            return []
