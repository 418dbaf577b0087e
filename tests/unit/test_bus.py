"""runtime/bus.py over a real dbus-daemon of the test's own: what a burst of calls does to the one connection."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ai_sysadmin.runtime.bus import BUS, SystemBus

pytestmark = pytest.mark.skipif(shutil.which("dbus-daemon") is None, reason="needs dbus-daemon: apt-get install dbus")
CONFIGURATION = """<busconfig>
  <listen>unix:path={path}</listen>
  <policy context="default"><allow user="*"/><allow send_destination="*"/><allow receive_sender="*"/></policy>
</busconfig>
"""


@pytest.fixture
async def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[asyncio.subprocess.Process]:
    path, configuration = tmp_path / "bus.sock", tmp_path / "bus.conf"
    configuration.write_text(CONFIGURATION.format(path=path))
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={path}")
    process = await asyncio.create_subprocess_exec("dbus-daemon", f"--config-file={configuration}", "--nofork")
    try:
        async with asyncio.timeout(5):
            while not path.exists():
                await asyncio.sleep(0.01)
        yield process
    finally:
        process.kill()
        await process.wait()


async def identity(bus: SystemBus) -> str:
    (found,) = await bus.call("/org/freedesktop/DBus", BUS, "GetId", destination=BUS)
    return str(found)


async def test_more_calls_at_once_than_the_socket_takes_are_all_answered(daemon: asyncio.subprocess.Process) -> None:
    bus = SystemBus()
    known = await identity(bus)
    os.kill(daemon.pid, signal.SIGSTOP)  # it reads nothing for a moment, as when it is busy
    asked = [asyncio.create_task(identity(bus)) for _ in range(2000)]
    await asyncio.sleep(0.1)
    os.kill(daemon.pid, signal.SIGCONT)
    assert set(await asyncio.gather(*asked)) == {known}
    bus.close()


async def test_long_calls_at_once_are_all_answered(daemon: asyncio.subprocess.Process) -> None:
    bus = SystemBus()
    await identity(bus)
    os.kill(daemon.pid, signal.SIGSTOP)
    rule = f"type='signal',path='/{'a' * 800}'"
    path = "/org/freedesktop/DBus"
    asked = [asyncio.create_task(bus.call(path, BUS, "AddMatch", "s", [rule], BUS)) for _ in range(200)]
    await asyncio.sleep(0.1)
    os.kill(daemon.pid, signal.SIGCONT)
    assert await asyncio.gather(*asked) == [[]] * 200
    bus.close()
