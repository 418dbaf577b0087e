"""A ChromaDB server of our own, for `ai-sysadmin up`: where it is installed and there is a use for it.

One process owns the directory (several would corrupt it without a word), behind a lock that the server itself holds
too. It answers on loopback only, because ChromaDB asks nobody who they are.
"""

import asyncio
import fcntl
import logging
import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from ai_sysadmin.core.settings import Settings
from ai_sysadmin.runtime.commands import Child, CommandMissing, spawn

log = logging.getLogger(__name__)
_START_SECONDS: Final = 60.0
_ATTEMPTS: Final = 3
_LOOK_EVERY_SECONDS: Final = 0.1
_LOOK_AFTER_FILES_SECONDS: Final = 5.0
_DATABASE: Final = "chroma.sqlite3"
_BACK_SECONDS: Final = (1.0, 5.0, 30.0)


@dataclass(frozen=True)
class OwnChroma:
    """Where our server answers (empty: there is none), and a sentence about it (empty: there is nothing to say)."""

    url: str = ""
    said: str = ""


def program() -> str:
    """Return ChromaDB's executable, beside our own interpreter or on PATH; empty: it is not installed."""
    beside = Path(sys.executable).with_name("chroma")
    return str(beside) if os.access(beside, os.X_OK) else shutil.which("chroma") or ""


def is_wanted(settings: Settings) -> bool:
    """Tell whether `up` should run one: vectors can be made, and no server of somebody else's is to hold them."""
    knowledge = settings.knowledge
    has_embeddings = settings.backends.embedding is not None or knowledge.onnx_archive is not None
    return has_embeddings and knowledge.chroma_in_up and not knowledge.chroma_url


def environment() -> dict[str, str]:
    """Return the server's environment: it tells nobody anything, and logs no request."""
    return {**os.environ, "ANONYMIZED_TELEMETRY": "False", "RUST_LOG": "error"}


@asynccontextmanager
async def own_chroma(settings: Settings) -> AsyncIterator[OwnChroma]:
    """Run a server on STATE_DIR/chroma for as long as the context lasts; one that dies is started again."""
    if not is_wanted(settings):
        yield OwnChroma()
        return
    executable = program()
    if not executable:
        yield OwnChroma(said="vectors: ChromaDB is not installed (ai-sysadmin[vectors]); knowledge is found by text")
        return
    with _sole_owner(settings.state_dir / "chroma.lock") as lock:
        if lock is None:
            yield OwnChroma(said=f"vectors: another process runs the ChromaDB on {settings.state_dir / 'chroma'}")
            return
        server = _Server(executable, settings.state_dir, lock)
        try:
            yield await server.start()
        finally:
            await server.stop()


class _Server:
    """The child, and the task that brings it back on the same port."""

    def __init__(self, executable: str, state_dir: Path, lock: int) -> None:
        self._executable = executable
        self._state_dir = state_dir
        self._lock = lock
        self._port = 0
        self._child: Child | None = None
        self._keeping: asyncio.Task[None] | None = None

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> OwnChroma:
        directory = self._state_dir / "chroma"
        for _ in range(_ATTEMPTS):  # another process may take the port before it does
            self._port = _free_port()
            self._child = child = await self._spawn()
            if child is None:
                break
            if await _answers(self._url, child):
                self._keeping = asyncio.create_task(self._keep(child))
                return OwnChroma(self._url, f"vectors: ChromaDB on {directory}, served here at {self._url}")
            await child.stop()
        log.warning("ChromaDB on %s does not start", directory, extra={"event": "chroma_failed"})
        return OwnChroma(said=f"vectors: ChromaDB on {directory} does not start: see {self._said_in}")

    async def stop(self) -> None:
        if self._keeping:
            self._keeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeping
        if self._child:
            await self._child.stop()

    async def _keep(self, child: Child) -> None:
        pauses = list(_BACK_SECONDS)
        while True:
            status = await self._end_of(child)
            pause = pauses.pop(0) if len(pauses) > 1 else pauses[0]
            log.warning(
                "ChromaDB ended with status %d and is started again in %.0f s",
                status,
                pause,
                extra={"event": "chroma_ended"},
            )
            await asyncio.sleep(pause)
            again = await self._spawn()
            if again is None:
                return
            self._child = child = again

    async def _end_of(self, child: Child) -> int:
        """Wait until the child has ended, or end it once its files are gone: it could not write any more."""
        database = self._state_dir / "chroma" / _DATABASE
        was_there = False
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_AFTER_FILES_SECONDS):
                    return await child.wait()
            is_there = database.exists()
            if was_there and not is_there:
                log.warning("ChromaDB's files are gone", extra={"event": "chroma_files_gone"})
                return await child.stop()
            was_there = is_there

    async def _spawn(self) -> Child | None:
        try:
            return await spawn(
                argv(self._executable, self._state_dir / "chroma", self._port),
                env=environment(),
                stderr_file=self._said_in,
                pass_fds=(self._lock,),
            )
        except (CommandMissing, OSError) as error:
            log.warning("ChromaDB cannot be started: %s", error, extra={"event": "chroma_failed"})
            return None

    @property
    def _said_in(self) -> Path:
        return self._state_dir / "chroma.log"


def argv(executable: str, directory: Path, port: int) -> Sequence[str]:
    return (executable, "run", "--path", str(directory), "--host", "127.0.0.1", "--port", str(port))


async def _answers(url: str, child: Child) -> bool:
    """Wait until the server answers; it does not once it has ended, or after its time to start."""
    async with httpx.AsyncClient(base_url=url, timeout=_LOOK_EVERY_SECONDS * 10, trust_env=False) as client:
        with suppress(TimeoutError):
            async with asyncio.timeout(_START_SECONDS):
                while child.exit_status is None:
                    with suppress(httpx.HTTPError):
                        if (await client.get("/api/v2/heartbeat")).is_success:
                            return True
                    await asyncio.sleep(_LOOK_EVERY_SECONDS)
    return False


@contextmanager
def _sole_owner(path: Path) -> Iterator[int | None]:
    """Hold a lock on a file; none: another process holds it. A child that inherits it holds it too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        yield descriptor
    finally:
        os.close(descriptor)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
