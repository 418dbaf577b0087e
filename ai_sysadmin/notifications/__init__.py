"""Tell a person that something needs them.

    outbox → pacing (how many, which first) → messages (the words) → sending (Apprise)

A message says host, unit, kind and id; never a word of a log, never a model's. ``daemon`` runs it, ``ledger`` keeps
what some addresses are still owed, ``suite_watch`` sees that the suite itself is in trouble, ``heartbeat`` asks a dead
man's switch for as long as it is not.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from ai_sysadmin.core.notification_settings import Occasion

SERVICE = "notifier"

UNCONFIGURED = "nobody is told when a person is needed: set notifications.urls_file"

TEST = "notify-test"
"""The unit of a notice that only tries whether people are told."""


class Notice(Protocol):
    """One thing to be told. ``unit`` and ``kind`` are names; where the suite is in trouble there is no incident."""

    @property
    def id(self) -> int: ...
    @property
    def host(self) -> str: ...
    @property
    def occasion(self) -> Occasion: ...
    @property
    def incident_id(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def at(self) -> datetime: ...


class Outbox(Protocol):
    """What waits to be told. Every method raises ``StoreUnavailable`` when the store does not answer."""

    async def waiting(self, now: datetime, limit: int = 50) -> Sequence[Notice]:
        """Return the notices that are due, the oldest first."""
        ...

    async def delivered(self, ids: Sequence[int], at: datetime) -> None:
        """Record that these were told, as one message; again is no fault."""
        ...

    async def failed(self, ids: Sequence[int], retry_at: datetime) -> None:
        """Record that these could not be told; they are due again then."""
        ...

    async def withdraw(self, ids: Sequence[int]) -> None:
        """Record that these are not to be told."""
        ...

    async def delivered_since(self, since: datetime) -> int:
        """Return how many messages there were since then."""
        ...

    async def raise_trouble(self, host_service: str, about: str, at: datetime) -> None:
        """Have it told that a service of the suite is in trouble: once, until ``clear_trouble``."""
        ...

    async def clear_trouble(self, host_service: str) -> None:
        """Record that a service is well again."""
        ...
