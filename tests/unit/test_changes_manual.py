"""What people did by hand, from the journal's lines; one look-up with a stand-in for journalctl."""

import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ai_sysadmin.core.errors import JournalUnavailable
from ai_sysadmin.sources.changes.manual import (
    LINES_MOST,
    Line,
    command_changes,
    commands_in,
    lines_of,
    read_journal,
    switches_in,
)
from ai_sysadmin.sources.changes.subject import Subject
from ai_sysadmin.sources.changes.window import Window

MOMENT = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
WINDOW = Window.before(MOMENT, timedelta(hours=24), now=MOMENT + timedelta(hours=1))
NGINX = Subject("nginx.service", names=frozenset({"nginx"}), paths=("/srv/web",))
SYSTEM = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nixos-system-host-24.05"


def line(message: str, identifier: str = "sudo", comm: str | None = None, ago: int = 30, pid: str = "77") -> Line:
    return Line(MOMENT - timedelta(seconds=ago), message, identifier, identifier if comm is None else comm, pid)


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        (
            line("   alice : TTY=pts/0 ; PWD=/home/alice ; USER=root ; COMMAND=/usr/bin/systemctl restart nginx"),
            "alice ran as root: /usr/bin/systemctl restart nginx",
        ),
        (line("bob : PWD=/ ; USER=root ; COMMAND=/usr/bin/nixos-rebuild switch"), "bob ran as root: /usr/bin/nixos-"),
        (
            line(
                "alice : TTY=pts/0 ; PWD=/a ; b ; USER=root ; GROUP=adm ; ENV=A=1 ; COMMAND=/bin/sh -c echo ; COMMAND=x"
            ),
            "alice ran as root: /bin/sh -c echo ; COMMAND=x",
        ),
        (line("alice ran command apt upgrade as root from /home/alice", "doas"), "alice ran as root: apt upgrade"),
        (
            line(
                "alice: Executing command [USER=root] [TTY=unknown] [CWD=/home/alice] [COMMAND=/usr/bin/id]", "pkexec"
            ),
            "alice ran as root: /usr/bin/id",
        ),
        (
            line(
                "Operator of unix-process:17976:868909 successfully authenticated as unix-user:root to gain ONE-SHOT"
                " authorization for action org.freedesktop.systemd1.manage-units for system-bus-name::1.140"
                " [systemctl restart nginx] (owned by unix-user:alice)",
                "polkitd(authority=local)",
                "polkitd",
            ),
            "alice ran as root: systemctl restart nginx (org.freedesktop.systemd1.manage-units)",
        ),
        (
            line("Reload requested from client PID 822 ('systemctl') (unit session-3.scope)...", "systemd", pid="1"),
            "session-3.scope: reload of systemd, asked for by systemctl",
        ),
        (line("Reload requested from client PID 822 ('systemctl')...", "systemd"), None),
        (line("pam_unix(sudo:session): session opened for user root(uid=0) by alice(uid=1000)"), None),
        (line("alice : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/ls", "cron"), None),
    ],
)
def test_a_line_is_a_command(entry: Line, what: str | None) -> None:
    changes = command_changes(list(commands_in([entry])), WINDOW, NGINX)
    assert [each.what.startswith(what or "never") for each in changes] == ([True] if what else [])
    assert all(each.kind == "command" and each.at == entry.at for each in changes)


@pytest.mark.parametrize(
    ("command", "is_related"),
    [
        ("/usr/bin/systemctl restart nginx", True),
        ("/usr/bin/systemctl restart nginx.service", True),
        ("/usr/bin/vi /srv/web/site.conf", True),
        ("/usr/bin/vi /etc/nginx/nginx.conf", True),
        ("/usr/bin/systemctl restart apache2", False),
        ("/usr/bin/apt-get --nginx update", False),
    ],
)
def test_a_command_that_names_the_unit_or_its_files_belongs_to_it(command: str, is_related: bool) -> None:
    said = f"alice : PWD=/ ; USER=root ; COMMAND={command}"
    [change] = command_changes(list(commands_in([line(said)])), WINDOW, NGINX)
    assert change.unit_related is is_related


def test_what_sudo_refused_or_did_not_write_itself_is_marked() -> None:
    refused = "alice : command not allowed ; TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/ls"
    forged = "root : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/sbin/reboot"
    named, unnamed = line(forged, comm="logger", ago=20), line(forged.replace("reboot", "halt"), comm="", ago=10)
    commands = list(commands_in([line(refused), named, unnamed]))
    changes = sorted(command_changes(commands, WINDOW, NGINX), key=lambda each: each.at)
    assert [each.details for each in changes] == [
        ("refused: command not allowed",),
        ("the line was written by logger, not by sudo itself",),
        ("the line was written by some program, not by sudo itself",),
    ]


