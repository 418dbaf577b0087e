"""What people and other systems say: mutes and alerts, as protocols."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, Protocol

from pydantic import AwareDatetime

from ai_sysadmin.core.records import Record, Symptom


class Mute(Record):
    """A fingerprint that opens nothing until a moment."""

    fingerprint: str
    until: AwareDatetime
    by: str
    reason: str = ""
    at: AwareDatetime


class Alert(Record):
    """An alert as another system sent it (Alertmanager's webhook, version 4)."""

    fingerprint: str
    status: Literal["firing", "resolved"]
    group_key: str = ""
    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: AwareDatetime
    ends_at: AwareDatetime | None = None


class MuteStore(Protocol):
    async def mute(self, mute: Mute) -> None:
        """Mute a fingerprint; a later one replaces an earlier, one that has passed its moment ends it."""
        ...

    async def mutes(self, now: datetime) -> Sequence[Mute]: ...

    async def held(self, fingerprint_or_prefix: str) -> Sequence[Symptom]:
        """Return the symptoms that incidents hold, one for each fingerprint that begins so, the latest seen first."""
        ...


class AlertStore(Protocol):
    async def receive(self, alerts: Sequence[Alert]) -> None:
        """Keep alerts until the trigger monitor takes them in; they survive a restart."""
        ...
