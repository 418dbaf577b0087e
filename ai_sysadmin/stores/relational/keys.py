"""The API's keys: who made them, what for, and whether they still open anything; only hashes are kept."""

from collections.abc import Sequence
from datetime import datetime

from ai_sysadmin.core.errors import NotFound, Refused
from ai_sysadmin.runtime.relational import Relational, Transaction
from ai_sysadmin.stores.key_store import ApiKey, meant, why_not_added


class SqlKeys:
    """``KeyStore`` in SQL. It is read each time, so what another process revokes counts at once."""

    def __init__(self, database: Relational, host: str) -> None:
        self._database = database
        self._host = host

    async def add(self, key: ApiKey) -> None:
        async def work(tx: Transaction) -> None:
            reason = why_not_added(key, await self._keys(tx))
            if reason is not None:
                raise Refused(reason)
            added = await tx.run(
                "INSERT INTO api_keys (id, host, hash, body) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (key.id, self._host, key.hash, key.model_dump_json()),
            )
            if not added:  # another host's, in the same database
                raise Refused("that key is there already: make another")

        await self._database.write(work)

    async def keys(self) -> Sequence[ApiKey]:
        return await self._database.read(self._keys)

    async def revoke(self, id_or_name: str, by: str, at: datetime) -> ApiKey:
        async def work(tx: Transaction) -> ApiKey:
            key = meant(id_or_name, await self._keys(tx))
            if key is None:
                raise NotFound(f"there is no key {id_or_name[:64]!r}; `ai-sysadmin keys` lists them")
            if key.revoked_at is not None:
                return key
            revoked = key.model_copy(update={"revoked_at": at, "revoked_by": by})
            await tx.run("UPDATE api_keys SET body = ? WHERE id = ?", (revoked.model_dump_json(), key.id))
            return revoked

        return await self._database.write(work)

    async def _keys(self, tx: Transaction) -> Sequence[ApiKey]:
        rows = await tx.all("SELECT body FROM api_keys WHERE host = ? ORDER BY rowid DESC", (self._host,))
        return tuple(ApiKey.model_validate_json(row["body"]) for row in rows)
