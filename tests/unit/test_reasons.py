"""sources/probes/seen.py: why a connection failed, in the system's own words."""

import errno
import socket
import ssl

import pytest

from ai_sysadmin.sources.probes.seen import reason

REASONS = [
    (OSError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 22)"), "Connection refused"),
    (ConnectionResetError(errno.ECONNRESET, "Connection lost"), "Connection reset by peer"),
    (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not known"),
    (ssl.SSLError(1, "[SSL] wrong version\x1b[2J number"), "[SSL] wrong version [2J number"),
    (OSError("Multiple exceptions: a,\n b"), "Multiple exceptions: a, b"),
    (TimeoutError(), "TimeoutError"),
]


@pytest.mark.parametrize(("error", "said"), REASONS)
def test_why_a_connection_failed(error: OSError, said: str) -> None:
    assert reason(error) == said
