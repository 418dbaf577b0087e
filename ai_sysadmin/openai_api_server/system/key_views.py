"""What is said of keys below ``/v1/system/keys``: never a key, never its hash."""

from pydantic import AwareDatetime, Field

from ai_sysadmin.actions.protocol import KEY_ID, KEY_NAME
from ai_sysadmin.core.records import Record
from ai_sysadmin.stores.key_store import ApiKey, Scope


class NewKey(Record):
    """A key to be kept: whoever made it sends its SHA-256 in hexadecimal, and keeps the key."""

    id: str = Field(pattern=KEY_ID)
    name: str = Field(pattern=KEY_NAME)
    hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    scopes: frozenset[Scope] = Field(min_length=1)
    expires_at: AwareDatetime | None = None


class KeyView(Record):
    """One key."""

    id: str
    name: str
    scopes: tuple[Scope, ...]
    by: str
    at: AwareDatetime
    expires_at: AwareDatetime | None
    revoked_at: AwareDatetime | None
    revoked_by: str

    @classmethod
    def of(cls, key: ApiKey) -> "KeyView":
        fields = key.model_dump(exclude={"hash", "scopes"})
        return cls(scopes=tuple(scope for scope in Scope if scope in key.scopes), **fields)


class Keys(Record):
    keys: tuple[KeyView, ...]
