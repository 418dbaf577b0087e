"""What a probe notes while it looks, and how it fails."""

import os
import socket
import ssl

from ai_sysadmin.core.errors import AiSysadminError

_MOST = 200


class ProbeFailed(AiSysadminError):
    """What a probe looks at is not as it should be."""


class Seen(dict[str, str]):
    """What was observed so far, by name; it is kept when a probe fails half-way."""

    def note(self, name: str, value: object) -> str:
        """Note a value, cut and without control characters; return it so."""
        self[name] = plain(str(value))
        return self[name]


def plain(text: str) -> str:
    """Return a stranger's text fit for a sentence: short, on one line, without characters that steer a terminal."""
    line = "".join(each if each.isprintable() else " " for each in text[: 2 * _MOST])
    return " ".join(line.split())[:_MOST]


def reason(error: OSError) -> str:
    """Return why a connection failed, in words: the system's, where asyncio has put its own in their place."""
    if isinstance(error, ssl.SSLError):
        return plain(getattr(error, "reason", None) or str(error))
    if error.errno and not isinstance(error, socket.gaierror):  # whose numbers are not the system's
        return os.strerror(error.errno)
    return plain(error.strerror or str(error) or type(error).__name__)
