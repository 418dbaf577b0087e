"""The executor's sockets as systemd makes them, and those who may not decide: users, and roots of user namespaces.

A root of a user namespace of its own is, to the kernel outside, whoever made it.
"""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ai_sysadmin.core.acting import ActionRequest, Origin
from ai_sysadmin.core.clock import SystemClock
from ai_sysadmin.core.records import ProposedAction
from ai_sysadmin.executor.admission import STRANGERS
from tests.system.machine import Machine
from tests.system.suite import Suite

SUITE = Suite(start=())
PROGRAM = Path(__file__).with_name("executor_program.py")
PROPOSE, OPERATE = "/run/ai-sysadmin/propose.sock", "/run/ai-sysadmin/operate.sock"
EXECUTOR = "ai-sysadmin-executor.service"
UNIT = "t-held.service"
OUTSIDE: Sequence[str] = ()
INSIDE = ("unshare", "--user", "--map-root-user")
UNMAPPED = ("unshare", "--user")
HOLD = """
import socket, sys, time
held = []
for _ in range(200):
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(sys.argv[1])
        connection.sendall(b'{"do": "appr')
    except OSError:
        pass
    held.append(connection)
time.sleep(3600)
"""


@pytest.fixture(scope="module")
def machine(suite_machine: Machine) -> Machine:
    suite_machine.put(PROGRAM, "/opt/executor_program.py")
    suite_machine.put(HOLD, "/opt/hold.py")
    suite_machine.put("[Service]\nExecStart=/bin/sleep infinity\n", f"/run/systemd/system/{UNIT}")
    suite_machine.systemctl("daemon-reload").ok()
    suite_machine.systemctl("start", UNIT).ok()
    return suite_machine


@pytest.fixture(scope="module")
def waiting(machine: Machine) -> ActionRequest:
    """An action that waits for a person."""
    action = ProposedAction(name="restart_unit", arguments={"unit": UNIT})
    wanted = ActionRequest.propose(machine.name, "abcdef", action, Origin.REVIEW, "it failed", SystemClock().now())
    (answer,) = ask(machine, PROPOSE, "ai-sysadmin", [{"do": "propose", "request": wanted.model_dump(mode="json")}])
    assert answer["actions"][0]["state"] == "pending"
    return wanted


def ask(
    machine: Machine, path: str, user: str, frames: Sequence[Mapping[str, Any]], prefix: Sequence[str] = OUTSIDE
) -> Sequence[Mapping[str, Any]]:
    machine.put(json.dumps(frames), "/opt/frames.json")
    argv = [*prefix, "/usr/bin/python3", "/opt/executor_program.py", path, "/opt/frames.json"]
    return list(machine.run(argv, user=None if user == "root" else user).ok().json)


@pytest.mark.parametrize("prefix", [OUTSIDE, INSIDE, UNMAPPED], ids=["plainly", "as root inside", "unmapped"])
@pytest.mark.parametrize("user", ["bob", "nobody", "ai-sysadmin", "ai-sysadmin-api"])
def test_who_is_no_operator_is_told_no(machine: Machine, waiting: ActionRequest, user: str, prefix: Sequence[str]):
    frames = [
        {"do": "approve", "id": waiting.id},
        {"do": "reject", "id": waiting.id, "why": ""},
        {"do": "resume"},
        {"do": "halt", "why": ""},
        {"do": "read_audit", "since": 0},
        {"do": "register_key", "id": "k22222", "name": "eve", "hash": "0" * 64},
        {"do": "list"},
    ]
    before = machine.show(UNIT, "InvocationID")
    answers = ask(machine, OPERATE, user, frames, prefix)
    assert [each["error"] for each in answers] == ["refused"] * len(frames), answers
    assert machine.show(UNIT, "InvocationID") == before
    (answer,) = ask(machine, OPERATE, "alice", [{"do": "show", "id": waiting.id}])
    assert answer["actions"][0]["state"] == "pending"


@pytest.mark.parametrize("prefix", [OUTSIDE, INSIDE, UNMAPPED], ids=["plainly", "as root inside", "unmapped"])
@pytest.mark.parametrize("user", ["bob", "nobody", "alice"])
def test_only_the_suites_users_may_propose(machine: Machine, waiting: ActionRequest, user: str, prefix: Sequence[str]):
    (answer,) = ask(machine, PROPOSE, user, [{"do": "withdraw", "id": waiting.id, "why": ""}], prefix)
    assert answer["error"] == "PermissionError"


@pytest.mark.parametrize("prefix", [OUTSIDE, INSIDE, UNMAPPED], ids=["plainly", "as root inside", "unmapped"])
def test_an_operator_is_one_in_a_user_namespace_too(machine: Machine, waiting: ActionRequest, prefix: Sequence[str]):
    """It is who the kernel outside says it is, no more and no less."""
    (answer,) = ask(machine, OPERATE, "alice", [{"do": "show", "id": waiting.id}], prefix)
    assert (answer["error"], answer["actions"][0]["id"]) == ("", waiting.id)


def test_two_hundred_connections_that_stay_keep_no_operator_out(machine: Machine, waiting: ActionRequest):
    """Each holds what it gets; those that are closed are opened no more, and the executor's files do not run out."""
    pid = machine.show(EXECUTOR, "MainPID")["MainPID"]
    before = len(list(machine.path(f"/proc/{pid}/fd").iterdir()))
    started = ["systemd-run", "--quiet", "--unit=t-holds", "--uid=bob", "/usr/bin/python3", "/opt/hold.py", OPERATE]
    machine.run(started).ok()
    try:
        time.sleep(1)
        began = time.monotonic()
        (answer,) = ask(machine, OPERATE, "alice", [{"do": "list"}])
        assert answer["error"] == ""
        assert time.monotonic() - began < 3  # most of it is what it takes to start a process inside
        held = len(list(machine.path(f"/proc/{pid}/fd").iterdir()))
        assert held - before <= STRANGERS
    finally:
        machine.systemctl("kill", "--signal=KILL", "t-holds.service")
    assert machine.show(EXECUTOR, "MainPID")["MainPID"] == pid
