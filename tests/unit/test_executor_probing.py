"""The executor's probes: carried out by the suite's own program, and anew once something was done."""

import asyncio
import json
import socket
import subprocess
from dataclasses import dataclass

from ai_sysadmin.core.probe_settings import TcpProbe
from ai_sysadmin.executor.probing import Probing, own_program
from ai_sysadmin.executor.stages import Stages
from ai_sysadmin.testing.fake_systemd import FakeSystemd

PROBE = TcpProbe(type="tcp", name="web", host="127.0.0.1", port=1)


def test_the_program_that_it_starts_carries_a_probe_out():
    with socket.create_server(("127.0.0.1", 0)) as server:
        good = {"type": "tcp", "name": "web", "host": "127.0.0.1", "port": server.getsockname()[1]}
        argv = (*own_program(), "probe", "run")
        assert subprocess.run([*argv, json.dumps(good)], timeout=60, check=False).returncode == 0
    assert subprocess.run([*argv, PROBE.model_dump_json()], timeout=60, check=False).returncode == 1


@dataclass
class Asked:
    """Probes whose times are counted by hand; every one that is carried out passes."""

    now: float = 0
    times: int = 0

    def __post_init__(self) -> None:
        systemd = FakeSystemd(programs={"ai-sysadmin": self.carry_out})
        self.probes = Probing({"web": PROBE}, Stages(systemd, 5, 1000), ("ai-sysadmin",), lambda: self.now)

    def carry_out(self, _argv):
        self.times += 1
        return 0, ""


async def test_what_passed_a_moment_ago_is_asked_again_only_where_it_is_to_be_forgotten():
    asked = Asked()
    assert [await asked.probes.probe("web"), await asked.probes.probe("web")] == [None, None]
    assert asked.times == 1
    asked.now = 0.1
    asked.probes.forget()
    assert await asked.probes.probe("web") is None
    assert asked.times == 2
    asked.now = 3.0
    assert await asked.probes.probe("web") is None
    assert asked.times == 3


async def test_what_was_under_way_as_it_was_forgotten_does_not_count():
    asked = Asked()
    under_way = asyncio.create_task(asked.probes.probe("web"))
    await asyncio.sleep(0)
    asked.now = 0.1
    asked.probes.forget()
    await under_way
    await asked.probes.probe("web")
    assert asked.times == 2
