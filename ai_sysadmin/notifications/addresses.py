"""The files of secret URLs: one a line, closed to everybody else, read again when they change."""

import hashlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from ai_sysadmin.core.errors import Unavailable

_MOST_BYTES: Final = 64 << 10
_MOST_LINES: Final = 50
_OTHERS: Final = 0o027
_NAMES_A_HOST: Final = frozenset(
    {"json", "jsons", "xml", "xmls", "form", "forms", "mailto", "mailtos", "gotify", "gotifys", "mmost", "mmosts"}
    | {"rocket", "rockets", "ncloud", "nclouds", "rsyslog", "apprise", "apprises", "mqtt", "mqtts", "http", "https"}
)
"""Schemes whose URLs hold a host's name where others, such as those of chat services, hold a token."""


@dataclass(frozen=True)
class Address:
    """Where a message goes. ``shown`` is all of it that may be said; ``id`` tells it apart without being it."""

    url: str = field(repr=False)
    id: str
    shown: str


class SecretFile:
    """One such file. A file that is not there or open to others is an error each time it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, ...] = ()
        self._addresses: tuple[Address, ...] = ()

    def read(self) -> tuple[Address, ...]:
        """Return the addresses as the file has them now.

        Raises:
            Unavailable: it cannot be read, or others could read or change it; the message holds nothing of it.
        """
        try:
            with os.fdopen(_opened(self.path), "rb") as file:
                status = os.fstat(file.fileno())
                _check(self.path, status)
                seen = (status.st_ino, status.st_dev, status.st_mtime_ns, status.st_ctime_ns, status.st_size)
                if seen != self._seen:
                    self._addresses = addresses_in(_text(self.path, file.read(_MOST_BYTES + 1)))
                    self._seen = seen
        except OSError as error:
            raise Unavailable(f"{self.path} cannot be read: {error.strerror}") from error
        if not self._addresses:
            raise Unavailable(f"{self.path} holds no URL: put one on a line")
        return self._addresses


def addresses_in(text: str) -> tuple[Address, ...]:
    """Return the addresses of a text, one a line; an address that stands there twice counts once."""
    found: dict[str, Address] = {}
    for number, line in enumerate(text.splitlines(), 1):
        url = line.strip()
        if url and not url.startswith("#"):
            found.setdefault(url, Address(url, hashlib.sha256(url.encode()).hexdigest()[:16], shown(url, number)))
    return tuple(found.values())[:_MOST_LINES]


def shown(url: str, number: int) -> str:
    """Return what may be said of a URL: its line, its scheme, and the host where its scheme has one there."""
    scheme, separator, _ = url.partition("://")
    scheme = scheme.lower()
    if not separator or not scheme.isalnum() or len(scheme) > 20:
        return f"line {number}"
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return f"line {number} ({scheme})"
    host = f"//{parts.hostname}{port}" if scheme in _NAMES_A_HOST and parts.hostname else ""
    return f"line {number} ({scheme}{':' if host else ''}{host})"


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO there must not hold us up


def _check(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise Unavailable(f"{path} is no file")
    if status.st_mode & _OTHERS:
        raise Unavailable(f"{path} is open to others, and its URLs are secrets: chmod 0600 it (0640 for a group)")
    if status.st_uid not in {0, os.geteuid()}:
        raise Unavailable(f"{path} belongs to another user: chown it to root or to the notifier's user")


def _text(path: Path, content: bytes) -> str:
    if len(content) > _MOST_BYTES:
        raise Unavailable(f"{path} is larger than {_MOST_BYTES >> 10} KiB: one URL a line is meant")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise Unavailable(f"{path} is no text in UTF-8") from None
