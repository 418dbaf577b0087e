"""executor/holds.py and executor/halt.py: what is in the way of an action, and the file that stops everything."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ai_sysadmin.core.errors import StoreUnavailable, SystemdUnavailable
from ai_sysadmin.executor.halt import HaltSwitch
from ai_sysadmin.executor.holds import (
    SWITCH_LOCK,
    HoldKind,
    SystemHolds,
    UnitAtWork,
    at_a_terminal,
    hold_of,
    is_locked,
)
from ai_sysadmin.runtime.bus import BusRefused
from tests.builders import NOW

UNIT = "web.service"
FILE = "/etc/systemd/system/web.service"


class Bus:
    """The bus of a manager that knows one unit; ``properties`` take the place of what it says of it."""

    def __init__(self, fails: Exception | None = None, **properties: object) -> None:
        self.fails = fails
        self.properties = {"Job": (0, "/"), "NeedDaemonReload": False, "FragmentPath": FILE, "DropInPaths": []}
        self.properties |= properties

    async def call(self, _path, _interface, member, _signature="", body=(), **_more):
        if self.fails:
            raise self.fails
        if body[0] != UNIT:
            raise BusRefused("org.freedesktop.systemd1.NoSuchUnit", "not loaded")
        return ["/unit"]

    async def property(self, _path, _interface, name):
        return self.properties[name]


@pytest.fixture
def root(tmp_path):
    (tmp_path / "run/nixos").mkdir(parents=True)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/locks").symlink_to("/proc/locks")
    (tmp_path / FILE.lstrip("/")).parent.mkdir(parents=True)
    written(tmp_path, FILE, 7200)
    return tmp_path


def written(root: Path, file: str, seconds_ago: float) -> None:
    path = root / file.lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (time.time() - seconds_ago,) * 2)


def process(root: Path, pid: int, *argv: str, tty: int = 34816, comm: bytes = b"vim", words: bytes = b"") -> None:
    directory = root / "proc" / str(pid)
    directory.mkdir(parents=True)
    (directory / "stat").write_bytes(b"%d (%s) S 1 %d %d %d -1 4194304" % (pid, comm, pid, pid, tty))
    (directory / "cmdline").write_bytes(words or b"\0".join(word.encode() for word in argv) + b"\0")


@contextmanager
def locked(path: Path, how: int = fcntl.LOCK_EX) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, how)
        yield


async def look(root, bus=None, units=(UNIT,)):
    return await SystemHolds(bus or Bus(), root).look(units, 600)


async def test_nothing_is_in_the_way(root):
    assert await look(root) is None
    assert await look(root, units=("gone.service",)) is None
    assert await look(root, units=()) is None


async def test_a_switch_of_the_configuration_is_waited_for(root):
    with locked(root / SWITCH_LOCK):
        hold = await look(root, units=())
        assert (hold.kind, hold.why) == (HoldKind.PASSES, "the NixOS configuration is being switched")
    assert await look(root) is None


def test_looking_at_a_lock_never_makes_a_switch_fail(root):
    path = root / SWITCH_LOCK
    path.touch()
    tries = 0
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        with path.open("w") as file:
            assert not is_locked(path)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # what switch-to-configuration does
            assert is_locked(path)
            tries += 1
    assert tries > 3


@pytest.mark.parametrize("trap", ["directory", "pipe", "link to nowhere", "no list of locks"])
def test_who_cannot_tell_whether_it_is_locked_says_so(root, trap):
    path = root / SWITCH_LOCK
    match trap:
        case "directory":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "link to nowhere":
            path.symlink_to("/nowhere")
        case "no list of locks":
            path.touch()
            (root / "proc/locks").unlink()
    assert is_locked(path, root / "proc")


async def test_a_job_of_systemds_own_is_waited_for(root):
    hold = await look(root, Bus(Job=(42, "/job/42")))
    assert (hold.kind, hold.why) == (HoldKind.PASSES, f"systemd has a job of its own for {UNIT}")


async def test_files_that_systemd_has_not_read_again_are_a_persons(root):
    hold = await look(root, Bus(NeedDaemonReload=True))
    assert hold.kind is HoldKind.PERSON
    assert "has not read them again" in hold.why


@pytest.mark.parametrize(
    ("file", "seconds_ago", "asks"),
    [
        (FILE, 5, True),
        (FILE, 599, True),
        (FILE, 601, False),
        (FILE, -30, True),  # the clock was set back meanwhile
        (FILE, -90_000, False),  # a file of the far future says nothing
        ("/etc/systemd/system/web.service.d/10-mine.conf", 5, True),
        ("/run/systemd/system/web.service.d/override.conf", 5, True),  # systemctl edit --runtime
        ("/run/systemd/generator/web.service", 5, False),
        ("/run/systemd/generator.late/web.service", 5, False),
        ("/run/systemd/transient/web.service", 5, False),
    ],
)
async def test_a_file_that_was_changed_a_moment_ago_is_a_persons(root, file, seconds_ago, asks):
    written(root, file, seconds_ago)
    fragment = {"FragmentPath": file} if file.endswith("web.service") else {"DropInPaths": [file]}
    hold = await look(root, Bus(**fragment))
    assert (hold is not None) is asks
    if asks:
        assert hold.kind is HoldKind.PERSON
        assert file in hold.why


def test_a_file_that_is_gone_says_nothing(root):
    unit = UnitAtWork(name=UNIT, files=("/etc/gone.service",))
    assert hold_of(unit, root, 600, time.time()) is None


async def test_systemd_that_does_not_answer_is_not_taken_for_all_well(root):
    with pytest.raises(SystemdUnavailable):
        await look(root, Bus(SystemdUnavailable("no answer")))


@pytest.mark.parametrize(
    ("argv", "asks"),
    [
        (("systemctl", "edit", "web.service"), True),
        (("journalctl", "-fu", "web"), True),
        (("vim", "/etc/systemd/system/web.service"), True),
        (("nano", "/etc/systemd/system/web.service.d/override.conf"), True),
        (("web", "--serve"), False),  # the program itself
        (("vim", "/srv/website/index.html"), False),
        (("ls",), False),
    ],
)
def test_somebody_at_a_terminal(root, argv, asks):
    process(root, 100, *argv)
    hold = at_a_terminal((UNIT,), root / "proc")
    assert (hold is not None) is asks
    if asks:
        assert hold.why == f"somebody runs {argv[0]} on {UNIT} at a terminal"


def test_what_has_no_terminal_is_nobodys(root):
    process(root, 100, "systemctl", "restart", "web.service", tty=0)
    assert at_a_terminal((UNIT,), root / "proc") is None


@pytest.mark.parametrize("comm", [b"\xff\xfe", b"a) S 0 0 0 0", b"(", b"", b"\n1 (x) S 1 1 1 0"])
def test_any_user_may_name_a_process_as_they_like(root, comm):
    process(root, 100, "vim", "web.service", comm=comm)
    assert at_a_terminal((UNIT,), root / "proc") is not None


def test_a_process_says_nothing_in_the_executors_name(root):
    process(root, 100, words=b"/x/vi: approved by root\x1b[2J\0web.service\0")
    assert at_a_terminal((UNIT,), root / "proc").why == f"somebody runs a program on {UNIT} at a terminal"


def test_processes_that_come_and_go_are_passed_over(root):
    (root / "proc/200").mkdir()
    (root / "proc/300").mkdir()
    (root / "proc/300/stat").write_bytes(b"300 (x")
    process(root, 400, words=b"\xff\0\xfe\0")
    assert at_a_terminal((UNIT,), root / "proc") is None
    assert at_a_terminal((UNIT,), root / "nowhere") is None


# --- the file that stops everything


@pytest.fixture
def switch(tmp_path):
    return HaltSwitch(tmp_path)


def test_it_halts_and_goes_on(switch):
    assert switch.halted() is None
    switch.halt("ada", "I am looking", NOW)
    assert switch.halt("bob", "me too", NOW).by == "ada"
    assert switch.halted() == switch.resume()
    assert switch.halted() is None


@pytest.mark.parametrize(
    "trap", ["empty", "huge", "no JSON", "binary", "directory", "pipe", "link", "dangling", "zero"]
)
def test_whatever_is_there_halts_at_once(switch, tmp_path, trap):
    path = switch.path
    match trap:
        case "empty":
            path.touch()
        case "huge":
            with path.open("wb") as file:
                file.truncate(1 << 40)
        case "no JSON":
            path.write_text("stop!")
        case "binary":
            path.write_bytes(bytes(range(256)) * 8)
        case "directory":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "link":
            elsewhere = tmp_path / "elsewhere"
            elsewhere.write_text(f'{{"by": "nobody", "why": "forged", "at": "{NOW.isoformat()}"}}')
            path.symlink_to(elsewhere)
        case "dangling":
            path.symlink_to("/nowhere")
        case "zero":
            path.symlink_to("/dev/zero")
    began = time.monotonic()
    assert switch.halted().by == "whoever made the file"
    assert switch.halt("ada", "now", NOW).by == "whoever made the file"
    assert time.monotonic() - began < 1


def test_a_directory_in_its_place_is_a_persons_to_remove(switch):
    switch.path.mkdir()
    with pytest.raises(StoreUnavailable, match="remove it as root"):
        switch.resume()
    assert switch.halted() is not None


def test_a_halt_that_cannot_be_written_halts_all_the_same(tmp_path):
    switch = HaltSwitch(tmp_path / "gone")
    with pytest.raises(StoreUnavailable, match="until the executor is restarted"):
        switch.halt("ada", "the disk is full", NOW)
    assert switch.halted().why == "the disk is full"
    (tmp_path / "gone").mkdir()
    assert switch.resume().by == "ada"
    assert switch.halted() is None


def test_who_cannot_look_does_not_begin(tmp_path):
    (tmp_path / "file").touch()
    halted = HaltSwitch(tmp_path / "file").halted()
    assert halted is not None
    assert (datetime.now(UTC) - halted.at).total_seconds() < 60
