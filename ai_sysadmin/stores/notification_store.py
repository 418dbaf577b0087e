"""What a person is to be told: an outbox, written in the transaction of what is told."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from pydantic import AwareDatetime

from ai_sysadmin.core.notification_settings import Occasion
from ai_sysadmin.core.records import Record


class Notice(Record):
    """One thing to be told. ``attempts`` is how often that failed.

    Where the suite itself is in trouble, ``unit`` is its service, ``kind`` what the trouble is, and there is no
    incident.
    """

    id: int
    host: str
    occasion: Occasion
    incident_id: str
    unit: str
    kind: str
    at: AwareDatetime
    attempts: int = 0


class NotificationStore(Protocol):
    """One notice for each incident, occasion and state, until the incident comes back.

    That it needs a person is not told any more once it is over, or is being acted on; that it is resolved is told of
    what a person was told of.
    """

    async def waiting(self, now: datetime, limit: int = 50) -> Sequence[Notice]:
        """Return the notices that are due, the oldest first."""
        ...

    async def delivered(self, ids: Sequence[int], at: datetime) -> None:
        """Record that these were told, as one message."""
        ...

    async def failed(self, ids: Sequence[int], retry_at: datetime) -> None:
        """Record that these could not be told; they are due again then."""
        ...

    async def withdraw(self, ids: Sequence[int]) -> None:
        """Record that these are not to be told: nobody wants to hear of them, or does not any more."""
        ...

    async def delivered_since(self, since: datetime) -> int:
        """Return how many messages there were since then."""
        ...

    async def raise_trouble(self, host_service: str, about: str, at: datetime) -> None:
        """Have it told that a service of the suite is in trouble: once, until ``clear_trouble``."""
        ...

    async def clear_trouble(self, host_service: str) -> None:
        """Record that a service is well again; what was not told yet of its trouble never is."""
        ...
