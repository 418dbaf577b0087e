"""The API keys: a file for each scope, one key per line, made at first start."""

import hmac
import logging
import os
import secrets
import tempfile
from pathlib import Path

from ai_sysadmin.core.errors import SettingsError, StoreUnavailable

log = logging.getLogger(__name__)
_OTHERS = 0o007


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


def _keys(path: Path) -> list[str]:
    lines = (line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _make(path: Path, name: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".key-")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(f"sk-{secrets.token_urlsafe(32)}\n")
        try:
            os.link(draft, path)
        except FileExistsError:
            return
        log.info("an %s was made", name, extra={"event": "api_key_made", "path": str(path)})
    finally:
        Path(draft).unlink()
