"""The API keys: two files made at first start, one key per line, and the keys that operators make."""

import hashlib
import hmac
import logging
import os
import secrets
import tempfile
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.errors import SettingsError, StoreUnavailable
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.stores.key_store import ApiKey, KeyStore, Scope

log = logging.getLogger(__name__)
_OTHERS = 0o007
_TELL_EVERY = timedelta(minutes=1)


def ensure_api_key(path: Path) -> str:
    """Return the key of the API, made where there is none. Raises: SettingsError."""
    return ensure_key(path, "API key")


def ensure_ingest_key(path: Path) -> str:
    """Return the key that may only send alerts in, made where there is none. Raises: SettingsError."""
    return ensure_key(path, "ingest key")


def ensure_key(path: Path, name: str) -> str:
    """Return the first key of a file; where there is no file, make one that only its owner can read (0600).

    Two processes that start at once agree on one key: the file appears whole, or not at all.

    Raises:
        SettingsError: the file cannot be read or made, or holds no key.
    """
    try:
        if not path.exists():
            _make(path, name)
        keys = _keys(path)
        if path.stat().st_mode & _OTHERS:
            log.warning("the %s in %s is open to every user of this host: chmod 0600 it", name, path)
    except OSError as error:
        raise SettingsError(f"the {name} file {path} cannot be used: {error.strerror}") from error
    if not keys:
        raise SettingsError(f"the {name} file {path} holds no key: put one on a line, or remove the file")
    return keys[0]


def opens(path: Path, given: str) -> bool:
    """Tell whether a key is one of the file's. It is read each time, so that a changed key counts at once.

    Raises:
        StoreUnavailable: the file cannot be read, so nobody can be let in.
    """
    try:
        keys = _keys(path)
    except OSError as error:
        raise StoreUnavailable(f"the key file {path} cannot be read: {error.strerror}") from error
    return sum(hmac.compare_digest(given.encode(), key.encode()) for key in keys) > 0  # every key is compared


def make_key() -> str:
    """Return a fresh key: 256 random bits, written as OpenAI's are."""
    return f"sk-{secrets.token_urlsafe(32)}"


def hash_of(key: str) -> str:
    """Return what is kept of a key: its SHA-256, in hexadecimal."""
    return hashlib.sha256(key.encode()).hexdigest()


class Opening(NamedTuple):
    """A key that opens something."""

    id: str
    name: str
    scopes: frozenset[Scope]


API_FILE = Opening("api-key-file", "api-key", frozenset({Scope.CHAT, Scope.READ}))
INGEST_FILE = Opening("ingest-key-file", "ingest-key", frozenset({Scope.INGEST}))


class Keyring:
    """All keys: those of the two files, which never approve, and those that operators made.

    All are read anew each time, so that one that was made or revoked counts at once, whoever did it.
    """

    def __init__(self, settings: Settings, store: KeyStore | None, clock: Clock) -> None:
        self._files = ((settings.api_key_file, API_FILE), (settings.ingest_key_file, INGEST_FILE))
        self._store = store
        self._clock = clock
        self._told: dict[str, datetime] = {}

    async def find(self, given: str, needed: frozenset[Scope]) -> Opening | None:
        """Return what a key opens; none: nothing. Why it does not open any more is only in the log.

        Args:
            needed: the scopes of which any will do; a file that could not give one of them need not be there.

        Raises:
            StoreUnavailable: a key that could be the right one cannot be looked up.
        """
        if not given:
            return None
        found, away = self._in_files(given, needed)
        if found is None and self._store is not None:
            found = self._alive(matching(await self._store.keys(), given))
        if away is not None and (found is None or not found.scopes & needed):
            raise away
        return found

    def _in_files(self, given: str, needed: frozenset[Scope]) -> tuple[Opening | None, StoreUnavailable | None]:
        """Return the file's key that this is, and why a file that matters cannot be read."""
        found: Opening | None = None
        away: StoreUnavailable | None = None
        for path, opening in self._files:
            try:
                found = opening if opens(path, given) else found
            except StoreUnavailable as error:
                away = error if opening.scopes & needed else away
        return found, away

    def _alive(self, kept: ApiKey | None) -> Opening | None:
        if kept is None:
            return None
        now = self._clock.now()
        if not kept.live(now):
            self._tell(kept, now)
            return None
        return Opening(kept.id, kept.name, kept.scopes)

    def _tell(self, dead: ApiKey, now: datetime) -> None:
        """Put the use of a dead key into the log, at most once a minute for each."""
        if dead.id in self._told and now - self._told[dead.id] < _TELL_EVERY:
            return
        self._told[dead.id] = now
        why = "was revoked" if dead.revoked_at else "has expired"
        said = {"event": "dead_key_used", "key_id": dead.id}
        log.warning("somebody uses the key %s, which %s", dead.name, why, extra=said)


def matching(keys: Sequence[ApiKey], given: str) -> ApiKey | None:
    """Return the key with the hash of what was given; every hash is compared, each in constant time."""
    digest = hash_of(given)
    found = [key for key in keys if hmac.compare_digest(key.hash, digest)]
    return found[0] if found else None


def _keys(path: Path) -> list[str]:
    lines = (line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _make(path: Path, name: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".key-")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(f"{make_key()}\n")
        try:
            os.link(draft, path)
        except FileExistsError:
            return
        log.info("an %s was made", name, extra={"event": "api_key_made", "path": str(path)})
    finally:
        Path(draft).unlink()
