"""runtime/commands.py with real processes: bounded, timed, and dying with their parent."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from ai_sysadmin.runtime.commands import CommandMissing, CommandTimedOut, run, spawn


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def gone(pid: int, seconds: float = 3) -> bool:
    until = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < until:
        await asyncio.sleep(0.02)
    return not alive(pid)


async def test_a_command_says_what_it_said() -> None:
    done = await run(["sh", "-c", "cat; echo no >&2; exit 3"], timeout_seconds=5, input=b"yes")
    assert (done.exit_status, done.stdout, done.stderr, done.truncated) == (3, b"yes", "no\n", False)


async def test_no_input_is_an_empty_one() -> None:
    assert (await run(["cat"], timeout_seconds=5)).stdout == b""


async def test_a_command_that_does_not_want_its_input_is_no_error() -> None:
    assert (await run(["true"], timeout_seconds=5, input=b"x" * (1 << 20))).exit_status == 0


async def test_output_is_bounded_and_the_command_still_ends() -> None:
    done = await run(["head", "-c", "3000000", "/dev/zero"], timeout_seconds=5, max_bytes=1000)
    assert (done.exit_status, len(done.stdout), done.truncated) == (0, 1000, True)


async def test_the_environment_is_what_was_given() -> None:
    assert (await run(["/usr/bin/env"], timeout_seconds=5, env={"A": "b"})).stdout == b"A=b\n"


async def test_a_missing_program_is_named() -> None:
    with pytest.raises(CommandMissing, match="no-such-program"):
        await run(["no-such-program"], timeout_seconds=1)


async def test_a_command_that_takes_too_long_is_killed_with_all_it_started(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    with pytest.raises(CommandTimedOut, match=r"longer than 0\.3 s"):
        await run(["sh", "-c", f"sleep 60 & echo $! >{note}; wait"], timeout_seconds=0.3)
    assert await gone(int(note.read_text()))


async def test_a_cancelled_command_is_killed() -> None:
    task = asyncio.create_task(run(["sh", "-c", "exec sleep 61.25"], timeout_seconds=60))
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    listed = await run(["ps", "-eo", "args"], timeout_seconds=5)
    assert b"sleep 61.25" not in listed.stdout


async def test_a_child_is_read_while_it_runs_and_stopped_with_its_group() -> None:
    async with await spawn(["sh", "-c", "sleep 60 & echo $!; wait"], stdout_pipe=True) as child:
        grandchild = int(await child.stdout.readline())
        assert child.exit_status is None
    assert child.exit_status == -signal.SIGTERM
    assert await gone(grandchild)


async def test_a_child_that_ignores_the_signal_is_killed() -> None:
    child = await spawn(["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done"], stdout_pipe=True)
    await child.stdout.readline()
    assert await child.stop(grace_seconds=0.2) == -signal.SIGKILL


async def test_a_child_dies_with_its_parent() -> None:
    program = (
        "import asyncio, os, signal\n"
        "from ai_sysadmin.runtime.commands import spawn\n"
        "async def main():\n"
        "    child = await spawn(['sleep', '60'])\n"
        "    print(child.pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    done = await run([sys.executable, "-c", program], timeout_seconds=20, env=dict(os.environ))
    assert done.exit_status == -signal.SIGKILL
    assert await gone(int(done.stdout))


async def test_a_stream_that_was_not_asked_for_says_how_to() -> None:
    async with await spawn(["sleep", "5"]) as child:
        with pytest.raises(ValueError, match="stdout_pipe"):
            _ = child.stdout
