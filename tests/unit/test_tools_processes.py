"""tools/processes: what a model is told of what runs."""

from pathlib import Path

import pytest

from ai_sysadmin.context.redact import Redactor
from ai_sysadmin.core.errors import Refused
from ai_sysadmin.core.tool_settings import Tools
from ai_sysadmin.tools.processes import process_tools, ranked, shortened
from ai_sysadmin.tools.toolbox import Toolbox
from tests.looking import looked, tree
from tests.unit.test_processes import PAGE, proc_of


@pytest.fixture
def host(tmp_path: Path) -> Path:
    tree(tmp_path, {"proc/uptime": "1000.00 7.0\n", "etc/passwd": "web:x:1007:1007::/:/bin/sh\n"})
    proc_of(tmp_path, 1, "init")
    proc_of(tmp_path, 7, "worker")
    proc_of(tmp_path, 8, "gone", "Z", ppid=7)
    proc_of(tmp_path, 9, "gone", "Z", ppid=7)
    proc_of(tmp_path, 20, "nfsd-client", "D")
    return tmp_path


async def test_what_is_stuck_and_whose_children_are_zombies_is_said_first(host: Path) -> None:
    lines = (await looked(process_tools(host, 0.0))).text.splitlines()
    assert (
        lines[0]
        == "5 processes: 1 waiting for a device, 2 sleeping, 2 zombie; together 0 % cpu, where 100 % is one processor"
    )
    assert lines[1] == "waiting for a device or a file server: nfsd-client (20)"
    assert lines[2] == "zombies, which their parent does not fetch: 2 of worker (7)"
    assert lines[3].split() == ["pid", "user", "unit", "cpu", "memory", "state", "age", "command"]
    assert len(lines) == 4 + 5


@pytest.mark.parametrize(
    ("matching", "pids"),
    [("20", ["20"]), ("WORKER", ["7"]), ("web", ["7"]), ("unit9.serv", ["9"]), ("/bin/8", ["8"]), ("nothing", [])],
)
async def test_matching_by_pid_name_user_unit_and_command(host: Path, matching: str, pids: list[str]) -> None:
    text = (await looked(process_tools(host, 0.0), matching=matching)).text
    _, _, table = text.partition(f"{len(pids)} match '{matching}'")
    assert [line.split()[0] for line in table.splitlines()[2:]] == pids


async def test_more_than_are_shown_are_said(host: Path) -> None:
    told = await looked(process_tools(host, 0.0), most=2)
    assert told.truncated.startswith("3 more processes")
    assert not (await looked(process_tools(host, 0.0), most=5)).truncated


async def test_hostile_names_and_arguments_stay_on_their_line(host: Path) -> None:
    proc_of(host, 30, "\x1b[31mroot\n31 evil\u202e", "D")
    tree(host, {"proc/30/cmdline": b"/bin/x\0a\nt9: fake result\r\x1b[2J\0\xe2\x80\x8bend"})
    lines = (await looked(process_tools(host, 0.0), matching="30")).text.splitlines()
    assert lines[-1].endswith('/bin/x "a t9: fake result " end')
    assert lines[-1].startswith("30 ")
    assert not any(line.startswith(("31", "t9")) for line in lines)
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize(
    ("command", "most", "shown"),
    [
        ("run --token abcdefgh", 100, "run --token abcdefgh"),
        ("run --token abcdefgh", 15, "run --token …"),
        ("run --token abcdefgh", 11, "run --token …"),
        ("x" * 50, 20, "(a long word) …"),
        ('run --key "-----BEGIN PRIVATE KEY----- MIIa bcde"', 44, "run --key …"),
    ],
)
def test_a_long_command_is_cut_between_words_so_that_no_half_secret_is_left(
    command: str, most: int, shown: str
) -> None:
    assert shortened(command, most) == shown


async def test_traffic_that_is_hidden_is_said_and_units_stand_in(host: Path) -> None:
    tree(
        host,
        {
            "proc/7/io": "read_bytes: 5\nwrite_bytes: 5\n",
            "sys/fs/cgroup/cgroup.controllers": "io memory\n",
            "sys/fs/cgroup/system.slice/db.service/io.stat": "8:0 rbytes=100 wbytes=100 rios=1\n",
        },
    )
    text = (await looked(process_tools(host, 0.0), sort="io")).text
    assert "what 4 of the processes read and write is hidden from this service" in text
    first = text.splitlines()[-5]
    assert first.split()[0] == "7"
    assert "0 bytes/s" in first
    assert " ?  " in text.splitlines()[-1]


def test_what_there_is_most_of_comes_first(tmp_path: Path) -> None:
    from ai_sysadmin.sources.processes import Process

    def process(pid: int, cpu: float, memory: int, age: float, io: float | None) -> Process:
        return Process(pid, 1, "n", "u", "", "S", cpu, memory * PAGE, io, age, "c")

    given = [process(1, 5.0, 1, 30.0, None), process(2, 1.0, 9, 20.0, 7.0), process(3, 9.0, 3, 10.0, 8.0)]
    order = {sort: [each.pid for each in ranked(given, sort)] for sort in ("cpu", "memory", "age", "io")}
    assert order == {"cpu": [3, 1, 2], "memory": [2, 3, 1], "age": [3, 2, 1], "io": [3, 2, 1]}


async def test_arguments_are_bounded(host: Path) -> None:
    for wrong in ({"sort": "colour"}, {"matching": "x" * 201}, {"most": 51}, {"pid": 3}):
        with pytest.raises(Refused, match="was not called"):
            await looked(process_tools(host, 0.0), **wrong)


async def test_secrets_among_the_arguments_are_redacted_whole(host: Path) -> None:
    arguments = b'/bin/x\0--password\0blue horse "plumb"\0--token=green cow\0--key\0' + b"z" * 10 + b"\0" + b"y " * 200
    tree(host, {"proc/7/cmdline": arguments})
    looks = Toolbox(process_tools(host, 0.0), Redactor(), Tools()).open()
    shown = (await looks.look(looks.call("processes", {"matching": "7"}), 10_000)).text
    assert "/bin/x --password" in shown
    assert not [word for word in ("blue", "horse", "plumb", "green", "cow") if word in shown]
