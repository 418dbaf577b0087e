"""How the API lives on its sockets: one uvicorn for TCP and the Unix socket, ended gracefully by a cancel."""

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from ai_sysadmin.core.errors import ApiUnavailable
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.openai_api_server.gate.peers import PeerProtocol
from ai_sysadmin.runtime.notify import listen_fds

log = logging.getLogger(__name__)

GRACE_SECONDS = 5
_BACKLOG = 1024


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the runner owns signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.contextmanager
def sockets(settings: Settings) -> Iterator[list[socket.socket]]:
    """Open the TCP port, and take systemd's ``api`` socket or else bind our own; close them at the end.

    Raises:
        ApiUnavailable: an address cannot be had, for example because another program listens there.
    """
    with contextlib.ExitStack() as stack:
        tcp = stack.enter_context(bind_tcp(settings.api.host, settings.api.port))
        unix = listen_fds().get("api", [])
        if not unix:
            unix = [stack.enter_context(bind_unix(settings.api_socket))]
            stack.callback(settings.api_socket.unlink, missing_ok=True)
        yield [tcp, *unix]


async def serve(app: ASGIApp, listening: Sequence[socket.socket]) -> None:
    """Serve until cancelled; then finish what is under way, within ``GRACE_SECONDS``.

    Peers' forwarded headers are not believed: ``scope["client"]`` names the true peer.
    """
    config = uvicorn.Config(
        app,
        http=PeerProtocol,
        ws="none",
        loop="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=list(listening)), name="uvicorn")
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.should_exit = True
        await serving
        raise


def bind_tcp(host: str, port: int) -> socket.socket:
    """Listen on an address and port.

    Raises:
        ApiUnavailable: it cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio switches Nagle's algorithm off only where the protocol is named; else each answer waits 40 ms for an ACK
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise ApiUnavailable(f"cannot listen on {host}:{port}: {_why(error)}") from error
    return sock


def bind_unix(path: Path) -> socket.socket:
    """Listen on a path that everybody may connect to; who is let in is decided by the peer's user.

    A socket left behind by a process that died is replaced; one that somebody answers on is not.

    Raises:
        ApiUnavailable: it cannot be had.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_socket() and not _answers(path):
            path.unlink()
        sock.bind(str(path))
        path.chmod(0o666)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise ApiUnavailable(f"cannot listen on {path}: {_why(error)}") from error
    return sock


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
    return True


def _why(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another program listens there already (is the suite running?)"
    return error.strerror or str(error)
