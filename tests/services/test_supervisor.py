"""The supervisor of `up`, with real processes: in order, brought back, ended together."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from ai_sysadmin.runtime.supervisor import Part, Supervisor

here, helper_lives, main_lives = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])

def part(name, seconds, status):
    def work():
        with (here / name).open("a") as log:
            log.write(f"{os.getpid()}\\n")
        time.sleep(seconds)
        return status
    return work

parts = [Part("helper", part("helper", helper_lives, 1)), Part("main", part("main", main_lives, 7), is_main=True)]
sys.exit(Supervisor(parts).run())
"""


@pytest.fixture
def started(tmp_path: Path):
    running = []

    def start(helper_lives: float, main_lives: float) -> subprocess.Popen[str]:
        argv = [sys.executable, "-c", PROGRAM, str(tmp_path), str(helper_lives), str(main_lives)]
        running.append(subprocess.Popen(argv, stderr=subprocess.PIPE, text=True))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate()


def pids(directory: Path, name: str, count: int = 1) -> list[int]:
    """Return the processes that a part has been, once there were so many."""
    until = time.monotonic() + 10
    while True:
        file = directory / name
        found = [int(line) for line in file.read_text().split()] if file.exists() else []
        if len(found) >= count:
            return found
        assert time.monotonic() < until, f"{name} was started {len(found)} times"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_the_main_parts_end_ends_all_with_its_status(tmp_path: Path, started):
    process = started(60, 0.3)
    assert process.wait(10) == 7
    assert not is_alive(pids(tmp_path, "helper")[0])


def test_a_helper_that_dies_is_brought_back(tmp_path: Path, started):
    process = started(60, 60)
    (first,) = pids(tmp_path, "helper")
    os.kill(first, signal.SIGKILL)
    second = pids(tmp_path, "helper", 2)[1]
    assert second != first
    process.send_signal(signal.SIGTERM)
    process.wait(10)
    assert not any(is_alive(pid) for pid in (*pids(tmp_path, "helper"), *pids(tmp_path, "main")))


def test_told_to_stop_while_a_helper_is_being_brought_back_it_stops(tmp_path: Path, started):
    process = started(60, 60)
    (first,) = pids(tmp_path, "helper")
    pids(tmp_path, "main")
    os.kill(first, signal.SIGKILL)
    assert "is started again" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    process.wait(5)
    assert len(pids(tmp_path, "helper")) == 1


def test_killed_itself_it_takes_its_parts_along(tmp_path: Path, started):
    process = started(60, 60)
    everyone = [*pids(tmp_path, "helper"), *pids(tmp_path, "main")]
    process.kill()
    process.wait(5)
    until = time.monotonic() + 5
    while any(is_alive(pid) for pid in everyone) and time.monotonic() < until:
        time.sleep(0.02)
    assert not any(is_alive(pid) for pid in everyone)
