"""Check that the certificates in a file are good for some time. Started as ``certificate_lasts.py FILE SECONDS``.

It reads no more of a certificate than until when it is good, so it needs no library: a unit that may read every file of
the host runs this and nothing else.
"""

import base64
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

_MOST_BYTES = 4 << 20
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+?)-----END CERTIFICATE-----")
_UTC_TIME, _GENERALIZED_TIME, _VERSION = 0x17, 0x18, 0xA0


def earliest(data: bytes) -> datetime:
    """Return when the first of all certificates in PEM, or the one in DER, expires. Raises: ValueError, IndexError."""
    texts = _PEM.findall(data)
    return min([_not_after(der) for der in ([base64.b64decode(text) for text in texts] or [data])])


def _not_after(der: bytes) -> datetime:
    """Return until when a certificate is good (RFC 5280, 4.1). Raises: ValueError, IndexError."""
    _, certificate = _parts(der)[0]
    _, signed = _parts(certificate)[0]
    fields = [each for each in _parts(signed) if each[0] != _VERSION]
    if len(fields) < 4:
        raise ValueError("it is no certificate")
    _, validity = fields[3]
    kind, text = _parts(validity)[1]
    written = text.decode("ascii").removesuffix("Z")
    if kind == _UTC_TIME:
        written = ("20" if written < "50" else "19") + written
    elif kind != _GENERALIZED_TIME:
        raise ValueError("it says no time")
    return datetime.strptime(written, "%Y%m%d%H%M%S").replace(tzinfo=UTC)


def _parts(der: bytes) -> list[tuple[int, bytes]]:
    """Return the values that follow each other in DER, each as its tag and content. Raises: ValueError, IndexError."""
    found, at = [], 0
    while at < len(der):
        if at + 2 > len(der):
            raise ValueError("it is cut short")
        tag, length, at = der[at], der[at + 1], at + 2
        if length & 0x80:
            size = length & 0x7F
            length, at = int.from_bytes(der[at : at + size], "big"), at + size
        if at + length > len(der):
            raise ValueError("it is cut short")
        found.append((tag, der[at : at + length]))
        at += length
    return found


def check(path: str, seconds: float) -> str:
    """Say until when a file's certificates are good. Raises: SystemExit: that is too soon, or cannot be told."""
    try:
        with Path(path).open("rb") as file:
            until = earliest(file.read(_MOST_BYTES))
    except OSError as error:
        raise SystemExit(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, IndexError) as error:
        raise SystemExit(f"{path} holds no certificate that could be read: {error}") from error
    if until < datetime.now(UTC) + timedelta(seconds=seconds):
        raise SystemExit(f"{path} is good until {until:%Y-%m-%d %H:%M} UTC only")
    return f"{path} is good until {until:%Y-%m-%d %H:%M} UTC"


if __name__ == "__main__":
    sys.stdout.write(check(sys.argv[1], float(sys.argv[2])) + "\n")
