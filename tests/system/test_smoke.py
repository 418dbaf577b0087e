"""The harness itself: a machine boots, and the suite is on it as the module says. No service of ours runs here."""

import json
import stat

import pytest

from tests.system.machine import Machine
from tests.system.suite import Suite

SUITE = Suite(start=())
FAILED = "d9b373ed55a64feb8242e02dbe79a49c"
"""systemd's MESSAGE_ID of a unit that failed."""


def test_systemd_knows_every_unit_that_the_module_renders(suite_machine: Machine):
    for name in SUITE.evaluate().units:
        shown = suite_machine.show(name, "LoadState", "UnitFileState", "NeedDaemonReload")
        assert (shown["LoadState"], shown["NeedDaemonReload"]) == ("loaded", "no"), name
    text = suite_machine.systemctl("cat", "ai-sysadmin-executor.service").ok().stdout
    assert 'ExecStart="/opt/bin/ai-sysadmin" "executor"' in text
    assert "/nix/store" not in text


@pytest.mark.parametrize(
    ("socket", "mode", "group"),
    [("propose", 0o660, "ai-sysadmin"), ("operate", 0o666, "root"), ("api", 0o666, "root")],
)
def test_the_sockets_listen(suite_machine: Machine, socket: str, mode: int, group: str):
    path = f"/run/ai-sysadmin/{socket}.sock"
    status = suite_machine.path(path).lstat()
    assert stat.S_ISSOCK(status.st_mode)
    assert stat.S_IMODE(status.st_mode) == mode
    assert suite_machine.run(["stat", "-c", "%U:%G", path]).ok().stdout.strip() == f"root:{group}"
    assert path in suite_machine.run(["ss", "-lxH"]).ok().stdout


def test_the_program_runs_as_every_user(suite_machine: Machine):
    imported = "import ai_sysadmin.core.settings as s; print(s.Settings().state_dir)"
    wrapper = suite_machine.path("/opt/bin/ai-sysadmin").read_text()
    (exported,) = [line for line in wrapper.splitlines() if line.startswith("export PYTHONPATH=")]
    environment, python = exported.removeprefix("export ").split(), wrapper.splitlines()[-1].split()[1]
    for user in (None, "ai-sysadmin", "ai-sysadmin-api", "bob"):
        done = suite_machine.run(["env", *environment, python, "-P", "-c", imported], user=user).ok()
        assert done.stdout.strip() == "/var/lib/ai-sysadmin"


@pytest.mark.parametrize(("user", "reads"), [("ai-sysadmin", True), ("ai-sysadmin-api", True), ("bob", False)])
def test_who_reads_the_journal(suite_machine: Machine, user: str, reads: bool):
    done = suite_machine.run(["journalctl", "-q", "-n", "1", "-o", "json", "_PID=1"], user=user)
    assert bool(done.stdout) == reads
    assert not reads or json.loads(done.stdout)["_COMM"] == "systemd"


def test_the_two_users_share_the_state_and_nobody_else_sees_it(suite_machine: Machine):
    made = "umask 007; echo one > /var/lib/ai-sysadmin/shared && stat -c %U:%G:%a /var/lib/ai-sysadmin/shared"
    assert suite_machine.run(["sh", "-c", made], user="ai-sysadmin-api").ok().stdout.strip() == (
        "ai-sysadmin-api:ai-sysadmin:660"
    )
    assert suite_machine.run(["sh", "-c", "echo two >> /var/lib/ai-sysadmin/shared"], user="ai-sysadmin").ok()
    assert suite_machine.run(["cat", "/var/lib/ai-sysadmin/shared"], user="alice").exit_status != 0


def test_a_unit_fails_for_real(suite_machine: Machine):
    suite_machine.systemctl("start", "e2e-fail.service").ok()
    suite_machine.eventually(
        lambda: suite_machine.show("e2e-fail.service", "ActiveState")["ActiveState"] == "failed", "the unit failed"
    )
    (entry,) = suite_machine.journal(MESSAGE_ID=FAILED, UNIT="e2e-fail.service")
    assert entry["UNIT_RESULT"] == "exit-code"
    said = [entry["MESSAGE"] for entry in suite_machine.journal(_SYSTEMD_UNIT="e2e-fail.service")]
    assert said == ["reading config", "config error: key listen_port missing"]


def test_the_kernel_log_reaches_the_journal(suite_machine: Machine):
    suite_machine.kmsg(2, "Out of memory: Killed process 1 (test)")
    suite_machine.eventually(lambda: suite_machine.journal(_TRANSPORT="kernel"), "the kernel's record")


def test_a_command_that_takes_too_long_is_ended_inside_too(suite_machine: Machine):
    with pytest.raises(AssertionError, match="not done after"):
        suite_machine.run(["sleep", "4321"], timeout=0.5)
    assert suite_machine.run(["pgrep", "-f", "sleep 4321"]).exit_status == 1
