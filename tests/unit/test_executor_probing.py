"""The executor's probes: carried out by the suite's own program, and anew once something was done."""

import asyncio
import json
import socket
import subprocess
from dataclasses import dataclass

import pytest

from ai_sysadmin.actions.action import Host
from ai_sysadmin.core.clock import SystemClock
from ai_sysadmin.core.noticing_settings import TriggerMonitor
from ai_sysadmin.core.probe_settings import FAILS, TcpProbe
from ai_sysadmin.core.settings import Autonomy
from ai_sysadmin.executor.probing import Probing, own_program
from ai_sysadmin.executor.stages import Stages
from ai_sysadmin.testing.fake_systemd import FakeSystemd
from tests.builders import UNIT, request
from tests.executing import FakeSessions, executor, settings_for

PROBE = TcpProbe(type="tcp", name="web", host="127.0.0.1", port=1)


def test_the_program_that_it_starts_carries_a_probe_out():
    with socket.create_server(("127.0.0.1", 0)) as server:
        good = {"type": "tcp", "name": "web", "host": "127.0.0.1", "port": server.getsockname()[1]}
        argv = (*own_program(), "probe", "run")
        assert subprocess.run([*argv, json.dumps(good)], timeout=60, check=False).returncode == 0
    assert subprocess.run([*argv, PROBE.model_dump_json()], timeout=60, check=False).returncode == FAILS


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


def a_host(tmp_path, exit_status, autonomy=Autonomy.AUTO_FULL):
    """A healthy unit whose probe ends so, and an executor that would restart it alone where the probe fails.

    A restart mends what fails, and nothing that breaks down.
    """

    def probe_run(_argv):
        mended = f"restart {UNIT}" in systemd.starts and exit_status == [FAILS]
        return (0 if mended else exit_status[0]), "what it says\n"

    systemd = FakeSystemd(programs={"ai-sysadmin": probe_run})
    systemd.add(UNIT)
    probe = PROBE.model_copy(update={"units": (UNIT,)})
    settings = settings_for(autonomy).model_copy(update={"trigger_monitor": TriggerMonitor(probes=(probe,))})
    probing = Probing({"web": probe}, Stages(systemd, 5, 1000), ("ai-sysadmin",))
    host = Host(settings, systemd, FakeSessions(), SystemClock(), probe=probing.probe, forget_probes=probing.forget)
    return executor(tmp_path, systemd, settings, host=host)


@pytest.mark.parametrize("broken", [1, 2, 203])
async def test_a_probe_that_breaks_down_is_no_need_to_act_and_no_proof_that_it_helped(tmp_path, broken):
    status = [broken]
    running = a_host(tmp_path, status)
    async with running as it:
        wanted = request()
        entry = await it.asking.propose(wanted)
        assert (entry.state, entry.ruling.warranted) == ("pending", False)
        await it.asking.approve(wanted.id, 0, "root")
        entry = await it.ended(wanted.id)
        assert (entry.state, entry.text) == ("failed", "post-check: probe web cannot be carried out: what it says")


async def test_a_probe_that_fails_is_a_need_to_act(tmp_path):
    status = [FAILS]
    running = a_host(tmp_path, status)
    async with running as it:
        wanted = request()
        entry = await it.asking.propose(wanted)
        assert (entry.state, entry.ruling.warranted, entry.ruling.risk) == ("approved", True, "disruptive")
        assert (await it.ended(wanted.id)).state == "succeeded"
