"""The API's keys, as they are remembered: never the key, only its hash."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from pydantic import AwareDatetime, Field

from ai_sysadmin.core.records import Record


class Scope(StrEnum):
    """What a key is good for. ``approve`` also needs the executor's own copy of the key's hash."""

    CHAT = "chat"
    READ = "read"
    APPROVE = "approve"
    INGEST = "ingest"


class ApiKey(Record):
    """One key. ``hash`` is the SHA-256 of the key in hexadecimal; a key is 256 random bits, so no salt is needed."""

    id: str
    name: str = Field(min_length=1, max_length=64)
    hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    scopes: frozenset[Scope]
    by: str
    at: AwareDatetime
    expires_at: AwareDatetime | None = None
    revoked_at: AwareDatetime | None = None
    revoked_by: str = ""

    def expired(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now

    def live(self, now: datetime) -> bool:
        """Tell whether the key opens anything at all."""
        return self.revoked_at is None and not self.expired(now)


def why_not_added(key: ApiKey, kept: Sequence[ApiKey]) -> str | None:
    """Say why a key cannot be kept beside those that are; none: it can."""
    if any(key.hash == other.hash or key.id == other.id for other in kept):
        return "that key is there already: make another"
    if any(key.name == other.name and other.live(key.at) for other in kept):
        return f"there is a key named {key.name} already: revoke it first, or take another name"
    return None


def meant(id_or_name: str, kept: Sequence[ApiKey]) -> ApiKey | None:
    """Return the key that is meant: by its id, or by its name one that is not revoked, else the newest."""
    for key in kept:
        if key.id == id_or_name:
            return key
    named = [key for key in kept if key.name == id_or_name]
    return next((key for key in named if key.revoked_at is None), named[0] if named else None)


class KeyStore(Protocol):
    """Where keys are kept. Every method raises ``StoreUnavailable``."""

    async def add(self, key: ApiKey) -> None:
        """Keep a key. Raises: Refused: a live key of that name, or that hash, is there already."""
        ...

    async def keys(self) -> Sequence[ApiKey]:
        """Return all keys, the newest first, revoked ones too."""
        ...

    async def revoke(self, id_or_name: str, by: str, at: AwareDatetime) -> ApiKey:
        """Revoke a live key; one that is revoked already stays as it was. Raises: NotFound."""
        ...
