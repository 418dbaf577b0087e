"""Leases in memory; they pass the contract suite of the stored ones."""

from datetime import datetime


class MemoryLeases:
    """``llm_backend.turns.Leases`` that is forgotten with the process."""

    def __init__(self) -> None:
        self.until: dict[str, datetime] = {}

    async def renew(self, backend: str, until: datetime) -> None:
        self.until[backend] = until

    async def leased(self, backend: str, now: datetime) -> bool:
        return backend in self.until and self.until[backend] > now
