"""The only place that starts processes: from an argv, never through a shell.

Every child gets a session of its own, so that it can be ended with all that it started, and dies with its parent.
"""

import asyncio
import ctypes
import os
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, PIPE
from types import TracebackType
from typing import Self

from ai_sysadmin.core.errors import AiSysadminError

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
_STDERR_BYTES = 64 << 10


class CommandMissing(AiSysadminError):
    """The program is not on this machine, or may not be executed."""


class CommandTimedOut(AiSysadminError):
    """The command took longer than it may, and was killed."""


@dataclass(frozen=True)
class Completed:
    """A command that ended. ``exit_status`` is negative where a signal ended it (``-9``: SIGKILL).

    ``truncated``: it wrote more to stdout than was kept.
    """

    exit_status: int
    stdout: bytes
    stderr: str
    truncated: bool


class Child:
    """A long-running process. As a context manager it is stopped at the end, with everything it started."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """The exit status, negative for a signal; none while it runs."""
        return self._process.returncode

    @property
    def stdout(self) -> asyncio.StreamReader:
        return _piped(self._process.stdout, "stdout_pipe")

    @property
    def stderr(self) -> asyncio.StreamReader:
        return _piped(self._process.stderr, "stderr_pipe")

    async def wait(self) -> int:
        """Wait for the end; return the exit status, negative for a signal."""
        return await self._process.wait()

    async def stop(self, grace_seconds: float = 5.0) -> int:
        """Ask the process to end, kill its whole group after the grace; return its exit status."""
        if self._process.returncode is None:
            signal_group(self.pid, signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(grace_seconds):
                    await self._process.wait()
        signal_group(self.pid, signal.SIGKILL)
        return await self._process.wait()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


def signal_group(leader: int, signum: signal.Signals) -> None:
    """Send a signal to a child's whole group; one that is gone already is no error."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signum)


async def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    stdout_pipe: bool = False,
    stderr_pipe: bool = False,
    stderr_file: Path | None = None,
    pass_fds: Sequence[int] = (),
    limit_bytes: int = 2**20,
) -> Child:
    """Start a process that runs until it is stopped. Without pipes: stdout goes nowhere, stderr where ours goes.

    Args:
        stderr_file: a file for what it says, written anew.
        limit_bytes: how much unread output is held before the process has to wait.

    Raises:
        CommandMissing: there is no such program.
    """
    with stderr_file.open("wb") if stderr_file else nullcontext() as file:
        process = await _start(
            argv,
            env=env,
            stdin=DEVNULL,
            stdout=PIPE if stdout_pipe else DEVNULL,
            stderr=PIPE if stderr_pipe else (file.fileno() if file else None),
            pass_fds=pass_fds,
            limit_bytes=limit_bytes,
        )
    return Child(process)


async def run(
    argv: Sequence[str],
    *,
    timeout_seconds: float,
    max_bytes: int = 4 << 20,
    input: bytes | None = None,  # noqa: A002 — the name that subprocess uses
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Completed:
    """Run a command to its end and return what it said. A status other than 0 is an answer, not an error.

    Raises:
        CommandMissing: there is no such program.
        CommandTimedOut: it took longer than ``timeout_seconds``; it was killed with everything it started.
    """
    stdin = DEVNULL if input is None else PIPE
    process = await _start(
        argv, env=env, stdin=stdin, stdout=PIPE, stderr=PIPE, pass_fds=(), limit_bytes=2**20, cwd=cwd
    )
    try:
        async with asyncio.timeout(timeout_seconds):
            (stdout, truncated), (stderr, _), _ = await asyncio.gather(
                _read(_piped(process.stdout, "stdout"), max_bytes),
                _read(_piped(process.stderr, "stderr"), _STDERR_BYTES),
                _write(process.stdin, input),
            )
            status = await process.wait()
    except TimeoutError as error:
        raise CommandTimedOut(f"{argv[0]} took longer than {timeout_seconds:g} s and was killed") from error
    finally:
        if process.returncode is None:
            signal_group(process.pid, signal.SIGKILL)
            await process.wait()
    return Completed(status, stdout, stderr.decode(errors="replace"), truncated)


async def _start(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None,
    stdin: int,
    stdout: int,
    stderr: int | None,
    pass_fds: Sequence[int],
    limit_bytes: int,
    cwd: Path | None = None,
) -> asyncio.subprocess.Process:
    if shutil.which(argv[0]) is None:
        raise CommandMissing(f"there is no {argv[0]} here that could be started")
    try:
        return await asyncio.create_subprocess_exec(
            *argv,
            env=env,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=pass_fds,
            limit=limit_bytes,
            cwd=cwd,
            start_new_session=True,
            preexec_fn=_dying_with(os.getpid()),
        )
    except OSError as error:  # gone since, not allowed, not a program, too many arguments
        raise CommandMissing(f"{argv[0]} cannot be started: {error.strerror}") from error


def _dying_with(parent: int) -> Callable[[], None]:
    """Return what a child does between fork and exec: ask to be killed when its parent dies."""

    def ask() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before we asked
            os.kill(os.getpid(), signal.SIGKILL)

    return ask


def _piped(stream: asyncio.StreamReader | None, parameter: str) -> asyncio.StreamReader:
    if stream is None:
        raise ValueError(f"this process was started without {parameter}")
    return stream


async def _read(stream: asyncio.StreamReader, most: int) -> tuple[bytes, bool]:
    """Read to the end, keep the first ``most`` bytes; tell whether there was more."""
    kept = bytearray()
    truncated = False
    while chunk := await stream.read(1 << 16):
        room = most - len(kept)
        kept += chunk[:room]
        truncated = truncated or len(chunk) > room
    return bytes(kept), truncated


async def _write(stream: asyncio.StreamWriter | None, data: bytes | None) -> None:
    if stream is None or data is None:
        return
    with suppress(BrokenPipeError, ConnectionResetError):  # it did not want to hear all of it
        stream.write(data)
        await stream.drain()
    stream.close()
