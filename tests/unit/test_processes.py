"""sources/processes, deleted_files: what runs, from a made-up /proc and the real one."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.sources.deleted_files import deleted_files
from ai_sysadmin.sources.host import HostUnreadable
from ai_sysadmin.sources.processes import Process, running, unit_of
from tests.looking import tree

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def stat_of(pid: int, name: str, state: str = "S", *, ppid: int = 1, ticks: int = 0, started: int = 100) -> str:
    after = [state, ppid, 0, 0, 0, -1, 0, 0, 0, 0, 0, ticks, 0, 0, 0, 20, 0, 1, 0, started, 4096, 25, 0]
    return f"{pid} ({name}) {' '.join(map(str, after))}\n"


def proc_of(root: Path, pid: int, name: str = "it", state: str = "S", **how: int) -> None:
    tree(
        root,
        {
            f"proc/{pid}/stat": stat_of(pid, name, state, **how),
            f"proc/{pid}/status": f"Name:\tit\nUid:\t{1000 + pid}\t{1000 + pid}\t0\t0\n",
            f"proc/{pid}/cgroup": f"0::/system.slice/unit{pid}.service\n",
            f"proc/{pid}/cmdline": f"/bin/{pid}\0--flag\0",
        },
    )


@pytest.fixture
def host(tmp_path: Path) -> Path:
    tree(tmp_path, {"proc/uptime": "101.00 7.0\n", "etc/passwd": "web:x:1007:1007::/:/bin/sh\nbroken\n"})
    proc_of(tmp_path, 1, "init")
    return tmp_path


def _of(root: Path, pid: int, **how: object) -> Process:
    return {each.pid: each for each in running(root, 0.0, lambda _: None).processes}[pid]


def test_a_process_in_full(host: Path) -> None:
    proc_of(host, 7, "worker", started=1 * TICKS)
    assert _of(host, 7) == Process(
        7, 1, "worker", "web", "unit7.service", "S", 0.0, 25 * PAGE, None, 100.0, "/bin/7 --flag"
    )
    assert _of(host, 1).user == "uid 1001"


def test_shares_of_a_processor_and_traffic_are_what_was_used_meanwhile(host: Path) -> None:
    proc_of(host, 7, ticks=1000)
    tree(host, {"proc/7/io": "rchar: 9\nread_bytes: 100\nwrite_bytes: 50\ncancelled_write_bytes: 0\n"})

    def works(_: float) -> None:
        proc_of(host, 7, ticks=1000 + TICKS)
        tree(host, {"proc/7/io": "rchar: 9\nread_bytes: 4100\nwrite_bytes: 50\n"})

    found = running(host, 0.5, works)
    process = found.processes[1]
    assert process.cpu_percent == pytest.approx(100 / found.measured_seconds)
    assert process.io_per_second == pytest.approx(4000 / found.measured_seconds)


def test_a_number_that_another_process_got_meanwhile_has_used_nothing(host: Path) -> None:
    proc_of(host, 7, ticks=0, started=50)
    found = running(host, 0.5, lambda _: proc_of(host, 7, ticks=5000, started=60))
    assert found.processes[1].cpu_percent == 0.0


def test_one_that_ends_while_it_is_looked_at_is_left_out(host: Path) -> None:
    proc_of(host, 7)
    found = running(host, 0.5, lambda _: (host / "proc/7/stat").unlink())
    assert [each.pid for each in found.processes] == [1]


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=15))
def test_a_name_may_hold_anything(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    root = tmp_path_factory.mktemp("named")
    tree(root, {"proc/uptime": "101.00 7.0\n"})
    proc_of(root, 9, name, "D", ppid=3)
    process = _of(root, 9)
    # The kernel's file is text: what it reads as a line end is one.
    assert process.name == name.replace("\r\n", "\n").replace("\r", "\n")
    assert (process.state, process.parent) == ("D", 3)


def test_a_name_cannot_feign_a_user(host: Path) -> None:
    proc_of(host, 7)
    tree(host, {"proc/7/status": "Name:\tx\\nUid:\t0\t0\t0\t0\nUid:\t1007\t1007\t0\t0\n"})
    assert _of(host, 7).user == "web"


def test_the_kernels_own_and_zombies_have_their_name_for_a_command(host: Path) -> None:
    proc_of(host, 7, "kworker/0:1", "Z")
    tree(host, {"proc/7/cmdline": b""})
    assert _of(host, 7).command == "[kworker/0:1]"


@pytest.mark.parametrize(
    ("cgroup", "unit"),
    [
        ("0::/system.slice/nginx.service", "nginx.service"),
        ("0::/system.slice/docker.service/deep/inner.scope\n", "inner.scope"),
        ("12:cpu:/elsewhere.service\n1:name=systemd:/user.slice/session-3.scope\n", "session-3.scope"),
        ("12:cpu:/elsewhere.service\n", ""),
        ("0::/system.slice/_cgroup.service", "cgroup.service"),
        ("0::/", ""),
        ("garbage", ""),
    ],
)
def test_the_unit_of_a_process(cgroup: str, unit: str) -> None:
    assert unit_of(cgroup) == unit


def test_hidden_processes_are_noticed(host: Path) -> None:
    assert running(host, 0.0, lambda _: None).sees_all
    (host / "proc/1/stat").unlink()
    assert not running(host, 0.0, lambda _: None).sees_all


def test_no_proc_at_all(tmp_path: Path) -> None:
    with pytest.raises(HostUnreadable, match="cannot be listed"):
        running(tmp_path)


def test_this_process_is_seen() -> None:
    found = {each.pid: each for each in running(over_seconds=0.01).processes}
    assert found[os.getpid()].resident_bytes > 1 << 20
    assert "python" in found[os.getpid()].command


def test_a_deleted_file_that_is_held_open_is_seen_and_counted_once(tmp_path: Path) -> None:
    path = tmp_path / "big log"
    with path.open("wb") as file:
        file.write(b"x" * (3 << 20))
        file.flush()
        os.fsync(file.fileno())
        again = os.dup(file.fileno())
        path.unlink()
        mine = [each for each in deleted_files().deleted if each.pid == os.getpid()]
        os.close(again)
    assert len(mine) == 1
    assert mine[0].files >= 1
    assert 3 << 20 <= mine[0].held_bytes < 4 << 20
    assert mine[0].example == str(path)
    assert not [each for each in deleted_files().deleted if each.example == str(path)]
