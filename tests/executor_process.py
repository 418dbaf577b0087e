"""An executor as a process of its own, without a system bus: the service itself, or one on a systemd in memory.

python -m tests.executor_process SETTINGS    the one on a systemd in memory, whose units are all well
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ai_sysadmin.actions.client import ExecutorClient
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.testing.fake_systemd import FakeSystemd
from tests.builders import UNIT
from tests.executing import serving

PROJECT = Path(__file__).parents[1]
NO_BUS = {"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent", "DBUS_SESSION_BUS_ADDRESS": "unix:path=/nonexistent"}
SERVICE = ("-m", "ai_sysadmin", "executor", "--settings")
IN_MEMORY = ("-m", "tests.executor_process")


@dataclass(frozen=True)
class Figures:
    """What a process takes up: resident kilobytes, and open file descriptors."""

    resident: int
    descriptors: int


@dataclass
class ExecutorProcess:
    """An executor that runs; ``log`` is what it said, ``begun`` the units that it started in memory."""

    settings: Settings
    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def propose(self) -> ExecutorClient:
        return ExecutorClient(self.settings.propose_socket, timeout_seconds=10)

    @property
    def operate(self) -> ExecutorClient:
        return ExecutorClient(self.settings.operate_socket, timeout_seconds=10)

    @property
    def begun(self) -> list[str]:
        file = begun_file(self.settings)
        return list(json.loads(file.read_text())) if file.exists() else []

    def figures(self) -> Figures:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
        return Figures(int(line.split()[1]), len(list(Path(f"/proc/{self.process.pid}/fd").iterdir())))

    def stop(self) -> int:
        """Ask it to end; return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


def begun_file(settings: Settings) -> Path:
    return settings.executor.state_dir / "begun.json"


@contextmanager
def executor_process(directory: Path, settings: Settings, argv: tuple[str, ...]) -> Iterator[ExecutorProcess]:
    """Run one until the block ends; ``argv`` is ``SERVICE`` or ``IN_MEMORY``."""
    settings.executor.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    file, log = directory / "settings.json", directory / "log"
    file.write_text(settings.model_dump_json(exclude_unset=True))
    with log.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, *argv, str(file)], cwd=PROJECT, env=os.environ | NO_BUS, stdout=said, stderr=said
        )
    try:
        _wait_for(settings, process, log)
        yield ExecutorProcess(settings, process, log)
    finally:
        process.kill()
        process.wait()


def _wait_for(settings: Settings, process: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + 30
    while not (settings.operate_socket.exists() and settings.operate_socket.stat().st_mode & 0o777 == 0o666):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.05)


async def _serve(settings: Settings) -> None:
    systemd = FakeSystemd()
    systemd.add(UNIT)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with serving(settings, systemd):
        while not stop.is_set():
            begun_file(settings).write_text(json.dumps(systemd.starts))
            await asyncio.wait([asyncio.create_task(stop.wait())], timeout=0.5)
        begun_file(settings).write_text(json.dumps(systemd.starts))


if __name__ == "__main__":
    asyncio.run(_serve(Settings.model_validate_json(Path(sys.argv[1]).read_text())))
