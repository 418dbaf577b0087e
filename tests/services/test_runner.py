"""runtime/service.py, notify.py and logs.py in a real process: a real NOTIFY_SOCKET, real signals, real sockets."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
HEAD = """
import asyncio, logging, time
from ai_sysadmin.core.errors import StoreUnavailable
from ai_sysadmin.runtime import logs
from ai_sysadmin.runtime.notify import listen_fds
from ai_sysadmin.runtime.service import Heartbeat, backing_off, run_service, uninterrupted
logs.set_up("ai-sysadmin-test")
heart = Heartbeat()
async def idle():
    await asyncio.Event().wait()
"""


@dataclass
class Service:
    """A running service and what it has told its manager."""

    process: subprocess.Popen[str]
    manager: socket.socket
    told: list[str] = field(default_factory=list)

    def hears(self, line: str, seconds: float = 10) -> bool:
        """Wait until the service says a line to its manager."""
        until = time.monotonic() + seconds
        while line not in self.told and time.monotonic() < until:
            self.manager.settimeout(max(0.01, until - time.monotonic()))
            try:
                self.told += self.manager.recv(65536).decode().split("\n")
            except TimeoutError:
                break
        return line in self.told

    def end(self, signum: int = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(signum)
        _, stderr = self.process.communicate(timeout=10)
        return self.process.returncode, stderr


Start = Callable[..., Service]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    running: list[Service] = []
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))

    def begin(loops: str, env: Mapping[str, str] | None = None) -> Service:
        program = HEAD + textwrap.dedent(loops)
        given = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), "NOTIFY_SOCKET": str(tmp_path / "notify")}
        process = subprocess.Popen(
            [sys.executable, "-c", program], env=given | dict(env or {}), stderr=subprocess.PIPE, text=True
        )
        running.append(Service(process, manager))
        return running[-1]

    yield begin
    for service in running:
        if service.process.poll() is None:
            service.process.kill()
        service.process.communicate()
    manager.close()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(start: Start, signum: int) -> None:
    service = start("""
        async def loop():
            try:
                await idle()
            finally:
                logging.getLogger("x").info("loop ended")
        asyncio.run(run_service("test", {"loop": loop}, heart))
    """)
    assert service.hears("READY=1")
    assert "STATUS=test runs" in service.told
    status, stderr = service.end(signum)
    assert status == 0
    assert service.hears("STOPPING=1")
    assert "loop ended" in stderr
    assert "Traceback" not in stderr


def test_a_crash_in_one_loop_ends_the_process_with_that_crash(start: Start) -> None:
    service = start("""
        async def crash():
            await asyncio.sleep(0.05)
            raise KeyError("the bug itself")
        asyncio.run(run_service("test", {"idle": idle, "crash": crash}, heart))
    """)
    _, stderr = service.process.communicate(timeout=10)
    assert service.process.returncode == 1
    assert stderr.rstrip().endswith("KeyError: 'the bug itself'")
    assert "ExceptionGroup" not in stderr


def test_the_watchdog_hears_of_progress_and_not_of_a_stuck_loop(start: Start) -> None:
    service = start(
        """
        async def loop():
            await asyncio.sleep(0.5)
            with heart.within(0.1, "a call that hangs"):
                await idle()
        asyncio.run(run_service("test", {"loop": loop}, heart))
        """,
        {"WATCHDOG_USEC": "100000"},
    )
    assert service.hears("WATCHDOG=1")
    time.sleep(1.0)
    while service.hears("WATCHDOG=1", 0.05):
        service.told.remove("WATCHDOG=1")
    assert not service.hears("WATCHDOG=1", 0.4)
    status, stderr = service.end()
    assert status == 0
    assert "a call that hangs takes longer than promised" in stderr


def test_a_blocked_event_loop_is_noticed_too(start: Start) -> None:
    service = start(
        """
        async def loop():
            await asyncio.sleep(0.2)
            time.sleep(60)
        asyncio.run(run_service("test", {"loop": loop}, heart))
        """,
        {"WATCHDOG_USEC": "100000"},
    )
    assert service.hears("WATCHDOG=1")
    time.sleep(0.5)
    while service.hears("WATCHDOG=1", 0.05):
        service.told.remove("WATCHDOG=1")
    assert not service.hears("WATCHDOG=1", 0.4)


def test_what_is_away_is_in_the_status_until_it_is_back(start: Start) -> None:
    service = start("""
        tries = 0
        async def work():
            global tries
            tries += 1
            if tries == 1:
                raise StoreUnavailable("the database is locked")
            await idle()
        asyncio.run(run_service("test", {"work": lambda: backing_off("store", work, first_seconds=0.05)}, heart))
    """)
    assert service.hears("STATUS=store: the database is locked")
    assert service.hears("STATUS=runs")
    assert service.end()[0] == 0


def test_work_that_must_not_be_cut_in_half_is_finished(start: Start, tmp_path: Path) -> None:
    service = start(f"""
        async def work():
            await asyncio.sleep(0.5)
            open({str(tmp_path / "outcome")!r}, "w").write("recorded")
        async def loop():
            await uninterrupted(work())
        asyncio.run(run_service("test", {{"loop": loop}}, heart))
    """)
    assert service.hears("READY=1")
    assert service.end()[0] == 0
    assert (tmp_path / "outcome").read_text() == "recorded"


def test_an_abstract_notify_socket_and_none_at_all(start: Start) -> None:
    name = f"ai-sysadmin-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}")
        manager.settimeout(10)
        service = start('asyncio.run(run_service("test", {"idle": idle}, heart))', {"NOTIFY_SOCKET": f"@{name}"})
        assert manager.recv(1000).startswith(b"READY=1\n")
        assert service.end()[0] == 0
    lonely = start('asyncio.run(run_service("test", {"idle": idle}, heart))', {"NOTIFY_SOCKET": ""})
    time.sleep(1)
    assert lonely.end()[0] == 0


ACTIVATE = """
import os, socket, sys
first, second = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
first.bind(sys.argv[1] + "/a"); second.bind(sys.argv[1] + "/b")
for n, each in enumerate((first, second)):
    os.dup2(each.fileno(), 100 + n)
for n in (0, 1):
    os.dup2(100 + n, 3 + n, inheritable=True)
env = dict(os.environ, LISTEN_PID=str(os.getpid()), LISTEN_FDS="2", LISTEN_FDNAMES="propose:operate")
os.execve(sys.executable, [sys.executable, "-c", sys.argv[2]], env)
"""
LISTENER = """
import os
from ai_sysadmin.runtime.notify import listen_fds
found = listen_fds()
print({name: [each.getsockname() for each in sockets] for name, sockets in found.items()})
print([os.get_inheritable(each.fileno()) for sockets in found.values() for each in sockets])
print(listen_fds(), sorted(name for name in os.environ if name.startswith("LISTEN")))
"""


def test_sockets_that_the_manager_holds_are_taken_by_name(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", ACTIVATE, str(tmp_path), LISTENER]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout.splitlines() == [
        str({"propose": [f"{tmp_path}/a"], "operate": [f"{tmp_path}/b"]}),
        "[False, False]",
        "{} []",
    ]


def test_sockets_of_another_process_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    from ai_sysadmin.runtime.notify import listen_fds

    monkeypatch.setenv("LISTEN_PID", "1")
    monkeypatch.setenv("LISTEN_FDS", "1")
    assert listen_fds() == {}
