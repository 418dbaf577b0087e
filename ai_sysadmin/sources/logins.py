"""Who tried to log in over the network and who did, as the login records of the C library tell it.

``/var/log/btmp`` holds the failed logins, ``/var/log/wtmp`` the others; sshd and login write both. Only the binary
address of a record is believed: the name beside it may be what the caller's own name server says.
"""

import ipaddress
import os
import platform
import stat
import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from ai_sysadmin.sources.host.reading import HostUnreadable
from ai_sysadmin.sources.own_network import Address, unmapped

FAILED: Final = "var/log/btmp"
DONE: Final = "var/log/wtmp"
MOST_RECORDS: Final = 4096
USER_PROCESS: Final = 7
_HEAD: Final = "@h2xi32s4s32s256shh"
_NARROW: Final = struct.Struct(_HEAD + "iii16s20x")
_WIDE: Final = struct.Struct(_HEAD + "qqq16s20x0q")
_WIDE_MACHINES: Final = frozenset({"aarch64", "arm64"})


class Login(NamedTuple):
    """One login or attempt at one, from an address; ``kind`` is the record's type."""

    address: Address
    at: datetime
    kind: int


def layout(machine: str) -> struct.Struct:
    """Return what one record is on a kind of machine, as ``uname -m`` names it."""
    return _WIDE if machine in _WIDE_MACHINES else _NARROW


def newest_logins(name: str, root: Path = Path("/")) -> list[Login]:
    """Return the newest records that carry an address; none where the host keeps no such file.

    Args:
        name: ``FAILED`` or ``DONE``.

    Raises:
        HostUnreadable: it cannot be read, or others than root and its group could have written it.
    """
    form = layout(platform.machine())
    data = _end_of(root / name, form.size)
    found = (_login(*form.unpack_from(data, start)) for start in range(0, len(data) - form.size + 1, form.size))
    return [login for login in found if login is not None]


def _end_of(path: Path, record_bytes: int) -> bytes:
    """Return a file's newest whole records."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise HostUnreadable(f"{path} cannot be read: {error.strerror}") from error
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_uid not in {0, os.geteuid()} or status.st_mode & stat.S_IWOTH:
            raise HostUnreadable(f"{path} is no evidence: it has to be a file of root's that others cannot write")
        whole = status.st_size // record_bytes
        return os.pread(file, min(whole, MOST_RECORDS) * record_bytes, max(whole - MOST_RECORDS, 0) * record_bytes)
    finally:
        os.close(file)


def _login(kind: int, *rest: int | bytes) -> Login | None:
    *_, seconds, _microseconds, where = rest
    if not isinstance(where, bytes) or not isinstance(seconds, int) or not any(where):
        return None
    # an address of IPv4 takes the first of the four words
    address = ipaddress.ip_address(where[:4] if not any(where[4:]) else where)
    try:
        return Login(unmapped(address), datetime.fromtimestamp(seconds, UTC), kind)
    except (OverflowError, ValueError, OSError):
        return None
