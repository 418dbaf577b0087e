"""Read-only looks: what they need, what runs with which rights, and what the kernel's log comes to."""

import os
import subprocess
from pathlib import Path

import pytest

from ai_sysadmin.actions.action import Host
from ai_sysadmin.actions.catalogue.diagnostics import ENTRIES, KernelLog, SmartReport, SocketOwners, ToolSeen
from ai_sysadmin.actions.standalone import own_program
from ai_sysadmin.actions.standalone.kernel_log import line_of, newest
from ai_sysadmin.core.acting import Risk
from ai_sysadmin.core.clock import SystemClock
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.testing.fake_systemd import FakeSystemd

SS = ToolSeen(program="/usr/bin/ss")
SMARTCTL = ToolSeen(program="/usr/sbin/smartctl")


class Nobody:
    async def live(self):
        return ()


def host_at(root: Path) -> Host:
    return Host(Settings(), FakeSystemd(), Nobody(), SystemClock(), root)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_they_change_nothing_and_say_so(entry):
    action, seen = entry.example()
    plan = action.plan(seen)
    assert action.risk(seen) is Risk.READ_ONLY
    assert plan.hold_seconds == 0
    assert plan.revert is None
    assert plan.run.sandbox.writable == ()
    assert action.shortfall(seen, seen) is None
    assert action.warrant(seen)


@pytest.mark.parametrize(
    ("action", "seen", "argv", "capabilities", "devices"),
    [
        (
            SmartReport(device="/dev/sda"),
            SMARTCTL,
            "/usr/sbin/smartctl --all --nocheck=standby,0 -- /dev/sda",
            ("CAP_SYS_RAWIO",),
            ("/dev/sda rw",),
        ),
        (
            SmartReport(device="/dev/nvme0n1"),
            SMARTCTL,
            "/usr/sbin/smartctl --all --nocheck=standby,0 -- /dev/nvme0n1",
            ("CAP_SYS_ADMIN",),
            ("/dev/nvme0n1 r",),
        ),
        (
            KernelLog(lines=5, level="err"),
            ToolSeen(),
            " ".join(own_program("kernel_log", "5", "3")),
            ("CAP_SYSLOG",),
            (),
        ),
        (
            SocketOwners(),
            SS,
            "/usr/bin/ss --tcp --udp --numeric --processes --listening",
            ("CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"),
            (),
        ),
        (
            SocketOwners(port=443),
            SS,
            "/usr/bin/ss --tcp --udp --numeric --processes --all ( sport = :443 or dport = :443 )",
            ("CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"),
            (),
        ),
    ],
)
def test_what_runs_and_with_which_rights(action, seen, argv, capabilities, devices):
    (command,) = action.plan(seen).run.commands
    sandbox = action.plan(seen).run.sandbox
    assert " ".join(command) == argv
    assert (sandbox.capabilities, sandbox.devices) == (capabilities, devices)
    assert sandbox.network is (action.name == "socket_owners")


@pytest.mark.parametrize(
    ("status", "is_good"), [(0, True), (1, False), (2, False), (3, False), (4, True), (0xC8, True)]
)
def test_what_smartctl_says_of_a_sick_disk_is_no_failure_to_look(status, is_good):
    good = SmartReport(device="/dev/sda").plan(SMARTCTL).run.good_statuses
    assert (status in good) is is_good


@pytest.mark.parametrize("action", [SmartReport(device="/dev/sda"), SocketOwners()], ids=lambda action: action.name)
async def test_a_program_that_is_missing_is_said(tmp_path, action):
    obstacle = action.obstacle(await action.observe(host_at(tmp_path)))
    assert f"{action.tool} is not installed here" in (obstacle or "")


async def test_a_disk_that_is_not_there_is_said(tmp_path):
    smartctl = tmp_path / "usr/sbin/smartctl"
    smartctl.parent.mkdir(parents=True)
    smartctl.touch(mode=0o755)
    action = SmartReport(device="/dev/sdb")
    seen = await action.observe(host_at(tmp_path))
    assert seen == ToolSeen(program="/usr/sbin/smartctl", has_device=False)
    assert action.obstacle(seen) == "this host has no disk /dev/sdb"
    (tmp_path / "sys/block/sdb").mkdir(parents=True)
    assert action.obstacle(await action.observe(host_at(tmp_path))) is None


@pytest.mark.parametrize(
    ("record", "line"),
    [
        ("3,100,5000000,-;disk is sick\n SUBSYSTEM=block\n", "1970-01-01 00:01:45 UTC err: disk is sick"),
        ("11,100,5000000,-;a daemon's own\n", "1970-01-01 00:01:45 UTC err: a daemon's own"),  # facility 1, level 3
        ("4,1,0,c;more; and more\n", "1970-01-01 00:01:40 UTC warning: more; and more"),
        ("6,1,0,-;all is well\n", None),
        ("no record at all", None),
        ("x,1,0,-;no number\n", None),
        ("3;too few\n", None),
    ],
)
def test_a_record_of_the_kernels_becomes_a_line(record, line):
    assert line_of(record, 100, 4) == line


def test_what_is_no_kernel_log_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "kmsg")
    with pytest.raises(SystemExit, match="is no kernel log"):
        newest(str(tmp_path / "kmsg"), 5, 7)
    with pytest.raises(SystemExit, match="cannot be opened"):
        newest(str(tmp_path / "none"), 5, 7)


@pytest.mark.skipif(not os.access("/dev/kmsg", os.R_OK), reason="this machine shows no kernel log")
def test_the_kernels_own_log_is_cut_to_its_newest_lines():
    few = subprocess.run(own_program("kernel_log", "3", "7"), capture_output=True, text=True, timeout=20)
    more = subprocess.run(own_program("kernel_log", "300", "7"), capture_output=True, text=True, timeout=20)
    if few.returncode:  # readable, and yet not: a container
        assert "/dev/kmsg" in few.stderr
        return
    assert 1 <= len(few.stdout.splitlines()) <= 3
    assert set(few.stdout.splitlines()[:1]) <= set(more.stdout.splitlines())
