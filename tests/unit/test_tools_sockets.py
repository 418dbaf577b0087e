"""tools/sockets and sources/connections: who listens, how many are connected."""

from pathlib import Path

import pytest

from ai_sysadmin.sources.connections import connections, listens_on_loopback
from ai_sysadmin.sources.host import HostUnreadable
from ai_sysadmin.tools.sockets import socket_tools
from tests.looking import looked, tree
from tests.serving import says, serving

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def row(local: str, state: str, *, remote: str = "00000000:0000", uid: int = 0, inode: int = 0) -> str:
    return f"   0: {local} {remote} {state} 00000000:00000000 00:00000000 00000000 {uid:5} 0 {inode} 1 0 100 0 0 10 0\n"


PEER = "0100007F:9C40"
TCP = HEAD + "".join(
    (
        row("00000000:0050", "0A", inode=11),  # 0.0.0.0:80
        row("0100007F:1538", "0A", uid=70, inode=12),  # 127.0.0.1:5432
        row("0100007F:1538", "01", remote=PEER, inode=13),
        row("0100007F:1538", "01", remote=PEER, inode=14),
        row("0100007F:9C40", "01", remote="0100007F:1538"),  # the other end of one of them
        row("0100007F:0050", "06", remote=PEER),
        "garbage\n",
    )
)
TCP6 = HEAD + row("0000000000000000FFFF00000100007F:1F90", "0A", inode=15)  # ::ffff:127.0.0.1:8080


@pytest.fixture
def host(tmp_path: Path) -> Path:
    tree(
        tmp_path,
        {
            "proc/net/tcp": TCP,
            "proc/net/tcp6": TCP6,
            "etc/passwd": "postgres:x:70:70::/:/bin/sh\n",
            "proc/7/comm": "ngi\x1b[31mnx\n",
            "proc/7/cgroup": "0::/system.slice/nginx.service\n",
            "proc/7/fd/placeholder": "",
        },
    )
    (tmp_path / "proc/7/fd/3").symlink_to("socket:[11]")
    return tmp_path


async def test_who_listens_and_how_many_are_connected(host: Path) -> None:
    lines = (await looked(socket_tools(host))).text.splitlines()
    table = [line.split() for line in lines[1:4]]
    assert table[0] == ["tcp", "80", "0.0.0.0", "nginx.service", "nginx", "uid", "0", "0"]
    assert table[1][:3] == ["tcp", "5432", "127.0.0.1"]
    assert table[1][-2:] == ["postgres", "2"]
    assert table[2][1:3] == ["8080", "127.0.0.1"]
    assert lines[-2] == "TCP sockets: 3 established, 3 listening, 1 time-wait"
    assert lines[-1] == "established connections to ports that are listened on: 2 on 5432"


@pytest.mark.parametrize(
    ("matching", "ports"), [("5432", ["5432"]), ("NGINX", ["80"]), ("postgres", ["5432"]), ("543", []), ("mail", [])]
)
async def test_matching(host: Path, matching: str, ports: list[str]) -> None:
    text = (await looked(socket_tools(host), matching=matching)).text
    assert [line.split()[1] for line in text.splitlines() if line.startswith("tcp")] == ports
    assert ("nothing listens that matches" in text) == (not ports)


def test_what_is_listened_on_at_the_loopback(host: Path) -> None:
    assert listens_on_loopback(80, "127.0.0.1", host)
    assert listens_on_loopback(5432, "127.0.0.1", host)
    assert listens_on_loopback(8080, "127.0.0.1", host)
    assert not listens_on_loopback(8080, "[::1]", host)
    assert not listens_on_loopback(5432, "[::1]", host)
    assert not listens_on_loopback(40000, "127.0.0.1", host)  # it is connected, and listens to nobody


async def test_a_port_among_those_of_clients_counts_at_once() -> None:
    async with serving(says(b"")) as port:
        text = (await looked(socket_tools(), matching=str(port))).text
    assert [line.split()[:3] for line in text.splitlines() if line.startswith("tcp")] == [
        ["tcp", str(port), "127.0.0.1"]
    ]


def test_no_table(tmp_path: Path) -> None:
    with pytest.raises(HostUnreadable):
        connections(tmp_path)
