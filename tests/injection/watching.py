"""What this process really did: whom it connected to, which names it looked up, which programs it started.

Python's own audit events tell of it, whichever library asked. Nothing that is not on this host is let out.
"""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

_NUMBER: Final = re.compile(r"[0-9][0-9a-fx.]*|[0-9a-f:.]*:[0-9a-f:.]*")
"""An address in any of its spellings: no name server is asked for it."""
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass
class Watched:
    """``connected`` are (host, port) of connections, ``named`` the names that were resolved, ``started`` programs."""

    connected: list[tuple[str, int]] = field(default_factory=list)
    named: list[str] = field(default_factory=list)
    started: list[tuple[str, ...]] = field(default_factory=list)


_watching: list[Watched] = []
_is_hooked: list[bool] = []


def _hook(event: str, given: tuple[Any, ...]) -> None:
    if not _watching:
        return
    if event in {"socket.connect", "socket.sendto"}:
        address = given[1]
        if isinstance(address, tuple):
            _watching[-1].connected.append((str(address[0]), int(address[1])))
            if address[0] not in LOOPBACK:
                raise ConnectionRefusedError(f"a test's host reached for {address[0]}")
    elif event == "socket.getaddrinfo":
        _watching[-1].named.append(str(given[0]))
        if str(given[0]) not in LOOPBACK and not _NUMBER.fullmatch(str(given[0])):
            raise OSError(f"a test's host looked up {given[0]}")
    elif event == "subprocess.Popen":
        _watching[-1].started.append(tuple(map(str, given[1])))


@contextmanager
def watching() -> Iterator[Watched]:
    """Record until the block ends."""
    if not _is_hooked:
        sys.addaudithook(_hook)  # it can never be taken away: it does nothing while nobody watches
        _is_hooked.append(True)
    watched = Watched()
    _watching.append(watched)
    try:
        yield watched
    finally:
        _watching.remove(watched)
