"""Whose yes counts beside an operator's own: an API key that an operator made known here, and the person whom the front
end names under its signature, where the policy asks for one.
"""

import hashlib
import hmac
import stat
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from ai_sysadmin.actions.protocol import ApprovalKey
from ai_sysadmin.core.errors import Refused
from ai_sysadmin.core.policy_settings import Policy

WRONG_KEYS: Final = 10
WITHIN_SECONDS: Final = 60.0
_ISSUER: Final = "open-webui"
_SECRET_BYTES: Final = 32
_SKEW_SECONDS: Final = 10
_MAKE_ONE: Final = "an operator makes one with `ai-sysadmin keys create NAME --scope chat --scope approve`"


class Approver(NamedTuple):
    """Who decided, in words for the record, and with which key."""

    name: str
    key_id: str


class Approvers:
    """Tells who decides by a key. After ``WRONG_KEYS`` wrong ones within a minute nobody's is taken for a while."""

    def __init__(self, policy: Policy, seconds: Callable[[], float] = time.monotonic) -> None:
        self._policy = policy
        self._seconds = seconds
        self._wrong: deque[float] = deque(maxlen=WRONG_KEYS)

    def identify(self, keys: Sequence[ApprovalKey], key: str, identity: str, now: datetime) -> Approver:
        """Return who decides. Raises: Refused, with what is wrong and what to do."""
        self._check_patience()
        known = matching(keys, key)
        if known is None:
            self._wrong.append(self._seconds())
            raise Refused(f"the executor does not know this key as one that approves; {_MAKE_ONE}")
        reason = why_dead(known, now)
        if reason is not None:
            raise Refused(f"{reason}; {_MAKE_ONE}")
        person = self._person(identity)
        return Approver(f"{person} with key {known.name}" if person else f"key {known.name}", known.id)

    def _check_patience(self) -> None:
        if len(self._wrong) == WRONG_KEYS and self._seconds() - self._wrong[0] < WITHIN_SECONDS:
            left = WITHIN_SECONDS - (self._seconds() - self._wrong[0])
            raise Refused(f"too many wrong keys: no key is taken for another {left:.0f} s; the command line is open")

    def _person(self, identity: str) -> str:
        """Return the person whom the front end names; empty where the policy does not ask for one."""
        file, approvers = self._policy.identity_secret_file, self._policy.approvers
        if file is None:
            if approvers:
                raise Refused(
                    "policy.approvers names who may approve, but nothing here can tell who is asking: "
                    "set policy.identity_secret_file to the secret with which the front end signs that"
                )
            return ""
        claims = claims_of(identity, _secret(file))
        names = [str(claims.get(name, "")) for name in ("email", "sub")]
        if approvers and not {_plain(name) for name in names if name} & {_plain(each) for each in approvers}:
            raise Refused(f"{_shown(names)} is not among those who may approve here (policy.approvers)")
        return _shown(names)


def matching(keys: Sequence[ApprovalKey], given: str) -> ApprovalKey | None:
    """Return the key whose hash a secret has; every hash is compared, and each in constant time."""
    digest = hashlib.sha256(given.encode()).hexdigest()
    found = [key for key in keys if hmac.compare_digest(key.hash, digest)]
    return found[0] if found else None


def why_dead(key: ApprovalKey, now: datetime) -> str | None:
    """Say why a key approves nothing any more; none: it does."""
    if key.revoked_at is not None:
        return f"key {key.name} was revoked"
    if key.expires_at is not None and key.expires_at <= now:
        return f"key {key.name} has expired"
    return None


def claims_of(token: str, secret: bytes) -> Mapping[str, Any]:
    """Return what Open WebUI signed of its user. Raises: Refused: it is missing, forged, too old, or of another."""
    import jwt  # with it come a hundred modules that an executor without shared front ends never needs

    if not token:
        raise Refused(
            "the front end does not say who is asking: in Open WebUI set ENABLE_FORWARD_USER_INFO_HEADERS=True and "
            "FORWARD_USER_INFO_HEADER_JWT_SECRET to the secret in policy.identity_secret_file"
        )
    try:
        return jwt.decode(
            token,
            secret,
            algorithms=["HS256"],
            issuer=_ISSUER,
            leeway=_SKEW_SECONDS,
            options={"require": ["exp", "iat", "iss", "sub"]},
        )
    except jwt.PyJWTError as error:
        raise Refused(f"the front end's word on who is asking does not hold: {error}") from error


def _secret(file: Path) -> bytes:
    """Return the front end's secret, read anew each time. Raises: Refused: it is not there, open to all, or short."""
    try:
        mode, secret = file.stat().st_mode, file.read_bytes().strip()
    except OSError as error:
        raise Refused(f"policy.identity_secret_file {file} cannot be read by the executor: {error.strerror}") from error
    if mode & stat.S_IRWXO:
        raise Refused(f"everybody on this host could sign with policy.identity_secret_file: `chmod o= {file}`")
    if len(secret) < _SECRET_BYTES:
        raise Refused(f"the secret in {file} can be guessed: it needs at least {_SECRET_BYTES} characters")
    return secret


def _plain(name: str) -> str:
    """Return a name without regard to capitals; only ASCII has them, or a Kelvin sign would pass for a k."""
    return name.lower() if name.isascii() else name


def _shown(names: Sequence[str]) -> str:
    """Return the first name that can stand in a record as one word."""
    for name in names:
        if 0 < len(name) <= 254 and name.isprintable() and not any(c.isspace() for c in name):
            return name
    raise Refused("the front end names nobody by an e-mail address or an id that can be written down")
