"""logind as the executor asks it: sleep that waits, and who is logged in."""

import logging
import os
from typing import Any

import pytest

from ai_sysadmin.actions.action import Session
from ai_sysadmin.core.errors import SystemdUnavailable
from ai_sysadmin.executor.inhibitor import Inhibitor
from ai_sysadmin.executor.sessions import LogindSessions, session_of
from ai_sysadmin.runtime.bus import BusRefused, Variant


class Logind:
    """logind on a bus. ``faults`` are raised by the next calls for a descriptor, in order."""

    def __init__(self, *faults: Exception) -> None:
        self.faults = list(faults)
        self.asked: list[str] = []
        self.pipes: list[tuple[int, int]] = []

    async def descriptor(self, _path: str, _interface: str, _member: str, _signature: str, body: Any, _to: str) -> int:
        self.asked.append(body[0])
        if self.faults:
            raise self.faults.pop(0)
        self.pipes.append(os.pipe())
        return self.pipes[-1][1]

    def released(self) -> list[bool]:
        """Tell of each lock whether its last writer is gone, as logind does."""
        return [os.read(reading, 1) == b"" for reading, _writing in self.pipes]


async def test_both_locks_are_let_go_also_when_the_block_fails():
    logind = Logind()
    with pytest.raises(ZeroDivisionError):
        async with Inhibitor(logind).held("mending") as delays:  # type: ignore[arg-type]
            assert delays
            assert logind.asked == ["sleep", "shutdown"]
            raise ZeroDivisionError
    assert logind.released() == [True, True]


@pytest.mark.parametrize("fault", [SystemdUnavailable("no logind"), BusRefused("AccessDenied", "no")])
async def test_without_logind_it_goes_on_says_so_once_and_does_not_ask_each_time(fault, caplog):
    logind = Logind(fault)
    inhibitor = Inhibitor(logind)  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            async with inhibitor.held("mending") as delays:
                assert not delays
    assert logind.asked == ["sleep"]
    assert len(caplog.records) == 1


TTY = {
    "State": "active",
    "Class": "user",
    "User": (1000, "/user"),
    "Name": "alice",
    "Remote": False,
    "RemoteHost": "",
    "TTY": "tty1",
    "Leader": 42,
    "Type": "tty",
}
SSH = TTY | {"Remote": True, "RemoteHost": "203.0.113.7", "TTY": "pts/0"}
ALICE = Session(user="alice", uid=1000, tty="tty1", leader=42, kind="tty")


@pytest.mark.parametrize(
    ("given", "session"),
    [
        (TTY, ALICE),
        (SSH, ALICE.model_copy(update={"remote_host": "203.0.113.7", "tty": "pts/0"})),
        (SSH | {"RemoteHost": ""}, ALICE.model_copy(update={"remote_host": "unknown", "tty": "pts/0"})),
        (TTY | {"RemoteHost": "forged"}, ALICE),
        (TTY | {"State": "closing"}, None),
        (TTY | {"Class": "greeter"}, None),
        (TTY | {"Class": "manager"}, None),
    ],
)
def test_a_session_is_read_as_logind_means_it(given, session):
    assert session_of(given) == session


class Sessions:
    """logind with some sessions by path; a fault stands for one that cannot be looked at."""

    def __init__(self, sessions: dict[str, dict[str, Any] | Exception]) -> None:
        self.sessions = sessions

    async def call(self, path: str, _interface: str, member: str, *_more: Any, **_named: Any) -> list[Any]:
        if member == "ListSessions":
            return [[["1", 1000, "alice", "seat0", path] for path in self.sessions]]
        found = self.sessions[path]
        if isinstance(found, Exception):
            raise found
        return [
            {name: Variant("(uo)" if name == "User" else _signature(value), value) for name, value in found.items()}
        ]


def _signature(value: object) -> str:
    return {str: "s", bool: "b", int: "u"}[type(value)]


async def test_a_session_that_ended_meanwhile_is_left_out():
    gone = BusRefused("org.freedesktop.login1.NoSuchSession", "gone")
    bus = Sessions({"/a": TTY, "/b": gone})
    assert await LogindSessions(bus).live() == [ALICE]  # type: ignore[arg-type]


async def test_a_session_that_nobody_may_see_is_an_error_not_nobody():
    with pytest.raises(SystemdUnavailable):
        await LogindSessions(Sessions({"/a": BusRefused("AccessDenied", "no")})).live()  # type: ignore[arg-type]
