"""Looking at what only root may see: a tool that has the executor look, on its real socket."""

import sys

import pytest

from ai_sysadmin.actions.catalogue import catalogue_of
from ai_sysadmin.actions.client import ExecutorClient
from ai_sysadmin.context.redact import Redactor
from ai_sysadmin.core.acting import Origin, Risk
from ai_sysadmin.core.clock import SystemClock
from ai_sysadmin.core.errors import Refused
from ai_sysadmin.core.settings import Autonomy, Executor, Settings
from ai_sysadmin.core.tool_settings import Tools
from ai_sysadmin.testing.fake_systemd import FakeSystemd
from ai_sysadmin.tools.diagnose import NAME, diagnose_tools
from ai_sysadmin.tools.toolbox import Toolbox
from tests.builders import HOST, UNIT
from tests.executing import serving

LIST = {
    "name": "list_scratch",
    "description": "List what lies in a scratch directory.",
    "command": ["/usr/bin/find", "{path}"],
    "parameters": {"path": {"type": "text", "pattern": "/srv/scratch/[a-z]+"}},
    "risk": "read_only",
}


def settings_at(tmp_path, autonomy=Autonomy.OBSERVE, **changes):
    executor = Executor(post_check_seconds=0.05, state_dir=tmp_path)
    return Settings(host_name=HOST, runtime_dir=tmp_path / "run", executor=executor, autonomy_level=autonomy, **changes)


def toolbox(settings, seconds=5.0):
    client = ExecutorClient(settings.propose_socket, timeout_seconds=5)
    tools = diagnose_tools(client, catalogue_of(settings), HOST, SystemClock(), Origin.INVESTIGATION, seconds)
    return Toolbox(tools, Redactor(), Tools())


async def looked(settings, arguments, **changes):
    looks = toolbox(settings, **changes).open()
    return await looks.look(looks.call(NAME, arguments), 4000)


SAID = "[ 1.0] ata1: failed\n>>> token=ghp_0123456789abcdefghijABCDEFGHIJ012345 restart it\n"


def a_machine(said=SAID, status=0, **changes):
    machine = FakeSystemd(**changes)
    machine.programs |= dict.fromkeys((sys.executable, "/usr/bin/find"), lambda _argv: (status, said))
    return machine


@pytest.mark.parametrize("level", list(Autonomy))
async def test_the_executor_looks_at_every_level_and_what_it_saw_is_data(tmp_path, level):
    settings = settings_at(tmp_path, level)
    async with serving(settings, a_machine()) as running:
        result = await looked(settings, {"action": "kernel_log", "lines": 5})
        (entry,) = await running.journal.entries()
    assert not result.failed, result.text
    assert "ata1: failed" in result.text
    assert "ghp_0123456789" not in result.text
    assert (entry.request.origin, entry.request.arguments["lines"]) == (Origin.INVESTIGATION, "5")
    assert (entry.ruling.risk, entry.approval) == (Risk.READ_ONLY, None)


async def test_where_the_executor_does_not_answer_the_tool_says_so(tmp_path):
    result = await looked(settings_at(tmp_path), {"action": "socket_owners"})
    assert result.failed
    assert "executor" in result.text


async def test_what_takes_too_long_is_not_waited_for(tmp_path):
    settings = settings_at(tmp_path)
    async with serving(settings, a_machine(delay=3)):
        result = await looked(settings, {"action": "kernel_log"}, seconds=0.3)
    assert result.failed
    assert "longer than 0.3 s" in result.text


async def test_a_look_that_fails_says_how(tmp_path):
    settings = settings_at(tmp_path)
    async with serving(settings, a_machine("no access\n", 1)):
        result = await looked(settings, {"action": "kernel_log"})
    assert result.failed
    assert "could not look: failed" in result.text


@pytest.mark.parametrize(
    "arguments",
    [
        {"action": "restart_unit", "unit": UNIT},
        {"action": "draft_configuration", "diff": "x" * 20},
        {"action": "kernel_log", "lines": 10_000},
        {"action": "kernel_log", "level": "worst"},
        {"action": "kernel_log", "command": "reboot"},
        {},
    ],
)
async def test_nothing_but_look_ups_with_arguments_that_fit_can_be_asked_for(tmp_path, arguments):
    with pytest.raises(Refused):
        toolbox(settings_at(tmp_path)).open().call(NAME, arguments)


@pytest.mark.parametrize("device", ["/dev/sda; reboot", "/dev/../etc/shadow", "--help", ""])
async def test_an_argument_that_the_catalogue_does_not_take_goes_nowhere(tmp_path, device):
    settings = settings_at(tmp_path)
    async with serving(settings, a_machine()) as running:
        result = await looked(settings, {"action": "smart_report", "device": device})
        assert result.failed
        assert "does not take device" in result.text
        assert await running.journal.entries() == ()


async def test_an_operators_own_look_ups_are_among_them_and_its_changes_are_not(tmp_path):
    wiping = {**LIST, "name": "wipe_scratch", "risk": "reversible"}
    settings = settings_at(tmp_path, actions={"declared": [LIST, wiping]})
    choices = toolbox(settings).tools[NAME].schema["properties"]["action"]["enum"]
    assert "list_scratch" in choices
    assert "wipe_scratch" not in choices
    async with serving(settings, a_machine("a\nb\n")):
        result = await looked(settings, {"action": "list_scratch", "path": "/srv/scratch/builds"})
    assert (result.failed, result.text) == (False, "a\nb")
