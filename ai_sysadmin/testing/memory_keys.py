"""Keys in memory; they pass the contract suite of the stored ones."""

from collections.abc import Sequence
from datetime import datetime

from ai_sysadmin.core.errors import NotFound, Refused, StoreUnavailable
from ai_sysadmin.stores.key_store import ApiKey, meant, why_not_added


class MemoryKeys:
    """``KeyStore`` that is forgotten with the process; ``away`` makes it unreachable."""

    def __init__(self, *keys: ApiKey) -> None:
        self._kept = list(keys)
        self.away = False

    async def add(self, key: ApiKey) -> None:
        kept = await self.keys()
        if (reason := why_not_added(key, kept)) is not None:
            raise Refused(reason)
        self._kept.append(key)

    async def keys(self) -> Sequence[ApiKey]:
        if self.away:
            raise StoreUnavailable("the keys are away")
        return tuple(reversed(self._kept))

    async def revoke(self, id_or_name: str, by: str, at: datetime) -> ApiKey:
        key = meant(id_or_name, await self.keys())
        if key is None:
            raise NotFound(f"there is no key {id_or_name!r}")
        if key.revoked_at is not None:
            return key
        revoked = key.model_copy(update={"revoked_at": at, "revoked_by": by})
        self._kept[self._kept.index(key)] = revoked
        return revoked
