"""Whose a listening socket is, by the cgroup that it was made in."""

import os
import socket
import struct

import pytest

from ai_sysadmin.sources.socket_units import Holder, asked, holders_by_cgroup, parsed

DONE = struct.pack("=IHHII", 20, 3, 2, 1, 0) + bytes(4)


def message(inode, cgroup=None):
    attributes = struct.pack("=HH", 5, 8) + b"\x01" + bytes(3)  # one byte of something else, and its padding
    if cgroup is not None:
        attributes += struct.pack("=HHQ", 12, 21, cgroup)
    body = bytes(68) + struct.pack("=I", inode) + attributes
    return struct.pack("=IHHII", 16 + len(body), 20, 2, 1, 0) + body


def test_an_answer_is_read_up_to_its_end():
    assert parsed(message(7, 4711) + message(8, 4712) + message(9)) == ({7: 4711, 8: 4712}, False)
    assert parsed(message(7, 4711) + DONE + message(8, 4712)) == ({7: 4711}, True)


@pytest.mark.parametrize("answer", [b"", b"\x01", bytes(16), message(7, 4711)[:30], message(7, 4711)[:-9], DONE[:10]])
def test_an_answer_cut_short_is_read_as_far_as_it_goes(answer):
    assert parsed(answer)[0] == {}


def test_this_very_process_s_socket_is_among_them():
    with socket.create_server(("127.0.0.1", 0)) as own:
        inode = os.fstat(own.fileno()).st_ino
        try:
            found = dict(asked())
        except OSError as error:
            pytest.skip(f"netlink may not be asked here: {error}")
    assert inode in found


@pytest.mark.parametrize("tree", ["sys/fs/cgroup", "sys/fs/cgroup/unified"])
def test_a_cgroup_is_a_service_s(tmp_path, tree):
    web = tmp_path / tree / "system.slice/web.service"
    worker = web / "worker"
    session = tmp_path / tree / "user.slice/session-1.scope"
    for directory, pids in ((web, ""), (worker, "11\n12\n"), (session, "13\n")):
        directory.mkdir(parents=True)
        (directory / "cgroup.procs").write_text(pids)
    for pid, name in ((11, "python3"), (12, "python3"), (13, "bash")):
        (tmp_path / f"proc/{pid}").mkdir(parents=True)
        (tmp_path / f"proc/{pid}/comm").write_text(f"{name}\n")
    numbers = [(inode, each.stat().st_ino) for inode, each in enumerate((web, worker, session))]
    assert holders_by_cgroup(tmp_path, lambda: [*numbers, (3, 1)]) == {
        0: Holder("web.service", ""),
        1: Holder("web.service", "python3"),
    }


def test_where_the_kernel_may_not_be_asked_nobody_is_known(tmp_path):
    def forbidden():
        raise PermissionError("address family not supported")

    assert holders_by_cgroup(tmp_path, forbidden) == {}
