"""Ending a process: which one it is, which ones never, when it is needed; and the program that does it, for real."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from ai_sysadmin.actions.action import Host, Session
from ai_sysadmin.actions.catalogue.processes import KERNEL_THREAD, KillProcess, ProcessSeen, system_unit_of
from ai_sysadmin.actions.standalone import own_program
from ai_sysadmin.core.acting import Risk
from ai_sysadmin.core.clock import SystemClock
from ai_sysadmin.core.errors import Unavailable
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.testing.fake_systemd import FakeSystemd
from tests.looking import tree

ACTION = KillProcess(pid=4711, start_time=500, unit="batch.service")
GIB = 1 << 30


def seen(**changes: object) -> ProcessSeen:
    usual = {"start_time": 500, "name": "import", "state": "R", "uid": 1000, "unit": "batch.service"}
    return ProcessSeen(**{**usual, "memory_bytes": 8 * GIB, "grace_seconds": 10, **changes})


@pytest.mark.parametrize(
    ("action", "found", "said"),
    [
        (ACTION, seen(), None),
        (ACTION, seen(start_time=501), "does not run any more"),
        (ACTION, seen(start_time=None), "does not run any more"),
        (ACTION, seen(state="Z"), "does not run any more"),
        (ACTION, seen(is_kernels=True), "the kernel's own"),
        (ACTION, seen(unit="sshd.service"), "runs in sshd.service, not in batch.service"),
        (ACTION, seen(unit=""), "runs in no unit"),
        (ACTION, seen(of_root=True), "session of root"),
        (KillProcess(pid=9, start_time=500, unit="init.scope"), seen(unit="init.scope"), "never killed from here"),
        (
            KillProcess(pid=9, start_time=500, unit="ai-sysadmin-executor.service"),
            seen(unit="ai-sysadmin-executor.service"),
            "never killed from here",
        ),
        (
            KillProcess(pid=9, start_time=500, unit="llama-meta.service"),
            seen(unit="llama-meta.service"),
            "never killed",
        ),
    ],
)
def test_it_has_to_be_that_very_process_and_one_that_may_be_killed(action, found, said):
    obstacle = action.obstacle(found)
    assert (obstacle is None) if said is None else said in (obstacle or "")


def test_the_policy_sees_the_unit_and_a_protected_one_is_destructive():
    assert ACTION.units == ("batch.service",)
    assert ACTION.subject == "process 4711"
    assert ACTION.risk(seen()) is Risk.DISRUPTIVE
    assert ACTION.risk(seen(is_protected=True)) is Risk.DESTRUCTIVE


@pytest.mark.parametrize(
    ("stalled", "held", "needed"),
    [(41, 6 * GIB, True), (20, 2 * GIB, True), (19, 6 * GIB, False), (41, GIB, False), (0, 0, False)],
)
def test_it_is_needed_only_where_memory_is_short_and_it_holds_much_of_it(stalled, held, needed):
    assert (ACTION.warrant(seen(stalled_percent=stalled, held_bytes=held)) is not None) is needed


def test_what_runs_and_with_which_rights():
    plan = ACTION.plan(seen(grace_seconds=2.5))
    assert plan.run.commands == (own_program("end_process", "4711", "500", "2.5"),)
    assert plan.run.sandbox.capabilities == ("CAP_KILL",)
    assert plan.run.sandbox.sees_processes
    assert not plan.run.sandbox.network
    assert (plan.run.sandbox.seconds or 0) > 2.5 + 5
    assert plan.revert is None


def test_the_name_that_a_process_chose_plays_no_tricks():
    plan = ACTION.plan(seen(name="a\x1b[2J\u202e\nb"))
    assert "(a?[2J??b)" in plan.does


@pytest.mark.parametrize(
    ("after", "holds"),
    [
        (seen(), False),
        (seen(state="Z"), True),  # it has ended; its parent has yet to ask how
        (seen(start_time=None), True),
        (seen(start_time=900), True),  # the number is another's
    ],
)
def test_it_holds_when_that_process_has_ended(after, holds):
    assert (ACTION.shortfall(seen(), after) is None) is holds


@pytest.mark.parametrize(
    ("cgroup", "unit"),
    [
        ("0::/system.slice/web.service\n", "web.service"),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/app.service\n", "user@1000.service"),
        ("0::/user.slice/user-1000.slice/session-3.scope\n", "session-3.scope"),
        ("0::/system.slice/docker-abc.scope/init.scope\n", "docker-abc.scope"),
        ("0::/machine.slice/machine-x.scope/payload/system.slice/sshd.service\n", "machine-x.scope"),
        ("0::/init.scope\n", "init.scope"),
        ("0::/\n", ""),
        ("12:cpu:/\n1:name=systemd:/system.slice/web.service\n0::/\n", "web.service"),
        ("", ""),
    ],
)
def test_the_systems_own_unit_is_the_outermost(cgroup, unit):
    assert system_unit_of(cgroup) == unit


# --- a made-up /proc


class Roots:
    def __init__(self, *leaders: int) -> None:
        self.leaders = leaders

    async def live(self):
        return tuple(Session(user="root", uid=0, leader=leader) for leader in self.leaders)


def stat(pid: int, name: str = "it", ppid: int = 1, flags: int = 0, start: int = 500, state: str = "S") -> str:
    after = [state, ppid, 0, 0, 0, -1, flags, 0, 0, 0, 0, 0, 0, 0, 0, 20, 0, 1, 0, start, 4096, 25, 0]
    return f"{pid} ({name}) {' '.join(map(str, after))}\n"


def host_with(root: Path, cgroup: str = "0::/system.slice/batch.service\n", *leaders: int, **how: object) -> Host:
    tree(
        root,
        {
            "proc/4711/stat": stat(4711, **how),
            "proc/4711/cgroup": cgroup,
            "proc/4711/status": "Name:\tit\\nUid:\t0\nUid:\t1000\t1000\t0\t0\nVmRSS:\t  2048 kB\nVmSwap:\t 1024 kB\n",
            "proc/meminfo": "MemTotal:       8388608 kB\n",
            "proc/uptime": "100.00 5.00\n",
            "proc/pressure/memory": "some avg10=9 avg60=80 avg300=1 total=1\nfull avg10=5 avg60=33.5 avg300=1\n",
        },
    )
    settings = Settings.model_validate({"actions": {"kill_grace_seconds": 3}})
    return Host(settings, FakeSystemd(), Roots(*leaders), SystemClock(), root)


async def test_a_process_is_seen_as_proc_has_it(tmp_path):
    found = await ACTION.observe(host_with(tmp_path, name="a) R (b"))
    assert found.start_time == 500
    assert (found.name, found.state, found.uid, found.unit) == ("a) R (b", "S", 1000, "batch.service")
    assert (found.held_bytes, found.memory_bytes, found.stalled_percent) == (3 << 20, 8 * GIB, 33.5)
    assert found.age_seconds == pytest.approx(100 - 500 / os.sysconf("SC_CLK_TCK"))
    assert found.grace_seconds == 3
    assert not (found.is_kernels or found.is_protected or found.of_root)
    assert ACTION.obstacle(found) is None


@pytest.mark.parametrize(
    ("cgroup", "leaders", "how", "is_so"),
    [
        ("0::/\n", (), {"flags": KERNEL_THREAD | 0x40}, "is_kernels"),
        ("0::/system.slice/sshd.service\n", (), {}, "is_protected"),
        ("0::/user.slice/user-1000.slice/user@1000.service/a.service\n", (), {}, "is_protected"),
        ("0::/user.slice/user-0.slice/session-3.scope\n", (), {}, "of_root"),
        ("0::/system.slice/batch.service\n", (4711,), {}, "of_root"),
        ("0::/system.slice/batch.service\n", (300,), {"ppid": 300}, "of_root"),
    ],
)
async def test_whose_a_process_is(tmp_path, cgroup, leaders, how, is_so):
    found = await ACTION.observe(host_with(tmp_path, cgroup, *leaders, **how))
    assert getattr(found, is_so)
    assert [found.is_kernels, found.is_protected or found.of_root].count(True) == 1


async def test_a_process_that_is_gone(tmp_path):
    host = host_with(tmp_path)
    found = await KillProcess(pid=5000, start_time=500, unit="batch.service").observe(host)
    assert found.start_time is None


async def test_a_host_that_does_not_say_how_much_memory_it_has(tmp_path):
    host = host_with(tmp_path)
    (tmp_path / "proc/meminfo").unlink()
    with pytest.raises(Unavailable):
        await ACTION.observe(host)


# --- the program that does it


def start_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


@contextmanager
def process(program: str):
    started = subprocess.Popen([sys.executable, "-S", "-c", f"print(1, flush=True)\n{program}"], stdout=subprocess.PIPE)
    try:
        os.read(started.stdout.fileno(), 1)
        yield started
    finally:
        started.kill()
        started.wait()
        started.stdout.close()


def end(pid: int, start: int, grace: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(own_program("end_process", f"{pid}", f"{start}", f"{grace}"), capture_output=True, text=True)


SLEEPS = "import time; time.sleep(60)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(2, flush=True); time.sleep(60)"


def test_a_process_ends_when_asked():
    with process(SLEEPS) as one:
        done = end(one.pid, start_of(one.pid), 30)
        assert (done.returncode, one.wait(5)) == (0, -signal.SIGTERM)
        assert "ended when asked" in done.stdout


def test_one_that_does_not_listen_is_killed_after_the_grace():
    with process(DEAF) as one:
        os.read(one.stdout.fileno(), 3)
        began = time.monotonic()
        done = end(one.pid, start_of(one.pid), 0.3)
        assert time.monotonic() - began >= 0.3
        assert (done.returncode, one.wait(5)) == (0, -signal.SIGKILL)
        assert "was killed" in done.stdout


@pytest.mark.parametrize("off", [-1, 1, 10**9])
def test_another_process_of_that_number_is_left_alone(off):
    with process(SLEEPS) as one:
        done = end(one.pid, start_of(one.pid) + off, 1)
        assert done.returncode == 1
        assert "nothing was done" in done.stderr
        assert one.poll() is None


def test_a_number_that_nobody_has():
    with process(SLEEPS) as one:
        pid, start = one.pid, start_of(one.pid)
    done = end(pid, start, 1)
    assert done.returncode == 1
    assert "nothing was done" in done.stderr
