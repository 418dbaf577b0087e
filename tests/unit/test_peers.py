"""runtime/peers.py: who is at the other end of a socket, as the kernel says; and whom that makes an operator."""

import grp
import os
import pwd
import socket
import subprocess
import sys

import pytest

from ai_sysadmin.core.settings import Executor, Settings
from ai_sysadmin.executor.decide import why_no_operator
from ai_sysadmin.runtime.peers import Peer, peer_of
from tests.builders import HOST

NOBODY = pwd.getpwnam("nobody")
ADM, SYS = (grp.getgrnam(name).gr_gid for name in ("adm", "sys"))
CONNECTS = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect('\\0' + sys.argv[1]); s.recv(1)"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")


def peer(**who: object) -> Peer:
    """Return what is seen of a process of another user that connects."""
    name = f"ai-sysadmin-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"\0{name}")  # no file: its directory would be closed to others
        listening.listen(1)
        listening.settimeout(10)
        with subprocess.Popen((sys.executable, "-I", "-c", CONNECTS, name), cwd="/", **who) as child:
            connection, _ = listening.accept()
            with connection:
                found = peer_of(connection)
        assert child.returncode == 0
    return found


@needs_root
@pytest.mark.parametrize(
    ("uid", "gid", "further", "user", "groups"),
    [
        (NOBODY.pw_uid, NOBODY.pw_gid, [], "nobody", {grp.getgrgid(NOBODY.pw_gid).gr_name}),
        (NOBODY.pw_uid, ADM, [SYS], "nobody", {"adm", "sys"}),
        (54321, 54321, [54322], "uid 54321", set()),
        (54321, ADM, list(range(60000, 60300)), "uid 54321", {"adm"}),  # more groups than are asked for
        (54321, 54321, [SYS, *range(60000, 60200)], "uid 54321", {"sys"}),
        (0, 0, [], "root", {"root"}),
    ],
)
def test_who_is_asking(uid, gid, further, user, groups):
    assert peer(user=uid, group=gid, extra_groups=further) == Peer(uid, user, frozenset(groups))


@needs_root
def test_it_is_as_of_the_connection(tmp_path):
    """A process that gives its groups up, or takes others, after it connected is who it was."""
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        before = peer_of(ours)
        child = os.fork()
        if child == 0:
            os.setgroups([ADM])
            os.setuid(NOBODY.pw_uid)
            os._exit(0)
        os.waitpid(child, 0)
        assert peer_of(ours) == before
        assert before.uid == 0


SETTINGS = Settings(
    host_name=HOST,
    operators=("ada", "@wheel"),
    executor=Executor(service_users=("ai-sysadmin", "ai-sysadmin-api")),
)


@pytest.mark.parametrize(
    ("uid", "user", "groups", "may"),
    [
        (0, "root", (), True),
        (1000, "ada", (), True),
        (1001, "bob", ("wheel",), True),
        (1001, "bob", ("users", "wheel"), True),
        (1001, "bob", ("ada",), False),  # a group of an operator's name is no operator
        (1001, "wheel", (), False),  # nor is a user of a group's
        (1001, "@wheel", (), False),
        (1001, "bob", ("@wheel",), False),
        (1001, "uid 1001", (), False),
        (990, "ai-sysadmin", ("wheel",), False),  # the suite's own, whatever their groups
        (991, "ai-sysadmin-api", (), False),
        (0, "ai-sysadmin", (), False),
    ],
)
def test_operators(uid, user, groups, may):
    reason = why_no_operator(Peer(uid, user, frozenset(groups)), SETTINGS, 0)
    assert (reason is None) is may


def test_an_ordinary_users_executor_is_their_own():
    asks = Peer(1000, "bob")
    assert why_no_operator(asks, SETTINGS, 1000) is None
    assert why_no_operator(asks, SETTINGS, 1001) is not None
    polkit = SETTINGS.model_copy(update={"executor": SETTINGS.executor.model_copy(update={"rights": "polkit"})})
    assert why_no_operator(asks, polkit, 1000) is not None
