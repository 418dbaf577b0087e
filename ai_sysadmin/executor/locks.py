"""Locks by name: one action at a time on one unit, one decision at a time over one action."""

import asyncio
from weakref import WeakValueDictionary


class Locks:
    """A lock for each name, for as long as anybody holds it or waits for it."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def of(self, name: str) -> asyncio.Lock:
        """Return the lock of that name: the same one for everybody."""
        lock = self._locks.get(name) or asyncio.Lock()
        self._locks[name] = lock
        return lock