@pytest.mark.parametrize("identifier", ["sudo", "doas", "pkexec", "polkitd"])
@pytest.mark.parametrize(
    "message",
    [
        "a : " + "A= ; " * 100_000,
        "a ran command " + " as a" * 100_000,
        "a: Executing command [USER=" + "]" * 100_000,
        "authenticated as unix-user:a to gain a authorization for action a for a [" + "] (owned by " * 50_000,
    ],
    ids=["sudo", "doas", "pkexec", "polkit"],
)
def test_a_line_made_to_be_slow_is_not(identifier: str, message: str) -> None:
    began = time.process_time()
    assert list(commands_in([line(message, identifier)])) == []
    assert time.process_time() - began < 0.1


def test_equal_commands_are_one_with_the_last_ones_time() -> None:
    said = "nagios : PWD=/ ; USER=root ; COMMAND=/usr/lib/check_disk"
    lines = [line(said, ago=60 * minutes) for minutes in range(1, 13)]
    [change] = command_changes(list(commands_in(lines)), WINDOW, NGINX)
    assert change.what.endswith("check_disk (12 times; this was the last)")
    assert change.at == MOMENT - timedelta(minutes=1)


def test_commands_outside_the_time_are_not_told() -> None:
    said = "alice : PWD=/ ; USER=root ; COMMAND=/bin/ls"
    commands = list(commands_in([line(said, ago=-30), line(said, ago=25 * 3600), line(said, ago=-4)]))
    assert [each.at for each in command_changes(commands, WINDOW, NGINX)] == [MOMENT + timedelta(seconds=4)]


def test_a_switch_is_known_by_its_system() -> None:
    begun = line(f"switching to system configuration {SYSTEM}", "nixos")
    ended = line(f"finished switching to system configuration {SYSTEM}", "nixos")
    forged = line(f"switching to system configuration {SYSTEM}", "web")
    strange = line("switching to system configuration /etc/../tmp", "nixos")
    assert list(switches_in([begun, ended, forged, strange])) == [(begun.at, SYSTEM)]


def test_bytes_and_rubbish_in_journalctls_output_do_no_harm() -> None:
    rows = [
        json.dumps({"__REALTIME_TIMESTAMP": "1700000000000000", "MESSAGE": [104, 105, 255], "_COMM": "sudo"}),
        "not json",
        json.dumps({"MESSAGE": "no time"}),
        json.dumps(["a", "list"]),
        json.dumps({"__REALTIME_TIMESTAMP": "1700000000000000", "MESSAGE": None}),
    ]
    assert [each.message for each in lines_of("\n".join(rows).encode())] == ["hi\ufffd", ""]


def journalctl(directory: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    directory.mkdir()
    program = directory / "journalctl"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")


async def test_the_journal_is_asked_once_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"__REALTIME_TIMESTAMP": str(int(MOMENT.timestamp() * 1e6)), "SYSLOG_IDENTIFIER": "sudo"}
    row["MESSAGE"] = "alice : PWD=/ ; USER=root ; COMMAND=/bin/ls"
    journalctl(tmp_path / "bin", monkeypatch, f"echo \"$@\" >> '{tmp_path}/asked'\necho '{json.dumps(row)}'")
    manual = await read_journal(Path("/"), tmp_path / "journal", WINDOW)
    assert [each.text for each in manual.commands] == ["/bin/ls"]
    [asked] = (tmp_path / "asked").read_text().splitlines()
    for part in (
        f"--directory={tmp_path}/journal",
        f"--since=@{int((MOMENT - timedelta(days=1)).timestamp())}",
        f"--until=@{int(MOMENT.timestamp()) + 6}",
        f"--lines={LINES_MOST}",
        "SYSLOG_IDENTIFIER=sudo + _COMM=sudo",
        "CODE_FUNC=log_caller",
    ):
        assert part in asked


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo 'No journal files were found.' >&2", "no journal files were found"),
        ("echo 'Hint: You are currently not seeing messages from other users and the system.' >&2", "permission"),
        ("exit 7", "ended with status 7"),
        ("exec sleep 20", "took longer"),
    ],
)
async def test_a_journal_that_cannot_be_asked_is_an_error_that_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, why: str
) -> None:
    journalctl(tmp_path / "bin", monkeypatch, script)
    with pytest.raises(JournalUnavailable, match=why):
        await read_journal(Path("/"), tmp_path, WINDOW)


async def test_that_lines_were_left_out_is_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = json.dumps({"__REALTIME_TIMESTAMP": "1700000000000000", "MESSAGE": "x"})
    journalctl(tmp_path / "bin", monkeypatch, f"for i in $(seq {LINES_MOST}); do echo '{row}'; done")
    [gap] = (await read_journal(Path("/"), tmp_path, WINDOW)).gaps
    assert str(LINES_MOST) in gap
